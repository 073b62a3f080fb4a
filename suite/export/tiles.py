"""Applies a fully convolutional network to a large picture in overlapping tiles.

Everything consists of TensorFlow ops, so that it can become part of an exported model.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from suite.data.pairs.augmentation import mirrored


def in_tiles(
    network: Callable[[tf.Tensor], tf.Tensor],
    picture: tf.Tensor,
    *,
    tile: int,
    overlap: int,
    drop: int | None = None,
    margin: int = 0,
    factor: int = 1,
    finish: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """The outputs of a network for a picture of any size, in bounded memory.

    The network is applied to one tile after the other, row by row. Where tiles overlap, the outputs
    next to their edges are dropped, since the network lacks the pixels beyond an edge, and those
    between them are blended from one tile to the other, so that no seam shows. Beyond its edges the
    picture is mirrored. Beside the picture and the finished outputs, only one row of tiles is in
    memory.

    Where the network has pooling, `tile` and `overlap` should be multiples of its whole stride:
    the outputs then equal those for the whole picture, as long as no output depends on pixels
    farther away than `drop`.

    Args:
        network: Maps `(1, tile + 2 * margin, tile + 2 * margin, channels)` to
            `(1, factor * tile, factor * tile, outputs)`, a floating type.
        picture: `(height, width, channels)`, of any type that the network takes.
        tile: Height and width of a tile, in pixels of the picture.
        overlap: Pixels that neighbouring tiles have in common, at least 4 and at most half a tile.
        drop: Pixels at every edge of a tile whose outputs are dropped, less than half the overlap;
            None for a quarter of it.
        margin: Pixels on every side for which the network has no outputs, as with convolutions
            without padding.
        factor: How many times larger than the picture the outputs are, as in super-resolution.
        finish: Maps rows of blended outputs `(rows, width, outputs)`, float32, to what is kept of
            them, `(rows, width, ...)`, such as the most likely class, uint8: it decides how much
            memory the whole result takes.

    Returns:
        `(factor * height, factor * width, ...)`, as `finish` made it.

    Raises:
        ValueError: The overlap or `drop` is out of range, or the outputs of the network have
            another size.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation (its overlap-tile strategy, without blending),
        https://arxiv.org/abs/1505.04597
    """
    if not 4 <= overlap <= tile // 2:
        raise ValueError(
            f"an overlap must be from 4 to half a tile, {tile // 2}. Received: {overlap}"
        )
    drop = overlap // 4 if drop is None else drop
    if not 0 <= 2 * drop < overlap:
        raise ValueError(f"`drop` must be less than half of {overlap}. Received: {drop}")
    picture = tf.convert_to_tensor(picture)
    stride, side = tile - overlap, tile + 2 * margin
    out_tile, out_stride, out_overlap = factor * tile, factor * stride, factor * overlap
    apply = _graph(network, (1, side, side, picture.shape[-1]), picture.dtype)
    shape = apply.structured_outputs.shape
    if shape[-1] is None or not shape.is_compatible_with((1, out_tile, out_tile, None)):
        raise ValueError(
            f"the network must answer a tile with (1, {out_tile}, {out_tile}, outputs). Received: "
            f"{tuple(shape)}"
        )
    end = _graph(finish, (out_stride, None, shape[-1]), tf.float32)
    finished = end.structured_outputs
    window = tf.constant(_window(out_tile, out_overlap, factor * drop)[..., None], tf.float32)
    height, width = tf.unstack(tf.shape(picture)[:2])
    # The first tiles begin above and to the left of the picture, by the width of an overlap, where
    # their outputs fade in.
    num_rows = (overlap + height + stride - 1) // stride
    num_columns = (overlap + width + stride - 1) // stride
    band_width = num_columns * out_stride + out_overlap

    def step(number: tf.Tensor, band: tf.Tensor, answers: tf.TensorArray) -> tuple[Any, ...]:
        """Adds the outputs for a tile to its band, and finishes the band of a complete row."""
        row, column = number // num_columns, number % num_columns
        around = tf.range(side) - overlap - margin
        part = tf.gather(picture, mirrored(row * stride + around, height))
        part = tf.gather(part, mirrored(column * stride + around, width), axis=1)
        answer = window * tf.cast(apply(part[None])[0], tf.float32)
        before = column * out_stride
        answer = tf.pad(answer, [[0, 0], [before, band_width - before - out_tile], [0, 0]])
        band = tf.ensure_shape(band + answer, (out_tile, None, shape[-1]))

        def next_row() -> tuple[tf.Tensor, tf.TensorArray]:
            rows = band[:out_stride, out_overlap : out_overlap + factor * width]
            below = tf.pad(band[out_stride:], [[0, out_stride], [0, 0], [0, 0]])
            return below, answers.write(row, end(rows))

        return number + 1, *tf.cond(column == num_columns - 1, next_row, lambda: (band, answers))

    _, _, answers = tf.while_loop(
        lambda number, *_: number < num_rows * num_columns,
        step,
        (
            tf.constant(0),
            tf.zeros((out_tile, band_width, shape[-1])),
            tf.TensorArray(finished.dtype, num_rows, element_shape=finished.shape),
        ),
        parallel_iterations=1,
    )
    whole = tf.reshape(answers.stack(), (-1, factor * width, *finished.shape[2:]))
    return whole[out_overlap : out_overlap + factor * height]


def _graph(
    function: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int | None, ...], dtype: tf.DType
) -> Any:
    """A function of one tensor as a graph, whose outputs have known shapes and types."""
    traced = tf.function(lambda tensor: function(tensor), autograph=False)
    return traced.get_concrete_function(tf.TensorSpec(shape, dtype))


def _window(tile: int, overlap: int, drop: int) -> np.ndarray:
    """The weights of the pixels of a tile, `(tile, tile)`.

    They are 0 in the first `drop` pixels of an overlap, 1 in as many at its end, and grow evenly in
    between: where two tiles disagree, that makes the smallest steps. The weights of all tiles that
    hold a pixel add up to 1.
    """
    fade = np.clip((np.arange(overlap) + 0.5 - drop) / (overlap - 2 * drop), 0, 1)
    profile = np.concatenate([fade, np.ones(tile - 2 * overlap), fade[::-1]])
    return profile[:, None] * profile
