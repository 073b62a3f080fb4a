"""Fisher's iris by a small network: three species from four measurements.

The measurements are whitened by their covariance within the classes, which is part of the model.
In training each row is blurred there by about as much as members of one species differ, which
keeps a hundred rows from being learnt by heart. Works for any small table.
"""

from typing import Annotated

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field, NonNegativeInt, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Metrics, evaluate_on_test
from suite.cli import main
from suite.data import tables
from suite.data.examples import (
    Data,
    Split,
    batches,
    collect,
    epoch_steps,
    shuffled_batches,
    steps_per_execution,
    supervised,
)
from suite.export.saved_model import Export, classifier
from suite.figures import classes as figures
from suite.knobs import (
    Activation,
    BatchSize,
    Epochs,
    LearningRate,
    NumClasses,
    Seed,
    Share,
    Units,
    WeightDecay,
)
from suite.trainers.schedules import OneCycle

Measurement = Annotated[float, Field(ge=-1e30, le=1e30)]


@settings
class Config:
    """The training recipe.

    Args:
        epochs: Times 100 optimizer steps, or passes over the training split if that is more.
        batch_size: Rows per optimizer step, over all replicas.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Decoupled decay per step of the kernels, times the learning rate.
        validation_split: Share of the training rows held out to watch the training.
        folds: Folds of a stratified cross-validation over all rows; 0 for none.
        repeats: Times the cross-validation is repeated, each on other folds.
        folds_seed: Decides the folds.
    """

    epochs: Epochs = 3
    batch_size: BatchSize = 150
    learning_rate: LearningRate = 0.03
    weight_decay: WeightDecay = 2.0
    validation_split: Share = 0.1
    folds: NonNegativeInt = 0
    repeats: PositiveInt = 5
    folds_seed: Seed = 1


def load_data(config: Config, run: Run) -> Data:
    """Rows `(features,)` and labels `(,)`; a fifth of them is for the test."""
    examples = tables.load_iris(run)
    smallest = int(np.bincount(examples.train.labels).min())
    if config.folds and not 2 <= config.folds <= smallest:
        raise InputError(
            f"`folds` must be 0, or from 2 to the {smallest} rows of the smallest class. "
            f"Received: {config.folds}"
        )
    names = examples.feature_names, examples.class_names
    return supervised(
        examples,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        model_arguments=lambda train: dict(
            zip(("num_features", "num_classes"), map(len, names), strict=True), **whiten(train)
        ),
    )


def whiten(split: Split) -> dict[str, np.ndarray]:
    """The mean `(features,)`, and the matrix `(features, features)` that whitens the classes.

    Rows less the mean, times the matrix, have the identity as their covariance within the
    classes: distance then counts in units of what members of one species differ by.

    Reference:
        Fisher, 1936, The Use of Multiple Measurements in Taxonomic Problems,
        https://doi.org/10.1111/j.1469-1809.1936.tb02137.x
    """
    inputs = split.inputs.astype(np.float64)
    classes = np.unique(split.labels)
    centred = np.concatenate(
        [rows - rows.mean(axis=0) for rows in (inputs[split.labels == c] for c in classes)]
    )
    covariance = centred.T @ centred / max(1, len(centred) - len(classes))
    variances, axes = np.linalg.eigh(covariance)
    # A constant or redundant column has no variance of its own to divide by.
    variances = np.maximum(variances, max(variances.max(), 1e-12) * 1e-6)
    return {"mean": inputs.mean(axis=0), "whitening": axes / np.sqrt(variances) @ axes.T}


