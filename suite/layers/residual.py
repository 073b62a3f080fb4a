"""Residual blocks, and the feature maps of a residual network, the backbone of detectors."""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers, ops

from suite.errors import InputError
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization


def block(
    x: keras.KerasTensor,
    filters: int,
    stride: int,
    bottleneck: bool,
    normalization: Normalization,
) -> keras.KerasTensor:
    """The convolutions of a block: two, or three with a bottleneck.

    Args:
        x: `(batch, height, width, channels)`.
        filters: Filters of the convolutions; the last one of a bottleneck has four times as many.
        stride: What the first convolution divides height and width by, rounded up.
        bottleneck: Whether convolutions of 1 x 1 stand before and behind one of 3 x 3, and not two
            of 3 x 3.
        normalization: Normalisation after each convolution.

    Returns:
        `(batch, height / stride, width / stride, filters)`, four times the filters with a
        bottleneck, which no activation follows.

    Reference:
        He, Zhang, Ren and Sun, 2015, Deep Residual Learning for Image Recognition,
        https://arxiv.org/abs/1512.03385
    """
    if not bottleneck:
        x = layers.ReLU()(convolve(x, filters, 3, stride, normalization))
        return convolve(x, filters, 3, normalization=normalization)
    x = layers.ReLU()(convolve(x, filters, 1, stride, normalization))
    x = layers.ReLU()(convolve(x, filters, 3, normalization=normalization))
    return convolve(x, 4 * filters, 1, normalization=normalization)


def match_shape(
    x: keras.KerasTensor,
    y: keras.KerasTensor,
    stride: int,
    shortcut: Literal["padding", "projection"],
    normalization: Normalization,
) -> keras.KerasTensor:
    """The shortcut of a block: its input `x`, adapted to the shape of its output `y`.

    `padding` takes every `stride`-th pixel and adds channels of zeros, `projection` is a 1 x 1
    convolution, which also takes the place of `padding` where there are fewer channels than before.
    """
    missing = y.shape[-1] - x.shape[-1]
    if not missing and stride == 1:
        return x
    if shortcut == "projection" or missing < 0:
        return convolve(x, y.shape[-1], 1, stride, normalization)
    # A mean over one pixel: the gradient of a slice with strides is many times slower.
    x = layers.AveragePooling2D(1, stride)(x) if stride > 1 else x
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, missing]])


def feature_maps(
    image: keras.KerasTensor,
    blocks: Sequence[int],
    filters: int,
    normalization: Normalization = "batch",
) -> list[keras.KerasTensor]:
    """The feature maps of a residual network, one for each stage, the finest first.

    Its layers have weights of the same shapes as the application `resnet` with as many blocks and
    filters, the small stem and padded shortcuts, so that it can begin with weights that were
    trained there; but its first convolution already halves height and width.

    Args:
        image: Pictures `(batch, height, width, channels)`, values in 0..255.
        blocks: Numbers of blocks, one for each stage. The first stage has half the height and width
            of the picture, and every further one half of those of the stage before.
        filters: Filters of the first stage; each further stage has twice as many.
        normalization: Normalisation after each convolution.

    Raises:
        InputError: Height or width cannot be halved so often without a remainder.

    Reference:
        He, Zhang, Ren and Sun, 2015, Deep Residual Learning for Image Recognition,
        https://arxiv.org/abs/1512.03385
    """
    multiple = 2 ** len(blocks)
    for side in image.shape[1:3]:
        if side is not None and side % multiple:
            raise InputError(
                f"`image_size` must be a multiple of {multiple} for {len(blocks)} `blocks`", side
            )
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.ReLU(name="stem")(convolve(x, filters, 3, 2, normalization))
    maps = []
    for stage, count in enumerate(blocks):
        for number in range(count):
            stride = 2 if stage and not number else 1
            y = block(x, filters * 2**stage, stride, False, normalization)
            y = layers.Add()([y, match_shape(x, y, stride, "padding", normalization)])
            x = layers.ReLU(name=f"block_{stage + 1}_{number + 1}")(y)
        maps.append(x)
    return maps


def feature_pyramid(
    maps: Sequence[keras.KerasTensor], filters: int, normalization: Normalization = "batch"
) -> list[keras.KerasTensor]:
    """Adds to every feature map the coarser ones, which cover a wider part of the picture.

    Args:
        maps: Feature maps, the finest first; each has twice the height and width of the next.
        filters: Channels of all results.
        normalization: Normalisation after each convolution.

    Returns:
        As many maps of the same heights and widths.

    Reference:
        Lin et al., 2016, Feature Pyramid Networks for Object Detection,
        https://arxiv.org/abs/1612.03144
        Differs from the paper: normalised, with ReLU after the last convolution of every map.
    """
    coarsest, *others = (convolve(x, filters, 1, normalization=normalization) for x in maps[::-1])
    sums = [coarsest]
    for x in others:
        sums.append(layers.Add()([x, layers.UpSampling2D(2)(sums[-1])]))
    return [layers.ReLU()(convolve(x, filters, 3, normalization=normalization)) for x in sums[::-1]]
