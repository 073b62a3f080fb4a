"""Folders of data: the files in them, and the splits that names of files and folders tell."""

import logging
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from suite.errors import InputError

log = logging.getLogger(__name__)

# Words that say which split a file or a folder is, as in `ptb.valid.txt` or `letters/test`. Of
# several for one split the first counts.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
IGNORED = ("__MACOSX",)  # folders that macOS adds to archives


def files_in(folder: Path) -> Iterator[Path]:
    """All files in a folder and below it, in order, without hidden ones.

    Links to folders are followed, but not to those above; a folder to which several lead is visited
    once.
    """
    root, visited = os.path.realpath(folder), set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        is_above = place != root and os.path.commonpath([place, root]) == place
        if is_above or place in visited:
            folders.clear()
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in IGNORED)
        for name in sorted(names):
            file = Path(parent, name)
            if name[0] != "." and file.is_file():
                yield file


def composed(name: str) -> str:
    """A name in composed characters (NFC).

    macOS writes some letters as two characters where others write one; they look the same.
    """
    return unicodedata.normalize("NFC", name)


def folders_in(path: Path) -> list[Path]:
    """The folders in a folder, in order, without hidden ones."""
    return sorted(
        folder
        for folder in path.iterdir()
        if folder.is_dir() and folder.name[0] != "." and folder.name not in IGNORED
    )


def split_folders(
    path: Path, has_examples: Callable[[Path], bool] | None = None
) -> dict[str, Path]:
    """The folders of splits, by split; none if there is no folder of a training split.

    Args:
        path: The folder that holds them.
        has_examples: Whether a folder holds examples. Where folders may be classes, one that is
            called `train`, has no class folders, and lies beside others with examples is a class.

    Raises:
        InputError: All folders are folders of splits, but none is that of the training split.
    """
    inside = {folder.name.lower(): folder for folder in folders_in(path)}
    splits: dict[str, Path] = {}
    for name, split in SPLIT_NAMES.items():
        if name in inside:
            splits.setdefault(split, inside[name])
    if has_examples and splits.keys() == {"train"} and len(inside) > 1:
        train = splits["train"]
        if not folders_in(train) and all(map(has_examples, inside.values())):
            log.warning("%s is taken for a class, since it has no class folders.", train)
            return {}
    if "train" in splits:
        return splits
    if splits and len(splits) == len(inside):
        raise InputError(
            f"{path} must hold a folder train beside those of other splits", ", ".join(inside)
        )
    return {}


def split_named_in(words: Iterable[str]) -> str | None:
    """The split that the first of some words names, in lower case, that names any; else None."""
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
