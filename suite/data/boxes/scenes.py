"""Scenes of handwritten digits and their boxes, made by code: data for a first training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image

from suite.data.boxes.annotations import Truths
from suite.data.images.preparation import INK_THRESHOLD
from suite.data.pairs.shapes import CONTRAST, surface

SIDES = (0.15, 0.4)  # range of the longer side of a digit, as a share of the scene's
SMALLEST = 6  # pixels of the longer side of a digit, at least
TRIES = 20  # places that are tried for a digit


class Scenes(NamedTuple):
    """Pictures of digits.

    Args:
        pictures: `(n, size, size, 3)`, uint8: coloured digits on textured ground.
        truths: The digits of every picture, the label being the class of the digit.
    """

    pictures: np.ndarray
    truths: list[Truths]


def draw_scenes(
    digits: np.ndarray,
    labels: np.ndarray,
    numbers: Sequence[int] | np.ndarray,
    *,
    size: int = 128,
    most: int = 8,
    overlap: float = 0.4,
    seed: int = 0,
) -> Scenes:
    """Draws 1 to `most` digits at random places, in random sizes and colours on textured ground.

    Boxes enclose the ink, even where a later digit covers it. The number of a scene and the other
    arguments decide it, whatever other scenes are drawn.

    Args:
        digits: `(n, height, width)`, uint8, ink on a background of 0, as in MNIST.
        labels: Their classes, `(n,)`.
        numbers: The numbers of the scenes.
        size: Height and width in pixels, at least 32.
        most: Largest number of digits in a scene; there are fewer where no place is left.
        overlap: Largest area that two boxes have in common, as a share of the smaller one.
        seed: Decides digits, places, sizes, colours and textures.
    """
    pictures = np.empty((len(numbers), size, size, 3), np.uint8)
    truths = []
    for number, picture in zip(numbers, pictures, strict=True):
        random = np.random.default_rng((seed, number))
        ground = random.integers(0, 256, 3)
        picture[:] = surface(random, size, ground)
        boxes: list[tuple[int, int, int, int]] = []
        chosen: list[int] = []
        for row in random.integers(0, len(digits), random.integers(1, most + 1)).tolist():
            ink = _scaled(random, digits[row], size)
            box = _place(random, ink.shape[0], ink.shape[1], size, boxes, overlap)
            if box is None:
                continue
            left, top, right, bottom = box
            part = picture[top:bottom, left:right]
            colour = (ground + random.integers(*CONTRAST, 3)) % 256
            part[:] = np.rint(part + ink[..., None] * (colour - part)).astype(np.uint8)
            boxes.append(box)
            chosen.append(int(labels[row]))
        truths.append(
            Truths(
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array(chosen, np.int32),
                np.zeros(len(chosen), bool),
            )
        )
    return Scenes(pictures, truths)


def _scaled(random: np.random.Generator, digit: np.ndarray, size: int) -> np.ndarray:
    """The ink of a digit without margins, in a random size; opacities in 0..1."""
    is_ink = digit > INK_THRESHOLD
    rows, columns = np.flatnonzero(is_ink.any(axis=1)), np.flatnonzero(is_ink.any(axis=0))
    ink = np.ascontiguousarray(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    side = max(size * random.uniform(*SIDES), SMALLEST)
    height, width = (max(1, round(side * length / max(ink.shape))) for length in ink.shape)
    resized = PIL.Image.fromarray(ink).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32) / 255


def _place(
    random: np.random.Generator,
    height: int,
    width: int,
    size: int,
    boxes: Sequence[tuple[int, int, int, int]],
    overlap: float,
) -> tuple[int, int, int, int] | None:
    """Corners of a box of this size at a random place; None if none is free in some `TRIES`."""
    for _ in range(TRIES):
        left = int(random.integers(0, size - width + 1))
        top = int(random.integers(0, size - height + 1))
        box = (left, top, left + width, top + height)
        if all(_common(box, other) <= overlap for other in boxes):
            return box
    return None


def _common(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """The area that two boxes have in common, as a share of the smaller one."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (box, other)]
    return max(across, 0) * max(down, 0) / min(areas)