def affine(mean: np.ndarray, whitening: np.ndarray) -> list[np.ndarray]:
    """Kernel and bias of the layer that subtracts the mean and then whitens."""
    return [whitening, -mean @ whitening]


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
    """Builds the network: measurements in, logits out.

    Args:
        num_features: Measurements in a row, at least 1.
        num_classes: Number of logits, at least 2.
        mean: Subtracted from each row, `(num_features,)`; zeros if None.
        whitening: What the difference is multiplied by, `(num_features, num_features)`; the
            identity if None. Neither is trained.
        units: Units of the hidden layer.
        activation: Keras's name of the activation.
        noise: Standard deviation of the Gaussian noise added in training after whitening, in
            units of the standard deviation within a class.

    Returns:
        A functional model, `features` `(batch, num_features)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        ValueError: An argument is out of range.
    """
    mean = np.zeros(num_features) if mean is None else mean
    whitening = np.eye(num_features) if whitening is None else whitening
    features = keras.Input((num_features,), name="features")
    whitened = layers.Dense(num_features, trainable=False, name="whiten")
    x = whitened(features)
    whitened.set_weights(affine(mean, whitening))
    x = layers.GaussianNoise(noise)(x)
    x = layers.Dense(units, activation)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(features, logits, name="iris")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Cross-entropy on logits, under AdamW with a one-cycle learning rate."""
    optimizer = keras.optimizers.AdamW(
        OneCycle(config.learning_rate, steps, warmup=0.05), weight_decay=config.weight_decay
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


def evaluate(model: keras.Model, data: Data, config: Config) -> Metrics:
    """Accuracy and loss on the test split; over cross-validation folds where asked for."""
    metrics = evaluate_on_test(model, data, config)
    if config.folds:
        accuracies = cross_validate(model, data.unsplit, config)
        metrics["cv_accuracy_mean"] = float(np.mean(accuracies))
        metrics["cv_accuracy_std"] = float(np.std(accuracies))
    return metrics


def cross_validate(model: keras.Model, rows: Split, config: Config) -> list[float]:
    """The accuracy on each fold of fresh models, of the same architecture, trained on the others.

    Args:
        model: Gives the architecture; is left as it was.
        rows: All labelled rows.
        config: Says how to train, and `folds`, `repeats` and `folds_seed`.
    """
    from sklearn.model_selection import RepeatedStratifiedKFold

    splitter = RepeatedStratifiedKFold(
        n_splits=config.folds, n_repeats=config.repeats, random_state=config.folds_seed
    )
    most = rows.num_examples - rows.num_examples // config.folds
    steps = epoch_steps(most, config.batch_size)
    fresh = compile_model(keras.models.clone_model(model), config, config.epochs * steps)
    fresh.steps_per_execution = steps_per_execution(steps, most=100)
    fresh.optimizer.build(fresh.trainable_variables)
    initial = fresh.get_weights()
    accuracies = []
    for training, held_out in splitter.split(rows.inputs, rows.labels):
        split = rows.rows(training)
        fresh.set_weights(initial)
        fresh.get_layer("whiten").set_weights(affine(**whiten(split)))
        for variable in fresh.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        fresh.fit(
            shuffled_batches(split, config.batch_size, seed=0)(0),
            steps_per_epoch=steps,
            epochs=config.epochs,
            shuffle=False,
            verbose=0,
        )
        logs = fresh.evaluate(batches(rows.rows(held_out)), verbose=0, return_dict=True)
        accuracies.append(logs["accuracy"])
    return accuracies


def endpoints(model: keras.Model) -> dict[str, keras.Model]:
    """`features` to `logits`, `probabilities` and `label`."""
    return {"serve": classifier(model)}


def draw(model: keras.Model, data: Data, config: Config) -> dict[str, Figure]:
    """Decision regions over pairs of features, and the confusion matrix of the test split."""
    names, rows = data.description["class_names"], data.unsplit
    held_out, labels = collect(data.test)

    def classes(inputs: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(model.predict(inputs, verbose=0)).argmax(axis=1)

    features = data.description["feature_names"]
    drawn = {"confusion_matrix": figures.confusion_matrix(labels, classes(held_out), names)}
    if len(features) > 1:
        drawn["decision_regions"] = figures.decision_regions(
            classes, rows.inputs, rows.labels, names, features
        )
    return drawn


def predict(*measurements: Measurement, export: Export = Export()) -> None:
    """Say which species the measurements are of.

    Args:
        measurements: One number for each feature, in the order of the training data; for iris
            sepal length, sepal width, petal length and petal width, in centimetres.
    """
    metadata = export.metadata(app.name, "feature_names", "class_names")
    features, names = metadata["feature_names"], metadata["class_names"]
    if len(measurements) != len(features):
        raise InputError(
            f"predict needs {len(features)} numbers ({', '.join(features)}). "
            f"Received: {len(measurements)}"
        )
    answer = export.call(app.name, np.asarray([measurements]))
    label = answer["label"][0]
    print(f"{names[label]} ({answer['probabilities'][0, label]:.1%})")


app = App(
    name="iris",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    evaluate=evaluate,
    figures=draw,
    commands={"predict": predict},
    try_next="predict 5.1 3.5 1.4 0.2",
)

if __name__ == "__main__":
    main(app)
