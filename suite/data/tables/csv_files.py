"""CSV files as spreadsheets, pandas and R write them: encoding, delimiter, header and cells."""

import codecs
import csv
import io
import itertools
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.data.folders import composed
from suite.data.tables.cells import listed, number_in, stripped, warn_left_out
from suite.errors import InputError

log = logging.getLogger(__name__)

ENOUGH_ROWS = 20  # from this many rows on, a column of distinct values counts as an index
DELIMITERS = "\t;|,"  # first those that are rarer in texts and numbers
DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)$")
DECIMAL_POINT = re.compile(r"^[+-]?\d+\.\d+(?:[eE][+-]?\d+)?$")
THOUSANDS = re.compile(r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$")
# A first line by which Excel is told the delimiter.
DELIMITER_LINE = re.compile(r'"?sep=([\t;|,])"?\r?\n')
INDEX_NAME = re.compile(r"Unnamed: ?\d+|[Ii]ndex|[Rr]ow|#|(.*[^a-z])?id|.*I[dD]")


def read_csv(path: Path) -> tuple[list[int], dict[str, list[str]], dict[str, Any]]:
    """Reads a CSV file.

    Returns:
        The line number of every row, as an editor counts; the cells by column, stripped texts that
        are empty where a value is missing; and notes for the report.

    Raises:
        InputError: The file is no CSV file with a header, columns of different names, and the same
            number of cells in every row.
    """
    if path.is_dir():
        raise InputError("`data` must be a CSV file here", f"{path}, a folder")
    text, encoding = _decoded(path)
    delimiter, lines = _split(text)
    if len(lines) < 2 or len(lines[0][1]) < 2:
        raise InputError(
            f"{path} must have a header of features and a label, and rows below it",
            f"{len(lines)} lines",
        )
    (_, header), *rows = lines
    header = [
        " ".join(composed(name).split()) or f"Unnamed: {place}" for place, name in enumerate(header)
    ]
    _check_header(path, header)
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}, must have {len(header)} columns ({listed(header)})",
                len(row),
            )
    cells = {name: [stripped(row[place]) for _, row in rows] for place, name in enumerate(header)}
    notes: dict[str, Any] = {}
    if encoding is not None:
        notes["encoding"] = encoding
        log.warning("%s: read as %s; if that is wrong, save it as UTF-8.", path, encoding)
    if with_commas := _with_decimal_commas(cells, delimiter):
        notes["decimal"] = ","
        log.warning(
            "%s: commas in the numbers of %s are taken for decimal points.",
            path,
            listed(with_commas),
        )
        for name in with_commas:
            cells[name] = [DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in cells[name]]
    # A delimiter at the end of every row makes an empty column.
    if empty := [name for name, column in cells.items() if not any(column)]:
        notes["empty"] = ", ".join(empty)
        warn_left_out("empty columns", notes["empty"], str(path))
        cells = {name: column for name, column in cells.items() if name not in empty}
    if len(cells) < 2:
        raise InputError(
            f"{path} must have a column of features and one of labels", listed(cells) or "none"
        )
    return [number for number, _ in rows], cells, notes


def _with_decimal_commas(cells: Mapping[str, Sequence[str]], delimiter: str) -> list[str]:
    """The columns whose numbers are written as 1,5.

    In a file with points in numbers, or with commas between cells, 1,500 may be one and a half
    thousand: there a column counts if all its cells are numbers and commas separate no thousands.
    """
    texts = itertools.chain.from_iterable(cells.values())
    is_doubtful = delimiter == "," or any(map(DECIMAL_POINT.match, texts))
    with_commas = []
    for name, column in cells.items():
        commas = [cell for cell in column if "," in cell and DECIMAL_COMMA.match(cell)]
        if not commas:
            continue
        others = [cell for cell in column if cell and not DECIMAL_COMMA.match(cell)]
        are_decimals = not is_doubtful or (
            not all(map(THOUSANDS.match, commas))
            and not any(map(DECIMAL_POINT.match, others))
            and not any(math.isnan(number_in(cell)) for cell in others)
        )
        if are_decimals:
            with_commas.append(name)
    return with_commas


