"""Scenes of handwritten digits and their boxes, made by code: data for a first training."""

from typing import NamedTuple

import numpy as np

from suite.data.boxes.annotations import Truths


class Scenes(NamedTuple):
    """Pictures of digits.

    Args:
        pictures: `(n, size, size, 3)`, uint8: coloured digits on textured ground.
        truths: The digits of every picture, the label being the digit.
    """

    pictures: np.ndarray
    truths: list[Truths]


def draw_scenes(
    digits: np.ndarray,
    labels: np.ndarray,
    count: int,
    *,
    size: int = 128,
    most: int = 8,
    overlap: float = 0.4,
    seed: int = 0,
) -> Scenes:
    """Draws 1 to `most` digits at random places, in random sizes and colours on textured ground.

    Boxes enclose the ink. Equal arguments give equal scenes, and fewer scenes are the first of
    more.

    Args:
        digits: `(n, height, width)`, uint8, ink on a background of 0, as in MNIST.
        labels: Their classes, `(n,)`.
        count: Number of scenes.
        size: Height and width in pixels, at least 32.
        most: Largest number of digits in a scene; there are fewer where no place is left.
        overlap: Largest share of a digit's box that another one's may cover.
        seed: Decides digits, places, sizes, colours and textures.
    """
    raise NotImplementedError
