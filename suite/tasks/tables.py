"""The task of tables: data, standardisation, endpoints, findings, figures and commands.

What a table says of a row is a class or a number. An application of classes passes `load_data`,
`endpoints`, `feature_ranges`, `draw`, the `COMMANDS` and the `STUDIES` to its `App`; one of numbers
has `load_data`, `with_rows` and `answer_row`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure

from suite.app import App, Fitted
from suite.data import Data, Examples, supervised
from suite.data.tables.preparation import TablePreparation
from suite.data.tables.sources import Categories, Missing, load_table
from suite.export.endpoints import Endpoint, classifier, with_class_names
from suite.export.exported import Exports
from suite.figures import classes
from suite.knobs import BatchSize, Epochs, LearningRate, Share, Steps, settings
from suite.run import Run


@settings
class Config:
    """The settings of the training on a table.

    Args:
        dataset: Name of the table in scikit-learn or TensorFlow Datasets.
        epochs: Number of epochs; an epoch passes over a small training split several times.
        batch_size: Rows per optimizer step, over all replicas.
        learning_rate: Peak of the one-cycle schedule.
        validation_split: Share of the training rows that is held out for validation.
        min_steps_per_epoch: Smallest number of steps in an epoch; small tables are repeated.
        label: Column of a CSV that holds the label; by default a column with a usual name, or the
            last.
        missing: Treatment of empty cells: `refuse`; `fill` with the mean of a numeric column, and
            with no category for text; or `drop` the row.
        categories: Treatment of text columns: `one_hot`, or `refuse`.
        leave_out: Columns that are not features.
    """

    dataset: str = "iris"
    epochs: Epochs = 10
    batch_size: BatchSize = 100
    learning_rate: LearningRate = 0.01
    validation_split: Share = 0.1
    min_steps_per_epoch: Steps = 100
    label: str | None = None
    missing: Missing = "refuse"
    categories: Categories = "one_hot"
    leave_out: tuple[str, ...] = ()


def statistics(split: Examples) -> dict[str, np.ndarray]:
    """Mean and standard deviation of each feature, `(features,)`; 1 for one that is constant."""
    inputs = split.inputs.astype(np.float64)
    scale = inputs.std(axis=0)
    return {"mean": inputs.mean(axis=0), "scale": np.where(scale > 0, scale, 1.0)}


def load_data(
    config: Config,
    run: Run,
    *,
    arguments: Callable[[Examples], Mapping[str, Any]] = statistics,
    numeric: bool = False,
) -> Data:
    """Rows `(features,)` and labels `()`; a fifth of the rows is the test split.

    Args:
        config: The settings.
        run: Says where the rows come from.
        arguments: `arguments(train)` gives the arguments of the builder that the training rows
            decide, besides `num_features` and `num_classes`.
        numeric: Whether the label is a number, float32, rather than a class.
    """
    source = load_table(
        run,
        dataset=config.dataset,
        label=config.label,
        missing=config.missing,
        categories=config.categories,
        leave_out=config.leave_out,
        numeric=numeric,
    )
    sizes = {"num_features": len(source.feature_names)}
    if not numeric:
        sizes["num_classes"] = len(source.class_names)
    return supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        model_arguments=lambda train: {**sizes, **arguments(train.in_memory())},
    )


def affine(
    x: keras.KerasTensor, matrix: np.ndarray, bias: np.ndarray, name: str
) -> keras.KerasTensor:
    """Multiplies rows by a matrix and adds a bias; neither is trained, nor ever of half precision.

    Args:
        x: Rows, `(batch, rows of the matrix)`.
        matrix: `(inputs, outputs)`.
        bias: `(outputs,)`.
        name: Name of the layer, whose weights are both.

    Returns:
        `(batch, outputs)`.
    """
    layer = layers.Dense(matrix.shape[1], trainable=False, dtype=keras.config.floatx(), name=name)
    outputs = layer(x)
    layer.set_weights([matrix, bias])
    return outputs


def standardized(
    features: keras.KerasTensor, mean: np.ndarray | None, scale: np.ndarray | None
) -> keras.KerasTensor:
    """Features minus their mean, divided by their scale; by default as they are.

    Args:
        features: `(batch, features)`.
        mean: `(features,)`.
        scale: `(features,)`, above 0.
    """
    mean = np.zeros(features.shape[1]) if mean is None else mean
    scale = np.ones(features.shape[1]) if scale is None else scale
    return affine(features, np.diag(1 / scale), -mean / scale, name="standardize")


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `features` to `logits`, `probabilities`, `label` and `name`.

    `row`, if the source has a preparation: an input for each column of the table to the same
    outputs.
    """
    [model] = fitted.networks.values()
    return with_rows(
        with_class_names(classifier(model), fitted.data.description.class_names), fitted
    )


