"""Decides the layout, size and channels of a model's inputs, by a sample of the pictures."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from suite.data.images.decoding import FAINTEST, to_opaque_rgb
from suite.data.images.preparation import (
    BORDER,
    INK_THRESHOLD,
    Layout,
    Preparation,
    estimate_background,
    extract_ink,
    on_grid,
    reduced,
)
from suite.errors import InputError

log = logging.getLogger(__name__)

SAMPLE = 64  # largest number of pictures in the sample
DRAWING_SIZE = 28  # pixels, as in MNIST
LARGEST_PHOTO = 64  # pixels along a side, unless a size is given
MULTIPLE = 8  # the sides of photos are rounded to multiples of this number of pixels
# A picture counts as a drawing if its border, and its whole surface, are at least this near to an
# even background, from 0 to 1. The medians are 1.0 and 0.8 for MNIST, 0.9 and 0.75 for photos of
# paper, 0.85 and 0.57 for Fashion-MNIST, 0.65 and 0.53 for CIFAR-10.
EVEN_BORDER, EVEN = 0.88, 0.6
SATURATED = 0.1  # smallest saturation, from 0 to 1, of a picture in colour
IN_COLOUR = 0.1  # smallest share of pictures in colour that makes the inputs coloured


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """What the user has fixed of a model's inputs; a sample of the pictures decides the rest.

    Args:
        layout: `drawing`, `photo`, or `auto` for the layout of most pictures.
        image_size: Height and width in pixels; None if the pictures decide.
        channels: 1 or 3; None if the pictures decide.
        recorded_preparation: The preparation of an exported model, which then decides alone.

    Raises:
        InputError: `image_size` or `channels` is out of range.
    """

    layout: Layout | Literal["auto"] = "auto"
    image_size: int | None = None
    channels: int | None = None
    recorded_preparation: Preparation | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise InputError("`channels` must be 1 or 3", self.channels)
        if self.image_size is not None and self.image_size < 1:
            raise InputError("`image_size` must be at least 1", self.image_size)

    def preparation(self, sample: Sequence[np.ndarray], *, keep_size: bool = False) -> Preparation:
        """The preparation that converts such pictures to a model's inputs; logs the decision.

        Args:
            sample: Decoded pictures, `(any height, any width, channels)`, uint8.
            keep_size: Whether pictures that all have one size keep it, however large it is.
        """
        if self.recorded_preparation is not None:
            return self.recorded_preparation
        grey = all(picture.shape[-1] < 3 for picture in sample)
        channels = self.channels or (1 if grey else None)
        traits = [] if self.layout != "auto" and channels else [_traits_of(p) for p in sample]
        layout = self.layout
        if layout == "auto":
            is_drawing = [picture.is_drawing for picture in traits]
            layout = "drawing" if np.mean(is_drawing) > 0.5 else "photo"
        if channels is None:
            saturations = [
                picture.ink_saturation if layout == "drawing" else picture.saturation
                for picture in traits
            ]
            channels = 3 if np.mean(np.greater(saturations, SATURATED)) >= IN_COLOUR else 1
        height, width = self._size(layout, sample, keep_size)
        preparation = Preparation(layout=layout, height=height, width=width, channels=channels)
        if traits or any(picture.shape != preparation.shape for picture in sample):
            log.info("Pictures are taken as %s.", preparation.description)
        return preparation

    def with_default_layout(self, layout: Layout) -> "InputOptions":
        """The same with this layout instead of `auto`; a layout that the user gave stays."""
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


def sample_rows(count: int) -> list[int]:
    """The row numbers, evenly spaced, of a sample of at most `SAMPLE` of `count` pictures."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(int)).tolist()


@dataclasses.dataclass(frozen=True)
class _Traits:
    """Properties of a picture that decide its layout and channels.

    Args:
        is_drawing: Whether it looks like a drawing.
        saturation: Saturation of the whole picture, 0..1.
        ink_saturation: Saturation of what is drawn, 0..1.
    """

    is_drawing: bool
    saturation: float
    ink_saturation: float


def _traits_of(pixels: np.ndarray) -> _Traits:
    with tf.device("CPU"):
        return _Traits(*(tensor.numpy().item() for tensor in _traits_in_graph(pixels)))


@tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.uint8)], autograph=False)
def _traits_in_graph(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The fields of `_Traits`, scalars, of pixels `(height, width, channels)`."""
    picture = reduced(to_opaque_rgb(pixels))
    points = on_grid(picture)
    surface, nearness = estimate_background(points)
    nearness = nearness[..., 0]
    even = (tf.reduce_mean(nearness[BORDER]) > EVEN_BORDER) & (tf.reduce_mean(nearness) > EVEN)
    has_ink = tf.reduce_max(tf.abs(points - surface)) >= FAINTEST
    ink = extract_ink(picture)
    ink = tf.where(tf.reduce_max(ink, axis=-1, keepdims=True) > INK_THRESHOLD, ink, 0)
    return even & has_ink, _saturation(picture), _saturation(ink)


def _saturation(picture: tf.Tensor) -> tf.Tensor:
    brightest, darkest = tf.reduce_max(picture, -1), tf.reduce_min(picture, -1)
    return tf.reduce_sum(brightest - darkest) / tf.maximum(tf.reduce_sum(brightest), 1)
