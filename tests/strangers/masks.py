"""Masks: every pixel has a class, and augmentation changes a picture and its mask alike."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from suite import App, checked, settings
from suite.data import Augmentation, Examples, Source, supervised
from suite.knobs import BatchSize, Epochs, Filters


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the pictures.
        batch_size: Pictures of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 8


def flip(batch, draws):
    """Flips some pictures, and their masks with them."""
    flipped = draws[0][:, None, None] > 0
    images, masks = batch
    return (
        tf.where(flipped[..., None], images[:, :, ::-1], images),
        tf.where(flipped, masks[:, :, ::-1], masks),
    )


def load_data(config, run):
    """Squares on a dark background `(16, 16, 1)`; the mask `(16, 16)` is 1 in the square."""
    random = np.random.default_rng(0)
    masks = np.zeros((80, 16, 16), np.int32)
    for mask, (top, left) in zip(masks, random.integers(0, 8, (80, 2)), strict=True):
        mask[top : top + 8, left : left + 8] = 1
    images = (200 * masks + random.integers(0, 40, masks.shape))[..., None].astype(np.uint8)
    source = Source(name="synthetic:squares", train=Examples(images, masks))
    return supervised(
        source,
        batch_size=config.batch_size,
        validation_split=0.2,
        seed=run.seed,
        min_steps=1,
        augment=Augmentation(flip, num_draws=1),
    )


@checked
def build_model(*, filters: Filters = 8) -> keras.Model:
    """Builds the network.

    Args:
        filters: Filters of the hidden layer.
    """
    image = keras.Input((16, 16, 1), name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    logits = layers.Conv2D(2, 3, padding="same", dtype=keras.config.floatx(), name="logits")
    return keras.Model(image, logits(x), name="masks")


def compile_model(model, config, steps):
    """Cross-entropy of every pixel."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metric = keras.metrics.MeanIoU(2, sparse_y_pred=False, name="iou")
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=[metric])
    return model


def endpoints(fitted):
    """`image` to `mask`."""
    model = fitted.networks["masks"]
    return {"serve": keras.Model(model.input, {"mask": ops.argmax(model.output, axis=-1)})}


app = App(
    name="masks",
    topic="images",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    objective="val_iou",
    objective_mode="max",
    keep_best=True,
    tiny={"epochs": 2},
)
