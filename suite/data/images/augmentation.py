"""Random distortions of training pictures, for the pipelines of `suite.data.pipelines`.

Each function returns an `Augmentation`. It distorts batches `(inputs, targets)` whose inputs are
pictures `(batch, height, width, channels)`; only `mixup` changes the targets. Its random numbers
come from the pipeline, so the same numbers give the same distortion.
"""

import functools
import math
from typing import Any

import tensorflow as tf
from keras import ops

from suite.data.pipelines import Augmentation

WHITE = 255.0


def combined(*augmentations: Augmentation | None) -> Augmentation | None:
    """Applies several augmentations one after the other, and skips those that are None.

    Returns:
        The combination, or None if there is nothing to apply.
    """
    steps = [augmentation for augmentation in augmentations if augmentation is not None]
    if not steps:
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        first = 0
        for step in steps:
            batch = step.distort(batch, draws[first : first + step.num_draws])
            first += step.num_draws
        return batch

    return Augmentation(distort, sum(step.num_draws for step in steps))


def random_affine(rotation: float, shift: float, zoom: float) -> Augmentation | None:
    """Rotates, shifts and zooms pictures about their centre; pixels from outside a picture are 0.

    The distorted pictures are float32, whatever the type of the pictures was.

    Args:
        rotation: Largest rotation to either side, in degrees.
        shift: Largest shift along each axis, in pixels.
        zoom: Largest change of width and of height, as a share in [0, 1).

    Returns:
        The augmentation, or None if all three are 0.
    """
    if not (rotation or shift or zoom):
        return None
    distort = functools.partial(_affine, rotation=rotation, shift=shift, zoom=zoom)
    return Augmentation(distort, num_draws=5)


def lighting(brightness: float, contrast: float) -> Augmentation | None:
    """Makes pictures lighter or darker, and richer or poorer in contrast about the middle grey.

    The distorted pictures are float32; values beyond 0 and 255 are clipped.

    Args:
        brightness: Largest change of all pixels, as a share of their range.
        contrast: Largest change of the distance from the middle grey, as a share.

    Returns:
        The augmentation, or None if both are 0.
    """
    if not (brightness or contrast):
        return None
    distort = functools.partial(_light, brightness=brightness, contrast=contrast)
    return Augmentation(distort, num_draws=2)


def random_crop(padding: int) -> Augmentation | None:
    """Pads pictures with 0 on all sides, and crops them to their size at a random place.

    Args:
        padding: Pixels on every side.

    Returns:
        The augmentation, or None if there is no padding.

    Reference:
        He et al., 2015, Deep Residual Learning for Image Recognition (there 4 pixels, on
        CIFAR-10), https://arxiv.org/abs/1512.03385
    """
    if not padding:
        return None
    return Augmentation(functools.partial(_crop, padding=padding), num_draws=2)


def cutout(size: int) -> Augmentation | None:
    """Blanks a square of every picture with 0, at a random place, which may reach over its edge.

    Args:
        size: Side of the square, in pixels.

    Returns:
        The augmentation, or None for a side of 0.

    Reference:
        DeVries and Taylor, 2017, Improved Regularization of Convolutional Neural Networks with
        Cutout, https://arxiv.org/abs/1708.04552
    """
    if not size:
        return None
    return Augmentation(functools.partial(_cut_out, size=size), num_draws=2)


def mixup() -> Augmentation:
    """Mixes every picture with its neighbour in the batch, in random shares.

    The targets, labels `(batch,)`, become `(batch, 3)`, float32: the label with the larger share,
    the other label, and the larger share, which is uniform in 0.5..1. The neighbour is one of the
    same replica's part of the batch.

    Reference:
        Zhang, Cisse, Dauphin and Lopez-Paz, 2017, mixup: Beyond Empirical Risk Minimization
        (there Beta(1, 1), which is uniform, on CIFAR-10), https://arxiv.org/abs/1710.09412
    """
    return Augmentation(_mix, num_draws=1)