def _decoded(path: Path) -> tuple[str, str | None]:
    """The text of a file, and its encoding if that was guessed, or else None.

    Raises:
        InputError: The file cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError("`data` must be a CSV file", f"{path}, unreadable") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text, guess = _text(content, "utf-16"), None
    elif (text := _text(content, "utf-8-sig")) is not None:
        guess = None
    else:
        texts = {guess: _text(content, guess) for guess in _guesses(content)}
        guess, text = next(((g, t) for g, t in texts.items() if t is not None), (None, None))
    if text is None or "\0" in text:
        raise InputError(
            "`data` must be a CSV file in UTF-8, UTF-16, Shift-JIS (cp932) or cp1252",
            f"{path}, unreadable as one",
        )
    return text, guess


def _guesses(content: bytes) -> list[str]:
    """Western and Japanese encodings that a text without Unicode may have, the likeliest first."""
    from charset_normalizer import from_bytes

    # Lines of ASCII only give no evidence about the encoding.
    lines = b"\n".join(sorted({line for line in content.splitlines() if not line.isascii()}))
    matches = from_bytes(lines, cp_isolation=["cp932", "cp1252"], threshold=1.0)
    ordered = sorted(matches, key=lambda match: (match.chaos, match.encoding != "cp1252"))
    # A short text may have no match. Then cp932 is tried first, which cannot decode all bytes.
    return [*(match.encoding for match in ordered), "cp932", "cp1252"]


def _text(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _split(text: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """Finds the delimiter of a CSV text, and splits its lines.

    A first line as `sep=;` names it. Else each delimiter is scored by the number of rows that have
    as many cells as the header, which must have more than one. Among equal scores the delimiter
    that gives more cells wins.

    Returns:
        The delimiter; and the rows that are not blank, as pairs of line number and cells.
    """
    delimiters = DELIMITERS
    if named := DELIMITER_LINE.match(text):
        delimiters = named[1]
        text = "\n" + text[named.end() :]  # rows keep their line numbers

    def rows(delimiter: str) -> list[tuple[int, list[str]]]:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True
        )
        try:
            return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
        except csv.Error:  # a cell is too long, because this is not the delimiter
            return []

    def agreement(rows: list[tuple[int, list[str]]]) -> tuple[float, int]:
        width = len(rows[0][1]) if rows else 0
        return (sum(len(row) == width for _, row in rows) if width > 1 else 0), width

    candidates = {delimiter: rows(delimiter) for delimiter in delimiters}
    return max(candidates.items(), key=lambda candidate: agreement(candidate[1]))


def _check_header(path: Path, header: list[str]) -> None:
    """Refuses a first row that is no header, and ambiguous names.

    Raises:
        InputError: Names are numbers, occur twice or cannot be printed.
    """
    numbers = [number_in(name) for name in header if not math.isnan(number_in(name))]
    # Columns may be named by consecutive numbers, such as years.
    if numbers and (len(numbers) == 1 or not _consecutive(numbers)):
        raise InputError(f"{path} must begin with a header of column names", listed(header))
    for name, count in Counter(header).items():
        if count > 1:
            raise InputError(
                f"{path} must have columns of different names", f"{count} columns named {name}"
            )
        if not name.isprintable():
            raise InputError(f"{path} must have printable column names", repr(name))


def is_index(name: str, cells: Sequence[str], *, may_count: bool = False) -> bool:
    """Whether a column only numbers or names the rows.

    Such a column must not become a feature: in a sorted file the number of a row predicts its
    class, but nothing about new rows.

    Args:
        name: Name of the column.
        cells: Its cells.
        may_count: Whether numbers that go up by one may be a feature, as days are for a number
            that changes with them. A column that is called an index is one all the same.
    """
    if len(set(cells)) < len(cells):
        return False
    numbers = [number_in(cell) for cell in cells]
    texts = all(map(math.isnan, numbers))
    if INDEX_NAME.fullmatch(name):
        return texts or all(number.is_integer() for number in numbers)
    return len(cells) >= ENOUGH_ROWS and (texts or (not may_count and _consecutive(numbers)))


def _consecutive(numbers: Sequence[float]) -> bool:
    return all(later - earlier == 1 for earlier, later in itertools.pairwise(numbers))
