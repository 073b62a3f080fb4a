"""Two phases: a head is trained on frozen weights, and then everything at a smaller rate."""

import keras
import numpy as np
from keras import layers

from suite import App, checked, settings
from suite.app import Phase
from suite.data import Examples, Source, supervised
from suite.knobs import BatchSize, Epochs, Units


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the rows, once the head is trained.
        head_epochs: Passes over the rows while only the head is trained.
        batch_size: Rows of a step.
    """

    epochs: Epochs = 2
    head_epochs: Epochs = 1
    batch_size: BatchSize = 16


def load_data(config, run):
    """Rows `(4,)` and numbers `()`."""
    rows = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
    examples = Examples(rows, rows.sum(axis=1))
    return supervised(
        Source(name="synthetic:sums", train=examples),
        batch_size=config.batch_size,
        validation_split=0.2,
        seed=run.seed,
        min_steps=1,
    )


@checked
def build_model(*, units: Units = 8) -> keras.Model:
    """Builds the network.

    Args:
        units: Units of the body.
    """
    row = keras.Input((4,), name="row")
    x = layers.Dense(units, activation="tanh", name="body")(row)
    x = layers.Dropout(0.1, seed=1)(x)
    return keras.Model(row, layers.Dense(1, name="head")(x), name="two_phases")


def compile_head(model, config, steps):
    """The head alone."""
    model.get_layer("body").trainable = False
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def compile_model(model, config, steps):
    """Everything, at a smaller rate."""
    model.get_layer("body").trainable = True
    model.compile(keras.optimizers.Adam(0.003), "mse", metrics=["mae"])
    return model


def phases(config):
    """The head, then everything."""
    return [
        Phase(name="head", epochs=config.head_epochs, compile=compile_head),
        Phase(name="all", epochs=config.epochs),
    ]


app = App(
    name="two_phases",
    topic="tables",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    tiny={"epochs": 2},
)
