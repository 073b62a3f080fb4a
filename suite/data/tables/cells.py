"""The cells of a table: texts that hold a number, a category or nothing."""

import logging
from collections.abc import Iterable
from typing import Any

log = logging.getLogger(__name__)

LARGEST = 1e15  # largest number in a cell, whose square is far from the limit of float32
# What pandas, R, spreadsheets and UCI's archive write for missing values. `None` and `Na` are not
# among them: they can be words.
MISSING_CELLS = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "?"}
)


def number_in(cell: str) -> float:
    """The number in a cell; NaN if there is none."""
    try:
        return float("nan" if "_" in cell else cell)
    except ValueError:
        return float("nan")


def stripped(cell: str) -> str:
    """A cell without surrounding blanks; empty if it is one of `MISSING_CELLS`."""
    cell = cell.strip()
    return "" if cell in MISSING_CELLS else cell


def listed(names: Iterable[str]) -> str:
    """Names in one line: at most the first 20."""
    names = list(names)
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def warn_left_out(what: str, which: Any, name: str) -> None:
    """Logs what of a table is not used.

    Args:
        what: The kind of rows or columns.
        which: Their names or their number.
        name: Name of the table.
    """
    log.warning("%s: %s are left out: %s.", name, what, which)
