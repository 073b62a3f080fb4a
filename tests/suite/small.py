"""A small application that trains in a second, for tests of the engine."""

import dataclasses

import keras
import numpy as np
from keras import layers

from suite import App, Run, checked, settings
from suite.data import Data, Examples, Source, supervised
from suite.export.endpoints import classifier
from suite.knobs import BatchSize, Epochs, LearningRate, Rate, Units

QUIET = Run(quiet=True)


@settings
class Config:
    """The settings of the training.

    Args:
        epochs: Passes over the points.
        batch_size: Points in a step.
        learning_rate: Adam's step size.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 8
    learning_rate: LearningRate = 0.05


def points(count=60):
    """Points of a plane `(count, 2)`, and whether they lie above its diagonal."""
    inputs = np.random.default_rng(0).normal(size=(count, 2)).astype("float32")
    return inputs, (inputs[:, 1] > inputs[:, 0]).astype("int32")


def load_data(config, run) -> Data:
    source = run.arrays or Source(
        name="embedded:points", train=Examples(*points()), class_names=("below", "above")
    )
    data = supervised(
        source, batch_size=config.batch_size, validation_split=0.2, seed=run.seed, min_steps=1
    )
    # A prime number, so that every execution is one step; more than one, so that an epoch can be
    # interrupted in its middle.
    return dataclasses.replace(data, steps_per_epoch=37)


@checked
def build_model(*, units: Units = 4, dropout: Rate = 0.2) -> keras.Model:
    """Builds the network.

    Args:
        units: Of the hidden layer.
        dropout: Its rate.
    """
    point = keras.Input((2,), name="point")
    hidden = layers.Dense(units, "tanh", name="hidden")(point)
    logits = layers.Dense(2, name="logits")(layers.Dropout(dropout)(hidden))
    return keras.Model(point, logits, name="small")


def compile_model(model, config, steps):
    model.compile(
        keras.optimizers.Adam(config.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


app = App(
    name="small",
    topic="tests",
    summary="Points of a plane.",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=lambda fitted: {"serve": classifier(fitted.networks["small"])},
    recipes={"wide": {"units": 8, "learning_rate": 0.02}},
    tiny={"epochs": 1},
)


def variant(base=app, **fields):
    """The application with some fields replaced."""
    return dataclasses.replace(base, **fields)


def with_callbacks(base, *callbacks):
    """The application with more callbacks."""
    return variant(base, callbacks=lambda fitted: [*base.callbacks(fitted), *callbacks])


def files(folder):
    """The files and folders in a folder, by their relative paths."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def assert_equal_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
