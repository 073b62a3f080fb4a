"""Positions in a sequence, for attention, which would not see the order otherwise."""

from typing import Any

import keras
from keras import ops

BASE = 10_000.0  # the longest wave is about 2 pi times as many tokens long


@keras.saving.register_keras_serializable(package="suite")
class SinusoidalPositions(keras.layers.Layer):
    """Adds a fixed vector for each position, made of sines and cosines.

    `layer(x, index)` takes features `(batch, time, features)`, with an even number of features, and
    the position of the first of them in its sequence, which is 0 for a whole sequence.

    Differs from the paper: the sines are the first half of the features and the cosines the second,
    instead of taking turns, which is a reordering of the features.

    Reference:
        Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
    """

    def call(self, x: Any, index: Any = 0) -> Any:
        sines, cosines = waves(index, ops.shape(x)[1], x.shape[-1])
        return x + ops.cast(ops.concatenate([sines, cosines], axis=-1), x.dtype)

    def compute_output_shape(self, x_shape: tuple[int | None, ...], *_: Any) -> Any:
        return x_shape


def rotate(x: Any, index: Any = 0) -> Any:
    """Rotary positions: turns pairs of features by angles that grow with the position.

    The product of a query and a key then depends on how far they are apart, and not on where.

    Args:
        x: Queries or keys `(batch, heads, time, features)`, an even number of features.
        index: Position of the first of them in its sequence.

    Reference:
        Su et al., 2021, RoFormer: Enhanced Transformer with Rotary Position Embedding,
        https://arxiv.org/abs/2104.09864
    """
    sines, cosines = (
        ops.cast(wave, x.dtype) for wave in waves(index, ops.shape(x)[2], x.shape[-1])
    )
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


def waves(index: Any, length: Any, features: int) -> tuple[Any, Any]:
    """Sines and cosines of positions from `index` on, both `(length, features / 2)`, float32."""
    positions = ops.cast(ops.arange(length) + index, "float32")
    exponents = ops.arange(features // 2, dtype="float32") * (2 / features)
    angles = positions[:, None] / ops.power(BASE, exponents)
    return ops.sin(angles), ops.cos(angles)