def affine_maps(
    size: tuple[int, int],
    angle: tf.Tensor,
    scale: tuple[tf.Tensor, tf.Tensor],
    shift: tuple[tf.Tensor, tf.Tensor],
) -> tf.Tensor:
    """Affine maps from output pixels to input pixels, about the centre of the pictures.

    Args:
        size: Height and width of the pictures.
        angle: Radians, `(batch,)`.
        scale: Along the width and along the height, `(batch,)` each.
        shift: To the right and down, in pixels, `(batch,)` each.

    Returns:
        `(batch, 8)`, as `keras.ops.image.affine_transform` takes them.
    """
    height, width = size
    scale_x, scale_y = scale
    a, b = scale_x * tf.cos(angle), -scale_y * tf.sin(angle)
    c, d = scale_x * tf.sin(angle), scale_y * tf.cos(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    offset_x = x - (a * x + b * y) + shift[0]
    offset_y = y - (c * x + d * y) + shift[1]
    zero = tf.zeros_like(a)
    return tf.stack([a, b, offset_x, c, d, offset_y, zero, zero], axis=1)


def _affine(
    batch: tuple[Any, ...], draws: tf.Tensor, *, rotation: float, shift: float, zoom: float
) -> tuple[Any, ...]:
    images, *targets = batch
    maps = affine_maps(
        images.shape[1:3],
        draws[0] * math.radians(rotation),
        (1 + draws[1] * zoom, 1 + draws[2] * zoom),
        (draws[3] * shift, draws[4] * shift),
    )
    distorted = ops.image.affine_transform(
        tf.cast(images, tf.float32), maps, data_format="channels_last"
    )
    return (distorted, *targets)


def _light(
    batch: tuple[Any, ...], draws: tf.Tensor, *, brightness: float, contrast: float
) -> tuple[Any, ...]:
    images, *targets = batch
    lighter, richer = (draw[:, None, None, None] for draw in tf.unstack(draws))
    distance = (1 + contrast * richer) * (tf.cast(images, tf.float32) - WHITE / 2)
    lit = WHITE / 2 + distance + WHITE * brightness * lighter
    return (tf.clip_by_value(lit, 0.0, WHITE), *targets)


def _crop(batch: tuple[Any, ...], draws: tf.Tensor, *, padding: int) -> tuple[Any, ...]:
    images, *targets = batch
    padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    return (crop_at(padded, draws, *images.shape[1:3]), *targets)


def crop_at(pictures: tf.Tensor, draws: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Crops every picture of a batch at a place of its own.

    Args:
        pictures: `(batch, larger height, larger width, channels)`.
        draws: `(2, batch)`, in [-1, 1), where all places are equally likely.
        height: Rows of the result.
        width: Columns of the result.
    """
    surplus = (pictures.shape[1] - height, pictures.shape[2] - width)
    top, left = (
        tf.minimum(tf.cast(tf.floor((draw + 1) / 2 * (most + 1)), tf.int32), most)
        for draw, most in zip(tf.unstack(draws), surplus, strict=True)
    )
    strips = tf.gather(pictures, top[:, None] + tf.range(height), batch_dims=1)
    return tf.gather(strips, left[:, None] + tf.range(width), axis=2, batch_dims=1)


def _cut_out(batch: tuple[Any, ...], draws: tf.Tensor, *, size: int) -> tuple[Any, ...]:
    images, *targets = batch
    inside = []
    for draw, side in zip(tf.unstack(draws), images.shape[1:3], strict=True):
        centre = tf.floor((draw + 1) / 2 * side)[:, None]
        distance = tf.range(side, dtype=tf.float32) - centre + size // 2
        inside.append((distance >= 0) & (distance < size))
    blank = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return (tf.where(blank, tf.zeros_like(images), images), *targets)


def _mix(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
    images, labels, *rest = batch
    images, labels = tf.cast(images, tf.float32), tf.cast(labels, tf.float32)
    share = 0.75 + draws[0] / 4
    weight = share[:, None, None, None]
    mixed = weight * images + (1 - weight) * tf.roll(images, 1, axis=0)
    return (mixed, tf.stack([labels, tf.roll(labels, 1, axis=0), share], axis=1), *rest)
