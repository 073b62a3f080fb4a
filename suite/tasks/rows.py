"""What applications share that describe rows of numbers: pictures and tables, as rows.

A picture is a row of its pixels. What such an application answers about a row, it answers about the
bytes of a picture, or the columns of a table, as well.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite.app import Fitted
from suite.data import Data, Source, supervised
from suite.data.examples import Split
from suite.data.faces import generate_faces
from suite.data.images.preparation import Layout, Preparation
from suite.data.images.sources import load_pictures
from suite.data.sources import MADE_HERE
from suite.data.tables.preparation import TablePreparation
from suite.data.tables.sources import CLASSES, Missing, load_table
from suite.errors import InputError
from suite.export.endpoints import Endpoint, of_model
from suite.figures import images as figures
from suite.knobs import Share, settings
from suite.run import Run
from suite.tasks import pictures, tables

# The shape of a row: `(columns,)` of a table, or `(height, width, channels)` of a picture.
RowShape = tuple[PositiveInt, ...]
FACES = "faces"
NAME = "reconstruction"  # of an output
DATA_LAYOUTS = (
    "a folder or an `.npz` of pictures, or a CSV with a header and a row for each example; "
    "`--label` names its column of classes, if it has one, which only colour figures."
)


@settings
class Config:
    """The settings that concern the rows: where they come from, and their splits.

    Args:
        dataset: Pictures: `faces`, which are made here, or any dataset of pictures in TensorFlow
            Datasets. Tables: `iris`, `wine` or `breast_cancer`, which come with scikit-learn.
        validation_split: Share of the training rows that is held out for validation.
        layout: Layout of your own pictures: `drawing` cuts out the ink and centres it, as in MNIST;
            `photo` crops about the centre; `auto` decides by a sample of them.
        image_size: Height and width of pictures. Defaults to 28 for drawings, to the size of photos
            but at most 64, and to that of the pictures of an `.npz`.
        channels: 1 for grey, 3 for colour. Defaults to that of the data.
        label: Column of a CSV that holds the class, and is no feature; by default a column with a
            usual name, or the last if it has texts.
        missing: Treatment of empty cells: `refuse`; `fill` with the mean of a numeric column, and
            with no category for text; or `drop` the row.
        leave_out: Columns that are not features.
    """

    dataset: str = "mnist"
    validation_split: Share = 0.1
    layout: Layout | Literal["auto"] = "auto"
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    channels: pictures.Channels | None = None
    label: str | None = None
    missing: Missing = "refuse"
    leave_out: tuple[str, ...] = ()


def load_data(
    config: Config,
    run: Run,
    *,
    batch_size: int | None = None,
    min_steps: int = 1,
    check: Callable[[np.ndarray], None] | None = None,
) -> Data:
    """Pictures `(height, width, channels)`, values in 0..255, or rows `(columns,)` of a table.

    Labels, if there are any, are the targets. The app's `build` gets the `input_shape` and the
    number of training rows, `num_rows`.

    Args:
        config: The settings of the rows.
        run: Says where the rows come from.
        batch_size: Rows in a batch, over all replicas; None for all of them.
        min_steps: Smallest number of batches in an epoch.
        check: `check(rows)` refuses training rows `(rows, columns)` that cannot be used.
    """
    source = load_source(config, run)

    def arguments(train: Split) -> dict[str, Any]:
        if check is not None:
            check(flat(train.in_memory().inputs))
        return {"input_shape": shape_of(source), "num_rows": train.num_examples}

    return supervised(
        source,
        batch_size=batch_size or source.train.num_examples,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=min_steps,
        model_arguments=arguments,
    )


def load_source(config: Config, run: Run) -> Source:
    """The pictures or the table that a training asks for."""
    if _is_table(config, run):
        return load_table(
            run,
            dataset=config.dataset,
            label=config.label,
            missing=config.missing,
            leave_out=config.leave_out,
            needs_label=False,
        )
    return load_pictures_or_faces(
        run, config.dataset, config.layout, config.image_size, config.channels
    )


def load_pictures_or_faces(
    run: Run,
    dataset: str,
    layout: Layout | Literal["auto"],
    image_size: int | None,
    channels: int | None,
) -> Source:
    """Pictures as `load_pictures` loads them; or `faces`, which are made by code.

    Args:
        run: The run, whose `data` may name other pictures.
        dataset: `faces`, or a name as `load_pictures` takes it.
        layout: `drawing` or `photo`; with `auto`, the layout of most pictures in a sample.
        image_size: Height and width of the inputs in pixels, as `load_pictures` takes it.
        channels: 1 or 3; by default 3 if the pictures are in colour.
    """
    if dataset == FACES and run.arrays is None and run.data in MADE_HERE:
        source = generate_faces()
    else:
        source = load_pictures(run, dataset, layout, image_size, channels)
    # So that a client of the raw signature can read what its arrays must be like.
    notes = {**source.notes, "inputs": source.preparation.description}
    return dataclasses.replace(source, notes=notes)


def _is_table(config: Config, run: Run) -> bool:
    if run.preparation:
        return "columns" in run.preparation
    if run.arrays is not None:
        return np.ndim(run.arrays.train.inputs) < 3
    if run.data in ("auto", "tfds", "embedded", "synthetic"):
        return config.dataset in CLASSES
    return Path(run.data).suffix.lower() in (".csv", ".tsv", ".txt")


def shape_of(source: Source) -> tuple[int, ...]:
    """The shape of a row: `(columns,)` of a table, or `(height, width, channels)` of a picture."""
    if isinstance(source.preparation, Preparation):
        return source.preparation.shape
    return (len(source.feature_names),)


def flat(rows: np.ndarray) -> np.ndarray:
    """Rows of any shape as `(rows, columns)`, without a copy."""
    return rows.reshape(len(rows), -1)


def refuse_constant_columns(rows: np.ndarray, knob: str) -> None:
    """Refuses rows `(rows, columns)` of which a column has one value only.

    Args:
        rows: The training rows.
        knob: The knob that divides columns by their standard deviation, for the error.

    Raises:
        InputError: A column is constant.
    """
    constant = np.flatnonzero(rows.min(axis=0) == rows.max(axis=0))
    if len(constant):
        raise InputError(
            f"`{knob}` must be off for data with constant columns",
            f"{len(constant)} of {rows.shape[1]} columns are constant, such as number "
            f"{constant[0] + 1}",
        )


def refuse_more_than(knob: str, value: int, shape: tuple[int, ...], num_rows: int | None) -> None:
    """Refuses more components than there are columns, or rows to learn from.

    Args:
        knob: Name of the knob that holds their number, for the error.
        value: Their number.
        shape: Shape of a row.
        num_rows: Number of training rows, if it is known.

    Raises:
        InputError: There are too many.
    """
    for most, what in ((math.prod(shape), "columns"), (num_rows, "training rows")):
        if most is not None and value > most:
            raise InputError(f"`{knob}` must be at most the number of {what}, {most}", value)


def named_input(shape: tuple[int, ...]) -> keras.KerasTensor:
    """The input of a network: `image` for pictures, `features` for the rows of a table."""
    return keras.Input(shape, name="image" if len(shape) == 3 else "features")


def as_rows(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Inputs of any shape as `(batch, columns)`, never of half precision."""
    return layers.Reshape((math.prod(inputs.shape[1:]),), dtype=keras.config.floatx())(inputs)


