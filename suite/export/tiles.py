"""Asks a fully convolutional network about a large picture in overlapping tiles.

Everything is made of TensorFlow ops, so that it can become part of an exported model.
"""

from collections.abc import Callable

import tensorflow as tf


def in_tiles(
    network: Callable[[tf.Tensor], tf.Tensor],
    picture: tf.Tensor,
    *,
    tile: int,
    overlap: int,
    margin: int = 0,
    factor: int = 1,
    finish: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """The answer of a network about a picture of any size, in bounded memory.

    One tile after the other is asked, row by row. Where tiles overlap, the quarters of the overlap
    next to their edges are dropped, since the network sees nothing beyond an edge, and the half
    between them goes over from one tile to the other smoothly, so that no seam shows. Beyond its
    edges the picture is mirrored. Beside the picture and the finished answer, only one row of
    tiles is in memory.

    Where the network has pooling, `tile` and `overlap` should be multiples of its whole stride:
    the answer then equals that about the whole picture, as far as what a pixel depends on is not
    wider than a quarter of the overlap.

    Args:
        network: Maps `(1, tile + 2 * margin, tile + 2 * margin, channels)` to
            `(1, factor * tile, factor * tile, outputs)`, a floating type.
        picture: `(height, width, channels)`, of any type that the network takes.
        tile: Height and width of a tile, in pixels of the picture.
        overlap: Pixels that neighbouring tiles have in common, at least 4 and at most half a tile.
        margin: Pixels on every side that the network needs and does not answer, as with valid
            convolutions.
        factor: How many times larger than the picture the answer is, as in super-resolution.
        finish: Maps rows of blended outputs `(rows, width, outputs)`, float32, to what shall
            remain of them, `(rows, width, ...)`, such as the most likely class, uint8: it decides
            how much memory the whole answer takes.

    Returns:
        `(factor * height, factor * width, ...)`, as `finish` made it.

    Raises:
        ValueError: Tile or overlap is out of range.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation (its overlap-tile strategy, without blending),
        https://arxiv.org/abs/1505.04597
    """
    raise NotImplementedError
