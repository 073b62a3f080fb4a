"""Other servers of the same SavedModel, each as its documentation has it, with its own batching.

They get `{"instances": [image]}`, and answer with `{"predictions": [probabilities]}`.
"""

MOST, PATIENCE = 64, 0.005  # examples in a batch, and seconds to wait for them
