"""Classifies Fisher's irises: three species from four measurements, by a small network.

The first layer whitens the measurements by their covariance within the classes. In training, noise
is added after it, about as large as the differences within a species, so that the network cannot
memorise the hundred rows. Works for any small table.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, Run, checked, settings
from suite.app import Fitted
from suite.cli import main
from suite.data import Data, Examples, supervised
from suite.data.tables.preparation import TablePreparation
from suite.data.tables.sources import Categories, Missing, load_table
from suite.export.endpoints import Endpoint, classifier, named_classes
from suite.export.exported import Exports
from suite.figures import classes
from suite.knobs import (
    Activation,
    BatchSize,
    Epochs,
    LearningRate,
    NumClasses,
    Share,
    Units,
    WeightDecay,
)
from suite.trainers.schedules import one_cycle


@settings
class Config:
    """The settings of the training.

    Args:
        epochs: Number of epochs; an epoch passes over a small training split several times.
        batch_size: Rows per optimizer step, over all replicas.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Decoupled weight decay of the kernels in a step, times the learning rate.
        validation_split: Share of the training rows that is held out for validation.
        min_steps_per_epoch: Smallest number of steps in an epoch; small tables are repeated.
        label: Column of a CSV that holds the class; by default a column with a usual name, or the
            last.
        missing: Treatment of empty cells: `refuse`; `fill` with the mean of a numeric column, and
            with no category for text; or `drop` the row.
        categories: Treatment of text columns: `one_hot`, or `refuse`.
        leave_out: Columns that are not features.
    """

    epochs: Epochs = 3
    batch_size: BatchSize = 150
    learning_rate: LearningRate = 0.03
    weight_decay: WeightDecay = 2.0
    validation_split: Share = 0.1
    min_steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    label: str | None = None
    missing: Missing = "refuse"
    categories: Categories = "one_hot"
    leave_out: tuple[str, ...] = ()


def load_data(config: Config, run: Run) -> Data:
    """Rows `(features,)` and labels `()`; a fifth of the rows is the test split."""
    source = load_table(
        run,
        label=config.label,
        missing=config.missing,
        categories=config.categories,
        leave_out=config.leave_out,
    )
    sizes = {"num_features": len(source.feature_names), "num_classes": len(source.class_names)}
    return supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        model_arguments=lambda train: {**sizes, **whiten(train.in_memory())},
    )


def whiten(split: Examples) -> dict[str, np.ndarray]:
    """The mean of rows `(features,)`, and the matrix `(features, features)` that whitens classes.

    Rows minus the mean, times the matrix, have the identity as their covariance within the classes.
    Their distances are in units of the standard deviation within a class.

    Reference:
        Fisher, 1936, The Use of Multiple Measurements in Taxonomic Problems,
        https://doi.org/10.1111/j.1469-1809.1936.tb02137.x
    """
    inputs = split.inputs.astype(np.float64)
    labels = np.unique(split.targets)
    centred = np.concatenate(
        [rows - rows.mean(axis=0) for rows in (inputs[split.targets == n] for n in labels)]
    )
    covariance = centred.T @ centred / max(1, len(centred) - len(labels))
    variances, axes = np.linalg.eigh(covariance)
    # Constant and redundant columns have a variance of 0, by which nothing can be divided.
    variances = np.maximum(variances, max(variances.max(), 1e-12) * 1e-6)
    return {"mean": inputs.mean(axis=0), "whitening": axes / np.sqrt(variances) @ axes.T}


@checked
def build_model(
    num_features: PositiveInt = 4,
    num_classes: NumClasses = 3,
    mean: np.ndarray | None = None,
    whitening: np.ndarray | None = None,
    *,
    units: Units = 64,
    activation: Activation = "tanh",
    noise: Annotated[float, Field(ge=0, le=1)] = 1.0,
) -> keras.Model:
    """Builds the network: from measurements to logits.

    Args:
        num_features: Measurements in a row, at least 1.
        num_classes: Number of logits, at least 2.
        mean: Mean that is subtracted from each row, `(num_features,)`; zeros if None. Not trained.
        whitening: Matrix that the difference is multiplied by, `(num_features, num_features)`; the
            identity if None. Not trained.
        units: Units of the hidden layer.
        activation: Keras's name of the activation.
        noise: Standard deviation of the Gaussian noise added in training after whitening, in
            units of the standard deviation within a class.

    Returns:
        A functional model, `features` `(batch, num_features)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        InputError: An argument is out of range.
    """
    mean = np.zeros(num_features) if mean is None else mean
    whitening = np.eye(num_features) if whitening is None else whitening
    features = keras.Input((num_features,), name="features")
    whitened = layers.Dense(num_features, trainable=False, name="whiten")
    x = whitened(features)
    whitened.set_weights([whitening, -mean @ whitening])
    x = layers.GaussianNoise(noise)(x)
    x = layers.Dense(units, activation)(x)
    logits = layers.Dense(num_classes, dtype=keras.config.floatx(), name="logits")(x)
    return keras.Model(features, logits, name="iris")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy on logits and AdamW, with a one-cycle learning rate."""
    optimizer = keras.optimizers.AdamW(
        one_cycle(config.learning_rate, steps, warmup=0.05), weight_decay=config.weight_decay
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `features` to `logits`, `probabilities`, `label` and `name`.

    `row`, if the source has a preparation: an input for each column of the table to the same
    outputs.
    """
    [model] = fitted.networks.values()
    serve = named_classes(classifier(model), fitted.data.description.class_names)
    source = fitted.data.source
    if source is None or source.preparation is None:
        return {"serve": serve}
    preparation = source.preparation

    def row(*cells: tf.Tensor) -> Mapping[str, tf.Tensor]:
        columns = (column.name for column in preparation.columns)
        return serve.function(preparation.features(dict(zip(columns, cells, strict=True))))

    return {"serve": serve, "row": Endpoint(row, preparation.inputs, serve.resources)}


def findings(fitted: Fitted) -> dict[str, Any]:
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


def predict(app: App, *values: str, exports: Exports = Exports()) -> None:
    """Classify a row.

    Args:
        values: One value for each column but the label, in the order of the training data; for
            iris sepal length, sepal width, petal length and petal width, in centimetres.
    """
    exported = exports.open(app.name)
    metadata = exported.metadata("feature_names", "class_names")
    outputs = exported.call(TablePreparation.of_export(metadata).features_of_row(values))
    label = outputs["label"][0]
    print(f"{metadata['class_names'][label]} ({outputs['probabilities'][0, label]:.1%})")


app = App(
    name="iris",
    topic="tables",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    findings=findings,
    figures=draw,
    commands={"predict": predict},
    studies=("explain",),
    try_next="predict 5.1 3.5 1.4 0.2",
    objective="val_accuracy",
    own_data="a CSV with a header and a row for each example; `--label` names the class.",
    tiny={"epochs": 1, "batch_size": 8, "min_steps_per_epoch": 20},
)

if __name__ == "__main__":
    main(app)
