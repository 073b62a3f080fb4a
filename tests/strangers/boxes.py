"""Boxes: the number of targets differs from picture to picture."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from suite import App, checked, settings
from suite.data import Examples, Source, supervised
from suite.knobs import BatchSize, Epochs, Units

MOST = 3  # boxes of a picture


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the pictures.
        batch_size: Pictures of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 8


def load_data(config, run):
    """Pictures `(12, 12, 1)`; `boxes` `(num_boxes, 4)` as shares of the sides, and `count`."""
    random = np.random.default_rng(0)
    counts = random.integers(1, MOST + 1, 60)
    images, boxes = np.zeros((60, 12, 12, 1), np.float32), []
    for image, count in zip(images, counts, strict=True):
        corners = random.integers(0, 9, (count, 2))
        for top, left in corners:
            image[top : top + 3, left : left + 3] = 255
        boxes.append(np.concatenate([corners, corners + 3], axis=1).astype(np.float32) / 12)
    ragged = tf.RaggedTensor.from_row_lengths(np.concatenate(boxes), counts)
    targets = {"boxes": ragged, "count": counts.astype(np.int32)}
    source = Source(name="synthetic:boxes", train=Examples({"image": images}, targets))
    return supervised(
        source, batch_size=config.batch_size, validation_split=0.2, seed=run.seed, min_steps=1
    )


@checked
def build_model(*, units: Units = 16) -> keras.Model:
    """Builds the network.

    Args:
        units: Units of the hidden layer.
    """
    image = keras.Input((12, 12, 1), name="image")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(units, activation="relu")(x)
    boxes = layers.Reshape((MOST, 4))(layers.Dense(4 * MOST, activation="sigmoid")(x))
    count = layers.Dense(MOST + 1, dtype=keras.config.floatx(), name="count_logits")(x)
    return keras.Model({"image": image}, {"boxes": boxes, "count": count}, name="boxes")


def box_loss(y_true, y_pred):
    """The squared distance of the boxes, without padding, which is all zeros."""
    missing = MOST - tf.shape(y_true)[1]
    padded = tf.pad(y_true, [[0, 0], [0, missing], [0, 0]])
    is_box = ops.cast(ops.any(padded > 0, axis=-1, keepdims=True), y_pred.dtype)
    return ops.mean(is_box * (padded - y_pred) ** 2, axis=(1, 2))


def compile_model(model, config, steps):
    """Distances of boxes, and cross-entropy of their number."""
    count = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), {"boxes": box_loss, "count": count})
    return model


def endpoints(fitted):
    """`image` to `boxes` and `count`."""
    model = fitted.networks["boxes"]
    boxes, count = (model.output[name] for name in ("boxes", "count"))
    outputs = {"boxes": boxes, "count": ops.argmax(count, axis=-1)}
    return {"serve": keras.Model(model.input, outputs)}


app = App(
    name="boxes",
    topic="images",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    tiny={"epochs": 2},
)
