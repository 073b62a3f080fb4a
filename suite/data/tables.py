"""Small tables of numeric features and one label: reading them from anywhere."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.data import sources
from suite.data.examples import Examples, Split
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

LARGEST = 1e15  # so that squares of features stay far from the end of float32
IRIS_FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
IRIS_SPECIES = ("setosa", "versicolor", "virginica")


def load_iris(run: "Run") -> Examples:
    """Fisher's iris, or what `--data` names instead: `(features,)` rows, labels `0..classes-1`."""
    return sources.load(
        run, tfds_name="iris", from_tfds=_from_tfds, embedded=_embedded, from_path=_from_csv
    )


def _from_tfds(builder: Any, source: str) -> Examples:
    everything = builder.as_dataset(split="train", batch_size=-1)
    whole = Split(
        everything["features"].numpy().astype(np.float32),
        everything["label"].numpy().astype(np.int32),
    )
    return Examples(whole, None, IRIS_SPECIES, source, feature_names=IRIS_FEATURES)


def _embedded() -> Examples:
    from sklearn.datasets import load_iris as sklearn_iris

    iris = sklearn_iris()
    whole = Split(iris.data.astype(np.float32), iris.target.astype(np.int32))
    return Examples(whole, None, IRIS_SPECIES, "embedded:iris", feature_names=IRIS_FEATURES)


def _from_csv(path: Path) -> Examples:
    """A CSV with a header: numeric features, and the label in the last column."""
    if path.is_dir():
        raise InputError(f"--data must be a CSV file here. Received: {path}, a folder")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise InputError(
            f"--data must be a CSV file. Received: {path}, unreadable as one"
        ) from None
    if len(lines) < 2 or len(lines[0][1]) < 2:
        raise InputError(
            f"{path} must have a header of features and a label, and rows below it. "
            f"Received: {len(lines)} lines"
        )
    for _, row in lines:
        if not row[-1].isprintable():
            raise InputError(f"{path} must have printable labels. Received: {row[-1]!r}")
    (_, first), *rows = lines
    header = [name.strip() for name in first]
    names = tuple(header[:-1])
    if _is_number(header[0]):
        raise InputError(f"{path} must begin with a header of column names. Received: {header}")
    features = np.empty((len(rows), len(names)), np.float32)
    for place, (number, row) in enumerate(rows):
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}, must have {len(header)} columns "
                f"({', '.join(header)}). Received: {len(row)}"
            )
        for column, (name, value) in enumerate(zip(names, row, strict=False)):
            if not _is_number(value):
                raise InputError(
                    f"{path}, row {number}, column {name}, must be a number. Received: {value!r}"
                )
            features[place, column] = float(value)
    classes = tuple(sorted({row[-1].strip() for _, row in rows}))
    if len(classes) < 2:
        raise InputError(
            f"{path} must have two classes or more in {header[-1]}. Received: {classes}"
        )
    index = {name: label for label, name in enumerate(classes)}
    labels = np.asarray([index[row[-1].strip()] for _, row in rows], np.int32)
    return Examples(Split(features, labels), None, classes, str(path), feature_names=names)


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) <= LARGEST
    except ValueError:
        return False
