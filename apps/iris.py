"""Classifies Fisher's irises: three species from four measurements, by a small network.

The first layer whitens the measurements by their covariance within the classes. In training, noise
is added after it, about as large as the differences within a species, so that the network cannot
memorise the hundred rows. Works for any small table.
"""

import keras
import numpy as np
from keras import layers
from pydantic import PositiveInt

from suite import App, Run, checked, settings
from suite.cli import main
from suite.data import Data, Examples
from suite.knobs import (
    Activation,
    BatchSize,
    Epochs,
    LearningRate,
    Noise,
    NumClasses,
    Units,
    WeightDecay,
)
from suite.tasks import tables as task
from suite.trainers.schedules import one_cycle


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        weight_decay: Decoupled weight decay of the kernels in a step, times the learning rate.
    """

    epochs: Epochs = 3
    batch_size: BatchSize = 150
    learning_rate: LearningRate = 0.03
    weight_decay: WeightDecay = 2.0


def load_data(config: Config, run: Run) -> Data:
    """Rows `(features,)` and labels `()`; a fifth of the rows is the test split."""
    return task.load_data(config, run, arguments=whiten)


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
    noise: Noise = 1.0,
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
    x = task.affine(features, whitening, -mean @ whitening, name="whiten")
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


app = App(
    name="iris",
    topic="tables",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=task.endpoints,
    findings=task.feature_ranges,
    figures=task.draw,
    commands=task.COMMANDS,
    studies=task.STUDIES,
    try_next=lambda report: (
        "predict 5.1 3.5 1.4 0.2" if report["config"]["dataset"] == "iris" else "evaluate"
    ),
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny={"epochs": 1, "batch_size": 8, "min_steps_per_epoch": 20},
)

if __name__ == "__main__":
    main(app)
