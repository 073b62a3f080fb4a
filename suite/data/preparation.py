"""A picture's bytes, made a model's input in TensorFlow alone.

What a user has in hand is a file of any size, drawn or photographed; what a model was trained on
is a small array of a fixed shape. `Preparation` leads from the one to the other. It is the same
function wherever it runs: over the files of a folder before training, in `tf.data`, and inside a
SavedModel.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from suite.data.decoding import FAINTEST, decoded, opaque

Layout = Literal["drawing", "photo"]

FILLED = 20 / 28  # of the side: MNIST fits a digit's ink into 20 of 28 pixels
EDGE = 48  # of 255: fainter pixels are not what the drawing is cut out by
SPECK = 255 / 8  # mean of 3 x 3 pixels: a single one among them has less
LARGEST_SIDE = 256  # pixels of a drawing that is looked at; larger ones are reduced first
GRID = 32  # points along each side at which the ground is estimated
# The points of the estimate that lie along the edges of the picture, where little is drawn.
EDGES = np.pad(np.zeros((GRID - 4, GRID - 4), bool), 2, constant_values=True)
EDGE_STEPS, GROUND_STEPS = 3, 8  # of the estimate: those along the edges alone, and all
NEAR = 0.12  # of a picture's contrast: what differs less from the ground may belong to it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """Makes a model's input of a picture's bytes.

    A `drawing` comes out as MNIST draws: what is drawn is bright on a ground of 0, fitted into
    20/28 of the size and centred by its mass, whether it was dark on light or light on dark. The
    ground is estimated locally, so that shadows on a sheet of paper do not count as drawn. With
    three channels the drawing keeps its hue: black becomes white, red stays red. A picture that
    has this size, and a ground of 0, is left alone, byte for byte.

    A `photo` is cropped to the aspect ratio of the size, about its centre, and resized, as image
    classifiers are commonly evaluated. A picture that has this size is left alone.

    Args:
        layout: What the pictures are.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        channels: 1 for grey values, 3 for red, green and blue.
    """

    layout: Layout = "drawing"
    height: int = 28
    width: int = 28
    channels: int = 1

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Prepares the bytes of one picture.

        Args:
            encoded: Scalar string: a PNG, a JPEG, the first frame of a GIF, or a BMP without a
                palette. The EXIF orientation of a JPEG is honoured, of other formats it is not.

        Returns:
            `(height, width, channels)`, uint8; zeros where a drawing is wanted and the picture
            is an even surface.
        """
        return self.prepared(decoded(encoded))

    def prepared(self, pixels: tf.Tensor) -> tf.Tensor:
        """Prepares one decoded picture.

        Args:
            pixels: `(any height, any width, channels)`, uint8, where the channels are grey, grey
                and alpha, RGB, or RGBA.

        Returns:
            `(height, width, channels)`, uint8.
        """
        picture = opaque(pixels)
        arranged = self._drawn(picture) if self.layout == "drawing" else self._cropped(picture)
        arranged = tf.clip_by_value(tf.round(arranged), 0, 255)
        return tf.ensure_shape(tf.cast(arranged, tf.uint8), self.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result: `(height, width, channels)`."""
        return self.height, self.width, self.channels

    @classmethod
    def of_export(cls, metadata: Mapping[str, Any]) -> "Preparation":
        """What prepared the pictures of an exported model; MNIST's layout where it says nothing."""
        return cls(**metadata.get("notes", {}).get("preparation", {}))

    @property
    def described(self) -> str:
        """What the result is, for people."""
        colour = "in colour" if self.channels == 3 else "grey"
        return f"{self.layout}s of {self.height} x {self.width} pixels, {colour}"

    def _cropped(self, picture: tf.Tensor) -> tf.Tensor:
        if self.channels == 1:
            picture = _grey(picture)
        size = tf.shape(picture)[:2]
        wanted = tf.constant([self.height, self.width])
        ratio = tf.reduce_min(size / wanted)
        part = tf.cast(tf.round(tf.cast(wanted, tf.float64) * ratio), tf.int32)
        part = tf.clip_by_value(part, 1, size)
        top, left = tf.unstack((size - part) // 2)
        crop = picture[top : top + part[0], left : left + part[1]]
        # Of the same size it is the identity.
        return tf.image.resize(crop, (self.height, self.width), antialias=True)

    def _drawn(self, picture: tf.Tensor) -> tf.Tensor:
        """As `_arranged`, but what MNIST might have drawn is left alone."""
        fits = tf.reduce_all(tf.shape(picture)[:2] == (self.height, self.width))
        return tf.cond(
            fits & is_bright_on_black(picture),
            lambda: self._in_channels(picture),
            lambda: self._arranged(picture),
        )

    def _in_channels(self, drawn: tf.Tensor) -> tf.Tensor:
        return drawn if self.channels == 3 else tf.reduce_max(drawn, axis=-1, keepdims=True)

    def _arranged(self, picture: tf.Tensor) -> tf.Tensor:
        """What is drawn, cut out of its ground, fitted into the size and centred."""
        drawn = self._in_channels(drawing(picture))
        strength = tf.reduce_max(drawn, axis=-1)
        around = tf.nn.avg_pool2d(strength[None, ..., None], 3, 1, "SAME")[0, ..., 0]
        counts = (strength > EDGE) & (around > SPECK)
        rows, columns = (tf.where(tf.reduce_any(counts, axis))[:, 0] for axis in (1, 0))

        def fitted() -> tf.Tensor:
            part = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            size = tf.cast(tf.shape(part)[:2], tf.float32)
            wanted = tf.constant([self.height, self.width], tf.float32)
            scale = tf.reduce_min(tf.round(wanted * FILLED) / size)
            small = tf.image.resize(
                part,
                tf.cast(tf.maximum(tf.round(size * scale), 1), tf.int32),
                method="lanczos3",
                antialias=True,
            )
            return self._centred(tf.clip_by_value(small, 0, 255))

        return tf.cond(tf.size(rows) > 0, fitted, lambda: tf.zeros(self.shape))

    def _centred(self, drawn: tf.Tensor) -> tf.Tensor:
        mass = tf.reduce_max(drawn, axis=-1)
        total = tf.maximum(tf.reduce_sum(mass), 1)
        padding = []
        for axis, side in enumerate((self.height, self.width)):
            length = tf.shape(mass)[axis]
            along = tf.reduce_sum(mass, axis=1 - axis)
            middle = tf.reduce_sum(along * tf.range(tf.cast(length, tf.float32))) / total
            before = tf.cast(tf.round((side - 1) / 2 - middle), tf.int32)
            before = tf.clip_by_value(before, 0, side - length)
            padding.append([before, side - length - before])
        return tf.pad(drawn, [*padding, [0, 0]])


def is_bright_on_black(picture: tf.Tensor) -> tf.Tensor:
    """Whether pictures have a ground of 0 and something drawn on it.

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


def drawing(picture: tf.Tensor) -> tf.Tensor:
    """What is drawn on a ground, bright on 0.

    Its strength, the largest of its channels, is 255 where the picture differs most from its
    ground; its hue is that of the ink, raised until its brightest channel is the strength.

    Args:
        picture: `(height, width, 3)`, float32, 0..255.

    Returns:
        `(height, width, 3)`, float32, 0..255, of at most `LARGEST_SIDE`; zeros where nothing
        differs enough.
    """
    picture = reduced(picture)
    surface = tf.image.resize(ground(on_grid(picture))[0], tf.shape(picture)[:2])
    difference = picture - surface
    # What is drawn differs far from its ground, and to one side. The third moment shows which:
    # noise, on both sides of the ground, cancels out, and faint shadows hardly count.
    sign = tf.sign(tf.reduce_sum(difference**3))
    strength = tf.reduce_max(tf.nn.relu(sign * difference), axis=-1, keepdims=True)
    peak = tf.reduce_max(strength)
    # Nothing is drawn to the other side: what differs there is noise, of which there is as much
    # on this side.
    noise = tf.reduce_max(tf.nn.relu(-sign * difference), axis=-1)
    deviation = tf.sqrt(2 * tf.reduce_mean(noise**2))
    floor = tf.minimum(3 * deviation, 0.3 * peak)
    # Of a pixel that is ink, the rest is ground: at the borders of a stroke it is both.
    share = tf.nn.relu(strength - floor) / tf.maximum(peak - floor, 1)
    ink = tf.clip_by_value(picture - (1 - share) * surface, 0, 255 * share)
    raised = ink + 255 * share - tf.reduce_max(ink, axis=-1, keepdims=True)
    return tf.where(peak < FAINTEST, 0.0, raised)


def ground(points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What a picture would look like with nothing drawn on it.

    A surface of second order, which follows light that falls from one side, or soft shadows. It
    begins as the median along the edges of the picture, where little is drawn, and is laid
    through the points again and again by least squares; what lies far off, as ink does, loses its
    weight.

    Args:
        points: The picture, `(GRID, GRID, 3)`, float32.

    Returns:
        The surface, `(GRID, GRID, 3)`, and how near to it the points are, `(GRID, GRID, 1)`, from
        0, far off, to 1.

    Reference:
        Holland and Welsch, 1977, Robust regression using iteratively reweighted least-squares,
        https://doi.org/10.1080/03610927708827533
    """
    line = np.linspace(-1, 1, GRID, dtype=np.float32)
    x, y = (axis.reshape(-1, 1) for axis in np.meshgrid(line, line))
    terms = np.concatenate([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    ridge = 1e-3 * np.eye(terms.shape[1], dtype=np.float32)
    along_edges = EDGES.astype(np.float32).reshape(-1, 1)
    values = tf.reshape(points, (-1, 3))
    contrast = tf.reduce_max(tf.reduce_max(values, axis=0) - tf.reduce_min(values, axis=0))
    tolerance = 1 + NEAR * contrast

    def near(surface: tf.Tensor) -> tf.Tensor:
        distance = tf.reduce_max(tf.abs(values - surface), axis=-1, keepdims=True)
        return 1 / (1 + (distance / tolerance) ** 4)

    surface = tf.sort(tf.boolean_mask(points, EDGES), axis=0)[EDGES.sum() // 2]  # the median
    for step in range(GROUND_STEPS):
        weight = near(surface)
        if step < EDGE_STEPS:
            weight *= along_edges
        weighted = terms * weight
        moments = tf.matmul(weighted, terms, transpose_a=True) + ridge
        products = tf.matmul(weighted, values, transpose_a=True)
        surface = terms @ tf.linalg.solve(moments, products)
    nearness = near(surface)
    return tf.reshape(surface, (GRID, GRID, 3)), tf.reshape(nearness, (GRID, GRID, 1))


def on_grid(picture: tf.Tensor) -> tf.Tensor:
    """A picture `(height, width, 3)` as `ground` takes it, `(GRID, GRID, 3)`."""
    return tf.image.resize(picture, (GRID, GRID), antialias=True)


def reduced(picture: tf.Tensor) -> tf.Tensor:
    """A picture of at most `LARGEST_SIDE`."""
    size = tf.shape(picture)[:2]
    longest = tf.reduce_max(size)
    smaller = tf.maximum(size * LARGEST_SIDE // longest, 1)
    return tf.cond(
        longest > LARGEST_SIDE,
        lambda: tf.image.resize(picture, smaller, antialias=True),
        lambda: picture,
    )


def _grey(picture: tf.Tensor) -> tf.Tensor:
    """Luma `(height, width, 1)`; of three equal channels, just that value."""
    return tf.round(tf.reduce_sum(picture * (299, 587, 114), -1, keepdims=True) / 1000)


def prepare_all(pictures: Iterable[np.ndarray], preparation: Preparation) -> np.ndarray:
    """Prepares many pictures, several at a time, in their order.

    Args:
        pictures: Decoded, `(any height, any width, channels)`, uint8.
        preparation: What makes inputs of them.

    Returns:
        `(pictures, height, width, channels)`, uint8.
    """
    errors: list[Exception] = []

    def readable() -> Iterator[np.ndarray]:
        try:
            yield from pictures
        except Exception as error:  # tf.data would make another one of it
            errors.append(error)

    dataset = tf.data.Dataset.from_generator(
        readable, output_signature=tf.TensorSpec((None, None, None), tf.uint8)
    )
    prepared = dataset.map(preparation.prepared, os.cpu_count(), deterministic=True)
    inputs = list(prepared.as_numpy_iterator())
    if errors:
        raise errors[0]
    return np.stack(inputs)
