"""Metrics of sequences that are means over tokens, whatever the padding and the batches."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from suite.data.text.tokenizers import PADDING


class TokenMean(keras.metrics.Mean):
    """The mean of a function over all tokens that are no padding.

    Keras's metrics divide the sum of a batch by its number of positions, padding included, so that
    a batch of long sequences counts less for each of its tokens. Here every token counts alike.

    Args:
        function: `function(y_true, y_pred)` gives a value for every token, `(batch, time)`.
        name: Name of the metric.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str) -> None:
        super().__init__(name=name)
        self.function = function

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds the tokens of a batch.

        Args:
            y_true: Numbers of the right tokens, `(batch, time)`; 0 is padding.
            y_pred: Predictions, `(batch, time, ...)`.
            sample_weight: Weights of the sequences, `(batch,)` or `(batch, 1)`.
        """
        weights = ops.cast(ops.not_equal(y_true, PADDING), self.dtype)
        if sample_weight is not None:
            weights *= ops.cast(ops.reshape(sample_weight, (-1, 1)), self.dtype)
        values = ops.reshape(self.function(y_true, y_pred), (-1,))
        super().update_state(values, ops.reshape(weights, (-1,)))
