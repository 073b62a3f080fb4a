"""Data that need not fit into memory: pictures are read from disk for every batch."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from suite import App, checked, settings
from suite.data import Source, supervised
from suite.data.stored import files
from suite.export.endpoints import classifier, with_class_names
from suite.knobs import BatchSize, Epochs, Filters

FOLDER = Path(tempfile.gettempdir()) / "stranger-from-disk"


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the pictures.
        batch_size: Pictures of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 10


def paths():
    """Makes files of dark and light pictures in turn, unless they exist; returns their paths."""
    FOLDER.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(80):
        pixels = random.integers(0, 100, (8, 8, 3), dtype=np.uint8) + 150 * (number % 2)
        path = FOLDER / f"{number:02}.png"
        if not path.exists():
            content = tf.io.encode_png(pixels.astype(np.uint8)).numpy()
            part = FOLDER / f".{number}-{np.random.default_rng().integers(2**32)}"
            part.write_bytes(content)
            part.rename(path)
    return sorted(FOLDER.glob("*.png"))


def decode(content):
    """The pixels of a file."""
    return tf.ensure_shape(tf.io.decode_png(content, 3), (8, 8, 3))


def load_data(config, run):
    """Pictures `(8, 8, 3)`, which stay on disk, and whether they are light."""
    stored = files(paths(), decode, np.arange(80, dtype=np.int32) % 2)
    source = Source(name="synthetic:files", train=stored, class_names=("dark", "light"))
    return supervised(
        source, batch_size=config.batch_size, validation_split=0.2, seed=run.seed, min_steps=1
    )


@checked
def build_model(*, filters: Filters = 4) -> keras.Model:
    """Builds the network.

    Args:
        filters: Filters of the convolution.
    """
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(filters, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(2, dtype=keras.config.floatx(), name="logits")
    return keras.Model(image, logits(x), name="from_disk")


def compile_model(model, config, steps):
    """Cross-entropy."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    return model


def endpoints(fitted):
    """`image` to `name` and the rest."""
    names = fitted.data.description.class_names
    return {"serve": with_class_names(classifier(fitted.networks["from_disk"]), names)}


app = App(
    name="from_disk",
    topic="images",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    objective="val_accuracy",
    tiny={"epochs": 2},
)
