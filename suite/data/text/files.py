"""Text from files: one file of UTF-8, or a folder of them."""

import codecs
import logging
from pathlib import Path
from typing import Any

import numpy as np

from suite.data.examples import SPLITS
from suite.data.folders import files_in, split_named_in
from suite.errors import InputError

log = logging.getLogger(__name__)

SHOWN = 60  # characters of a text that an error repeats


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
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            "every file must be UTF-8 text",
            f"{path}, with the byte 0x{content[error.start]:02x} in line {line}",
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def texts_in(given: Any, name: str) -> np.ndarray:
    """Texts given in Python or typed, `(texts,)`, as strings; bytes are UTF-8.

    Args:
        given: An array or list of strings.
        name: What they are, for the error.

    Raises:
        InputError: Something else is given, or characters that are none.
    """
    texts = np.asarray(given)
    if texts.ndim != 1 or not all(isinstance(text, str | bytes) for text in texts.tolist()):
        raise InputError(f"{name} must be texts, (any,)", f"{texts.dtype} {texts.shape}")
    strings = np.empty(len(texts), object)
    for row, text in enumerate(texts.tolist()):
        try:
            strings[row] = (text.encode() if isinstance(text, str) else text).decode()
        except UnicodeError:
            raise InputError(f"{name} must be UTF-8", ascii(text[:SHOWN])) from None
    return strings


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
        paths = sorted(files_in(path))
    splits = {file: split_named_in(file.name.lower().split(".")) for file in paths}
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
