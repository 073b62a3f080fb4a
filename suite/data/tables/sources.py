"""Small tables: rows of numbers and texts, and the class of every row.

A table comes from a CSV file, as spreadsheets, pandas and R write it, from arrays or a data frame,
or from TensorFlow Datasets. Every column of numbers becomes one feature, and every column of texts
one feature for each category. `TablePreparation` converts the cells, in training and in the export.
"""

import codecs
import csv
import dataclasses
import io
import itertools
import keyword
import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tensorflow as tf

from suite.data import sources
from suite.data.examples import Examples, Source
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

Missing = Literal["refuse", "fill", "drop"]
Categories = Literal["one_hot", "refuse"]

SPLITS = ("train", "validation", "test")
LARGEST = 1e15  # largest number in a cell, whose square is far from the limit of float32
MOST_CATEGORIES = 100  # in a column; more are names or sentences, not categories
FEW_CLASSES = 10  # so many different values are classes even if every row has another one
ENOUGH_ROWS = 20  # from which a column of distinct values is taken for an index of the rows
EMBEDDED = ("iris", "wine", "breast_cancer")  # in scikit-learn
IRIS_FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
IRIS_SPECIES = ("setosa", "versicolor", "virginica")
DELIMITERS = "\t;|,"  # first those that are rarer in texts and numbers
DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)$")
DECIMAL_POINT = re.compile(r"^[+-]?\d+\.\d+(?:[eE][+-]?\d+)?$")
LABEL_NAMES = frozenset({"label", "labels", "class", "target", "species", "y"})
INDEX_NAME = re.compile(r"Unnamed: ?\d+|[Ii]ndex|[Rr]ow|#|(.*[^a-z])?id|.*I[dD]")
# What pandas, R, spreadsheets and UCI's archive write for missing values. `None` and `Na` are not
# among them: they can be words.
MISSING_CELLS = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "?"}
)


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
    """

    columns: tuple[Column, ...]

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> "TablePreparation":
        """Makes a preparation of its record in a report or an export."""
        columns = (
            {**column, "categories": column["categories"] and tuple(column["categories"])}
            for column in record["columns"]
        )
        return cls(tuple(Column(**column) for column in columns))

    @classmethod
    def of_export(cls, metadata: Mapping[str, Any]) -> "TablePreparation":
        """The preparation in the metadata of an exported model; if there is none, of numbers."""
        if record := metadata.get("notes", {}).get("preparation"):
            return cls.recorded(record)
        return _of_numbers(metadata["feature_names"])

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
                number = _number(text)
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


def load_table(
    run: "Run",
    dataset: str = "iris",
    label: str | None = None,
    missing: Missing = "refuse",
    categories: Categories = "one_hot",
    leave_out: Sequence[str] = (),
) -> Source:
    """Loads a table as features `(rows, features)`, float32, and labels `0..classes-1`.

    Categories and means are computed from the whole table, or from `train` if the source has
    splits. So rows that are held out later contribute to them, but their labels do not.

    Args:
        run: The run, for its `data`, `data_dir`, `in_memory`, `min_per_class` and `arrays`. The
            inputs of `arrays` may be `(rows, columns)`, columns by name, or a data frame; the
            targets are one label for every row.
        dataset: Name of the dataset in TensorFlow Datasets and, after `load_`, in scikit-learn.
        label: Column that holds the class; by default the only one named `label`, `class`,
            `target`, `species` or `y`, or else the last.
        missing: Treatment of missing cells: `refuse`; `fill` with the mean of a numeric column, and
            with no category for text; or `drop` the row.
        categories: Treatment of columns of texts: `one_hot` features, or `refuse`.
        leave_out: Columns that are not features.

    Raises:
        InputError: The table cannot be found or read, or a cell, a column or the labels cannot be
            used.
    """
    preparation = TablePreparation.recorded(run.preparation) if run.preparation else None
    reading = _Reading(label, missing, categories, tuple(leave_out), preparation)
    if run.arrays is not None:
        run = dataclasses.replace(run, arrays=reading.arrays(run.arrays))
    return sources.load(
        run,
        tfds_name=dataset,
        from_tfds=reading.tfds,
        embedded=lambda: _embedded(dataset),
        from_path=reading.csv,
    )


def _embedded(dataset: str) -> Source:
    import sklearn.datasets

    if dataset not in EMBEDDED:
        raise InputError(f"`data` must be tfds or a path: {dataset} is not embedded")
    bunch = getattr(sklearn.datasets, f"load_{dataset}")()
    names = tuple(name.removesuffix(" (cm)").replace(" ", "_") for name in bunch.feature_names)
    return Source(
        name=f"embedded:{dataset}",
        train=Examples(bunch.data.astype(np.float32), bunch.target.astype(np.int32)),
        class_names=tuple(str(name) for name in bunch.target_names),
        feature_names=names,
        preparation=_of_numbers(names),
    )


def _of_numbers(names: Sequence[str]) -> TablePreparation:
    """The preparation of a table without texts and without missing cells."""
    return TablePreparation(tuple(Column(name=name) for name in names))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Table:
    """A table of texts, as in a CSV file, with empty cells where a value is missing.

    Args:
        name: Path or other name, for errors.
        numbers: The number of every row, for errors.
        cells: The cells of all rows, by the name of the column.
        label: Name of the column of labels.
        labels: The label of every row.
    """

    name: str
    numbers: Sequence[int]
    cells: Mapping[str, list[str]]
    label: str
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

    def tfds(self, builder: Any, source: str) -> Source:
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
            splits[name] = Examples(
                *(tf.nest.map_structure(lambda tensor: tensor.numpy(), values[k]) for k in keys)
            )
        if builder.name != "iris":
            names = tuple(getattr(builder.info.features[keys[1]], "names", None) or ())
            return self.arrays(Source(name=source, class_names=names, **splits))
        # TensorFlow Datasets names neither its features nor its classes.
        inputs, targets = splits["train"]
        return Source(
            name=source,
            train=Examples(inputs.astype(np.float32), targets.astype(np.int32)),
            class_names=IRIS_SPECIES,
            feature_names=IRIS_FEATURES,
            preparation=_of_numbers(IRIS_FEATURES),
        )

    def csv(self, path: Path) -> Source:
        """Reads a CSV file with a header."""
        name = str(path)
        numbers, cells, notes = _read_csv(path)
        label = self._label_of(name, cells)
        labels = cells.pop(label)
        table = _Table(name=name, numbers=numbers, cells=cells, label=label, labels=labels)
        table = self._without_unwanted(table)
        if self.preparation is None and (
            indices := [column for column, cells in table.cells.items() if _is_index(column, cells)]
        ):
            notes["index"] = ", ".join(indices)
            _warn_left_out("columns that only number or name the rows", notes["index"], name)
            table = table.without(indices)
        fields = self._fields({"train": table})
        return Source(name=name, notes={"label": label, **notes}, **fields)

    def arrays(self, source: Source) -> Source:
        """Converts examples whose inputs are `(rows, columns)`, columns by name or a data frame."""
        tables = {}
        for split in SPLITS:
            if (examples := getattr(source, split)) is not None:
                table = self._in_memory(f"{source.name}, {split}", examples, source.feature_names)
                tables[split] = self._without_unwanted(table)
        return dataclasses.replace(source, **self._fields(tables, source))

    def _in_memory(self, name: str, examples: Examples, feature_names: Sequence[str]) -> _Table:
        """Converts examples to a table of that name."""
        cells = _columns(name, examples.inputs, feature_names)
        label = "label"
        if examples.targets is None:
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
        """The name of the column that holds the class.

        Args:
            name: Name of the table.
            columns: Names of its columns.
        """
        names = list(columns)
        if self.label is not None:
            if self.label not in names:
                raise InputError(
                    f"`label` must be a column of {name}: {_listed(names)}", self.label
                )
            return self.label
        known = [column for column in names if column.casefold() in LABEL_NAMES]
        if len(known) != 1 or known[0] == names[-1]:
            return names[-1]
        log.warning("%s: the label is taken to be column %s.", name, known[0])
        return known[0]

    def _without_unwanted(self, table: _Table) -> _Table:
        """The table without the columns of `leave_out`, or with those of the preparation only."""
        if self.preparation is not None:
            names = [column.name for column in self.preparation.columns]
            if not set(names) <= table.cells.keys():
                raise InputError(
                    f"{table.name} must have the columns {_listed(names)}", _listed(table.cells)
                )
            return dataclasses.replace(table, cells={name: table.cells[name] for name in names})
        for name in self.leave_out:
            if name not in table.cells:
                raise InputError(
                    f"`leave_out` must be features of {table.name}: {_listed(table.cells)}", name
                )
        return table.without(self.leave_out)

    def _fields(self, tables: Mapping[str, _Table], known: Source | None = None) -> dict[str, Any]:
        """The fields of a `Source` that follow from its tables.

        Args:
            tables: The tables by split.
            known: A source with names of classes, whose labels are their indices, and groups.
        """
        tables = {split: _labelled(table) for split, table in tables.items()}
        class_names, index = _classes(tables, known.class_names if known else ())
        preparation = self.preparation or self._preparation(tables["train"])
        fields: dict[str, Any] = {
            "class_names": class_names,
            "feature_names": preparation.feature_names,
            "preparation": preparation,
        }
        for split, table in tables.items():
            features, kept = self._features(table, preparation)
            targets = np.asarray([index[label] for label in table.labels], np.int32)
            fields[split] = Examples(features, targets[kept])
            if dropped := len(targets) - len(kept):
                _warn_left_out("rows with missing cells", dropped, table.name)
            if split == "train" and known and known.groups is not None:
                fields["groups"] = known.groups[np.asarray(table.numbers)[kept]]
        return fields

    def _preparation(self, table: _Table) -> TablePreparation:
        """The preparation that converts the cells of a table to features.

        Raises:
            InputError: There is no column, or one that cannot become a feature.
        """
        if not table.cells:
            raise InputError(f"{table.name} must have features beside the label {table.label}")
        return TablePreparation(
            tuple(self._column(table, name, cells) for name, cells in table.cells.items())
        )

    def _column(self, table: _Table, name: str, cells: Sequence[str]) -> Column:
        present = [cell for cell in cells if cell]
        if not present:
            raise InputError(f"{table.name}, column {name}, must have a cell that is not empty")
        # If at least half of the cells are numbers, a text among them is an error, no category.
        if 2 * sum(math.isnan(_number(cell)) for cell in present) <= len(present):
            mean = float(np.nanmean(_numbers(table, name), dtype=np.float64))
            return Column(name=name, fill=mean if self.missing == "fill" else None)
        texts = sorted(set(present))
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
                f"{table.name} must have the columns of train: {_listed(names)}",
                _listed(table.cells),
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


def _read_csv(path: Path) -> tuple[list[int], dict[str, list[str]], dict[str, Any]]:
    """Reads a CSV file.

    Returns:
        The number of every row as an editor counts lines; the cells by column; and notes for the
        report.

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
    header = [" ".join(name.split()) or f"Unnamed: {place}" for place, name in enumerate(header)]
    _check_header(path, header)
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"{path}, row {number}, must have {len(header)} columns ({_listed(header)})",
                len(row),
            )
    cells = {name: [_stripped(row[place]) for _, row in rows] for place, name in enumerate(header)}
    notes: dict[str, Any] = {}
    if encoding is not None:
        notes["encoding"] = encoding
        log.warning("%s: read as %s; if that is wrong, save it as UTF-8.", path, encoding)
    if delimiter != "," and _has_decimal_commas(cells):
        notes["decimal"] = ","
        log.warning("%s: commas in numbers are taken for decimal points.", path)
        cells = {
            name: [DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in column]
            for name, column in cells.items()
        }
    # A delimiter at the end of every row makes an empty column.
    if empty := [name for name, column in cells.items() if not any(column)]:
        notes["empty"] = ", ".join(empty)
        _warn_left_out("empty columns", notes["empty"], str(path))
        cells = {name: column for name, column in cells.items() if name not in empty}
    if len(cells) < 2:
        raise InputError(
            f"{path} must have a column of features and one of labels", _listed(cells) or "none"
        )
    return [number for number, _ in rows], cells, notes


