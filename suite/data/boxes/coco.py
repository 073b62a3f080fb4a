"""Boxes in COCO's JSON: one file with all pictures, boxes and classes."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from suite.data.boxes.annotations import Thing, number_or, size_of, with_unique_names
from suite.data.text.files import read_text
from suite.errors import InputError


class CocoFile(NamedTuple):
    """The content of a file of COCO.

    Args:
        class_names: Names of the classes, in the order of their ids.
        things: The boxes of every picture, by the name of its file; None for a picture without
            boxes, which may be empty or not annotated.
        sizes: Height and width of every picture, likewise; None if they are missing or 0.
    """

    class_names: tuple[str, ...]
    things: dict[str, list[Thing] | None]
    sizes: dict[str, tuple[int, int] | None]


def read_coco(path: Path) -> CocoFile:
    """Reads COCO's JSON: `images`, `categories`, and `annotations`, each with a `bbox`.

    Raises:
        InputError: The file cannot be read, is no UTF-8 or no JSON, or an entry lacks a value or
            has a wrong one.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            "annotations must be COCO's JSON",
            f"{path}, line {error.lineno}, column {error.colno}: {error.msg.lower()}",
        ) from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or endless digits
        raise InputError("annotations must be COCO's JSON", f"{path}: {error}") from None
    tables = {key: _entries(content, key, path) for key in ("images", "categories", "annotations")}
    names: dict[Any, str] = {}
    for number, category in enumerate(tables["categories"]):
        place = f"categories[{number}]"
        key = _new_id(category, names, place, path)
        names[key] = str(_value(category, "name", place, path))
    files: dict[Any, str] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for number, image in enumerate(tables["images"]):
        place = f"images[{number}]"
        key = _new_id(image, files, place, path)
        name = str(_value(image, "file_name", place, path))
        if name in sizes:
            raise InputError(
                "the pictures of COCO's JSON must have different file names",
                f"{name} of {place} in {path}",
            )
        refusal = functools.partial(_refused_size, place, path)
        files[key], sizes[name] = name, size_of(image.get("width"), image.get("height"), refusal)
    things: dict[str, list[Thing] | None] = dict.fromkeys(files.values())
    for number, annotation in enumerate(tables["annotations"]):
        place = f"annotations[{number}]"
        picture = _of(files, _value(annotation, "image_id", place, path), "image", place, path)
        label = _of(names, _value(annotation, "category_id", place, path), "category", place, path)
        corners = _corners(_value(annotation, "bbox", place, path), place, path)
        crowd = str(annotation.get("iscrowd")).lower() in ("1", "1.0", "true")
        inside = things[picture]
        if inside is None:
            inside = things[picture] = []
        inside.append(Thing(place, label, corners, crowd))
    class_names = [names[key] for key in sorted(names, key=_order)]
    return CocoFile(with_unique_names(class_names, path), things, sizes)


def _refused_size(place: str, path: Path) -> InputError:
    return InputError("width and height of a picture must be numbers", f"{place} in {path}")


def _entries(content: Any, key: str, path: Path) -> Sequence[Mapping[str, Any]]:
    """The entries under a key of the file, which must all be JSON objects."""
    entries = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InputError(
            "annotations must be COCO's JSON, with lists of images, categories and annotations",
            f"{path}, without a list of {key}",
        )
    return entries


def _new_id(entry: Mapping[str, Any], known: Mapping[Any, str], place: str, path: Path) -> Any:
    """The `id` of an entry, which no other one of its list may have."""
    key = _value(entry, "id", place, path)
    if key in known:
        raise InputError("the ids of COCO's entries must differ", f"{key} of {place} in {path}")
    return key


def _value(entry: Mapping[str, Any], key: str, place: str, path: Path) -> Any:
    """A value of an entry; all but a `bbox` must be a number or text."""
    value = entry.get(key)
    if value is None or (key != "bbox" and not isinstance(value, int | float | str)):
        raise InputError(
            f"every entry of COCO's JSON must have a usable {key}", f"{place} in {path}"
        )
    return value


def _of(known: Mapping[Any, str], key: Any, kind: str, place: str, path: Path) -> str:
    """The name of a picture or class by its id."""
    if key not in known:
        raise InputError(
            "every annotation must be of an image and a category of its file",
            f"{kind} {key} of {place} in {path}",
        )
    return known[key]


def _corners(bbox: Any, place: str, path: Path) -> tuple[float, float, float, float]:
    def refusal() -> InputError:
        return InputError(
            "every bbox must be four numbers: x, y, width, height", f"{bbox} of {place} in {path}"
        )

    if not isinstance(bbox, list) or len(bbox) != 4:
        raise refusal()
    x, y, width, height = (number_or(value, refusal) for value in bbox)
    return x, y, x + width, y + height


def _order(key: Any) -> tuple[bool, Any]:
    """Sorts the ids of classes: numbers in order, before texts."""
    return isinstance(key, str), key
