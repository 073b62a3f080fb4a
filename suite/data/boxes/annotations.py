"""What is known of the things in a picture, whatever file it was read from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

Unannotated = Literal["refuse", "empty"]
NO_LABEL = -1  # in rows of targets that are padding
COLUMNS = ("x1", "y1", "x2", "y2", "label", "crowd")  # of targets


class Truths(NamedTuple):
    """The things in a picture.

    Args:
        boxes: Corners `x1 y1 x2 y2` `(n, 4)`, float32, in pixels; x to the right, y down, and the
            far corner larger.
        labels: Classes `(n,)`, int32, from 0.
        crowd: Whether a box is around several things, `(n,)`, bool. Such a box is neither to be
            found nor is it wrong to find something in it.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


class Thing(NamedTuple):
    """One box as a file has it, not checked yet.

    Args:
        place: The entry of the file, in words, such as `object 3`.
        label: Name of the class.
        corners: `x1, y1, x2, y2` in pixels.
        crowd: Whether the box is around several things.
    """

    place: str
    label: str
    corners: tuple[float, float, float, float]
    crowd: bool = False


class Entry(NamedTuple):
    """A picture, and what a file says of it.

    Args:
        picture: The file of the picture.
        file: The file with the boxes.
        things: The boxes; None if no file says anything of this picture, not even that it is empty.
    """

    picture: Path
    file: Path
    things: Sequence[Thing] | None


class Labelled(NamedTuple):
    """A picture file and the things in it, in that picture's pixels, checked.

    Args:
        picture: The file of the picture.
        size: Height and width of the picture, upright, in pixels.
        truths: The things.
    """

    picture: Path
    size: tuple[int, int]
    truths: Truths


def check(
    entries: Sequence[Entry],
    class_names: Sequence[str],
    unannotated: Unannotated = "refuse",
    skip_broken: bool = False,
) -> list[Labelled]:
    """Checks the boxes of pictures against the pictures and the classes.

    A box that reaches out of its picture by no more than two pixels is cut at the border.

    Args:
        entries: The pictures and their boxes.
        class_names: Names of the classes, in order.
        unannotated: Whether a picture that no file says anything of has nothing in it (`empty`), or
            is an error (`refuse`).
        skip_broken: Whether pictures with wrong boxes are left out, which is logged, or else an
            error.

    Raises:
        InputError: Names the file and the entry of a box that lies outside of the picture, has
            swapped corners or no area, is given as shares or percent of the picture, or has an
            unknown class; or a picture without an annotation.
    """
    raise NotImplementedError


def as_targets(truths: Sequence[Truths], most: int | None = None) -> np.ndarray:
    """The things in pictures as one array, in which rows without a thing are padding.

    Args:
        truths: The things, picture by picture.
        most: Rows of a picture; by default as many as the fullest picture needs, at least 1.

    Returns:
        `(pictures, most, 6)`, float32, with the `COLUMNS` `x1 y1 x2 y2 label crowd`. Padding comes
        last: zeros with the label `NO_LABEL`.
    """
    raise NotImplementedError


def as_truths(target: Any) -> Truths:
    """The things in a picture without padding, from a row of `as_targets` `(most, 6)`."""
    raise NotImplementedError
