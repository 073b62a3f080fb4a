"""Two inputs and two outputs: a picture with words, a class and a number."""

import keras
import numpy as np
from keras import layers, ops

from suite import App, checked, settings
from suite.data import Examples, Source, supervised
from suite.knobs import BatchSize, Epochs, Units

WORDS = 12  # of the vocabulary


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the examples.
        batch_size: Examples of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 7


def load_data(config, run):
    """`image` `(8, 8, 3)` and `words` `(5,)`; whether a word occurs, and the brightness."""
    random = np.random.default_rng(0)
    inputs = {
        "image": random.integers(0, 255, (70, 8, 8, 3), dtype=np.uint8),
        "words": random.integers(0, WORDS, (70, 5), dtype=np.int32),
    }
    targets = {
        "occurs": (inputs["words"] == 3).any(axis=1).astype(np.int32),
        "brightness": inputs["image"].mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 255,
    }
    source = Source(name="synthetic:pairs", train=Examples(inputs, targets))
    return supervised(
        source, batch_size=config.batch_size, validation_split=0.2, seed=run.seed, min_steps=1
    )


@checked
def build_model(*, units: Units = 8) -> keras.Model:
    """Builds the network.

    Args:
        units: Units of both branches.
    """
    inputs = {
        "image": keras.Input((8, 8, 3), name="image"),
        "words": keras.Input((5,), dtype="int32", name="words"),
    }
    pixels = layers.Dense(units)(layers.Flatten()(layers.Rescaling(1 / 255)(inputs["image"])))
    words = layers.GlobalMaxPooling1D()(layers.Embedding(WORDS, units)(inputs["words"]))
    outputs = {
        "occurs": layers.Dense(2, name="occurs")(words),
        "brightness": layers.Dense(1, name="brightness")(layers.Concatenate()([pixels, words])),
    }
    return keras.Model(inputs, outputs, name="picture_and_words")


def compile_model(model, config, steps):
    """A loss for each output."""
    occurs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), {"occurs": occurs, "brightness": "mse"})
    return model


def endpoints(fitted):
    """`image` and `words` to `occurs` and `brightness`."""
    model = fitted.networks["picture_and_words"]
    occurs = ops.softmax(model.output["occurs"])[:, 1]
    outputs = {"occurs": occurs, "brightness": model.output["brightness"]}
    return {"serve": keras.Model(model.input, outputs)}


app = App(
    name="picture_and_words",
    topic="images",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    tiny={"epochs": 2},
)
