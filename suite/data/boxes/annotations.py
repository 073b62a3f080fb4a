"""The things in pictures, whatever format they were read from, and the checks of their boxes."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from suite.data.images.files import read, upright_size
from suite.errors import InputError

log = logging.getLogger(__name__)

Unannotated = Literal["refuse", "empty"]
Unit = Literal["pixels", "counted", "shares"]
NO_LABEL = -1  # in rows of targets that are padding
COLUMNS = ("x1", "y1", "x2", "y2", "label", "crowd")  # of targets
OVERHANG = 2.0  # pixels by which a box may reach out of its picture; it is then cut
# Boxes are taken to be in percent if there are at least `ENOUGH_BOXES`, in pictures with more than
# `LARGER` pixels along each side, and their corners reach beyond 50, but never beyond 100.
ENOUGH_BOXES, PERCENT, LARGER = 10, 100.0, 200


class Truths(NamedTuple):
    """The things in a picture.

    Args:
        boxes: Corners `x1 y1 x2 y2` `(n, 4)`, float32, in pixels; x to the right, y down, and the
            second corner right of and below the first.
        labels: Classes `(n,)`, int32, from 0.
        crowd: Whether a box is around several things, `(n,)`, bool. Such a box need not be
            detected, and what is detected inside of it is not wrong.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


class Thing(NamedTuple):
    """One box as a file has it, not checked yet.

    Args:
        place: The entry of the file, for errors, such as `object 3`.
        label: Name of the class.
        corners: `x1, y1, x2, y2`.
        crowd: Whether the box is around several things.
        unit: Unit of the corners: `pixels`; `counted`, VOC's numbers of the first and the last
            pixel inside, counted from 1; or `shares` of the sides of the picture.
    """

    place: str
    label: str
    corners: tuple[float, float, float, float]
    crowd: bool = False
    unit: Unit = "pixels"


