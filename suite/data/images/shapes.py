"""Pictures of shapes, and their masks, made by code: data for a first training."""

from typing import NamedTuple

import numpy as np

CLASS_NAMES = ("ground", "disc", "square", "triangle")
# A flat colour for each class, as in the label pictures of facades.
CLASS_COLOURS = np.array([(0, 0, 128), (255, 192, 0), (0, 176, 240), (192, 0, 0)], np.uint8)


class Shapes(NamedTuple):
    """Pictures of shapes.

    Args:
        pictures: `(n, size, size, 3)`, uint8: coloured shapes on textured ground.
        masks: `(n, size, size)`, uint8: the class of every pixel, as in `CLASS_NAMES`.
    """

    pictures: np.ndarray
    masks: np.ndarray


def draw_shapes(count: int, size: int, seed: int) -> Shapes:
    """Draws discs, squares and triangles that overlap, in random colours on textured ground.

    The colours and textures do not tell the class: only the outline does. Equal arguments give
    equal pictures.

    Args:
        count: Number of pictures.
        size: Height and width in pixels, at least 16.
        seed: Decides places, sizes, colours and textures.
    """
    raise NotImplementedError
