"""Converts encoded pictures, and pixels of any type, to upright and opaque pictures of 8 bits.

Everything is made of TensorFlow ops, so that it can become part of an exported model.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from suite.data.checks import only_if

FAINTEST = 32  # smallest difference in grey values between a drawing and its background
# Possible values of white: 1 for shares, 16 as in scikit-learn's digits, or the largest value of
# 8, 10, 12, 14 or 16 bits.
WHITES = (1.0, 16.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)

JPEG = b"\xff\xd8"
PNG = b"\x89PNG"
PNG_BIT_DEPTH = 24  # place of the byte in a PNG that holds its bit depth
EXIF = b"Exif\0\0"
HEAD = 2**16  # bytes at the beginning of a file in which its EXIF is searched for
ORIENTATION, SHORT = 0x0112, 3  # a tag of EXIF and the type of its value
GIF, BMP = b"GIF8", b"BM"
MOST_PIXELS = 89_478_485  # of a picture, as many as Pillow decodes without a warning


def decode_picture(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a picture, and turns it upright.

    Args:
        encoded: Scalar string, in a format that `Preparation.__call__` takes.

    Returns:
        The pixels `(height, width, channels)`, uint8.

    Raises:
        tf.errors.InvalidArgumentError: The bytes are no such picture, or of more than
            `MOST_PIXELS`.
    """
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, HEAD), tf.uint8)
    head = tf.pad(head, [[0, 32]])  # so that shorter files have a byte at that place, too
    # TensorFlow decodes more formats, whose pixels are not counted before.
    is_known = tf.reduce_any([_begins_with(head, magic) for magic in (PNG, JPEG, GIF, BMP)])
    encoded = only_if(is_known, encoded, "a picture must be a PNG, JPEG, GIF or BMP")
    # A few kilobytes can hold gigabytes of one colour.
    is_small = _num_pixels(encoded, head) <= MOST_PIXELS
    encoded = only_if(is_small, encoded, f"a picture must have at most {MOST_PIXELS:,} pixels")
    has_16_bits = _begins_with(head, PNG) & (head[PNG_BIT_DEPTH] == 16)
    pixels = tf.cond(
        has_16_bits,
        lambda: detect_white_and_scale(tf.io.decode_png(encoded, dtype=tf.uint16)),
        lambda: tf.io.decode_image(encoded, expand_animations=False),
    )
    orientation = tf.cond(
        _begins_with(head, JPEG), lambda: _orientation(head), lambda: tf.constant(1)
    )
    return apply_orientation(pixels, orientation)


def allowed_size(size: tf.Tensor, most: int, kind: str) -> tf.Tensor:
    """The size of a picture, `(2,)`, int64, which is not larger than memory or a file may hold.

    What is made of this size waits for the check.

    Args:
        size: Its height and width, `(2,)`.
        most: Largest number of its pixels.
        kind: What it is, such as "an enlarged picture", for the message.

    Raises:
        tf.errors.InvalidArgumentError: It has more pixels.
    """
    size = tf.cast(size, tf.int64)
    return only_if(
        size[0] * size[1] <= most, size, f"{kind} must have at most {most:,} pixels", size
    )


def to_opaque_rgb(pixels: tf.Tensor) -> tf.Tensor:
    """Converts a picture to opaque red, green and blue.

    Args:
        pixels: `(height, width, channels)`, uint8, where the channels are grey, grey and alpha,
            RGB, or RGBA.

    Returns:
        `(height, width, 3)`, float32, in 0..255. Transparent parts are white, or black if nothing
        can be distinguished on white, as with light ink.
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
    is_visible = tf.reduce_max(on_white) - tf.reduce_min(on_white) >= FAINTEST
    return tf.where(is_visible, on_white, on_black)


def detect_white_and_scale(values: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Scales pixels of any type and range to 0..255, uint8.

    The largest pixel decides which of `WHITES` is white.
    """
    values = tf.cast(values, tf.float32)
    return scale_to_bytes(values, white_level(tf.reduce_max(values)))