def with_rows(serve: Endpoint, fitted: Fitted) -> dict[str, Endpoint]:
    """An endpoint of `features` as `serve`; and as `row` one that takes the columns of the table.

    Args:
        serve: Takes `features` `(batch, features)`.
        fitted: Its source decides the columns; without a preparation there is no `row`.
    """
    source = fitted.data.source
    if source is None or source.preparation is None:
        return {"serve": serve}
    preparation = source.preparation

    def row(*cells: tf.Tensor) -> Mapping[str, tf.Tensor]:
        columns = (column.name for column in preparation.columns)
        return serve.function(preparation.features(dict(zip(columns, cells, strict=True))))

    return {"serve": serve, "row": Endpoint(row, preparation.inputs, serve.resources)}


def feature_ranges(fitted: Fitted) -> dict[str, Any]:
    """The smallest and largest value of each feature in training, between which a client asks."""
    inputs = fitted.data.splits["train"].in_memory().inputs
    return {"feature_ranges": np.stack([inputs.min(axis=0), inputs.max(axis=0)], axis=1).tolist()}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws decision regions over pairs of features, and the confusion matrix of the test split."""
    description, source = fitted.data.description, fitted.data.source
    names, features = description.class_names, description.feature_names
    labels = fitted.data.splits["test"].targets
    predicted = np.asarray(fitted.outputs()).argmax(axis=1)
    figures = {"confusion_matrix": classes.confusion_matrix(labels, predicted, names)}

    def predict_labels(inputs: np.ndarray) -> np.ndarray:
        return np.asarray(fitted.model.predict(inputs, verbose=0)).argmax(axis=1)

    if len(features) > 1 and source is not None:
        rows = source.train.in_memory()
        figures["decision_regions"] = classes.decision_regions(
            predict_labels, rows.inputs, rows.targets, names, features
        )
    return figures


def answer_row(
    app: App, values: Sequence[str], exports: Exports, *keys: str
) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
    """The outputs of an export for one row as a user types it, and the metadata asked for.

    Args:
        app: The app of the export.
        values: One value for each column but the label, in the order of the training data.
        exports: Finds the export.
        keys: What the metadata must have, besides `feature_names`.

    Raises:
        InputError: There is no such export, or the values are no row of the table.
    """
    exported = exports.open(app.name)
    metadata = exported.metadata("feature_names", *keys)
    return exported.call(TablePreparation.of_export(metadata).features_of_row(values)), metadata


def predict(app: App, *values: str, exports: Exports = Exports()) -> None:
    """Classify a row.

    Args:
        values: One value for each column but the label, in the order of the training data.
    """
    outputs, metadata = answer_row(app, values, exports, "class_names")
    label = outputs["label"][0]
    print(f"{metadata['class_names'][label]} ({outputs['probabilities'][0, label]:.1%})")


COMMANDS: dict[str, Callable[..., None]] = {"predict": predict}
STUDIES = ("explain",)
DATA_LAYOUTS = "a CSV with a header and a row for each example; `--label` names the class."
