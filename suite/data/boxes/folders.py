"""Finds the files of a folder that belong together: pictures, their boxes, and their splits."""

import collections
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from suite.data.boxes.annotations import Entry, Thing, with_unique_names
from suite.data.boxes.coco import read_coco
from suite.data.boxes.csv_files import read_box_rows
from suite.data.boxes.voc import read_voc
from suite.data.boxes.yolo import read_names, read_yolo
from suite.data.examples import SPLITS
from suite.data.folders import composed, files_in, split_named_in
from suite.data.images.files import ENDINGS
from suite.data.pairs.sources import listed, lists_in
from suite.errors import InputError

log = logging.getLogger(__name__)

Format = Literal["auto", "coco", "voc", "yolo", "csv"]
FORMAT_OF_ENDING: Mapping[str, Format] = {
    ".xml": "voc",
    ".json": "coco",
    ".csv": "csv",
    ".txt": "yolo",
}
# In the names of files of COCO that have boxes, beside others that have captions or keypoints.
BOXES = "instances"
LISTS = "ImageSets/Main"  # of VOC, the folder of the lists of pictures by split


class Annotations(NamedTuple):
    """The pictures of a folder, and their boxes.

    Args:
        class_names: Names of the classes, in order; None if the boxes alone name them.
        splits: The pictures by split; a split that is missing is to be held out.
    """

    class_names: tuple[str, ...] | None
    splits: dict[str, list[Entry]]


def read_annotations(
    path: Path,
    annotations: Path | None = None,
    format: Format = "auto",  # noqa: A002 - a knob
    class_names: Sequence[str] = (),
) -> Annotations:
    """Reads the boxes of the pictures in a folder, and decides the splits.

    Args:
        path: The folder of the pictures, and of everything else unless `annotations` names it.
        annotations: A file of COCO or a CSV file, or the folder of the annotations.
        format: The format; `auto` for the first of VOC, COCO, CSV and YOLO of which there are
            files.
        class_names: Names of the classes, if the user gives them; YOLO's files have only numbers.

    Raises:
        InputError: There are no pictures or no annotations, they cannot be read, or do not belong
            together.
    """
    if not path.is_dir():
        raise InputError("`data` must be a folder of pictures with boxes", path)
    # Not with methods of Path, which raise for long names.
    if annotations is not None and not os.path.exists(annotations):  # noqa: PTH110
        raise InputError("`annotations` must be a file or a folder", f"{annotations}, not there")
    pictures = [file for file in files_in(path) if file.suffix.lower() in ENDINGS]
    if not pictures:
        raise InputError(f"{path} must hold image files", "none")
    place = annotations or path
    files = [place] if place.is_file() else list(files_in(place))
    if format == "auto":
        endings = {file.suffix.lower() for file in files}
        known = [name for ending, name in FORMAT_OF_ENDING.items() if ending in endings]
        if not known:
            raise InputError(
                "`annotations` must be COCO's JSON, VOC's XML, YOLO's text files or a CSV file",
                f"{place}, without any of them",
            )
        format = known[0]  # noqa: A001
    files = [file for file in files if FORMAT_OF_ENDING.get(file.suffix.lower()) == format]
    if not files:
        raise InputError(f"`format` must be that of the files in {place}", format)
    if format == "voc":
        read = _voc(path, pictures, place, files)
    elif format == "yolo":
        read = _yolo(path, pictures, place, class_names)
    else:
        read = _tables(path, pictures, place, files, format)
    splits = {split: read.splits[split] for split in SPLITS if read.splits.get(split)}
    if "train" not in splits:
        raise InputError("there must be pictures to train on", f"none in {path}")
    return Annotations(read.class_names, splits)


def _voc(path: Path, pictures: Sequence[Path], place: Path, files: Sequence[Path]) -> Annotations:
    """Pictures and an `.xml` of the same name, split by lists in `ImageSets/Main` or by folder."""
    index = _by_ending(path, pictures)
    base = place if place.is_dir() else place.parent
    entries = {picture: Entry(picture, None, None) for picture in pictures}
    for file in files:
        name, things, size = read_voc(file)
        split = split_in(file.relative_to(base))
        picture = _named([file.stem, name], file, path, index, split)
        if entries[picture].file is not None:
            raise InputError(
                "every picture must have one file of boxes", f"{entries[picture].file} and {file}"
            )
        entries[picture] = Entry(picture, file, things, size)
    lists = lists_in(path / LISTS)
    if not lists:
        return Annotations(None, _by_folder(path, entries.values()))
    by_stem: dict[str, Path] = {}
    # Those with boxes first: masks may have the same names.
    for picture in sorted(pictures, key=lambda picture: entries[picture].file is None):
        other = by_stem.setdefault(composed(picture.stem), picture)
        alike = (entries[picture].file is None) == (entries[other].file is None)
        if other != picture and alike:
            raise InputError(
                f"pictures must have different names, since {path / LISTS} lists them by name",
                f"{other} and {picture}",
            )
    chosen = listed(lists, by_stem)
    return Annotations(
        None, {split: [entries[by_stem[name]] for name in chosen[split]] for split in chosen}
    )


