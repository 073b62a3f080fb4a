"""Boxes in YOLO's text files: one file for every picture, and a box in every line."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from suite.data.boxes.annotations import Thing, number_or, with_unique_names
from suite.data.text.files import read_text
from suite.errors import InputError

# Files with the name of a class in every line, in the order of the classes.
NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names")
SLACK = 1e-3  # by which a rounded share may be outside of 0..1


def read_yolo(path: Path, class_names: Sequence[str]) -> list[Thing]:
    """Reads lines of `class centre_x centre_y width height`, all but the class as shares in 0..1.

    Args:
        path: The text file.
        class_names: Names of the classes, in order.

    Raises:
        InputError: The file cannot be read, or a line is no such box.
    """
    things = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not (words := line.split()):
            continue
        place = f"line {number}"

        def refusal(place: str = place, line: str = line) -> InputError:
            return InputError(
                "every line of YOLO's text files must have five numbers: a class, and the centre, "
                "width and height of a box",
                f"{line[:60]!r} in {path}, {place}",
            )

        if len(words) != 5:
            raise refusal()
        label, x, y, across, down = (number_or(word, refusal) for word in words)
        if not all(-SLACK <= share <= 1 + SLACK for share in (x, y, across, down)):
            raise InputError(
                "boxes in YOLO's text files must be shares of the picture's sides, in 0..1, and "
                "not pixels",
                f"{line[:60]!r} in {path}, {place}",
            )
        if not label.is_integer() or not 0 <= label < len(class_names):
            raise InputError(
                f"classes in YOLO's text files must be 0 to {len(class_names) - 1}, as many as "
                "there are names",
                f"{words[0]} in {path}, {place}",
            )
        corners = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
        things.append(Thing(place, class_names[int(label)], corners, unit="shares"))
    return things


def read_names(folder: Path) -> tuple[str, ...] | None:
    """The names of the classes, from a `.yaml` in a folder, or a text file; None without any.

    Raises:
        InputError: The file cannot be read, or its names are not all different.
    """
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        text = read_text(file)
        try:
            content = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise InputError("names of classes must be in YAML", f"{file}, which is not") from None
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict):  # by their numbers
            if set(names) != set(range(len(names))):
                raise InputError(f"classes in {file} must be numbered 0, 1, 2 ...", list(names))
            names = [names[number] for number in range(len(names))]
        if isinstance(names, list) and all(isinstance(name, str | int) for name in names):
            return with_unique_names([str(name) for name in names], file)
    for file in (folder / name for name in NAMES_FILES):
        if file.is_file():
            lines = map(str.strip, read_text(file).splitlines())
            return with_unique_names([line for line in lines if line], file)
    return None
