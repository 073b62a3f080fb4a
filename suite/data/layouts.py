"""What a model's inputs should be like, decided by a sample of the pictures where nobody says."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from suite.data.decoding import FAINTEST, opaque
from suite.data.preparation import (
    EDGE,
    EDGES,
    Layout,
    Preparation,
    drawing,
    ground,
    on_grid,
    reduced,
)
from suite.errors import InputError

log = logging.getLogger(__name__)

SAMPLE = 64  # pictures that decide
DRAWING_SIZE = 28  # pixels: as MNIST
LARGEST_PHOTO = 64  # pixels along a side, where nobody asks for more
MULTIPLE = 8  # of pixels, to which the sides of photos are rounded
# Edges of a drawing, and all of it, are at least so near to an even ground, from 0 to 1. MNIST
# has 1.0 and 0.8, photos of paper 0.9 and 0.75, Fashion-MNIST 0.85 and 0.57, CIFAR-10 0.65 and
# 0.53, in the median.
EVEN_EDGES, EVEN = 0.88, 0.6
SATURATED = 0.1  # at least, from 0 to 1, is what counts as a picture in colour
IN_COLOUR = 0.1  # of the sample at least makes a set in colour


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a model's inputs should be; the rest is decided by a sample of the pictures.

    Args:
        layout: `drawing`, `photo`, or what most pictures look like.
        image_size: Height and width in pixels.
        channels: 1 or 3.

    Raises:
        InputError: Size or channels cannot be.
    """

    layout: Layout | Literal["auto"] = "auto"
    image_size: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise InputError("`channels` must be 1 or 3", self.channels)
        if self.image_size is not None and self.image_size < 1:
            raise InputError("`image_size` must be at least 1", self.image_size)

    def preparation(self, sample: Sequence[np.ndarray], *, keep_size: bool = False) -> Preparation:
        """What makes a model's inputs of such pictures; says what it has decided.

        Args:
            sample: Decoded pictures, `(any height, any width, channels)`, uint8.
            keep_size: Whether pictures of one size keep it, be it as large as it may.
        """
        grey = all(picture.shape[-1] < 3 for picture in sample)
        channels = self.channels or (1 if grey else None)
        looks = [] if self.layout != "auto" and channels else [_look(p) for p in sample]
        layout = self.layout
        if layout == "auto":
            layout = "drawing" if np.mean([look.drawing for look in looks]) > 0.5 else "photo"
        if channels is None:
            saturations = [
                look.ink_saturation if layout == "drawing" else look.saturation for look in looks
            ]
            channels = 3 if np.mean(np.greater(saturations, SATURATED)) >= IN_COLOUR else 1
        height, width = self._size(layout, sample, keep_size)
        preparation = Preparation(layout=layout, height=height, width=width, channels=channels)
        if looks or any(picture.shape != preparation.shape for picture in sample):
            log.info("Pictures are taken as %s.", preparation.described)
        return preparation

    def known(self, layout: Layout) -> "Wanted":
        """The same, where the layout is known unless something else is wanted."""
        return dataclasses.replace(self, layout=layout) if self.layout == "auto" else self

    def _size(self, layout: str, sample: Sequence[np.ndarray], keep_size: bool) -> tuple[int, int]:
        if self.image_size:
            return self.image_size, self.image_size
        sizes = {picture.shape[:2] for picture in sample}
        height, width = next(iter(sizes))
        if len(sizes) == 1 and (
            keep_size or (layout == "photo" and max(height, width) <= LARGEST_PHOTO)
        ):
            return height, width
        if layout == "drawing":
            return DRAWING_SIZE, DRAWING_SIZE
        median = np.median([min(picture.shape[:2]) for picture in sample])
        side = int(np.clip(round(median / MULTIPLE) * MULTIPLE, MULTIPLE, LARGEST_PHOTO))
        return side, side


def spread_out(count: int) -> list[int]:
    """Numbers of the pictures, of so many, that are a sample."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(int)).tolist()


@dataclasses.dataclass(frozen=True)
class _Look:
    """What a picture looks like: a drawing or not, and how saturated it and its ink are, 0..1."""

    drawing: bool
    saturation: float
    ink_saturation: float


def _look(pixels: np.ndarray) -> _Look:
    with tf.device("CPU"):
        return _Look(*(value.item() for value in (tensor.numpy() for tensor in _measured(pixels))))


@tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.uint8)])
def _measured(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    picture = reduced(opaque(pixels))
    points = on_grid(picture)
    surface, nearness = ground(points)
    nearness = nearness[..., 0]
    even = (tf.reduce_mean(nearness[EDGES]) > EVEN_EDGES) & (tf.reduce_mean(nearness) > EVEN)
    drawn = tf.reduce_max(tf.abs(points - surface)) >= FAINTEST
    ink = drawing(picture)
    ink = tf.where(tf.reduce_max(ink, axis=-1, keepdims=True) > EDGE, ink, 0)
    return even & drawn, _saturation(picture), _saturation(ink)


def _saturation(picture: tf.Tensor) -> tf.Tensor:
    brightest, darkest = tf.reduce_max(picture, -1), tf.reduce_min(picture, -1)
    return tf.reduce_sum(brightest - darkest) / tf.maximum(tf.reduce_sum(brightest), 1)
