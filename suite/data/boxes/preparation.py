"""Fits pictures of any size, and their boxes, into a model's input, and boxes back again."""

import dataclasses

import tensorflow as tf

from suite.data.images.preparation import Preparation

FILL = 114.0  # grey value of what a picture does not fill


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxPreparation(Preparation):
    """Converts a picture's bytes to a model's input, and boxes of the one to boxes of the other.

    A picture is scaled, both sides alike, until it just fits into the input, and lies at its top
    left; the rest is grey. So no part of it is lost, and a box keeps its shape.
    """

    def scale(self, size: tf.Tensor) -> tf.Tensor:
        """Pixels of the input for one pixel of the picture.

        Args:
            size: Height and width of pictures, `(..., 2)`.

        Returns:
            `(...)`, float32.
        """
        raise NotImplementedError

    def to_input(self, boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Boxes in the pixels of the input.

        Args:
            boxes: Corners in the picture's pixels, `(..., n, 4)`.
            size: Height and width of the picture, `(..., 2)`.
        """
        raise NotImplementedError

    def to_picture(self, boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Boxes in the pixels of the picture, cut at its borders.

        Args:
            boxes: Corners in the input's pixels, `(..., n, 4)`.
            size: Height and width of the picture, `(..., 2)`.
        """
        raise NotImplementedError
