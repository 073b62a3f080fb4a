"""Reads pictures from folders, one folder for each class."""

import collections
import itertools
import logging
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from suite.data.examples import Examples, Source
from suite.data.folders import composed, files_in, folders_in, split_folders
from suite.data.images.files import is_picture, read, refuse_blank
from suite.data.images.layouts import InputOptions, sample_rows
from suite.data.images.preparation import Preparation, prepare_all
from suite.data.stored import Stored, stays_on_disk
from suite.data.stored import files as stored_files
from suite.errors import InputError
from suite.knobs import InMemory

log = logging.getLogger(__name__)

MOST_NAMED = 5  # of the pictures of a split that cannot be read; the others are counted only
READ_FROM_DISK = {".png", ".jpg", ".jpeg", ".jfif"}  # endings of `files.KEPT_FORMATS`


def read_folder(
    path: Path, options: InputOptions, in_memory: InMemory = "auto", skip_broken: bool = False
) -> Source:
    """Reads class folders; or `train/`, `test/` and `val/` with class folders in them.

    Sub-folders of a class belong to it. A folder that holds pictures only is read without labels.
    Files that are no pictures are skipped and counted, as are pictures beside class folders; hidden
    files and folders are ignored.

    Args:
        path: The folder.
        options: The layout, size and channels of the model's inputs.
        in_memory: `yes`; `no` leaves the pictures on disk, from where each batch reads its own; or
            `auto`, which does so if they would take more than 2 GiB.
        skip_broken: Whether to leave out pictures that cannot be read; all are read once more to
            discover these.

    Raises:
        InputError: There are no pictures, or no classes; a picture cannot be read; or a drawing
            shows nothing.
    """
    folders = {"train": path, **split_folders(path, _has_pictures)}
    class_names = _class_names(folders["train"])
    skipped: collections.Counter[str] = collections.Counter()
    not_for_disk: list[Path] = []
    files, labels = {}, {}
    for split, folder in folders.items():
        files[split], labels[split] = _files_and_labels(folder, class_names, skipped)
        if skip_broken:
            files[split], labels[split] = _without_broken(
                files[split], labels[split], skipped, not_for_disk
            )
    present = set(labels["train"].tolist()) if labels["train"] is not None else set()
    if empty := [name for label, name in enumerate(class_names) if label not in present]:
        raise InputError(
            "every class must have pictures that can be read", f"none of {', '.join(empty)}"
        )
    notes = _note_skipped(skipped, sum(map(len, files.values())))
    try:
        sample = [read(files["train"][row]).pixels for row in sample_rows(len(files["train"]))]
    except InputError:
        raise _broken_error(files["train"]) from None
    preparation = options.preparation(sample)
    size = math.prod(preparation.shape) * sum(map(len, files.values()))
    splits: dict[str, Any]
    if stays_on_disk(in_memory, size):
        if not skip_broken:
            log.info(
                "A picture that cannot be read will end the training when its batch comes; "
                "`--skip-broken` looks for such pictures now."
            )
        _refuse_re_encoded(not_for_disk)
        splits = {split: on_disk(files[split], preparation, labels[split]) for split in folders}
    else:
        re_encoded: list[Path] = []
        splits = {
            split: Examples(_prepared(files[split], preparation, re_encoded), labels[split])
            for split in folders
        }
        if re_encoded:
            notes["re_encoded"] = len(re_encoded)
    return Source(
        name=str(path),
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        class_names=class_names,
        preparation=preparation,
        notes=notes,
    )


def _has_pictures(folder: Path) -> bool:
    return any(map(is_picture, files_in(folder)))


def _class_names(folder: Path) -> tuple[str, ...]:
    """The names of the class folders; empty if the folder holds pictures only."""
    names = sorted(composed(child.name) for child in folders_in(folder))
    if not names and any(files_in(folder)):
        return ()
    if len(names) < 2:
        raise InputError(
            f"{folder} must hold two class folders or more, or pictures alone where no labels are "
            "needed",
            ", ".join(names) or "none",
        )
    for name, following in itertools.pairwise(names):
        if name == following:
            raise InputError("class folders must have different names", f"{name}, twice")
    for name in names:
        if not name.isprintable():
            raise InputError("class folders must have printable names", repr(name))
    return tuple(names)