def _yolo(
    path: Path, pictures: Sequence[Path], place: Path, class_names: Sequence[str]
) -> Annotations:
    """Text files beside pictures, or in a folder `labels` beside the folder `images`."""
    # Those of the folder come first: its numbers mean them, in whatever order others are given.
    folders = (path, place, path / "labels", *sorted(path.glob("*/labels")))
    names = next(filter(None, map(read_names, folders)), tuple(class_names))
    if not names:
        raise InputError(
            "`classes` must name the classes of YOLO's text files, or a data.yaml or classes.txt "
            "beside them",
            "none",
        )
    entries = []
    owner: dict[Path, Path] = {}
    for picture in pictures:
        relative = picture.relative_to(path).with_suffix(".txt")
        parts = ["labels" if part == "images" else part for part in relative.parts[:-1]]
        candidates = (
            place / relative,
            place / Path(*parts, relative.name),
            place.joinpath(*(part for part in parts if part != "labels"), relative.name),
            place / relative.name,
        )
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is not None and owner.setdefault(file, picture) != picture:
            raise InputError(
                "every picture must have a file of boxes for itself",
                f"{file} for {owner[file]} and {picture}",
            )
        things = None if file is None else read_yolo(file, names)
        entries.append(Entry(picture, file, things))
    return Annotations(names, _by_folder(path, entries))


def _tables(
    path: Path,
    pictures: Sequence[Path],
    place: Path,
    files: Sequence[Path],
    format: Format,  # noqa: A002
) -> Annotations:
    """Files of COCO, or CSV files, each of many pictures.

    Splits are in the names or folders of several files, or in the folders of the pictures of one.
    """
    index = _by_ending(path, pictures)
    instances = [file for file in files if BOXES in file.name]
    files = (instances or files) if format == "coco" else files
    base = place if place.is_dir() else place.parent
    is_one_file = len(files) == 1
    class_names: tuple[str, ...] | None = None
    splits: dict[str, list[Entry]] = collections.defaultdict(list)
    owner: dict[Path, tuple[Path, str]] = {}
    for file in files:
        split = "train" if is_one_file else split_in(file.relative_to(base)) or "train"
        things: Mapping[str, Sequence[Thing] | None]
        sizes: Mapping[str, tuple[int, int] | None] = {}
        if format == "coco":
            names, things, sizes = read_coco(file)
            if class_names not in (None, names):
                raise InputError(
                    "all files of boxes must have the same classes",
                    f"{', '.join(names)} in {file}, {', '.join(class_names or ())} in {files[0]}",
                )
            class_names = names
        else:
            things = read_box_rows(file)
        for name, boxes in things.items():
            picture = _named([name], file, path, index, None if is_one_file else split)
            if picture in owner:
                other, alias = owner[picture]
                raise InputError(
                    "a picture must be in one file of boxes only, by one name",
                    f"{picture} as {alias} in {other} and as {name} in {file}",
                )
            owner[picture] = file, name
            splits[split].append(Entry(picture, file, boxes, sizes.get(name)))
    others = [picture for picture in pictures if picture not in owner]
    if format == "coco":
        if others:
            log.warning("%d pictures are in no file of boxes, and are left out.", len(others))
    else:
        for picture in others:
            split = "train" if is_one_file else split_in(picture.relative_to(path)) or "train"
            splits[split].append(Entry(picture, None, None))
    if is_one_file:
        by_folder = _by_folder(path, splits["train"])
        return Annotations(class_names, by_folder if "train" in by_folder else splits)
    return Annotations(class_names, splits)


def split_in(relative: Path) -> str | None:
    """The split that a word in a path names, as in `val/a.jpg` or `instances_train2017.json`."""
    return split_named_in(re.split("[^a-z]+", relative.as_posix().lower()))


def _by_folder(path: Path, entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Pictures by the splits that their folders name; by default for the training."""
    splits: dict[str, list[Entry]] = collections.defaultdict(list)
    for entry in entries:
        splits[split_in(entry.picture.relative_to(path).parent) or "train"].append(entry)
    return splits


def _by_ending(path: Path, pictures: Sequence[Path]) -> dict[str, list[Path]]:
    """Pictures by every ending of their paths, with and without suffix: a/b.jpg, b.jpg, a/b, b."""
    index: dict[str, list[Path]] = collections.defaultdict(list)
    for picture in pictures:
        relative = picture.relative_to(path)
        for form in (relative, relative.with_suffix("")):
            for start in range(len(form.parts)):
                index[composed("/".join(form.parts[start:]))].append(picture)
    return index


def _named(
    names: Sequence[str],
    file: Path,
    path: Path,
    index: Mapping[str, Sequence[Path]],
    split: str | None = None,
) -> Path:
    """The picture that a file of boxes names.

    Of several pictures of one name, it is the one beside the file, or the one of the same split.

    Args:
        names: Names of the picture, the most reliable first; their folders may be wrong.
        file: The file that names it.
        path: The folder of all pictures.
        index: Pictures by the endings of their paths.
        split: The split of the file.
    """
    alike: list[Path] = []
    for name in names:
        plain = composed(name).replace("\\", "/")
        for spelling in (plain, plain.rpartition("/")[2]):
            pictures = list(index.get(spelling, ()))
            for narrower in (
                [picture for picture in pictures if picture.parent == file.parent],
                [picture for picture in pictures if split_in(picture.relative_to(path)) == split],
            ):
                pictures = narrower if len(pictures) > 1 and narrower else pictures
            if len(pictures) == 1:
                return pictures[0]
            alike = alike or pictures
    if alike:
        raise InputError(
            f"pictures named in {file} must be told apart by their names",
            f"{alike[0]} and {alike[1]}",
        )
    raise InputError(f"pictures named in {file} must be in {path}", f"{names[0]}, not there")


def occurring_names(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The names of classes that boxes have, in the order of the alphabet.

    Raises:
        InputError: There are no boxes.
    """
    labels = sorted({thing.label for entry in entries for thing in entry.things or ()})
    return with_unique_names(labels, "the boxes to train on")
