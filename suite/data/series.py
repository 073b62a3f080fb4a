"""Series of numbers: made by formulas, or read from a CSV file, and the windows of them."""

import csv
import dataclasses
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from suite.data.examples import Examples, Source
from suite.data.sources import MADE_HERE
from suite.data.tables.cells import listed, number_in
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

Formula = Literal["mackey_glass", "sine"]

SHARES = (0.7, 0.1)  # of a series that are for training and validation; the rest is the test
STEPS_OF_A_UNIT = 10  # of time, in the solution of the differential equation
TRANSIENT = 1000  # units of time that are left out, until the solution is on its attractor
SINE_STEPS = 5  # of a radian


def mackey_glass(length: int, delay: int = 17) -> np.ndarray:
    """A solution of the equation of Mackey and Glass, `(length,)`, float64, a value a unit of time.

    The rate of change is `0.2 * y / (1 + y**10) - 0.1 * x`, where `y` is what `x` was `delay` units
    of time ago. It is chaotic for delays from 17 on. It is solved by Runge and Kutta's method of
    fourth order, in steps of a tenth.

    Args:
        length: Number of values.
        delay: Units of time.

    Reference:
        Mackey and Glass, 1977, Oscillation and Chaos in Physiological Control Systems,
        https://doi.org/10.1126/science.267326
    """
    lag, size = delay * STEPS_OF_A_UNIT, 1 / STEPS_OF_A_UNIT
    values = [1.2] * (lag + 1)

    def gain(past: float) -> float:
        return 0.2 * past / (1 + past**10)

    for number in range((TRANSIENT + length) * STEPS_OF_A_UNIT):
        x, past, following = values[-1], values[number], values[number + 1]
        begin, middle, end = gain(past), gain((past + following) / 2), gain(following)
        k1 = begin - 0.1 * x
        k2 = middle - 0.1 * (x + size / 2 * k1)
        k3 = middle - 0.1 * (x + size / 2 * k2)
        k4 = end - 0.1 * (x + size * k3)
        values.append(x + size / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    first = lag + TRANSIENT * STEPS_OF_A_UNIT
    return np.array(values[first::STEPS_OF_A_UNIT][:length])


def generate(formula: Formula, length: int, delay: int = 17) -> np.ndarray:
    """A series `(length,)`, float64.

    `sine` has a step of 1/5 radian, `mackey_glass` one value a unit of time; `delay` is of the
    latter.
    """
    if formula == "sine":
        return np.sin(np.arange(length) / SINE_STEPS)
    return mackey_glass(length, delay)


def read_series(path: Path, column: str | None = None) -> np.ndarray:
    """Reads a column of a CSV file, with or without a header, `(rows,)`, float64.

    Args:
        path: The file, in UTF-8, with cells between commas, semicolons or tabs.
        column: Name of the column; by default the last one.

    Raises:
        InputError: The file cannot be read, has no such column, or a cell is no finite number.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError("`data` must be a CSV file in UTF-8", f"{path}, unreadable") from None
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    try:
        rows = [
            row
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise InputError(
            "`data` must be a CSV file with a value in a row", f"{path}: {error}"
        ) from None
    if not rows:
        raise InputError("`data` must be a CSV file with a series in a column", f"{path}, empty")
    header = [cell.strip() for cell in rows[0]]
    # A value that is missing is no name. One that is a number may be, beside others that are text.
    is_text = [math.isnan(number_in(c)) and c.lower() not in ("", "nan") for c in header]
    has_header = is_text[-1] or (column in header and any(is_text))
    if column is None:
        place = len(header) - 1
    elif has_header and column in header:
        place = header.index(column)
    else:
        names = ", ".join(header) if has_header else "none with a name"
        raise InputError(f"`column` must be a column of {path}: {names}", column)
    values = []
    for number, row in enumerate(rows[has_header:], start=1 + has_header):
        if len(row) > len(header):  # as of decimals with commas, the delimiter of cells
            raise InputError(
                f"{path}, row {number}, must have no more cells than the first row, {len(header)}",
                listed(row),
            )
        cell = row[place].strip() if place < len(row) else ""
        values.append(number_in(cell))
        if not math.isfinite(values[-1]):
            raise InputError(f"{path}, row {number}, must be a finite number", cell or "nothing")
    return np.array(values)


def load_series(
    run: "Run", formula: Formula, length: int, delay: int, column: str | None
) -> tuple[str, np.ndarray]:
    """The name of a series, and its values `(length,)`, float64.

    Args:
        run: Its `data` names a file; its `arrays` hold the series as the inputs of `train`.
        formula: Makes the series if the run names none.
        length: Number of values of a series that is made.
        delay: Of `mackey_glass`.
        column: Of a file.

    Raises:
        InputError: The series cannot be read, or is not of finite numbers that vary.
    """
    if run.arrays is not None:
        name, given = run.arrays.name, np.asarray(run.arrays.train.in_memory().inputs)
        if len(run.arrays.splits()) > 1:
            raise InputError(
                "`data` must be one series, as `train`, which is split by time",
                ", ".join(run.arrays.splits()),
            )
        if given.dtype.kind not in "biuf" or given.size != len(given):
            raise InputError(
                "`data` must be a series of numbers, one in a row", f"{given.dtype} {given.shape}"
            )
        series = given.astype(np.float64).ravel()
    elif run.data in MADE_HERE:
        name, series = f"synthetic:{formula}", generate(formula, length, delay)
    # Not with methods of Path, which raise for long names.
    elif run.data == "tfds" or not os.path.isfile(run.data):  # noqa: PTH113
        raise InputError("`data` must be auto, or the path of a CSV file", run.data)
    else:
        name, series = run.data, read_series(Path(run.data), column)
    if not np.isfinite(series).all():
        place = int(np.flatnonzero(~np.isfinite(series))[0])
        raise InputError("`data` must be of finite numbers", f"{series[place]} at place {place}")
    if len(series) and series.min() == series.max():
        raise InputError("`data` must be a series that varies", f"{name}, always {series[0]:g}")
    return name, series


def windows(series: np.ndarray, length: int, stride: int) -> Examples:
    """Windows of a series `(windows, length, 1)`, with the next values as targets, alike.

    Args:
        series: `(values,)`, at least one more than `length`.
        length: Values of a window.
        stride: Distance from the begin of a window to that of the next one.
    """
    rows = np.arange(0, len(series) - length, stride)[:, None] + np.arange(length)
    return Examples(series[rows][..., None], series[rows + 1][..., None])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Windows:
    """How a series is cut into windows.

    Args:
        washout: Values at the begin of every window that only lead up to the others.
        window: Further values of a window for training.
        horizon: Further values of a window for validation and test, whose begins lie as far apart.
    """

    washout: int
    window: int
    horizon: int

    def source(self, name: str, series: np.ndarray) -> Source:
        """The first 70 % of a series for training, 10 % for validation, and the rest for the test.

        Raises:
            InputError: A part is shorter than a window of it.
        """
        ends = [round(share * len(series)) for share in np.cumsum(SHARES)]
        parts = np.split(series, ends)
        lengths = [self.washout + self.window, *[self.washout + self.horizon] * 2]
        shares = [*SHARES, 1 - sum(SHARES)]
        needed = max(
            math.ceil((length + 1) / share) for length, share in zip(lengths, shares, strict=True)
        )
        if any(len(part) <= length for part, length in zip(parts, lengths, strict=True)):
            raise InputError(
                f"`washout` must be shorter, or the series have about {needed} values",
                f"a wash-out of {self.washout}, and {len(series)} values",
            )
        strides = (self.window, self.horizon, self.horizon)
        train, validation, test = map(windows, parts, lengths, strides)
        return Source(name=name, train=train, validation=validation, test=test)
