"""Boxes in a CSV file: a box in every row, with the name of its picture."""

import math
from pathlib import Path

from suite.data.boxes.annotations import Thing
from suite.data.tables.cells import number_in
from suite.data.tables.csv_files import read_csv
from suite.errors import InputError

# Usual names of columns, in lower case, without blanks, `_` and `-`.
COLUMNS = {
    "picture": ("filename", "image", "picture", "file", "path", "imagepath", "imageid", "img"),
    "class": ("class", "label", "classname", "category", "labelname", "name"),
    "x1": ("xmin", "x1", "left"),
    "y1": ("ymin", "y1", "top"),
    "x2": ("xmax", "x2", "right"),
    "y2": ("ymax", "y2", "bottom"),
}


def read_box_rows(path: Path) -> dict[str, list[Thing]]:
    """Reads a CSV file of a picture, a class, and the corners of a box in pixels in every row.

    A row of which only the picture is filled in declares that picture empty.

    Returns:
        The boxes of every picture, by its name as in the file.

    Raises:
        InputError: The file cannot be read or lacks a column, or a cell is missing or no number.
    """
    lines, cells, _ = read_csv(path)
    spellings = {name.lower().translate(str.maketrans("", "", " _-")): name for name in cells}
    columns = {}
    for column, names in COLUMNS.items():
        known = [spellings[name] for name in names if name in spellings]
        if not known:
            raise InputError(
                f"{path} must have a column for {column}, named {' or '.join(names)}",
                ", ".join(cells),
            )
        columns[column] = cells[known[0]]
    things: dict[str, list[Thing]] = {}
    for row, line in enumerate(lines):
        place = f"row {line}"
        picture, label, *corners = (columns[column][row] for column in COLUMNS)
        if not picture:
            raise InputError("every row must name a picture", f"{place} of {path}")
        inside = things.setdefault(picture, [])
        if not label and not any(corners):
            continue
        x1, y1, x2, y2 = map(number_in, corners)
        if not label or any(map(math.isnan, (x1, y1, x2, y2))):
            raise InputError(
                "every row must have a class and four coordinates, or only a picture",
                f"{place} of {path}: {', '.join([label, *corners])}",
            )
        inside.append(Thing(place, label, (x1, y1, x2, y2)))
    return things
