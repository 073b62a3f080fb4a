"""Converts the cells of a table to features, in training and in the export."""

import dataclasses
import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from suite.data.examples import recorded_preparation
from suite.data.tables.cells import LARGEST, MISSING_CELLS, number_in
from suite.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, and the conversion of its cells to features.

    Args:
        name: Name in the header.
        categories: The texts in the column, in the order of their features; None for numbers.
        fill: Number that replaces missing ones; None if they stay NaN. A missing text belongs to no
            category.
    """

    name: str
    categories: tuple[str, ...] | None = None
    fill: float | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of the column; for texts `name=category`, for every category."""
        if self.categories is None:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)

    def features(self, cells: tf.Tensor) -> tf.Tensor:
        """Converts cells `(batch,)`, numbers or strings, to `(batch, features)`, float32."""
        if self.categories is not None:
            texts = tf.strings.strip(cells)[:, None]
            return tf.cast(tf.equal(texts, tf.constant(self.categories)[None]), tf.float32)
        numbers = tf.cast(cells, tf.float32)[:, None]
        if self.fill is None:
            return numbers
        return tf.where(tf.math.is_nan(numbers), tf.constant(self.fill, tf.float32), numbers)


@dataclasses.dataclass(frozen=True)
class TablePreparation:
    """Converts the cells of rows to features, with TensorFlow ops only, so that it can be exported.

    Numbers do not change. A text becomes one feature for every category of its column: 1 for the
    category that it is, and 0 for the others. A text that is not in the training data belongs to no
    category.

    Args:
        columns: The columns, in the order of their features.
        label: Name of the column that holds the label, where it is a part of a table.
    """

    columns: tuple[Column, ...]
    label: str | None = dataclasses.field(default=None, compare=False)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "TablePreparation":
        """Makes a preparation from its record in a report or an export.

        Raises:
            KeyError: The record has no columns.
            TypeError: A column has fields of another version.
        """
        columns = (
            {**column, "categories": column["categories"] and tuple(column["categories"])}
            for column in record["columns"]
        )
        return cls(tuple(Column(**column) for column in columns), record.get("label"))

    @classmethod
    def of_export(cls, metadata: Mapping[str, Any]) -> "TablePreparation":
        """The preparation in an export's metadata; one of numeric columns if it records none."""
        if record := recorded_preparation(metadata):
            return cls.from_record(record)
        return of_numbers(metadata["feature_names"])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of every feature."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def inputs(self) -> tuple[tf.TensorSpec, ...]:
        """The input of every column in a signature: cells `(batch,)`, float32 or string.

        Its name is that of the column, with underscores for all but ASCII letters and digits. If
        that is no valid name, a keyword of Python such as `class`, or the same as that of another
        column, the input is named by its place: `column_1` for the first.
        """
        names = [re.sub(r"\W", "_", column.name, flags=re.ASCII) for column in self.columns]
        counts = Counter(name.casefold() for name in names)
        for place, name in enumerate(names):
            usable = re.match(r"(?!column_\d+$|self$)[a-z]", name, re.IGNORECASE)
            if not usable or counts[name.casefold()] > 1 or keyword.iskeyword(name):
                names[place] = f"column_{place + 1}"
        return tuple(
            tf.TensorSpec((None,), tf.float32 if column.categories is None else tf.string, name)
            for name, column in zip(names, self.columns, strict=True)
        )

    def features_of_row(self, cells: Sequence[str]) -> np.ndarray:
        """The model's input `(1, features)` for one row as a user types it, in order of columns.

        Raises:
            InputError: There are more or fewer cells than columns, or one is no number where it
                must be one.
        """
        names = [column.name for column in self.columns]
        if len(cells) != len(names):
            raise InputError(
                f"a row must have {len(names)} values ({', '.join(names)})", len(cells)
            )
        tensors = {}
        for column, cell in zip(self.columns, cells, strict=True):
            text = cell.strip()
            if column.categories is None:
                number = number_in(text)
                missing = text in MISSING_CELLS and column.fill is not None
                if not (missing or abs(number) <= LARGEST):
                    raise InputError(f"{column.name} must be a number", repr(cell))
                tensors[column.name] = tf.constant([number], tf.float32)
            else:
                tensors[column.name] = tf.constant([text])
        return self.features(tensors).numpy()

    def features(self, cells: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Converts the cells of a batch of rows to the model's input.

        Args:
            cells: Cells `(batch,)` by the name of the column: float32, NaN if a number is missing,
                or string, empty if a text is missing.

        Returns:
            `(batch, features)`, float32.
        """
        return tf.concat([column.features(cells[column.name]) for column in self.columns], axis=1)


def of_numbers(names: Sequence[str]) -> TablePreparation:
    """The preparation of a table without texts and without missing cells."""
    return TablePreparation(tuple(Column(name=name) for name in names))
