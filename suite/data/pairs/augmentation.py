"""Random distortions of a picture and of the picture that is its target alike.

Each function returns an `Augmentation` of batches whose inputs and targets are arrays, or nested
structures of arrays. Pictures `(batch, height, width, channels)` are interpolated linearly. Masks
`(batch, height, width)` take the nearest pixel, so that no new value arises. All arrays of an
example are distorted in the same way; arrays of fewer axes are not changed.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from suite.data.images.augmentation import affine_maps, crop_at
from suite.data.pipelines import Augmentation

CLOSE_TO_ONE = 1 - 1e-6  # the largest draw that becomes a normally distributed number


def joint_flip(
    *, horizontal: bool = True, vertical: bool = False, diagonal: bool = False
) -> Augmentation | None:
    """Mirrors along each chosen axis with a probability of one half.

    All three together make mirror images and quarter turns, eight pictures of one. The augmentation
    raises a `ValueError` while it is traced, if it mirrors along the diagonal and the pictures are
    not square.

    Returns:
        The augmentation, or None if no axis is chosen.
    """
    mirrors: list[Callable[[tf.Tensor], tf.Tensor]] = []
    if horizontal:
        mirrors.append(partial(tf.reverse, axis=[2]))
    if vertical:
        mirrors.append(partial(tf.reverse, axis=[1]))
    if diagonal:
        mirrors.append(partial(tf.transpose, perm=(0, 2, 1, 3)))
    if not mirrors:
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        def change(pictures: tf.Tensor, nearest: bool) -> tf.Tensor:
            _, height, width, _ = pictures.shape
            if diagonal and height != width:
                raise ValueError(f"pictures must be square. Received: {height} x {width}")
            for draw, mirror in zip(tf.unstack(draws), mirrors, strict=True):
                is_mirrored = draw[:, None, None, None] < 0
                pictures = tf.where(is_mirrored, mirror(pictures), pictures)
            return pictures

        return _changed(batch, change)

    return Augmentation(distort, num_draws=len(mirrors))


def joint_crop(height: int, width: int) -> Augmentation:
    """Crops to this size at a random place.

    The augmentation raises a `ValueError` while it is traced, if the pictures are smaller.
    """

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        def change(pictures: tf.Tensor, nearest: bool) -> tf.Tensor:
            if pictures.shape[1] < height or pictures.shape[2] < width:
                raise ValueError(
                    f"pictures must be at least {height} x {width} to be cropped. "
                    f"Received: {pictures.shape[1]} x {pictures.shape[2]}"
                )
            return crop_at(pictures, draws, height, width)

        return _changed(batch, change)

    return Augmentation(distort, num_draws=2)


def joint_affine(
    *, rotation: float = 0.0, scale: float = 0.0, shift: float = 0.0
) -> Augmentation | None:
    """Rotates, scales and shifts about the centre; what lies outside is mirrored at the edge.

    Distorted pictures are float32, masks keep their type.

    Args:
        rotation: Largest rotation to either side, in degrees.
        scale: Largest change of the size, of both sides alike, as a share in [0, 1).
        shift: Largest shift along each axis, in pixels.

    Returns:
        The augmentation, or None if all three are 0.
    """
    if not (rotation or scale or shift):
        return None

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        def change(pictures: tf.Tensor, nearest: bool) -> tf.Tensor:
            factor = 1 + draws[1] * scale
            maps = affine_maps(
                pictures.shape[1:3],
                draws[0] * math.radians(rotation),
                (factor, factor),
                (draws[2] * shift, draws[3] * shift),
            )
            return ops.image.affine_transform(
                pictures,
                maps,
                interpolation="nearest" if nearest else "bilinear",
                fill_mode="reflect",
                data_format="channels_last",
            )

        return _changed(batch, change, as_floats=True)

    return Augmentation(distort, num_draws=4)


def joint_elastic(deviation: float, points: int = 3) -> Augmentation | None:
    """Bends smoothly, as tissue under a microscope is bent; the edges are mirrored.

    Displacements are drawn from a normal distribution at the points of a coarse grid, and
    interpolated between them bicubically. Distorted pictures are float32, masks keep their
    type.

    Args:
        deviation: Standard deviation of a displacement along each axis, in pixels.
        points: Points along each side of the grid, at least 2.

    Returns:
        The augmentation, or None for a deviation of 0.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation (there a grid of 3 x 3 and 10 pixels), https://arxiv.org/abs/1505.04597
    """
    if not deviation:
        return None
    if points < 2:
        raise ValueError(f"a grid must have at least 2 points along each side. Received: {points}")

    def distort(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        normal = math.sqrt(2) * tf.math.erfinv(CLOSE_TO_ONE * draws)
        grid = tf.reshape(deviation * normal, (2, points, points, -1))
        moves = tf.transpose(grid, (3, 1, 2, 0))  # (batch, points, points, 2)

        def change(pictures: tf.Tensor, nearest: bool) -> tf.Tensor:
            height, width = pictures.shape[1:3]
            move = tf.image.resize(moves, (height, width), method="bicubic")
            rows = tf.range(height, dtype=tf.float32)[:, None] + move[..., 0]
            columns = tf.range(width, dtype=tf.float32) + move[..., 1]
            return _sampled(pictures, rows, columns, nearest)

        return _changed(batch, change, as_floats=True)

    return Augmentation(distort, num_draws=2 * points**2)


def mirrored(places: tf.Tensor, length: int | tf.Tensor) -> tf.Tensor:
    """Mirrors places outside of a row of pixels at its ends, as often as it takes.

    Args:
        places: Indices of pixels, int32; those from 0 to length - 1 are inside of the row.
        length: Pixels in the row.

    Returns:
        Indices in 0..length - 1, of the same shape; mirroring repeats the pixels at the ends.
    """
    places = tf.math.floormod(places, 2 * length)
    return tf.minimum(places, 2 * length - 1 - places)


def _changed(
    batch: tuple[Any, ...],
    change: Callable[[tf.Tensor, bool], tf.Tensor],
    as_floats: bool = False,
) -> tuple[Any, ...]:
    """Applies a change to all pictures and masks of a batch.

    Args:
        batch: Nested structures of arrays.
        change: `change(pictures, nearest)` distorts `(batch, height, width, channels)`; `nearest`
            is true for masks, which have one channel then.
        as_floats: Whether pictures become float32 before they are changed.
    """

    def distorted(array: Any) -> tf.Tensor:
        array = tf.convert_to_tensor(array)
        if array.shape.rank == 4:
            return change(tf.cast(array, tf.float32) if as_floats else array, False)
        if array.shape.rank == 3:
            return change(array[..., None], True)[..., 0]
        return array

    return keras.tree.map_structure(distorted, batch)


def _sampled(pictures: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, nearest: bool) -> tf.Tensor:
    """The values of pictures at places between their pixels, mirrored beyond their edges.

    Args:
        pictures: `(batch, height, width, channels)`; float32 unless `nearest`.
        rows: Places along the height, `(batch, new height, new width)`, float32.
        columns: Places along the width, likewise.
        nearest: Whether to take the nearest pixel, or else to interpolate between four.
    """
    _, height, width, channels = pictures.shape
    pixels = tf.reshape(pictures, (-1, height * width, channels))

    def at(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        row, column = tf.cast(row, tf.int32), tf.cast(column, tf.int32)
        places = mirrored(row, height) * width + mirrored(column, width)
        return tf.gather(pixels, places, batch_dims=1)

    if nearest:
        return at(tf.round(rows), tf.round(columns))
    top, left = tf.floor(rows), tf.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
