"""Pictures of shapes, and their masks, made by code: data for a first training."""

import math
from typing import NamedTuple

import numpy as np
import PIL.Image

CLASS_NAMES = ("ground", "disc", "square", "triangle")
# A flat colour for each class, as in the label pictures of facades.
CLASS_COLOURS = np.array([(0, 0, 128), (255, 192, 0), (0, 176, 240), (192, 0, 0)], np.uint8)
# The colours of the classes, where colours tell them apart: meadow, gold, slate and brick.
SURFACE_COLOURS = np.array([(96, 136, 72), (216, 176, 72), (72, 96, 160), (168, 80, 64)], np.uint8)
MOST_SHAPES = 4  # in a picture
CONTRAST = (64, 193)  # between a shape and the ground, in every channel, modulo 256
LIGHT, GRAIN = 40, 10  # grey values by which a surface differs from its colour
RADII, PLACES = (0.12, 0.28), (0.2, 0.8)  # of the shapes, as shares of the size


class Shapes(NamedTuple):
    """Pictures of shapes.

    Args:
        pictures: `(n, size, size, 3)`, uint8: coloured shapes on textured ground.
        masks: `(n, size, size)`, uint8: the class of every pixel, as in `CLASS_NAMES`.
    """

    pictures: np.ndarray
    masks: np.ndarray


def draw_shapes(count: int, size: int, seed: int, colours: np.ndarray | None = None) -> Shapes:
    """Draws discs, squares and triangles that overlap on textured ground.

    Equal arguments give equal pictures.

    Args:
        count: Number of pictures.
        size: Height and width in pixels, at least 16.
        seed: Decides places, sizes, colours and textures.
        colours: The colour of every class `(classes, 3)`, so that only light and grain are left to
            chance. By default colours are random: only the outline tells the class.
    """
    random = np.random.default_rng(seed)
    pictures = np.empty((count, size, size, 3), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    for picture, mask in zip(pictures, masks, strict=True):
        ground = random.integers(0, 256, 3) if colours is None else colours[0]
        picture[:] = surface(random, size, ground)
        for _ in range(random.integers(1, MOST_SHAPES + 1)):
            label = random.integers(1, len(CLASS_NAMES))
            inside = _inside(random, size, CLASS_NAMES[label])
            if colours is None:
                colour = (ground + random.integers(*CONTRAST, 3)) % 256
            else:
                colour = colours[label]
            picture[inside] = surface(random, size, colour)[inside]
            mask[inside] = label
    return Shapes(pictures, masks)


def surface(random: np.random.Generator, size: int, colour: np.ndarray) -> np.ndarray:
    """A surface `(size, size, 3)`, uint8, of about one colour `(3,)`: uneven light, and grain."""
    light = PIL.Image.fromarray(random.integers(0, 2 * LIGHT + 1, (5, 5, 3), np.uint8))
    smooth = np.asarray(light.resize((size, size), PIL.Image.Resampling.BICUBIC), np.int64)
    grain = random.integers(-GRAIN, GRAIN + 1, (size, size, 3))
    return np.clip(colour + smooth - LIGHT + grain, 0, 255).astype(np.uint8)


def _inside(random: np.random.Generator, size: int, name: str) -> np.ndarray:
    """Whether a pixel is inside of a shape at a random place, `(size, size)`, bool.

    Shapes of one radius have the same area, so that areas do not tell the class.
    """
    radius = size * random.uniform(*RADII)
    across, down = size * random.uniform(*PLACES, 2)
    angle = random.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[:size, :size]
    x = (columns - across) * math.cos(angle) + (rows - down) * math.sin(angle)
    y = (rows - down) * math.cos(angle) - (columns - across) * math.sin(angle)
    if name == "disc":
        return x**2 + y**2 < radius**2
    if name == "square":
        return np.maximum(abs(x), abs(y)) < radius * math.sqrt(math.pi) / 2
    # The distances from the centre along the normals of the three sides.
    distances = [x * math.cos(a) + y * math.sin(a) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    return np.max(distances, axis=0) < radius * math.sqrt(math.pi / (3 * math.sqrt(3)))