def _files_and_labels(
    folder: Path, class_names: tuple[str, ...], skipped: collections.Counter[str]
) -> tuple[list[Path], np.ndarray | None]:
    """The picture files of a split, and their labels `(files,)` if there are classes.

    Adds the endings of all other files to `skipped`, and the number of pictures beside classes.
    """
    class_folders = {composed(child.name): child for child in folders_in(folder)}
    unknown = sorted(class_folders.keys() - set(class_names))
    if unknown:
        raise InputError(
            f"{folder} must have the class folders of the training split: "
            f"{', '.join(class_names) or 'none'}",
            ", ".join(unknown),
        )
    files: list[Path] = []
    labels: list[int] = []
    if not class_names:
        class_folders[""] = folder
    for label, name in enumerate(class_names or [""]):
        if name not in class_folders:
            continue
        others: collections.Counter[str] = collections.Counter()
        count = len(files)
        for file in files_in(class_folders[name]):
            if is_picture(file):
                files.append(file)
            else:
                others[file.suffix.lower() or "without an ending"] += 1
        if len(files) == count:
            raise InputError(
                f"{class_folders[name]} must hold image files", _counted(others) or "none"
            )
        labels.extend([label] * (len(files) - count))
        skipped.update(others)
    if not class_names:
        return files, None
    if not files:
        raise InputError(
            f"{folder} must have the class folders of the training split: {', '.join(class_names)}",
            "none of them",
        )
    beside = [file for file in folder.iterdir() if file.is_file() and file.name[0] != "."]
    if count := sum(map(is_picture, beside)):
        skipped["outside of class folders"] += count
    return files, np.asarray(labels, np.int32)


def _without_broken(
    files: list[Path],
    labels: np.ndarray | None,
    skipped: collections.Counter[str],
    re_encoded: list[Path],
) -> tuple[list[Path], np.ndarray | None]:
    """Files that can be read, and their labels.

    Adds the number of all others to `skipped`, and those that `read` encodes anew to `re_encoded`.
    """
    broken = _broken(files, re_encoded)
    for error in itertools.islice(broken.values(), MOST_NAMED):
        log.warning("Left out: %s.", error.received)
    skipped.update({"broken": len(broken)} if broken else {})
    kept = [row for row, file in enumerate(files) if file not in broken]
    if not kept:
        raise InputError("there must be pictures that can be read", f"{len(broken)} broken ones")
    return [files[row] for row in kept], labels[kept] if labels is not None else None


def _broken(files: Sequence[Path], re_encoded: list[Path] | None = None) -> dict[Path, InputError]:
    """The files that cannot be read as pictures, and why; `re_encoded` as in `_without_broken`."""

    def reason(file: Path) -> InputError | None:
        try:
            picture = read(file)
        except InputError as error:
            return error
        if re_encoded is not None and picture.re_encoded:
            re_encoded.append(file)
        return None

    with ThreadPoolExecutor() as pool:
        reasons = zip(files, pool.map(reason, files), strict=True)
        return {file: error for file, error in reasons if error is not None}


def _note_skipped(endings: collections.Counter[str], num_pictures: int) -> dict[str, Any]:
    """Warns of files that are no pictures, and returns the note about them for the report."""
    if not endings:
        return {}
    count = endings.total()
    text = f"{count} of {count + num_pictures} files were skipped: {_counted(endings)}"
    log.warning("%s.", text)
    return {"passed_over": text}


def _counted(endings: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {ending}" for ending, count in endings.most_common())


def _broken_error(files: Sequence[Path]) -> InputError:
    """The error for a split with files that cannot be read: names one, and counts the others."""
    first, *others = _broken(files).values()
    also = f", and {len(others)} more" if others else ""
    return InputError(
        "an image file is needed; `skip_broken` leaves others out", f"{first.received}{also}"
    )


def _refuse_re_encoded(files: Sequence[Path]) -> None:
    """Refuses pictures that only Pillow can decode, since others stay on disk as they are."""
    if files:
        also = f", and {len(files) - 1} more" if len(files) > 1 else ""
        raise InputError(
            "pictures that are read from disk must be PNG or JPEG that TensorFlow decodes, PNG "
            "upright; others need `in_memory` yes",
            f"{min(files)}{also}",
        )


def on_disk(files: list[Path], preparation: Preparation, labels: np.ndarray | None) -> Stored:
    """Examples that are read from these files and prepared when a batch needs them."""
    for file in files:
        if file.suffix.lower() not in READ_FROM_DISK:
            raise InputError(
                "pictures that are read from disk must be PNG or JPEG; others need `in_memory` yes",
                file,
            )
    return stored_files(files, preparation, labels)


def _prepared(files: list[Path], preparation: Preparation, re_encoded: list[Path]) -> np.ndarray:
    """Reads and prepares pictures, `(files, height, width, channels)`, uint8.

    Adds the files that `suite.data.images.files.read` had to encode anew to `re_encoded`.
    """

    def pixels() -> Iterable[np.ndarray]:
        for file in files:
            try:
                picture = read(file)
            except InputError:
                raise _broken_error(files) from None
            if picture.re_encoded:
                re_encoded.append(file)
            yield picture.pixels

    inputs = prepare_all(pixels(), preparation)
    for file, prepared in zip(files, inputs, strict=True):
        refuse_blank(prepared, file, preparation)
    return inputs
