"""Loads small tables: rows of numbers and texts, and the class or the number of every row.

A table comes from a CSV file, as spreadsheets, pandas and R write it, from arrays or a data frame,
or from TensorFlow Datasets. Every column of numbers becomes one feature, and every column of texts
one feature for each category. `TablePreparation` converts the cells, in training and in the export.
"""

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tensorflow as tf

from suite.data import sources
from suite.data.examples import SPLITS, Examples, Source
from suite.data.folders import composed
from suite.data.tables.cells import LARGEST, listed, number_in, stripped, warn_left_out
from suite.data.tables.csv_files import DECIMAL_COMMA, THOUSANDS, is_index, read_csv
from suite.data.tables.preparation import Column, TablePreparation, of_numbers
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

Missing = Literal["refuse", "fill", "drop"]
Categories = Literal["one_hot", "refuse"]

MOST_CATEGORIES = 100  # in a column; more are names or sentences, not categories
FEW_CLASSES = 10  # up to this many different values count as classes, even if each occurs once
# What loads a table in scikit-learn: tables whose label is a class, and those where it is a number.
CLASSES = {"iris": "load_iris", "wine": "load_wine", "breast_cancer": "load_breast_cancer"}
NUMBERS = {"diabetes": "load_diabetes", "california": "fetch_california_housing"}
IRIS_FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
IRIS_SPECIES = ("setosa", "versicolor", "virginica")
LABEL_NAMES = frozenset({"label", "labels", "class", "target", "species", "y"})


def load_table(
    run: "Run",
    dataset: str = "iris",
    label: str | None = None,
    missing: Missing = "refuse",
    categories: Categories = "one_hot",
    leave_out: Sequence[str] = (),
    numeric: bool = False,
    needs_label: bool = True,
) -> Source:
    """Loads a table as features `(rows, features)`, float32, and labels.

    Labels are `0..classes-1`, int32; with `numeric` they are numbers, float32.

    Categories and means are computed from the whole table, or from `train` if the source has
    splits. So rows that are held out later contribute to them, but their labels do not.

    Args:
        run: The run, for its `data`, `data_dir`, `in_memory`, `min_per_class` and `arrays`. The
            inputs of `arrays` may be `(rows, columns)`, columns by name, or a data frame; the
            targets are one label for every row.
        dataset: Name of the dataset in TensorFlow Datasets, or in `CLASSES` and `NUMBERS`. Those
            are taken from scikit-learn, unless `run.data` is `tfds`; of iris, which both have, that
            of TensorFlow Datasets is preferred.
        label: Column that holds the label; by default the only one named `label`, `labels`,
            `class`, `target`, `species` or `y`, in any case, or else the last.
        missing: Treatment of missing cells: `refuse`; `fill` with the mean of a numeric column, and
            with no category for text; or `drop` the row.
        categories: Treatment of columns of texts: `one_hot` features, or `refuse`.
        leave_out: Columns that are not features.
        numeric: Whether the label is a number rather than a class.
        needs_label: Whether a table must have labels. If not, those in memory have them as targets
            or not at all; and without `label` the column of a file that `label` would be by default
            is one of classes only if it has a usual name or texts, and a feature otherwise.

    Raises:
        InputError: The table cannot be found or read, or a cell, a column or the labels cannot be
            used.
    """
    preparation = TablePreparation.from_record(run.preparation) if run.preparation else None
    label = None if label is None else composed(label)
    left_out = tuple(map(composed, leave_out))
    reading = _Reading(label, missing, categories, left_out, preparation, numeric, needs_label)
    in_scikit_learn = NUMBERS if numeric else CLASSES
    if run.data == "auto" and dataset in in_scikit_learn.keys() - {"iris"}:
        run = dataclasses.replace(run, data="embedded")
    if run.arrays is not None:
        run = dataclasses.replace(run, arrays=reading.read_arrays(run.arrays))
    return sources.load(
        run,
        tfds_name=dataset,
        from_tfds=reading.read_tfds,
        embedded=lambda: _embedded(dataset, in_scikit_learn),
        from_path=reading.read_csv_file,
    )


