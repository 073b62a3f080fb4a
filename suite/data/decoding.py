"""Bytes and pixels of any kind as pictures of 8 bits, upright and opaque, in TensorFlow alone."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

FAINTEST = 32  # grey values by which something must differ from its ground to be seen
# What white may be: a share, 16 as in scikit-learn's digits, or the largest value of 8, 10, 12,
# 14 or 16 bits.
WHITES = (1.0, 16.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)

JPEG = b"\xff\xd8"
PNG = b"\x89PNG"
EXIF = b"Exif\0\0"
HEAD = 2**16  # bytes of a file among which its EXIF is looked for
ORIENTATION, SHORT = 0x0112, 3  # a tag of EXIF and the type of its value


def decoded(encoded: tf.Tensor) -> tf.Tensor:
    """The pixels of a picture, upright: `(height, width, channels)`, uint8.

    Args:
        encoded: Scalar string, see `Preparation.__call__`.
    """
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, HEAD), tf.uint8)
    head = tf.pad(head, [[0, 32]])
    deep = _begins_with(head, PNG) & (head[24] == 16)  # bits of a value
    pixels = tf.cond(
        deep,
        lambda: scaled_to_bytes(tf.io.decode_png(encoded, dtype=tf.uint16)),
        lambda: tf.io.decode_image(encoded, expand_animations=False),
    )
    orientation = tf.cond(
        _begins_with(head, JPEG), lambda: _orientation(head), lambda: tf.constant(1)
    )
    return upright(pixels, orientation)


def opaque(pixels: tf.Tensor) -> tf.Tensor:
    """Red, green and blue `(height, width, 3)`, float32, transparent parts as white paper.

    Where nothing shows on white, as light ink would not, they are black.
    """
    height, width, channels = tf.unstack(tf.shape(pixels))
    values = tf.cast(pixels, tf.float32)
    transparent = channels % 2 == 0
    colours = channels - tf.cast(transparent, tf.int32)
    rgb = tf.broadcast_to(values[..., :colours], (height, width, 3))
    opacity = tf.cond(
        transparent, lambda: values[..., colours:] / 255, lambda: tf.ones((height, width, 1))
    )
    on_black = tf.round(rgb * opacity)
    on_white = tf.round(rgb * opacity + 255 * (1 - opacity))
    shows = tf.reduce_max(on_white) - tf.reduce_min(on_white) >= FAINTEST
    return tf.where(shows, on_white, on_black)


def scaled_to_bytes(values: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Pixels of any type in 0..255, uint8, by what they hold.

    White is 1, 16, or the largest value of 8, 10, 12, 14 or 16 bits, whichever is enough.
    """
    values = tf.cast(values, tf.float32)
    return with_white(values, white_of(tf.reduce_max(values)))


def white_of(largest: tf.Tensor | float) -> tf.Tensor:
    """What white is among pixels of which this is the largest.

    Interpolation may have left a few pixels that are a little brighter.
    """
    whites = tf.constant(WHITES)
    return tf.reduce_min(tf.where(1.05 * whites >= largest, whites, WHITES[-1]))


def with_white(values: tf.Tensor | np.ndarray, white: tf.Tensor | float) -> tf.Tensor:
    """Pixels in 0..white, in 0..255, uint8."""
    scaled = tf.round(tf.cast(values, tf.float32) * (255 / white))
    return tf.cast(tf.clip_by_value(scaled, 0, 255), tf.uint8)


def upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A picture `(height, width, channels)` turned as its EXIF orientation, 1..8, says."""

    def among(*numbers: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(numbers))

    changes: tuple[tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]], ...] = (
        (among(5, 6, 7, 8), lambda image: tf.transpose(image, (1, 0, 2))),
        (among(2, 3, 6, 7), lambda image: image[:, ::-1]),
        (among(3, 4, 7, 8), lambda image: image[::-1]),
    )
    for wanted, change in changes:
        pixels = tf.cond(wanted, functools.partial(change, pixels), lambda same=pixels: same)
    return pixels


def _begins_with(head: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.reduce_all(head[: len(magic)] == tf.constant(list(magic), tf.uint8))


def _orientation(head: tf.Tensor) -> tf.Tensor:
    """The orientation, 1..8, that the EXIF of a JPEG says; 1, upright, where it says none.

    Args:
        head: The first bytes of the file, uint8.
    """
    length = tf.size(head)
    windows = tf.stack([head[at : length - len(EXIF) + at] for at in range(len(EXIF))], axis=-1)
    found = tf.where(tf.reduce_all(windows == tf.constant(list(EXIF), tf.uint8), -1))[:, 0]
    start = tf.cast(tf.concat([found, [-len(EXIF)]], 0)[0], tf.int32) + len(EXIF)
    little = head[start] == ord("I")

    def number(places: tf.Tensor, size: int) -> tf.Tensor:
        at = tf.clip_by_value(places[..., None] + tf.range(size), 0, length - 1)
        digits = tf.cast(tf.gather(head, at), tf.int32)
        digits = tf.cond(little, lambda: digits[..., ::-1], lambda: digits)
        return tf.reduce_sum(digits * [256**power for power in reversed(range(size))], axis=-1)

    # An offset of three bytes reaches beyond the head already.
    directory = start + number(start + tf.where(little, 4, 5), 3)
    entries = directory + 2 + 12 * tf.range(number(directory, 2))
    wanted = (number(entries, 2) == ORIENTATION) & (number(entries + 2, 2) == SHORT)
    values = number(tf.boolean_mask(entries, wanted) + 8, 2)
    value = tf.concat([values, [1]], 0)[0]
    return tf.where((tf.size(found) > 0) & (value >= 1) & (value <= 8), value, 1)
