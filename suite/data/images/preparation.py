"""Converts a picture of any size to a model's input, with TensorFlow ops only.

A user has a file of any size, drawn or photographed; a model was trained on small arrays of a fixed
shape. `Preparation` converts the one to the other. The same function runs over the files of a
folder before the training, in `tf.data`, and inside a SavedModel.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from suite.data.examples import recorded_preparation
from suite.data.images.decoding import FAINTEST, decode_picture, to_opaque_rgb
from suite.errors import InputError

Layout = Literal["drawing", "photo"]

FILLED = 20 / 28  # share of the side that ink fills: MNIST fits a digit into 20 of 28 pixels
INK_THRESHOLD = 48  # of 255; fainter pixels do not count for the bounding box of a drawing
SPECK = 255 / 8  # a mean over 3 x 3 pixels that a single pixel cannot reach
LARGEST_SIDE = 256  # pixels; larger drawings are reduced first
GRID = 32  # points along each side at which the background is estimated
# The points of the estimate that lie along the border of the picture, where little is drawn.
BORDER = np.pad(np.zeros((GRID - 4, GRID - 4), bool), 2, constant_values=True)
# Steps of the estimate: those that use only the points along the border, and all.
BORDER_STEPS, BACKGROUND_STEPS = 3, 8
NEAR = 0.12  # share of a picture's contrast by which its background may vary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """Converts a picture's bytes to a model's input.

    A `drawing` gets the form of MNIST: bright ink on a background of 0, fitted into 20/28 of the
    size and centred by its mass, whether the ink was dark on light or light on dark. The background
    is estimated locally, so that shadows on a sheet of paper do not count as ink. With three
    channels the ink keeps its hue: black becomes white, red stays red. A picture that already has
    this size and a background of 0 is not changed.

    A `photo` is cropped about its centre to the aspect ratio of the size, and resized, as image
    classifiers are commonly evaluated. A picture that already has this size is not changed.

    Args:
        layout: `drawing` or `photo`.
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
        channels: 1 for grey values, 3 for red, green and blue.
    """

    layout: Layout = "drawing"
    height: int = 28
    width: int = 28
    channels: int = 1

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Prepares the bytes of one picture.

        Args:
            encoded: Scalar string: a PNG, a JPEG, a GIF, of which the first frame counts, or a BMP
                without a palette. Only a JPEG is turned by its EXIF orientation.

        Returns:
            `(height, width, channels)`, uint8; zeros for a drawing of which nothing is visible.
        """
        return self.prepare(decode_picture(encoded))

    def prepare(self, pixels: tf.Tensor) -> tf.Tensor:
        """Prepares one decoded picture.

        Args:
            pixels: `(any height, any width, channels)`, uint8, where the channels are grey, grey
                and alpha, RGB, or RGBA.

        Returns:
            `(height, width, channels)`, uint8.
        """
        convert = self._as_drawing if self.layout == "drawing" else self._as_photo
        converted = tf.clip_by_value(tf.round(convert(to_opaque_rgb(pixels))), 0, 255)
        return tf.ensure_shape(tf.cast(converted, tf.uint8), self.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: `(height, width, channels)`."""
        return self.height, self.width, self.channels

    @classmethod
    def of_export(cls, metadata: Mapping[str, Any]) -> "Preparation":
        """The preparation in an exported model's metadata.

        Raises:
            InputError: The model takes no pictures.
        """
        recorded = recorded_preparation(metadata) or {}
        if "layout" not in recorded:
            raise InputError(
                f"an exported model of pictures is needed; python -m apps.{metadata['app']} makes "
                "one",
                f"one of {metadata['source']}",
            )
        return cls(**recorded)

    @property
    def description(self) -> str:
        """Layout, size, colours and values of the result in words."""
        colour = "in colour" if self.channels == 3 else "grey"
        strokes = ", strokes of up to 255 on a background of 0" if self.layout == "drawing" else ""
        return f"{self.layout}s of {self.height} x {self.width} pixels, {colour}{strokes}"

    def cropped(self, picture: tf.Tensor) -> tf.Tensor:
        """Crops a picture `(any height, any width, ...)` about its centre to the aspect ratio."""
        size = tf.shape(picture)[:2]
        target = tf.constant([self.height, self.width])
        ratio = tf.reduce_min(size / target)
        crop_size = tf.cast(tf.round(tf.cast(target, tf.float64) * ratio), tf.int32)
        crop_size = tf.clip_by_value(crop_size, 1, size)
        top, left = tf.unstack((size - crop_size) // 2)
        return picture[top : top + crop_size[0], left : left + crop_size[1]]

    def _as_photo(self, picture: tf.Tensor) -> tf.Tensor:
        """Crops a picture `(height, width, 3)` about its centre, and resizes it."""
        if self.channels == 1:
            picture = to_grey(picture)
        # A resize to the same size changes nothing.
        return tf.image.resize(self.cropped(picture), (self.height, self.width), antialias=True)

    def _as_drawing(self, picture: tf.Tensor) -> tf.Tensor:
        """Gives a picture `(height, width, 3)` MNIST's form, unless it has it already."""
        fits = tf.reduce_all(tf.shape(picture)[:2] == (self.height, self.width))
        return tf.cond(
            fits & is_bright_on_black(picture),
            lambda: self._to_channels(picture),
            lambda: self._fit_ink(picture),
        )

    def _to_channels(self, ink: tf.Tensor) -> tf.Tensor:
        return ink if self.channels == 3 else tf.reduce_max(ink, axis=-1, keepdims=True)

    def _fit_ink(self, picture: tf.Tensor) -> tf.Tensor:
        """Extracts the ink of a picture, fits it into the size and centres it."""
        ink = self._to_channels(extract_ink(picture))
        strength = tf.reduce_max(ink, axis=-1)
        around = tf.nn.avg_pool2d(strength[None, ..., None], 3, 1, "SAME")[0, ..., 0]
        counts = (strength > INK_THRESHOLD) & (around > SPECK)
        rows, columns = (tf.where(tf.reduce_any(counts, axis))[:, 0] for axis in (1, 0))

        def fitted() -> tf.Tensor:
            cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            size = tf.cast(tf.shape(cropped)[:2], tf.float32)
            target = tf.constant([self.height, self.width], tf.float32)
            scale = tf.reduce_min(tf.round(target * FILLED) / size)
            small = tf.image.resize(
                cropped,
                tf.cast(tf.maximum(tf.round(size * scale), 1), tf.int32),
                method="lanczos3",
                antialias=True,
            )
            return self._centred(tf.clip_by_value(small, 0, 255))

        return tf.cond(tf.size(rows) > 0, fitted, lambda: tf.zeros(self.shape))

    def _centred(self, ink: tf.Tensor) -> tf.Tensor:
        """Pads ink `(rows, columns, channels)` to the size, its centre of mass in the middle."""
        mass = tf.reduce_max(ink, axis=-1)
        total = tf.maximum(tf.reduce_sum(mass), 1)
        padding = []
        for axis, side in enumerate((self.height, self.width)):
            length = tf.shape(mass)[axis]
            along = tf.reduce_sum(mass, axis=1 - axis)
            middle = tf.reduce_sum(along * tf.range(tf.cast(length, tf.float32))) / total
            before = tf.cast(tf.round((side - 1) / 2 - middle), tf.int32)
            before = tf.clip_by_value(before, 0, side - length)
            padding.append([before, side - length - before])
        return tf.pad(ink, [*padding, [0, 0]])


def is_bright_on_black(picture: tf.Tensor) -> tf.Tensor:
    """Whether pictures have a background of 0 and something drawn on it.

    Args:
        picture: `(..., height, width, channels)`, 0..255.

    Returns:
        `(...)`, bool.
    """
    edges = (picture[..., :1, :, :], picture[..., -1:, :, :])
    sides = (picture[..., :, :1, :], picture[..., :, -1:, :])
    axes = (-3, -2, -1)
    dark, count = 0, 0
    for part in (*edges, *sides):
        dark += tf.math.count_nonzero(part == 0, axes)
        count += tf.reduce_prod(tf.shape(part, tf.int64)[-3:])
    return (2 * dark > count) & (tf.reduce_max(picture, axes) >= FAINTEST)


def extract_ink(picture: tf.Tensor) -> tf.Tensor:
    """Separates the ink of a drawing from its background, as bright colours on 0.

    The largest channel of a pixel is its strength, 255 where the picture differs most from its
    background. The other channels follow from the hue of the ink.

    Args:
        picture: `(height, width, 3)`, float32, 0..255.

    Returns:
        `(height, width, 3)`, float32, 0..255, reduced to at most `LARGEST_SIDE`; all zeros if the
        picture differs nowhere from its background by `FAINTEST`.
    """
    picture = reduced(picture)
    surface = tf.image.resize(estimate_background(on_grid(picture))[0], tf.shape(picture)[:2])
    difference = picture - surface
    # Ink differs much from its background, and is either darker or lighter. The third moment shows
    # which: noise, on both sides of the background, cancels out, and faint shadows hardly count.
    sign = tf.sign(tf.reduce_sum(difference**3))
    strength = tf.reduce_max(tf.nn.relu(sign * difference), axis=-1, keepdims=True)
    peak = tf.reduce_max(strength)
    # Differences of the other sign are noise, of which there is as much with this sign.
    noise = tf.reduce_max(tf.nn.relu(-sign * difference), axis=-1)
    deviation = tf.sqrt(2 * tf.reduce_mean(noise**2))
    floor = tf.minimum(3 * deviation, 0.3 * peak)
    # Pixels at the edge of a stroke are a mixture of ink and background.
    share = tf.nn.relu(strength - floor) / tf.maximum(peak - floor, 1)
    ink = tf.clip_by_value(picture - (1 - share) * surface, 0, 255 * share)
    raised = ink + 255 * share - tf.reduce_max(ink, axis=-1, keepdims=True)
    return tf.where(peak < FAINTEST, 0.0, raised)


def estimate_background(points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates the background of a picture: its surface without anything drawn on it.

    The estimate is a surface of second order, which follows light from one side and soft shadows.
    It starts as the median along the border of the picture, where little is drawn, and is fitted to
    the points by repeated least squares, in which points far from the last surface, such as ink,
    have little weight.

    Args:
        points: The picture, `(GRID, GRID, 3)`, float32.

    Returns:
        The surface, `(GRID, GRID, 3)`, and the nearness of the points to it, `(GRID, GRID, 1)`,
        from 0, far, to 1.

    Reference:
        Holland and Welsch, 1977, Robust regression using iteratively reweighted least-squares,
        https://doi.org/10.1080/03610927708827533
    """
    line = np.linspace(-1, 1, GRID, dtype=np.float32)
    x, y = (axis.reshape(-1, 1) for axis in np.meshgrid(line, line))
    terms = np.concatenate([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    ridge = 1e-3 * np.eye(terms.shape[1], dtype=np.float32)
    along_border = BORDER.astype(np.float32).reshape(-1, 1)
    values = tf.reshape(points, (-1, 3))
    contrast = tf.reduce_max(tf.reduce_max(values, axis=0) - tf.reduce_min(values, axis=0))
    tolerance = 1 + NEAR * contrast

    def near(surface: tf.Tensor) -> tf.Tensor:
        distance = tf.reduce_max(tf.abs(values - surface), axis=-1, keepdims=True)
        return 1 / (1 + (distance / tolerance) ** 4)

    surface = tf.sort(tf.boolean_mask(points, BORDER), axis=0)[BORDER.sum() // 2]  # the median
    for step in range(BACKGROUND_STEPS):
        weight = near(surface)
        if step < BORDER_STEPS:
            weight *= along_border
        weighted = terms * weight
        moments = tf.matmul(weighted, terms, transpose_a=True) + ridge
        products = tf.matmul(weighted, values, transpose_a=True)
        surface = terms @ tf.linalg.solve(moments, products)
    nearness = near(surface)
    return tf.reshape(surface, (GRID, GRID, 3)), tf.reshape(nearness, (GRID, GRID, 1))


def on_grid(picture: tf.Tensor) -> tf.Tensor:
    """Resizes a picture `(height, width, 3)` to `(GRID, GRID, 3)`, for `estimate_background`."""
    return tf.image.resize(picture, (GRID, GRID), antialias=True)


def reduced(picture: tf.Tensor) -> tf.Tensor:
    """Resizes a picture so that no side exceeds `LARGEST_SIDE`; a smaller one is not changed."""
    size = tf.shape(picture)[:2]
    longest = tf.reduce_max(size)
    smaller = tf.maximum(size * LARGEST_SIDE // longest, 1)
    return tf.cond(
        longest > LARGEST_SIDE,
        lambda: tf.image.resize(picture, smaller, antialias=True),
        lambda: picture,
    )


def to_grey(picture: tf.Tensor) -> tf.Tensor:
    """Luma `(..., height, width, 1)`; three equal channels keep their value exactly."""
    return tf.round(tf.reduce_sum(picture * (299, 587, 114), -1, keepdims=True) / 1000)


def prepare_all(pictures: Iterable[np.ndarray], preparation: Preparation) -> np.ndarray:
    """Prepares many pictures in parallel, and keeps their order.

    Args:
        pictures: Decoded pictures, `(any height, any width, channels)`, uint8.
        preparation: Converts a picture to an input.

    Returns:
        `(pictures, height, width, channels)`, uint8.
    """
    errors: list[Exception] = []

    def readable() -> Iterator[np.ndarray]:
        try:
            yield from pictures
        except Exception as error:  # tf.data would raise it as an error of another type
            errors.append(error)

    dataset = tf.data.Dataset.from_generator(
        readable, output_signature=tf.TensorSpec((None, None, None), tf.uint8)
    )
    prepare = tf.autograph.experimental.do_not_convert(preparation.prepare)
    prepared = dataset.map(prepare, os.cpu_count(), deterministic=True)
    inputs = list(prepared.as_numpy_iterator())
    if errors:
        raise errors[0]
    return np.stack(inputs)
