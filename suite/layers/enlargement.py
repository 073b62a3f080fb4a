"""Enlarges pictures of any size inside a network by a whole factor, by bicubic interpolation."""

import keras
import numpy as np
from keras import ops

from suite.data.images.bicubic import phase_weights


def enlarge(x: keras.KerasTensor, scale: int) -> keras.KerasTensor:
    """Enlarges as `suite.data.images.bicubic.resize` does, by one convolution.

    A pixel becomes `scale x scale` pixels. Each of them is a weighted sum of the same 5 x 5 pixels,
    so they are the channels of a convolution, which are then put side by side.

    Args:
        x: `(batch, height, width, channels)`; height and width are at least 2.
        scale: What height and width are multiplied by, 2 or more.

    Returns:
        `(batch, scale * height, scale * width, channels)`.
    """
    weights, channels = phase_weights(scale), x.shape[-1]
    kernel = np.einsum("ki,lj,cd->ijckld", weights, weights, np.eye(channels))
    kernel = kernel.reshape(5, 5, channels, scale**2 * channels)
    kernel = kernel.astype(keras.backend.standardize_dtype(x.dtype))
    return ops.depth_to_space(ops.conv(_mirrored(x), kernel), scale)


def _mirrored(x: keras.KerasTensor) -> keras.KerasTensor:
    """Adds two rows and two columns on every side, in which the picture is mirrored at its edge."""
    # Not by `ops.pad`, which repeats the last pixel instead on some backends.
    x = ops.concatenate([x[:, 1:2], x[:, :1], x, x[:, -1:], x[:, -2:-1]], axis=1)
    return ops.concatenate([x[:, :, 1:2], x[:, :, :1], x, x[:, :, -1:], x[:, :, -2:-1]], axis=2)
