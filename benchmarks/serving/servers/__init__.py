"""Other servers of the same SavedModel, set up as their documentation says, with their batching.

They get `{"instances": [image]}`, and answer with `{"predictions": [probabilities]}`.
"""

BATCH_SIZE, BATCH_SECONDS = 64, 0.005  # most examples of a batch, and seconds to wait for them
