"""Pairs of sentences: a text and its translation, line by line in two files, or in one table."""

import dataclasses
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.data import sources
from suite.data.examples import Examples, Source
from suite.data.folders import split_named_in
from suite.data.text import numerals
from suite.data.text.files import SHOWN, read_text, texts_in
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

TABLES = (".tsv", ".tab")
MADE = 10_000  # pairs, where there are no others


class Sides(NamedTuple):
    """Sentences and their translations, `(pairs,)` each."""

    source: Sequence[str]
    target: Sequence[str]


def load_pairs(run: "Run", translations: Path | None = None, swap: bool = False) -> Source:
    """Loads pairs of sentences: `inputs` and `targets` are strings `(pairs,)`.

    Args:
        run: The run, for its `data`, `skip_broken` and `arrays`. `data` is a table of two columns
            with a tab between them (`.tsv`); a file of sentences, if `translations` are given; or a
            folder. A folder holds two files, such as `all.de` and `all.en`, or two for each split,
            such as `train.de`, `val.en` and `test_2016.en`. What is translated is the first column,
            or the file that comes first by the end of its name. By default numbers in words are
            made, which are translated from English into Japanese.
        translations: File whose lines are the translations of those of `data`.
        swap: Whether the second of a pair is translated into the first.

    Raises:
        InputError: The files cannot be found or read, do not belong together line by line, or a
            pair lacks a side.
    """

    def read(path: Path) -> Source:
        files = _files(path, translations)
        if isinstance(files, Path):
            splits = {"train": read_table(files, run.skip_broken)}
        else:
            splits = {name: read_files(*pair, run.skip_broken) for name, pair in files.items()}
        return source_of(str(path), splits)

    if translations is not None and run.data in ("auto", *sources.BUILT_IN):
        raise InputError("`data` must be the file of `translations`", run.data)
    source = sources.load(
        run,
        embedded=lambda: source_of(
            "embedded:numbers", {"train": Sides(*zip(*numerals.pairs(MADE), strict=True))}
        ),
        from_path=read,
        from_arrays=_of_arrays,
    )
    if not swap:
        return source
    swapped: dict[str, Any] = {
        name: Examples(split.targets, split.in_memory().inputs)
        for name, split in source.splits().items()
    }
    return dataclasses.replace(source, **swapped)


def _of_arrays(source: Source) -> Source:
    """Pairs given in Python; bytes are UTF-8.

    Raises:
        InputError: A side is no text.
    """
    sides = f"both sides of {source.name}"
    parts: dict[str, Any] = {
        name: Examples(*(texts_in(side, sides) for side in part.in_memory()))
        for name, part in source.splits().items()
    }
    return dataclasses.replace(source, **parts)


def source_of(name: str, splits: Mapping[str, Sides]) -> Source:
    """The source of some splits."""
    rows: dict[str, Any] = {
        split: Examples(np.array(sides.source, object), np.array(sides.target, object))
        for split, sides in splits.items()
    }
    return Source(name=name, **rows)


def read_files(source: Path, target: Path, skip_broken: bool = False) -> Sides:
    """Reads two files of as many lines: a line of `target` translates the same line of `source`.

    Args:
        source: The file of the sentences.
        target: The file of their translations.
        skip_broken: Whether pairs without text on one side are left out, which is logged, or else
            an error.

    Raises:
        InputError: A file is no UTF-8, one has more lines, or a line is empty.
    """
    lines = [_lines(read_text(path)) for path in (source, target)]
    counts = [len(part) for part in lines]
    if counts[0] != counts[1]:
        longer = (source, target)[counts[1] > counts[0]]
        raise InputError(
            "two files of pairs must have as many lines",
            f"{source} with {counts[0]:,} and {target} with {counts[1]:,}; line "
            f"{min(counts) + 1:,} of {longer} is the first without a partner",
        )
    return _complete(zip(*lines, strict=True), (str(source), str(target)), skip_broken)


def read_table(path: Path, skip_broken: bool = False) -> Sides:
    """Reads pairs from the first two columns of a table, with tabs between them.

    Args:
        path: The file.
        skip_broken: Whether lines without two columns of text are left out, which is logged, or
            else an error.

    Raises:
        InputError: The file is no UTF-8, or a line has not both.
    """
    rows = [line.split("\t") for line in _lines(read_text(path))]
    if any(len(row) > 2 for row in rows):
        log.info("%s has more than two columns: the first two are read.", path)
    pairs = ((row[0], row[1] if len(row) > 1 else "") for row in rows)
    return _complete(
        pairs, (f"the first column of {path}", f"the second column of {path}"), skip_broken
    )


def _complete(
    pairs: Iterable[tuple[str, str]],
    names: tuple[str, str],
    skip_broken: bool,
) -> Sides:
    kept, broken = [], []
    for number, pair in enumerate(pairs, 1):
        stripped = tuple(side.strip() for side in pair)
        if all(stripped):
            kept.append(stripped)
            continue
        empty = names[bool(stripped[0])]
        if not skip_broken:
            raise InputError(
                "both sides of a pair must have text; `skip_broken` leaves out pairs that have not",
                f"line {number:,} of {empty}, empty beside {max(stripped, key=len)[:SHOWN]!r}",
            )
        broken.append(number)
    if broken:
        log.warning("%d pairs without text on a side are left out.", len(broken))
    if not kept:
        raise InputError("`data` must have pairs of sentences", f"none in {names[0]}")
    return Sides(*zip(*kept, strict=True))


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _files(path: Path, translations: Path | None) -> Path | dict[str, tuple[Path, Path]]:
    """A table, or two files for each split."""
    if translations is not None:
        if not path.is_file():
            raise InputError("`data` must be a file, whose lines `translations` has", path)
        if not translations.is_file():
            raise InputError("`translations` must be the path of a file", translations)
        return {"train": (path, translations)}
    if path.is_file():
        if path.suffix.lower() not in TABLES:
            raise InputError(
                "`data` must be a table of pairs (.tsv), a folder of two files, or one file beside "
                "its `translations`",
                path,
            )
        return path
    files = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
    tables = [file for file in files if file.suffix.lower() in TABLES]
    if len(files) == len(tables) == 1:
        return tables[0]
    by_split: dict[str, list[Path]] = {}
    for file in files:
        if file.suffix and (split := _split_of(file)):
            by_split.setdefault(split, []).append(file)
    if not by_split and len(files) == 2:
        by_split = {"train": files}
    for split, members in by_split.items():
        if len(members) != 2:
            raise InputError(
                f"the folder {path} must have two files of the {split} split, such as {split}.en "
                f"and {split}.ja",
                ", ".join(file.name for file in members),
            )
    if "train" not in by_split:
        raise InputError(
            f"the folder {path} must have two files of pairs, such as train.en and train.ja",
            ", ".join(file.name for file in files)[:200] or "none",
        )
    ends = {split: tuple(file.suffix for file in members) for split, members in by_split.items()}
    if len({frozenset(pair) for pair in ends.values()}) > 1:
        raise InputError(
            f"all files of {path} must end in the same two languages",
            "; ".join(f"{split}{' and '.join(pair)}" for split, pair in ends.items()),
        )
    return {
        split: tuple(sorted(members, key=lambda file: file.suffix))  # type: ignore[misc]
        for split, members in by_split.items()
    }


def _split_of(path: Path) -> str | None:
    """The split that the beginning of a file's name tells, as in `test_2016_flickr.en`."""
    return split_named_in(re.split("[^a-z]", path.name.lower(), maxsplit=1)[:1])