def white_level(largest: tf.Tensor | float) -> tf.Tensor:
    """The value of white in a picture, or a set of pictures, whose largest pixel is `largest`."""
    whites = tf.constant(WHITES)
    # Interpolation can leave pixels that are a little brighter than white.
    return tf.reduce_min(tf.where(1.05 * whites >= largest, whites, WHITES[-1]))


def scale_to_bytes(values: tf.Tensor | np.ndarray, white: tf.Tensor | float) -> tf.Tensor:
    """Scales pixels from 0..white to 0..255, uint8."""
    scaled = tf.round(tf.cast(values, tf.float32) * (255 / white))
    return tf.cast(tf.clip_by_value(scaled, 0, 255), tf.uint8)


def apply_orientation(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns a picture upright.

    Args:
        pixels: `(height, width, channels)`.
        orientation: The EXIF orientation, 1..8; 1 is upright.
    """

    def is_one_of(*orientations: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(orientations))

    changes: tuple[tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]], ...] = (
        (is_one_of(5, 6, 7, 8), lambda image: tf.transpose(image, (1, 0, 2))),
        (is_one_of(2, 3, 6, 7), lambda image: image[:, ::-1]),
        (is_one_of(3, 4, 7, 8), lambda image: image[::-1]),
    )
    for applies, change in changes:
        pixels = tf.cond(applies, functools.partial(change, pixels), lambda same=pixels: same)
    return pixels


def _num_pixels(encoded: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """The pixels that the header of a file promises, int64.

    Args:
        encoded: The file, a scalar string.
        head: Its first bytes, uint8.
    """

    def number(*places: int) -> tf.Tensor:
        """The integer in these bytes, the last of which counts least."""
        digits = tf.cast(tf.gather(head, places), tf.int64)
        return tf.reduce_sum(digits * [256**power for power in reversed(range(len(places)))])

    def of_jpeg() -> tf.Tensor:
        shape = tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64)
        return shape[0] * shape[1]

    def of_bmp() -> tf.Tensor:
        height = number(25, 24, 23, 22)  # negative where the first row is the upper one
        return number(21, 20, 19, 18) * tf.minimum(height, 2**32 - height)

    return tf.case(
        [
            (_begins_with(head, PNG), lambda: number(16, 17, 18, 19) * number(20, 21, 22, 23)),
            (_begins_with(head, JPEG), of_jpeg),
            (_begins_with(head, GIF), lambda: number(7, 6) * number(9, 8)),
        ],
        default=of_bmp,
    )


def _begins_with(head: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.reduce_all(head[: len(magic)] == tf.constant(list(magic), tf.uint8))


def _orientation(head: tf.Tensor) -> tf.Tensor:
    """The orientation, 1..8, in the EXIF of a JPEG; 1, upright, if there is none.

    Args:
        head: The first bytes of the file, uint8.
    """
    length = tf.size(head)
    windows = tf.stack([head[at : length - len(EXIF) + at] for at in range(len(EXIF))], axis=-1)
    markers = tf.where(tf.reduce_all(windows == tf.constant(list(EXIF), tf.uint8), -1))[:, 0]
    start = tf.cast(tf.concat([markers, [-len(EXIF)]], 0)[0], tf.int32) + len(EXIF)
    little_endian = head[start] == ord("I")

    def number(offsets: tf.Tensor, size: int) -> tf.Tensor:
        places = tf.clip_by_value(offsets[..., None] + tf.range(size), 0, length - 1)
        digits = tf.cast(tf.gather(head, places), tf.int32)
        digits = tf.cond(little_endian, lambda: digits[..., ::-1], lambda: digits)
        return tf.reduce_sum(digits * [256**power for power in reversed(range(size))], axis=-1)

    # Three of the four bytes of this offset are enough: they reach beyond the head.
    directory = start + number(start + tf.where(little_endian, 4, 5), 3)
    entries = directory + 2 + 12 * tf.range(number(directory, 2))
    matches = (number(entries, 2) == ORIENTATION) & (number(entries + 2, 2) == SHORT)
    values = number(tf.boolean_mask(entries, matches) + 8, 2)
    value = tf.concat([values, [1]], 0)[0]
    return tf.where((tf.size(markers) > 0) & (value >= 1) & (value <= 8), value, 1)
