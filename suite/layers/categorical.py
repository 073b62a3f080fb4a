"""Distributions over evenly spaced values, such as those of the returns of an action."""

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="suite")
class CategoricalMean(keras.layers.Layer):
    """The mean of a distribution over evenly spaced values.

    `layer(logits)` takes the logits of the values `(..., number)` to the mean `(...)`.

    Args:
        lowest: The first value.
        highest: The last value.
        number: Number of values, at least 2.
    """

    def __init__(self, lowest: float, highest: float, number: int, **layer: Any) -> None:
        super().__init__(**layer)
        self.lowest, self.highest, self.number = lowest, highest, number

    @property
    def support(self) -> np.ndarray:
        """The values `(number,)`, float64."""
        return np.linspace(self.lowest, self.highest, self.number)

    def call(self, logits: Any) -> Any:
        values = ops.convert_to_tensor(self.support, dtype=self.compute_dtype)
        return ops.sum(ops.softmax(logits) * values, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "lowest": self.lowest,
            "highest": self.highest,
            "number": self.number,
        }


def project(probabilities: Any, values: Any, support: np.ndarray) -> Any:
    """Moves the probabilities of any values to the evenly spaced values of a support.

    A value between two of the support gives to each of them the more, the nearer it is. Values
    outside go to the first or the last one. The mean stays where all values are within the support.

    Args:
        probabilities: The probabilities `(batch, number)`.
        values: The value of each of them, `(batch, number)`.
        support: Evenly spaced and increasing values `(atoms,)`.

    Returns:
        The probabilities of the values of the support, `(batch, atoms)`.

    Reference:
        Bellemare et al., 2017, A Distributional Perspective on Reinforcement Learning,
        https://arxiv.org/abs/1707.06887
    """
    spacing = (support[-1] - support[0]) / (len(support) - 1)
    atoms = ops.convert_to_tensor(support[None, :, None], dtype=probabilities.dtype)
    within = ops.clip(values, float(support[0]), float(support[-1]))
    shares = ops.relu(1 - ops.abs(within[:, None, :] - atoms) / float(spacing))
    return ops.sum(shares * probabilities[:, None, :], axis=-1)