def _embedded(dataset: str, loaders: Mapping[str, str]) -> Source:
    """Loads a table with scikit-learn.

    Args:
        dataset: Its name.
        loaders: Names of scikit-learn's functions by the name of the table.
    """
    import sklearn.datasets

    if dataset not in loaders:
        raise InputError(
            f"`dataset` must be one of: {', '.join(loaders)}; or, with `data` tfds, a name in "
            "TensorFlow Datasets",
            dataset,
        )
    try:
        bunch = getattr(sklearn.datasets, loaders[dataset])()
    except OSError as error:  # some tables are downloaded on the first call
        raise InputError(
            f"{dataset} must be downloaded once by scikit-learn; `data` takes a CSV instead",
            type(error).__name__,
        ) from error
    names = tuple(name.removesuffix(" (cm)").replace(" ", "_") for name in bunch.feature_names)
    numeric = loaders is NUMBERS
    targets = bunch.target.astype(np.float32 if numeric else np.int32)
    return Source(
        name=f"embedded:{dataset}",
        train=Examples(bunch.data.astype(np.float32), targets),
        class_names=() if numeric else tuple(str(name) for name in bunch.target_names),
        feature_names=names,
        preparation=of_numbers(names),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Table:
    """A table of texts, as in a CSV file, with empty cells where a value is missing.

    Args:
        name: Path or other name, for errors.
        numbers: The number of every row, for errors.
        cells: The cells of all rows, by the name of the column.
        label: Name of the column of labels; None without labels.
        labels: The label of every row; empty texts without labels.
    """

    name: str
    numbers: Sequence[int]
    cells: Mapping[str, list[str]]
    label: str | None
    labels: list[str]

    def place(self, column: str, row: int) -> str:
        """The place of a cell in words, for errors.

        Args:
            column: Name of the column.
            row: Index of the row, from 0.
        """
        return f"{self.name}, row {self.numbers[row]}, column {column},"

    def rows(self, kept: np.ndarray) -> "_Table":
        """The table with some of its rows only."""
        return dataclasses.replace(
            self,
            numbers=[self.numbers[row] for row in kept],
            cells={name: [cells[row] for row in kept] for name, cells in self.cells.items()},
            labels=[self.labels[row] for row in kept],
        )

    def without(self, names: Collection[str]) -> "_Table":
        """The table without some of its columns."""
        cells = {name: cells for name, cells in self.cells.items() if name not in names}
        return dataclasses.replace(self, cells=cells)


@dataclasses.dataclass(frozen=True)
class _Reading:
    """Reads tables by the options of `load_table`."""

    label: str | None
    missing: Missing
    categories: Categories
    leave_out: tuple[str, ...]
    preparation: TablePreparation | None = None
    numeric: bool = False
    needs_label: bool = True

    def read_tfds(self, builder: Any, source: str) -> Source:
        """Reads a prepared dataset of features, as one vector or by name, and a label.

        Args:
            builder: Builder of the dataset.
            source: Name of the source.
        """
        keys = builder.info.supervised_keys
        if keys is None or len(keys) != 2:
            raise InputError(f"{source} must have features and a label")
        splits: dict[str, Any] = {}
        for name in builder.info.splits.keys() & set(SPLITS):
            values = builder.as_dataset(split=name, batch_size=-1)
            # A key is a name, or names in a structure.
            parts = [tf.nest.map_structure(values.__getitem__, key) for key in keys]
            splits[name] = Examples(*tf.nest.map_structure(lambda part: part.numpy(), parts))
        if builder.name != "iris" or self.numeric:
            names = tuple(getattr(builder.info.features[keys[1]], "names", None) or ())
            return self.read_arrays(Source(name=source, class_names=names, **splits))
        # TensorFlow Datasets names neither its features nor its classes.
        inputs, targets = splits["train"]
        return Source(
            name=source,
            train=Examples(inputs.astype(np.float32), targets.astype(np.int32)),
            class_names=IRIS_SPECIES,
            feature_names=IRIS_FEATURES,
            preparation=of_numbers(IRIS_FEATURES),
        )

    def read_csv_file(self, path: Path) -> Source:
        """Reads a CSV file with a header."""
        name = str(path)
        numbers, cells, notes = read_csv(path)
        usual = self._label_of(name, cells)
        is_feature = not self.needs_label and self._is_feature(usual, cells[usual])
        label = None if is_feature else usual
        labels = [""] * len(numbers) if label is None else cells.pop(label)
        table = _Table(name=name, numbers=numbers, cells=cells, label=label, labels=labels)
        table = self._without_unwanted(table)
        if self.preparation is None and (
            indices := [
                column
                for column, cells in table.cells.items()
                if is_index(column, cells, may_count=self.numeric)
            ]
        ):
            notes["index"] = ", ".join(indices)
            warn_left_out("columns that only number or name the rows", notes["index"], name)
            table = table.without(indices)
        fields = self._fields({"train": table})
        return Source(name=name, notes={**({"label": label} if label else {}), **notes}, **fields)

    def read_arrays(self, source: Source) -> Source:
        """Converts examples whose inputs are `(rows, columns)`, columns by name or a data frame."""
        tables = {}
        for split, examples in source.splits().items():
            table = self._in_memory(f"{source.name}, {split}", examples, source.feature_names)
            tables[split] = self._without_unwanted(table, prepared=source.preparation is not None)
        return dataclasses.replace(source, **self._fields(tables, source))

    def _in_memory(self, name: str, examples: Examples, feature_names: Sequence[str]) -> _Table:
        """Converts examples to a table of that name."""
        cells = _columns(name, examples.inputs, feature_names)
        label: str | None = "label"
        if examples.targets is None and self.label is None and not self.needs_label:
            label, labels = None, [""] * len(next(iter(cells.values()), []))
        elif examples.targets is None:
            label = self._label_of(name, cells)
            labels = cells.pop(label)
        else:
            labels = _texts(name, "labels", examples.targets)
        lengths = {len(column) for column in (labels, *cells.values())}
        if len(lengths) > 1:
            raise InputError(
                f"{name} must have as many labels as rows in every column",
                ", ".join(map(str, sorted(lengths))),
            )
        rows = range(len(labels))
        return _Table(name=name, numbers=rows, cells=cells, label=label, labels=labels)

    def _label_of(self, name: str, columns: Collection[str]) -> str:
        """The name of the column that holds the label.

        Args:
            name: Name of the table.
            columns: Names of its columns.
        """
        names = list(columns)
        if self.label is not None:
            if self.label not in names:
                raise InputError(f"`label` must be a column of {name}: {listed(names)}", self.label)
            return self.label
        if self.preparation is not None and self.preparation.label in names:
            return self.preparation.label
        known = [column for column in names if column.casefold() in LABEL_NAMES]
        if len(known) != 1 or known[0] == names[-1]:
            return names[-1]
        log.warning("%s: the label is taken to be column %s.", name, known[0])
        return known[0]

    def _is_feature(self, name: str, cells: list[str]) -> bool:
        """Whether a column that might hold labels, which need not be there, is a feature instead.

        Args:
            name: Name of the column, the default one of labels.
            cells: Its cells.
        """
        if self.label is not None:
            return False
        if self.preparation is not None:
            return any(column.name == name for column in self.preparation.columns)
        present = list(filter(None, cells))
        numbers = not any(math.isnan(number_in(cell)) for cell in present)
        return not _are_classes(present) or (numbers and name.casefold() not in LABEL_NAMES)

    def _without_unwanted(self, table: _Table, prepared: bool = False) -> _Table:
        """The table without the columns of `leave_out`, or with those of the preparation only.

        Args:
            table: The table.
            prepared: Whether its columns are features already, so that those of `leave_out` may
                have been left out before.
        """
        if self.preparation is not None:
            names = [column.name for column in self.preparation.columns]
            if not set(names) <= table.cells.keys():
                raise InputError(
                    f"{table.name} must have the columns {listed(names)}", listed(table.cells)
                )
            return dataclasses.replace(table, cells={name: table.cells[name] for name in names})
        for name in self.leave_out:
            if name not in table.cells and not prepared:
                raise InputError(
                    f"`leave_out` must be features of {table.name}: {listed(table.cells)}", name
                )
        return table.without([name for name in self.leave_out if name in table.cells])

    def _fields(self, tables: Mapping[str, _Table], known: Source | None = None) -> dict[str, Any]:
        """The fields of a `Source` that follow from its tables.

        Args:
            tables: The tables by split.
            known: A source with names of classes, whose labels are their indices, and groups.
        """
        tables = {split: _labelled(table) for split, table in tables.items()}
        class_names, targets = self._targets(tables, known)
        preparation = self.preparation or self._preparation(tables["train"])
        fields: dict[str, Any] = {
            "class_names": class_names,
            "feature_names": preparation.feature_names,
            "preparation": preparation,
        }
        for split, table in tables.items():
            features, kept = self._features(table, preparation)
            labels = targets.get(split)
            fields[split] = Examples(features, None if labels is None else labels[kept])
            if dropped := len(table.labels) - len(kept):
                warn_left_out("rows with missing cells", dropped, table.name)
            if split == "train" and known and known.groups is not None:
                fields["groups"] = known.groups[np.asarray(table.numbers)[kept]]
        return fields

    def _targets(
        self, tables: Mapping[str, _Table], known: Source | None
    ) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        """The names of the classes, none if labels are numbers; and the targets by split, if any.

        Raises:
            InputError: Labels are not what is asked for, or all alike.
        """
        if tables["train"].label is None:
            return (), {}
        if self.numeric:
            numbers = {split: _numeric_labels(table) for split, table in tables.items()}
            if len(np.unique(numbers["train"])) < 2:
                table = tables["train"]
                raise InputError(
                    f"{table.name} must have two different numbers or more in {table.label}",
                    listed(table.labels[:1]) or "none",
                )
            return (), numbers
        class_names, index = _classes(tables, known.class_names if known else ())
        return class_names, {
            split: np.asarray([index[label] for label in table.labels], np.int32)
            for split, table in tables.items()
        }

    def _preparation(self, table: _Table) -> TablePreparation:
        """The preparation that converts the cells of a table to features.

        Raises:
            InputError: There is no column, or one that cannot become a feature.
        """
        if not table.cells:
            raise InputError(f"{table.name} must have features beside the label {table.label}")
        columns = (self._column(table, name, cells) for name, cells in table.cells.items())
        return TablePreparation(tuple(columns), table.label)

    def _column(self, table: _Table, name: str, cells: Sequence[str]) -> Column:
        present = [cell for cell in cells if cell]
        if not present:
            raise InputError(f"{table.name}, column {name}, must have a cell that is not empty")
        # If at least half of the cells are numbers, a text among them is an error, no category.
        if 2 * sum(math.isnan(number_in(cell)) for cell in present) <= len(present):
            mean = float(np.nanmean(_numbers(table, name), dtype=np.float64))
            return Column(name=name, fill=mean if self.missing == "fill" else None)
        texts = sorted(set(present))
        with_commas = [c for c in present if DECIMAL_COMMA.match(c) or THOUSANDS.match(c)]
        if 2 * len(with_commas) > len(present):
            raise InputError(
                f"{table.place(name, cells.index(with_commas[0]))} must be a number with a decimal "
                "point, and without commas between thousands",
                repr(with_commas[0]),
            )
        if self.categories == "refuse":
            raise InputError(
                f"{table.place(name, cells.index(present[0]))} must be a number, unless "
                "`categories` is one_hot",
                repr(present[0]),
            )
        if len(texts) > MOST_CATEGORIES:
            raise InputError(
                f"{table.name}, column {name}, must have at most {MOST_CATEGORIES} different "
                "texts, unless `leave_out` names it",
                len(texts),
            )
        for text in texts:
            if not text.isprintable():
                place = table.place(name, cells.index(text))
                raise InputError(f"{place} must be printable", repr(text))
        return Column(name=name, categories=tuple(texts))

    def _features(
        self, table: _Table, preparation: TablePreparation
    ) -> tuple[np.ndarray, np.ndarray]:
        """The features `(rows kept, features)` of a table, and the indices of the rows kept.

        Raises:
            InputError: A cell is missing, or is no number in a column of numbers.
        """
        names = [column.name for column in preparation.columns]
        if list(table.cells) != names:
            raise InputError(
                f"{table.name} must have the columns of train: {listed(names)}",
                listed(table.cells),
            )
        complete = np.ones(len(table.numbers), bool)
        tensors = {}
        for column in preparation.columns:
            name, cells = column.name, table.cells[column.name]
            present = np.asarray([bool(cell) for cell in cells])
            if self.missing == "refuse" and not present.all():
                raise InputError(
                    f"{table.place(name, int(np.argmin(present)))} must not be empty, unless "
                    "`missing` is fill or drop",
                    "nothing",
                )
            complete &= present
            tensors[name] = tf.constant(
                cells if column.categories is not None else _numbers(table, name)
            )
        kept = np.flatnonzero(complete) if self.missing == "drop" else np.arange(len(complete))
        if not len(kept):
            raise InputError(f"{table.name} must have a row without missing cells", "none")
        return preparation.features(tensors).numpy()[kept], kept


def _columns(name: str, inputs: Any, feature_names: Sequence[str]) -> dict[str, list[str]]:
    """Converts inputs in memory to cells by column.

    Args:
        name: Name of the table, for errors.
        inputs: An array `(rows, columns)`, columns by name, or a data frame.
        feature_names: Names of the columns of an array; by default `x0`, `x1`, ...
    """
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
        names = list(getattr(inputs, "columns", inputs))
        return {composed(str(column)): _texts(name, column, inputs[column]) for column in names}
    array = np.asarray(inputs)
    if array.ndim != 2:
        raise InputError(f"{name} must have inputs (rows, columns)", f"shape {array.shape}")
    names = list(feature_names) or [f"x{place}" for place in range(array.shape[1])]
    if len(names) != array.shape[1]:
        raise InputError(f"{name} must have {len(names)} columns", array.shape[1])
    return {
        composed(column): _texts(name, column, array[:, place])
        for place, column in enumerate(names)
    }


def _texts(name: str, column: str, values: Any) -> list[str]:
    """Converts the values of a column `(rows,)` to cells, as in a CSV file.

    Args:
        name: Name of the table, for errors.
        column: Name of the column, for errors.
        values: The values; None is a missing one.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name}, {column}, must be one value a row", f"shape {array.shape}")
    return [
        stripped(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
        for value in ("" if value is None else value for value in array.tolist())
    ]


def _labelled(table: _Table) -> _Table:
    """The table without the rows that have no label, whose number is logged, if others have one."""
    if table.label is None:
        return table
    rows = np.flatnonzero([bool(label) for label in table.labels])
    if missing := len(table.labels) - len(rows):
        warn_left_out("rows without a label", missing, table.name)
    return table.rows(rows)


def _numeric_labels(table: _Table) -> np.ndarray:
    """The labels of a table as numbers `(rows,)`, float32.

    Raises:
        InputError: A label is no number, or too large a number.
    """
    numbers = np.asarray([number_in(label) for label in table.labels])
    for row, (label, number) in enumerate(zip(table.labels, numbers, strict=True)):
        if not abs(number) <= LARGEST:
            others = listed(
                name
                for name, cells in table.cells.items()
                if not any(math.isnan(number_in(cell)) for cell in cells if cell)
            )
            raise InputError(
                "`label` must be a column of numbers from -1e15 to 1e15"
                f"{others and f', such as {others}'}",
                f"{label!r} in row {table.numbers[row]} of column {table.label} of {table.name}",
            )
    return numbers.astype(np.float32)


def _classes(
    tables: Mapping[str, _Table], class_names: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names of the classes, and the index of the class by label.

    Args:
        tables: The tables by split.
        class_names: Names of the classes if the labels are their indices; else empty.

    Raises:
        InputError: The labels are no classes, or fewer than two.
    """
    table = tables["train"]
    for part in tables.values():
        for row, label in enumerate(part.labels):
            if not label.isprintable():
                place = part.place(str(part.label), row)
                raise InputError(f"{place} must be printable", repr(label))
    labels = [label for part in tables.values() for label in part.labels]
    if class_names:
        index = {str(number): number for number in range(len(class_names))}
        if unknown := set(labels) - index.keys():
            raise InputError(
                f"{table.name} must have labels from 0 to {len(class_names) - 1}", min(unknown)
            )
        return class_names, index
    if not _are_classes(labels):
        others = listed(
            name for name, cells in table.cells.items() if _are_classes(list(filter(None, cells)))
        )
        raise InputError(
            f"`label` must be a column of classes{others and f', such as {others}'}; this "
            "application predicts no numbers",
            f"column {table.label} of {table.name}, with {len(set(labels))} different values in "
            f"{len(labels)} rows, such as {labels[0]}",
        )
    names = {label: label for label in labels}
    numeric = not any(math.isnan(number_in(label)) for label in names)
    if numeric and any("." in label for label in names):  # 1.0 and 1 are one class
        names = {label: str(int(float(label))) for label in names}
    ordered = sorted(set(names.values()), key=lambda name: (numeric and float(name), name))
    if len(ordered) < 2:
        raise InputError(
            f"{table.name} must have two classes or more in {table.label}", listed(ordered)
        )
    return tuple(ordered), {label: ordered.index(name) for label, name in names.items()}


def _are_classes(labels: Sequence[str]) -> bool:
    """Whether values look like classes rather than measurements, names or sentences."""
    counts = Counter(labels)
    numbers = [number_in(label) for label in counts]
    if any(map(math.isnan, numbers)):
        return len(counts) <= max(FEW_CLASSES, len(labels) / 2)
    whole = all(number.is_integer() for number in numbers)
    # Every class has several rows; of prices or ages, some values occur only once.
    return whole and (len(counts) <= FEW_CLASSES or min(counts.values()) > 1)


def _numbers(table: _Table, name: str) -> np.ndarray:
    """The numbers of a column, float32; NaN for an empty cell.

    Raises:
        InputError: A cell is no number, or too large a number.
    """
    cells = table.cells[name]
    numbers = np.asarray([number_in(cell) for cell in cells])
    for row, (cell, number) in enumerate(zip(cells, numbers, strict=True)):
        if cell and not abs(number) <= LARGEST:
            raise InputError(
                f"{table.place(name, row)} must be a number from -1e15 to 1e15, unless "
                "`leave_out` names the column",
                repr(cell),
            )
    return numbers.astype(np.float32)