class Entry(NamedTuple):
    """A picture, and its boxes as a file has them, not checked yet.

    Args:
        picture: The file of the picture.
        file: The file with the boxes; None if there is none.
        things: The boxes; None if no file mentions this picture, not even as empty.
        size: Height and width of the picture by the file; None if it has none.
    """

    picture: Path
    file: Path | None
    things: Sequence[Thing] | None
    size: tuple[int, int] | None = None


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
        unannotated: Whether a picture that no file mentions has nothing in it (`empty`), or is an
            error (`refuse`).
        skip_broken: Whether pictures that cannot be read, or with wrong boxes, are left out with a
            warning, rather than an error.

    Raises:
        InputError: Names the file and the entry of a box that lies outside of the picture, has
            swapped corners or no area, is given as shares or percent of the picture, or has an
            unknown class; or a picture without an annotation, or of another size than its file
            says.
    """
    sized: list[tuple[Entry, tuple[int, int]]] = []
    labelled: list[Labelled] = []
    index = {name: label for label, name in enumerate(class_names)}
    reasons: list[InputError] = []
    for entry in entries:
        try:
            size = _read_size(entry.picture) if skip_broken else upright_size(entry.picture)
            sized.append((entry, size))
            truths = _truths(entry, size, index, unannotated)
        except InputError as error:
            if not skip_broken:
                raise
            reasons.append(error)
        else:
            labelled.append(Labelled(entry.picture, size, truths))
    _refuse_percent(sized)
    if reasons:
        log.warning(
            "%d of %d pictures are left out, the first since %s.",
            len(reasons),
            len(entries),
            reasons[0],
        )
    return labelled


def as_targets(truths: Sequence[Truths], most: int | None = None) -> np.ndarray:
    """The things in pictures as one array, in which rows without a thing are padding.

    Args:
        truths: The things, picture by picture.
        most: Rows of a picture; by default the largest number of things in one, at least 1.

    Returns:
        `(pictures, most, 6)`, float32, with the `COLUMNS` `x1 y1 x2 y2 label crowd`. Padding comes
        last: zeros with the label `NO_LABEL`.
    """
    if most is None:
        most = max([1, *(len(things.labels) for things in truths)])
    targets = np.zeros((len(truths), most, len(COLUMNS)), np.float32)
    targets[..., 4] = NO_LABEL
    for target, things in zip(targets, truths, strict=True):
        count = len(things.labels)
        target[:count, :4] = things.boxes
        target[:count, 4] = things.labels
        target[:count, 5] = things.crowd
    return targets


def as_truths(target: Any) -> Truths:
    """The things in a picture without padding, from its rows `(most, 6)` of `as_targets`."""
    rows = np.asarray(target)
    rows = rows[rows[:, 4] >= 0]
    return Truths(rows[:, :4], rows[:, 4].astype(np.int32), rows[:, 5] > 0)


def _read_size(picture: Path) -> tuple[int, int]:
    """Height and width of a picture that can be decoded."""
    height, width = read(picture).pixels.shape[:2]
    return height, width


def _truths(
    entry: Entry, size: tuple[int, int], index: Mapping[str, int], unannotated: Unannotated
) -> Truths:
    """The checked things of a picture of this height and width."""
    if entry.things is None and unannotated == "refuse":
        raise InputError(
            "every picture must have an annotation, or `unannotated` must be empty, which takes "
            "pictures without one as empty",
            f"{entry.picture}, without one",
        )
    if entry.size not in (None, size):
        (height, width), (real_height, real_width) = entry.size, size
        raise InputError(
            "a picture must have the size, upright, that its annotation says",
            f"{entry.picture} of {real_width} x {real_height}, {width} x {height} in {entry.file}",
        )
    things = entry.things or ()
    boxes = np.array([_box(entry, thing, size) for thing in things], np.float32)
    for thing in things:
        if thing.label not in index:
            raise InputError(
                f"boxes must have one of the classes {', '.join(index)}",
                f"{thing.label} in {entry.file}, {thing.place}",
            )
    return Truths(
        boxes.reshape(-1, 4),
        np.array([index[thing.label] for thing in things], np.int32),
        np.array([thing.crowd for thing in things], bool),
    )


def _box(entry: Entry, thing: Thing, size: tuple[int, int]) -> list[float]:
    """The corners of a thing, inside of a picture of this height and width."""
    height, width = size
    corners = thing.corners
    across, down = (width, height) if thing.unit == "shares" else (1, 1)
    first = 1 if thing.unit == "counted" else 0  # the number of the first pixel of a side
    x1, y1 = across * corners[0] - first, down * corners[1] - first
    x2, y2 = across * corners[2], down * corners[3]

    def refusal(requirement: str) -> InputError:
        numbers = " ".join(f"{corner:g}" for corner in corners)
        return InputError(requirement, f"{numbers} in {entry.file}, {thing.place}")

    if not all(map(math.isfinite, corners)):
        raise refusal("corners of boxes must be finite numbers")
    fractional = not all(corner.is_integer() for corner in corners)
    if thing.unit != "shares" and fractional and max(corners) <= 1:
        raise refusal(f"boxes must be in pixels, of {width} x {height} here, and not in shares")
    if x2 < x1 or y2 < y1:
        raise refusal("the second corner of a box must be right of and below the first")
    if x2 == x1 or y2 == y1:
        raise refusal("boxes must have an area")
    if min(x1, y1) < -OVERHANG or x2 > width + OVERHANG or y2 > height + OVERHANG:
        raise refusal(f"boxes must be inside of their picture, of {width} x {height} pixels")
    cut = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
    if cut[2] <= cut[0] or cut[3] <= cut[1]:
        raise refusal(f"boxes must be inside of their picture, of {width} x {height} pixels")
    return cut


def _refuse_percent(sized: Sequence[tuple[Entry, tuple[int, int]]]) -> None:
    """Refuses the boxes of a data set if they seem to be in percent.

    Args:
        sized: The pictures and their sizes. Boxes of small ones say nothing, and are left out.
    """
    entries = [entry for entry, size in sized if min(size) > LARGER]
    corners = [
        thing.corners for entry in entries for thing in entry.things or () if thing.unit != "shares"
    ]
    if len(corners) < ENOUGH_BOXES:
        return
    right, below = (max(corner[axis] for corner in corners) for axis in (2, 3))
    if max(right, below) <= PERCENT and min(right, below) > PERCENT / 2:
        file = next(entry.file for entry in entries if entry.things)
        raise InputError(
            "boxes must be in pixels, and not in percent of the picture",
            f"corners of at most {max(right, below):g} in pictures of more than {LARGER} pixels, "
            f"as in {file}",
        )


def with_unique_names(names: Sequence[str], place: object) -> tuple[str, ...]:
    """Checks the names of classes, and returns them as a tuple.

    Args:
        names: The names, in order.
        place: Where they come from, for the error.

    Raises:
        InputError: There are none, or two are the same.
    """
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"the classes of {place} must have names that differ", ", ".join(names) or "none"
        )
    return tuple(names)


def size_of(width: Any, height: Any, refuse: Callable[[], InputError]) -> tuple[int, int] | None:
    """Height and width from values of a file; None if it leaves one out, or says 0.

    Raises:
        InputError: The result of `refuse`, if a value is no number.
    """
    if not (width and height):
        return None
    size = number_or(height, refuse), number_or(width, refuse)
    if not all(map(math.isfinite, size)):
        raise refuse()
    return (int(size[0]), int(size[1])) if min(size) > 0 else None


def number_or(text: Any, refuse: Callable[[], InputError]) -> float:
    """The number of a value of a file, which is a number or its text.

    Raises:
        InputError: The result of `refuse`, if the value is no number.
    """
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        raise refuse() from None
