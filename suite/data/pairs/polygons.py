"""Outlines of things in pictures, as LabelMe and COCO write them, and masks of these outlines."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw
from matplotlib.path import Path as PolygonPath

from suite.errors import InputError

# LabelMe's labels of pixels that do not count, and of pixels that belong to nothing.
IGNORED, BACKGROUND = "__ignore__", "_background_"
SHAPES = ("polygon", "rectangle", "circle")  # of LabelMe's, those that enclose an area


class Outline(NamedTuple):
    """What encloses a thing.

    Args:
        label: Name of its class.
        shape: `polygon`, `rectangle`, by two opposite corners, and `circle`, by its centre and a
            point on it, are LabelMe's, and hold the pixels on their edges. `area` is COCO's
            polygon, which holds the pixels whose centres lie inside; `runs` are COCO's as well, the
            numbers of pixels that lie outside and inside by turns, column by column.
        points: Points `(x, y)` in pixels, or the lengths of runs.
    """

    label: str
    shape: str
    points: Sequence[Any]


class Outlines(NamedTuple):
    """The outlines in a picture; later ones lie above earlier ones.

    Args:
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
    """

    height: int
    width: int
    outlines: Sequence[Outline]


def read_outlines(path: Path) -> dict[str, Outlines]:
    """Reads a `.json` of LabelMe, about one picture, or of COCO, about many.

    Crowds of COCO are outlines of `IGNORED`.

    Returns:
        Outlines by the name of the picture, without folder and ending. LabelMe's have the name of
        the `.json`.

    Raises:
        InputError: The file cannot be read, or is of neither format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if "shapes" in content:
            return {path.stem: _of_labelme(content, path)}
        return _of_coco(content, path)
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(
            "outlines must be in a .json of LabelMe or COCO",
            f"{path}: {type(error).__name__} {error}",
        ) from None


def rasterised(picture: Outlines, index: Mapping[str, int]) -> np.ndarray:
    """The mask of outlines, `(height, width)`, uint8; 0 outside of all outlines.

    Args:
        picture: The outlines.
        index: The value of every label, 0..255.

    Raises:
        InputError: The runs of COCO do not fill the picture.
    """
    image = PIL.Image.new("L", (picture.width, picture.height))
    pen = PIL.ImageDraw.Draw(image)
    for label, shape, points in picture.outlines:
        fill = index[label]
        if shape == "polygon":
            pen.polygon(points, fill=fill)
        elif shape == "rectangle":
            (left, right), (top, bottom) = (sorted(places) for places in zip(*points, strict=True))
            pen.rectangle((left, top, right, bottom), fill=fill)
        elif shape == "circle":
            (x, y), edge = points
            radius = math.dist((x, y), edge)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        else:
            filled = _filled_area if shape == "area" else _filled_runs
            image.paste(fill, mask=PIL.Image.fromarray(filled(points, picture)))
    return np.array(image)


def _of_labelme(content: Mapping[str, Any], path: Path) -> Outlines:
    outlines = []
    for entry in content["shapes"]:
        shape = entry.get("shape_type") or "polygon"
        if shape not in SHAPES:
            raise InputError(f"shapes in {path} must be among {', '.join(SHAPES)}", shape)
        points = [(float(x), float(y)) for x, y in entry["points"]]
        outlines.append(_checked(Outline(str(entry["label"]), shape, points), path))
    return Outlines(int(content["imageHeight"]), int(content["imageWidth"]), outlines)


def _of_coco(content: Mapping[str, Any], path: Path) -> dict[str, Outlines]:
    names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    outlines: dict[Any, list[Outline]] = {entry["id"]: [] for entry in content["images"]}
    for entry in content["annotations"]:
        label = IGNORED if entry.get("iscrowd") else names[entry["category_id"]]
        segmentation = entry["segmentation"]
        inside = outlines[entry["image_id"]]
        if isinstance(segmentation, Mapping):
            runs = segmentation["counts"]
            if not isinstance(runs, list):
                raise InputError(
                    f"segmentations in {path} must be polygons or plain runs", "compressed runs"
                )
            if wrong := [length for length in runs if not isinstance(length, int) or length < 0]:
                raise InputError(f"runs in {path} must be whole numbers from 0 on", wrong[0])
            inside.append(Outline(label, "runs", runs))
            continue
        for numbers in segmentation:
            points = list(zip(*[map(float, numbers)] * 2, strict=True))
            inside.append(_checked(Outline(label, "area", points), path))
    pictures: dict[str, Outlines] = {}
    for entry in content["images"]:
        name = Path(entry["file_name"]).stem
        if name in pictures:
            raise InputError(f"pictures in {path} must have different names", entry["file_name"])
        size = int(entry["height"]), int(entry["width"])
        pictures[name] = Outlines(*size, outlines[entry["id"]])
    return pictures


def _checked(outline: Outline, path: Path) -> Outline:
    """Refuses an outline with too few points to enclose an area."""
    label, shape, points = outline
    is_polygon = shape in ("polygon", "area")
    if is_polygon and len(points) < 3:
        needed = "3 points or more"
    elif not is_polygon and len(points) != 2:
        needed = "2 points"
    else:
        return outline
    raise InputError(
        f"a {'polygon' if is_polygon else shape} must have {needed}",
        f"{len(points)} for a {label} in {path}",
    )


def _filled_area(points: Sequence[tuple[float, float]], picture: Outlines) -> np.ndarray:
    """COCO's polygon as a mask `(height, width)`, uint8: 255 inside, 0 outside.

    Its points count from the upper left corner of the picture, not from the centre of a pixel.
    """
    mask = np.zeros((picture.height, picture.width), np.uint8)
    (left, top), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)
    rows = slice(max(math.floor(top), 0), max(math.ceil(bottom), 0))
    columns = slice(max(math.floor(left), 0), max(math.ceil(right), 0))
    around = mask[rows, columns]  # all that can lie inside
    y, x = np.indices(around.shape)
    centres = np.stack([x + columns.start + 0.5, y + rows.start + 0.5], axis=-1)
    inside = PolygonPath(points).contains_points(centres.reshape(-1, 2))
    around[inside.reshape(around.shape)] = 255
    return mask


def _filled_runs(lengths: Sequence[int], picture: Outlines) -> np.ndarray:
    """COCO's runs as a mask `(height, width)`, uint8: 255 inside, 0 outside."""
    inside = np.repeat(np.arange(len(lengths)) % 2, lengths).astype(np.uint8)
    if inside.size != picture.height * picture.width:
        raise InputError(
            f"runs must fill a picture of {picture.height} x {picture.width} pixels",
            f"{inside.size} pixels",
        )
    return np.ascontiguousarray(255 * inside.reshape(picture.width, picture.height).T)
