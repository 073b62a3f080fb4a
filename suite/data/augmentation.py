"""Random distortions of pictures, in the graph, which follow from numbers that were drawn before.

Every piece takes whole batches `(inputs, ...)`, where the inputs are pictures `(batch, height,
width, channels)`, and leaves the targets as they are.
"""

import functools
import math
from typing import Any

import tensorflow as tf
from keras import ops

from suite.data.pipelines import Augmentation


def combined(*pieces: Augmentation | None) -> Augmentation | None:
    """Several augmentations, one after the other; those that are None are left out.

    Returns:
        None where there is nothing to distort.
    """
    wanted = [piece for piece in pieces if piece is not None]
    if not wanted:
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        first = 0
        for piece in wanted:
            batch = piece.distort(batch, draws[first : first + piece.num_draws])
            first += piece.num_draws
        return batch

    return Augmentation(distort, sum(piece.num_draws for piece in wanted))


def random_affine(rotation: float, shift: float, zoom: float) -> Augmentation | None:
    """Rotates, shifts and zooms; what comes in from outside is 0.

    Args:
        rotation: Largest rotation, in degrees.
        shift: Largest shift along each axis, in pixels.
        zoom: Largest relative change of width and of height.

    Returns:
        None where there is nothing to distort.
    """
    if not (rotation or shift or zoom):
        return None
    distort = functools.partial(_affine, rotation=rotation, shift=shift, zoom=zoom)
    return Augmentation(distort, num_draws=5)


def random_horizontal_flip() -> Augmentation:
    """Turns every other picture, left to right."""
    return Augmentation(_flip, num_draws=1)


def random_crop(padding: int) -> Augmentation | None:
    """Pads pictures with 0 on all sides, and cuts out as much as they were, anywhere.

    Reference:
        He et al., 2015, Deep Residual Learning for Image Recognition (there 4 pixels, on
        CIFAR-10), https://arxiv.org/abs/1512.03385

    Args:
        padding: Pixels on every side.

    Returns:
        None where there is no padding.
    """
    if not padding:
        return None
    return Augmentation(functools.partial(_crop, padding=padding), num_draws=2)


def _affine(
    batch: tuple[Any, ...], draws: tf.Tensor, *, rotation: float, shift: float, zoom: float
) -> tuple[Any, ...]:
    images, *targets = batch
    height, width = images.shape[1:3]
    angle = draws[0] * math.radians(rotation)
    wide, high = 1 + draws[1] * zoom, 1 + draws[2] * zoom
    # Rows of the map from output to input pixels, about the centre of the image.
    a, b = wide * tf.cos(angle), -high * tf.sin(angle)
    c, d = wide * tf.sin(angle), high * tf.cos(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    across = x - (a * x + b * y) + draws[3] * shift
    down = y - (c * x + d * y) + draws[4] * shift
    zero = tf.zeros_like(a)
    transform = tf.stack([a, b, across, c, d, down, zero, zero], axis=1)
    distorted = ops.image.affine_transform(
        tf.cast(images, tf.float32), transform, data_format="channels_last"
    )
    return (distorted, *targets)


def _flip(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
    images, *targets = batch
    turned = draws[0][:, None, None, None] < 0
    return (tf.where(turned, images[:, :, ::-1], images), *targets)


def _crop(batch: tuple[Any, ...], draws: tf.Tensor, *, padding: int) -> tuple[Any, ...]:
    images, *targets = batch
    height, width = images.shape[1:3]
    # Draws are in [-1, 1): all of the 2 * padding + 1 places are equally likely.
    places = tf.cast(tf.floor((draws + 1) / 2 * (2 * padding + 1)), tf.int32)
    places = tf.minimum(places, 2 * padding)
    margins = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    padded = tf.pad(images, margins)
    rows = places[0][:, None] + tf.range(height)
    columns = places[1][:, None] + tf.range(width)
    cut = tf.gather(tf.gather(padded, rows, batch_dims=1), columns, axis=2, batch_dims=1)
    return (cut, *targets)
