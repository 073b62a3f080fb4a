"""Regression with an interval: the model predicts a number and its uncertainty."""

import keras
import numpy as np
from keras import layers, ops

from suite import App, checked, settings
from suite.app import evaluate_on_test
from suite.data import Examples, Source, supervised
from suite.knobs import BatchSize, Epochs, Units


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the rows.
        batch_size: Rows of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 16


def load_data(config, run):
    """Rows `(3,)` and numbers `()`; three rows of the same group stay together."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(120, 3)).astype(np.float32)
    numbers = (rows @ [1.0, -2.0, 0.5] + random.normal(scale=0.1, size=120)).astype(np.float32)
    source = Source(
        name="synthetic:numbers", train=Examples(rows, numbers), groups=np.arange(120) // 3
    )
    return supervised(
        source, batch_size=config.batch_size, validation_split=0.2, seed=run.seed, min_steps=1
    )


@checked
def build_model(*, units: Units = 8) -> keras.Model:
    """Builds the network.

    Args:
        units: Units of the hidden layer.
    """
    row = keras.Input((3,), name="row")
    x = layers.Dense(units, activation="tanh")(row)
    return keras.Model(row, layers.Dense(2, name="mean_and_log_scale")(x), name="interval")


def negative_log_likelihood(y_true, y_pred):
    """The negative log likelihood of a normal distribution, without its constant."""
    mean, log_scale = y_pred[:, :1], y_pred[:, 1:]
    return ops.mean(log_scale + ((y_true - mean) * ops.exp(-log_scale)) ** 2 / 2, axis=-1)


def compile_model(model, config, steps):
    """Negative log likelihood."""
    model.compile(keras.optimizers.Adam(0.02), negative_log_likelihood)
    return model


def endpoints(fitted):
    """`row` to `mean`, `lower` and `upper`."""
    model = fitted.networks["interval"]
    mean, scale = model.output[:, 0], ops.exp(model.output[:, 1])
    outputs = {"mean": mean, "lower": mean - 2 * scale, "upper": mean + 2 * scale}
    return {"serve": keras.Model(model.input, outputs)}


def evaluate(fitted):
    """The test loss, and the share of numbers within their interval by sign; none is exactly 0."""
    mean, log_scale = np.asarray(fitted.outputs()).T
    numbers = fitted.data.splits["test"].targets
    inside = abs(numbers - mean) < 2 * np.exp(log_scale)
    coverage = {
        "negative": float(inside[numbers < 0].mean()),
        "positive": float(inside[numbers > 0].mean()),
        "zero": None,
    }
    return {**evaluate_on_test(fitted), "coverage": coverage}


app = App(
    name="interval",
    topic="tables",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    evaluate=evaluate,
    tiny={"epochs": 2},
)