def in_shape(rows: keras.KerasTensor, shape: tuple[int, ...], name: str) -> keras.KerasTensor:
    """Rows `(batch, columns)` in the shape of the inputs, never of half precision."""
    return layers.Reshape(shape, dtype=keras.config.floatx(), name=name)(rows)


def endpoints(fitted: Fitted, layer: Any) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` or `features` to `code`, `reconstruction` and `error`.

    `picture` or `row`, if the source has a preparation: files of pictures, or the columns of a
    table, to the same. `decode`: `code` `(batch, units)` to `reconstruction`, as the inputs are.

    Args:
        fitted: Its source decides whether there are pictures, rows or neither.
        layer: A layer of the network, with its number of `units` and a function `decode` from codes
            to rows `(batch, columns)`.
    """
    model = network_of(fitted)
    shape, source, serve = model.input.shape[1:], fitted.data.source, of_model(model)

    def decode(code: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"reconstruction": tf.reshape(layer.decode(code), [-1, *shape])}

    is_table = source is not None and isinstance(source.preparation, TablePreparation)
    offered = (tables.with_rows if is_table else pictures.with_pictures)(serve, fitted)
    code = tf.TensorSpec((None, layer.units), tf.float32, "code")
    return {**offered, "decode": Endpoint(decode, [code])}


def network_of(fitted: Fitted) -> keras.Model:
    """The network that describes rows: the one with a `reconstruction` among its outputs."""
    networks = fitted.networks.values()
    return next(n for n in networks if isinstance(n.output, Mapping) and NAME in n.output)


def outputs_of(fitted: Fitted) -> dict[str, np.ndarray]:
    """What the network answers about the rows of the test split, computed once."""
    network = network_of(fitted)
    return fitted.once(
        "test_rows", lambda: network.predict(fitted.data.one_pass("test"), verbose=0)
    )


def draw_reconstructions(fitted: Fitted) -> Figure:
    """Draws the first test pictures above what is kept of them."""
    images = fitted.data.splits["test"].in_memory().inputs[:10]
    again = np.clip(outputs_of(fitted)["reconstruction"][:10], 0, 255)
    return figures.image_rows({"image": images, "reconstruction": again})


def classes_of(fitted: Fitted, split: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels of a split and the names of the classes; one class if there are no labels."""
    names = fitted.data.description.class_names
    targets = fitted.data.splits[split].targets
    if not names or targets is None:
        return np.zeros(fitted.data.splits[split].num_examples, np.int32), ("row",)
    return np.asarray(targets), names


def signed_pictures(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of numbers of any sign as pictures `(rows, height, width, channels)`, 0 as mid grey.

    Args:
        rows: `(rows, columns)`; each is drawn in its own scale.
        shape: `(height, width, channels)`.
    """
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return (127.5 + 127.5 * rows / largest).reshape(len(rows), *shape)


def try_next(report: Mapping[str, Any]) -> str:
    """What to do with an export: to draw a picture again; that of a table takes none."""
    of_table = report["data"]["feature_names"]
    return "evaluate" if of_table else "reconstruct docs/pictures/digit.png"


COMMANDS: dict[str, Callable[..., None]] = {"reconstruct": pictures.reconstruct}


def refuse_negative(rows: np.ndarray, names: Sequence[str] = ()) -> None:
    """Refuses rows with a negative number.

    Args:
        rows: Rows of a split, `(rows, columns)`.
        names: Names of the columns of a table; pixels have none.

    Raises:
        InputError: There is one.
    """
    if rows.min() < 0:
        row, column = np.unravel_index(rows.argmin(), rows.shape)
        place = names[int(column)] if names else f"number {column + 1}"
        raise InputError(
            "`data` must have no negative numbers",
            f"{rows[row, column]:.6g} in column {place}",
        )


def with_row_numbers(data: Data) -> Data:
    """The same data, whose training batches have the numbers of the rows as their targets."""
    if data.shuffled is None:
        raise TypeError("row numbers need examples: data that `supervised` has made")
    train = data.splits["train"]
    numbers = np.arange(train.num_examples, dtype=np.int32)
    return dataclasses.replace(data, train=data.shuffled(train.with_targets(numbers)))
