"""Small sets of pictures with boxes, in all formats."""

import json
from pathlib import Path

import numpy as np
import PIL.Image

SIZES = {"a": (64, 96), "b": (48, 64), "c": (64, 64)}  # height and width
BOXES = {
    "a": [("cat", (10, 20, 30, 44)), ("dog", (50, 8, 90, 60))],
    "b": [("dog", (4, 4, 24, 28))],
    "c": [],
}
CLASSES = ("cat", "dog")


def save(path, height=64, width=64, seed=0):
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def write(path, content):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content if isinstance(content, str) else json.dumps(content))
    return Path(path)


def pictures(folder, names=SIZES):
    for seed, name in enumerate(names):
        save(f"{folder}/{name}.png", *SIZES[name], seed=seed)


def coco(names=SIZES):
    """COCO's JSON of these pictures."""
    things = [(name, *thing) for name in names for thing in BOXES[name]]
    return {
        "images": [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate(names)],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {
                "id": number,
                "image_id": list(names).index(name),
                "category_id": {"cat": 3, "dog": 9}[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            for number, (name, label, (x1, y1, x2, y2)) in enumerate(things)
        ],
    }


def voc(name, things=None):
    """VOC's XML of a picture."""
    objects = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin>"
        f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2) in (BOXES[name] if things is None else things)
    )
    return f"<annotation><filename>{name}.png</filename>{objects}</annotation>"


def yolo(name):
    """YOLO's lines of a picture."""
    height, width = SIZES[name]
    return "".join(
        f"{CLASSES.index(label)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
        f"{(x2 - x1) / width} {(y2 - y1) / height}\n"
        for label, (x1, y1, x2, y2) in BOXES[name]
    )


def csv(names=SIZES):
    """A CSV of these pictures."""
    lines = ["filename,class,xmin,ymin,xmax,ymax"]
    for name in names:
        lines += [
            f"{name}.png,{label},{x1},{y1},{x2},{y2}" for label, (x1, y1, x2, y2) in BOXES[name]
        ] or [f"{name}.png,,,,,"]
    return "\n".join(lines) + "\n"


def whole(form, folder="own"):
    """All pictures in a folder, with their boxes in this format."""
    pictures(f"{folder}/images")
    if form == "coco":
        write(f"{folder}/boxes.json", coco())
    elif form == "csv":
        write(f"{folder}/boxes.csv", csv())
    elif form == "voc":
        for name in SIZES:
            write(f"{folder}/Annotations/{name}.xml", voc(name))
    else:
        write(f"{folder}/classes.txt", "cat\ndog\n")
        for name in SIZES:
            write(f"{folder}/labels/{name}.txt", yolo(name))
