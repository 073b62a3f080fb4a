"""Text from files: one file of UTF-8, or a folder of them."""

import logging
from pathlib import Path

from suite.data.examples import SPLITS
from suite.errors import InputError

log = logging.getLogger(__name__)

# Parts of file names that say which split a file is, as in `ptb.valid.txt` or `wiki.test.tokens`.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def read_text(path: Path) -> str:
    r"""The text of a file of UTF-8; a byte order mark is dropped, and every line ends in `\n`.

    Raises:
        InputError: The file cannot be read, or is no UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            "every file of text must be readable", f"{path}: {error.strerror}"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            "every file must be UTF-8 text",
            f"{path}, with the byte 0x{content[error.start]:02x} in line {line}",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_texts(path: Path, skip_broken: bool = False) -> dict[str, list[str]]:
    """The texts of a file, or of all files in a folder, in the order of their names, by split.

    If a file of the folder is named as a split for training is, such as `train.txt`, the names say
    which split a file is, and others are left out, which is logged. Else all are for training.
    Files and folders whose names begin with a dot are passed over.

    Args:
        path: A file or folder.
        skip_broken: Whether files that are no UTF-8 are left out, which is logged, or else an
            error.

    Raises:
        InputError: A file is no UTF-8, or there is no text.
    """
    paths = [path]
    if path.is_dir():
        paths = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not any(p.startswith(".") for p in file.relative_to(path).parts)
        )
    splits = {file: split_of(file) for file in paths}
    if "train" not in splits.values():
        splits = dict.fromkeys(paths, "train")
    texts: dict[str, list[str]] = {name: [] for name in SPLITS}
    for file, split in splits.items():
        if split is None:
            log.warning("%s is left out: its name is that of no split.", file)
            continue
        try:
            texts[split].append(read_text(file))
        except InputError as error:
            if not skip_broken:
                raise
            log.warning("%s is left out: %s.", file, error)
    if not any(text.strip() for text in texts["train"]):
        raise InputError("`data` must hold text to train on", f"{path}, without any")
    return texts


def split_of(path: Path) -> str | None:
    """The split that the name of a file tells, or None."""
    parts = path.name.lower().split(".")
    return next((SPLIT_NAMES[part] for part in parts if part in SPLIT_NAMES), None)