def _has_decimal_commas(cells: Mapping[str, Sequence[str]]) -> bool:
    """Whether numbers are written as 1,5; if there are points, too, commas separate thousands."""
    texts = list(itertools.chain.from_iterable(cells.values()))
    commas, points = (any(map(number.match, texts)) for number in (DECIMAL_COMMA, DECIMAL_POINT))
    return commas and not points


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

    The delimiter is the one by which most rows have as many cells as the header, and the header
    more than one; among equals it is the one with the most cells.

    Returns:
        The delimiter; and the rows that are not blank, as pairs of line number and cells.
    """

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

    candidates = {delimiter: rows(delimiter) for delimiter in DELIMITERS}
    return max(candidates.items(), key=lambda candidate: agreement(candidate[1]))


def _check_header(path: Path, header: list[str]) -> None:
    """Refuses a first row that is no header, and ambiguous names.

    Raises:
        InputError: Names are numbers, occur twice or cannot be printed.
    """
    numbers = [_number(name) for name in header if not math.isnan(_number(name))]
    # Columns may be named by consecutive numbers, such as years.
    if numbers and (len(numbers) == 1 or not _consecutive(numbers)):
        raise InputError(f"{path} must begin with a header of column names", header)
    for name, count in Counter(header).items():
        if count > 1:
            raise InputError(
                f"{path} must have columns of different names", f"{count} columns named {name}"
            )
        if not name.isprintable():
            raise InputError(f"{path} must have printable column names", repr(name))


def _is_index(name: str, cells: Sequence[str]) -> bool:
    """Whether a column only numbers or names the rows.

    Such a column must not become a feature: in a sorted file the number of a row predicts its
    class, but nothing about new rows.
    """
    if len(set(cells)) < len(cells):
        return False
    numbers = [_number(cell) for cell in cells]
    texts = all(map(math.isnan, numbers))
    if INDEX_NAME.fullmatch(name):
        return texts or all(number.is_integer() for number in numbers)
    return len(cells) >= ENOUGH_ROWS and (texts or _consecutive(numbers))


def _consecutive(numbers: Sequence[float]) -> bool:
    return all(later - earlier == 1 for earlier, later in itertools.pairwise(numbers))


def _columns(name: str, inputs: Any, feature_names: Sequence[str]) -> dict[str, list[str]]:
    """Converts inputs in memory to cells by column.

    Args:
        name: Name of the table, for errors.
        inputs: An array `(rows, columns)`, columns by name, or a data frame.
        feature_names: Names of the columns of an array; by default `x0`, `x1`, ...
    """
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
        names = list(getattr(inputs, "columns", inputs))
        return {str(column): _texts(name, column, inputs[column]) for column in names}
    array = np.asarray(inputs)
    if array.ndim != 2:
        raise InputError(f"{name} must have inputs (rows, columns)", f"shape {array.shape}")
    names = list(feature_names) or [f"x{place}" for place in range(array.shape[1])]
    if len(names) != array.shape[1]:
        raise InputError(f"{name} must have {len(names)} columns", array.shape[1])
    return {column: _texts(name, column, array[:, place]) for place, column in enumerate(names)}


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
        _stripped(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
        for value in ("" if value is None else value for value in array.tolist())
    ]


def _stripped(cell: str) -> str:
    """A cell without surrounding blanks; empty if it is one of `MISSING_CELLS`."""
    cell = cell.strip()
    return "" if cell in MISSING_CELLS else cell


def _labelled(table: _Table) -> _Table:
    """The table without the rows that have no label, whose number is logged."""
    rows = np.flatnonzero([bool(label) for label in table.labels])
    if missing := len(table.labels) - len(rows):
        _warn_left_out("rows without a label", missing, table.name)
    return table.rows(rows)


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
                raise InputError(f"{part.place(part.label, row)} must be printable", repr(label))
    labels = [label for part in tables.values() for label in part.labels]
    if class_names:
        index = {str(number): number for number in range(len(class_names))}
        if unknown := set(labels) - index.keys():
            raise InputError(
                f"{table.name} must have labels from 0 to {len(class_names) - 1}", min(unknown)
            )
        return class_names, index
    if not _are_classes(labels):
        others = _listed(
            name for name, cells in table.cells.items() if _are_classes(list(filter(None, cells)))
        )
        raise InputError(
            f"`label` must be a column of classes{others and f', such as {others}'}; this "
            "application predicts no numbers",
            f"column {table.label} of {table.name}, with {len(set(labels))} different values in "
            f"{len(labels)} rows, such as {labels[0]}",
        )
    names = {label: label for label in labels}
    numeric = not any(math.isnan(_number(label)) for label in names)
    if numeric and any("." in label for label in names):  # 1.0 and 1 are one class
        names = {label: str(int(float(label))) for label in names}
    ordered = sorted(set(names.values()), key=lambda name: (numeric and float(name), name))
    if len(ordered) < 2:
        raise InputError(
            f"{table.name} must have two classes or more in {table.label}", _listed(ordered)
        )
    return tuple(ordered), {label: ordered.index(name) for label, name in names.items()}


def _are_classes(labels: Sequence[str]) -> bool:
    """Whether values look like classes rather than measurements, names or sentences."""
    counts = Counter(labels)
    numbers = [_number(label) for label in counts]
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
    numbers = np.asarray([_number(cell) for cell in cells])
    for row, (cell, number) in enumerate(zip(cells, numbers, strict=True)):
        if cell and not abs(number) <= LARGEST:
            raise InputError(
                f"{table.place(name, row)} must be a number from -1e15 to 1e15, unless "
                "`leave_out` names the column",
                repr(cell),
            )
    return numbers.astype(np.float32)


def _number(cell: str) -> float:
    """The number in a cell; NaN if there is none."""
    try:
        return float("nan" if "_" in cell else cell)
    except ValueError:
        return float("nan")


def _listed(names: Iterable[str]) -> str:
    """Names in one line: at most the first 20."""
    names = list(names)
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _warn_left_out(what: str, which: Any, name: str) -> None:
    log.warning("%s: %s are left out: %s.", name, what, which)
