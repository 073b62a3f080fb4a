"""Fits pictures of any size, and their boxes, into a model's input, and boxes back again."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from suite.data.images.preparation import Layout, Preparation, to_grey

FILL = 114.0  # grey value of the part of the input that a picture does not cover


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxPreparation(Preparation):
    """Converts a picture's bytes to a model's input, and boxes from one to the other.

    A picture is scaled, both sides alike, until it just fits into the input, and lies at its top
    left; the rest is grey. So no part of it is lost, and a box keeps its shape.

    Args:
        names: The names of the classes, in order.
    """

    layout: Layout = "photo"
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        # As a tuple, also when it comes from JSON, so that preparations can be hashed.
        object.__setattr__(self, "names", tuple(self.names))

    def fitted(self, size: tf.Tensor) -> tf.Tensor:
        """Height and width that pictures have in the input.

        Args:
            size: Height and width of pictures, `(..., 2)`, integers.

        Returns:
            `(..., 2)`, int32, at least 1.
        """
        whole = tf.constant([self.height, self.width])
        sides = tf.cast(size, tf.float32)
        ratio = tf.reduce_min(tf.cast(whole, tf.float32) / sides, axis=-1, keepdims=True)
        return tf.clip_by_value(tf.cast(tf.round(sides * ratio), tf.int32), 1, whole)

    def to_input(self, boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Boxes in the pixels of the input.

        Args:
            boxes: Corners in the picture's pixels, `(..., n, 4)`, float32.
            size: Height and width of the picture, `(..., 2)`, integers.
        """
        return boxes * self._ratios(size)

    def to_picture(self, boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Boxes in the pixels of the picture, cut at its borders.

        Args:
            boxes: Corners in the input's pixels, `(..., n, 4)`, float32.
            size: Height and width of the picture, `(..., 2)`, integers.
        """
        height, width = tf.unstack(tf.cast(size, tf.float32), axis=-1)
        limits = tf.stack([width, height, width, height], axis=-1)[..., None, :]
        return tf.maximum(tf.minimum(boxes / self._ratios(size), limits), 0.0)

    def _ratios(self, size: tf.Tensor) -> tf.Tensor:
        """Pixels of the input for a pixel of the picture, for every corner, `(..., 1, 4)`."""
        ratios = tf.cast(self.fitted(size), tf.float32) / tf.cast(size, tf.float32)
        down, right = tf.unstack(ratios, axis=-1)
        return tf.stack([right, down, right, down], axis=-1)[..., None, :]

    def _as_photo(self, picture: tf.Tensor) -> tf.Tensor:
        """Fits a picture `(height, width, 3)` into the input."""
        if self.channels == 1:
            picture = to_grey(picture)
        fitted = self.fitted(tf.shape(picture)[:2])
        # A resize to the same size changes nothing.
        resized = tf.image.resize(picture, fitted, antialias=True)
        below, right = tf.unstack(tf.constant([self.height, self.width]) - fitted)
        return tf.pad(resized, [[0, below], [0, right], [0, 0]], constant_values=FILL)
