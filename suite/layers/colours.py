"""YCbCr of ITU-R BT.601: brightness apart from colour, as pictures and videos are stored."""

import keras
import numpy as np
from keras import ops

# From red, green and blue in 0..255: the luma Y in 16..235, and Cb and Cr in 16..240.
WEIGHTS = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
MATRIX = np.array(WEIGHTS) / 255
OFFSET = np.array([16.0, 128.0, 128.0])


def to_ycbcr(rgb: keras.KerasTensor) -> keras.KerasTensor:
    """Converts colours `(batch, height, width, 3)`, values in 0..255, to Y, Cb and Cr.

    Reference:
        ITU-R, 2011, Recommendation BT.601, https://www.itu.int/rec/R-REC-BT.601
    """
    return _mixed(rgb, MATRIX, OFFSET)


def to_rgb(ycbcr: keras.KerasTensor) -> keras.KerasTensor:
    """Converts Y, Cb and Cr `(batch, height, width, 3)` to colours, not clipped to 0..255."""
    inverse = np.linalg.inv(MATRIX)
    return _mixed(ycbcr, inverse, -inverse @ OFFSET)


def to_luma(rgb: keras.KerasTensor) -> keras.KerasTensor:
    """The Y of colours `(batch, height, width, 3)`, as `(batch, height, width, 1)`."""
    return _mixed(rgb, MATRIX[:1], OFFSET[:1])


def _mixed(
    channels: keras.KerasTensor, matrix: np.ndarray, offset: np.ndarray
) -> keras.KerasTensor:
    """Multiplies the channels of every pixel by a matrix `(new, old)`, and adds an offset."""
    dtype = keras.backend.standardize_dtype(channels.dtype)
    return ops.conv(channels, matrix.T[None, None].astype(dtype)) + offset.astype(dtype)
