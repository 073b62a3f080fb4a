"""A convolution with its normalisation, of which convolutional networks are made."""

from typing import Literal

import keras
from keras import layers

from suite.layers.normalization import Normalization, normalize


def convolve(
    x: keras.KerasTensor,
    filters: int,
    size: int | tuple[int, int],
    stride: int = 1,
    normalization: Normalization = "batch",
    pooling: bool = False,
    padding: Literal["same", "valid"] = "same",
) -> keras.KerasTensor:
    """A convolution, followed by a normalisation, before any activation.

    The convolution has a bias only without a normalisation, which has an offset for every channel.

    Args:
        x: Features `(batch, height, width, channels)`.
        filters: Number of filters, which become the channels.
        size: Height and width of a filter, or one number for both.
        stride: What height and width are divided by, rounded up with padding.
        normalization: As in `normalize`.
        pooling: Whether the maximum of every 2 x 2 pixels is what is normalised.
        padding: `same` pads the borders with zeros; `valid` leaves out
            the pixels of the borders, for which a filter would reach beyond them.

    Reference:
        He, Zhang, Ren and Sun, 2015, Delving Deep into Rectifiers (the initial weights),
        https://arxiv.org/abs/1502.01852
    """
    convolution = layers.Conv2D(
        filters,
        size,
        stride,
        padding=padding,
        use_bias=normalization == "none",
        kernel_initializer="he_normal",
    )
    x = convolution(x)
    return normalize(layers.MaxPooling2D()(x) if pooling else x, normalization)
