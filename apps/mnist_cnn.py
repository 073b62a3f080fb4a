"""MNIST digits by a convolutional network with batch normalisation.

Stages of 3 x 3 convolutions, each normalised and rectified; a stage ends by pooling, before its
last normalisation, which so has a quarter of the values to go through. Trained with small random
distortions, under a learning rate that rises and falls once.
"""

from itertools import groupby
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.cli import main
from suite.data import pictures as images
from suite.data.examples import Data, collect, supervised
from suite.export.saved_model import Export, classifier
from suite.figures import classes as figures
from suite.knobs import (
    Activation,
    BatchSize,
    Epochs,
    Filters,
    LearningRate,
    NumClasses,
    Rate,
    Share,
    WeightDecay,
)
from suite.trainers.schedules import OneCycle


@settings
class Config:
    """The training recipe.

    Args:
        epochs: Passes over the training split.
        batch_size: Images per optimizer step, over all replicas.
        learning_rate: Peak of the one-cycle schedule.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: Decoupled decay of the weights per step, times the learning rate.
        rotation: Largest random rotation of a training image, in degrees.
        shift: Largest random shift along each axis, in pixels.
        zoom: Largest random change of width and of height, as a share.
        validation_split: Share of the training images held out to watch the training.
    """

    epochs: Epochs = 6
    batch_size: BatchSize = 120
    learning_rate: LearningRate = 5e-3
    warmup: Share = 0.2
    weight_decay: WeightDecay = 0.05
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    shift: Annotated[float, Field(ge=0, le=28)] = 2.0
    zoom: Rate = 0.1
    validation_split: Share = 0.1


def load_data(config: Config, run: Run) -> Data:
    """MNIST images `(28, 28, 1)` with grey values in 0..255, and labels `(,)`."""
    examples = images.load_digits(run)
    return supervised(
        examples,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        model_arguments=lambda train: {"num_classes": len(examples.class_names)},
        augment=images.augmenter(config.rotation, config.shift, config.zoom),
    )


@checked
def build_model(
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (28, 28, 1),
    num_classes: NumClasses = 10,
    *,
    filters: Annotated[tuple[Filters, ...], Field(min_length=1)] = (24, 48, 96),
    activation: Activation = "relu",
    dropout: Rate = 0.1,
) -> keras.Model:
    """Builds the network: grey values in, logits out.

    Args:
        input_shape: `(height, width, channels)`; values are scaled from 0..255 inside.
        num_classes: Number of logits.
        filters: Filters of the convolutions in order; equal neighbours form a stage, and each
            stage halves height and width.
        activation: Keras's name of the activation.
        dropout: Rate of dropout after each stage.

    Returns:
        A functional model, `image` `(batch, height, width, channels)` to logits
        `(batch, num_classes)`, float32.

    Raises:
        ValueError: An argument is out of range, or there are more stages than the image can be
            halved.

    Reference:
        Ioffe and Szegedy, 2015, Batch Normalization: Accelerating Deep Network Training by
        Reducing Internal Covariate Shift, https://arxiv.org/abs/1502.03167
        Differs from the paper: pools before it normalises.
    """
    stages = [list(stage) for _, stage in groupby(filters)]
    height, width, _ = input_shape
    if min(height, width) < 2 ** len(stages):
        raise ValueError(
            f"`filters` must form at most {min(height, width).bit_length() - 1} stages for "
            f"images of {height} x {width}. Received: {filters}"
        )
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255)(image)
    for stage in stages:
        for number, width in enumerate(stage, start=1):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            if number == len(stage):
                x = layers.MaxPooling2D()(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.Activation(activation)(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="mnist_cnn")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Cross-entropy on logits, under AdamW with a one-cycle learning rate."""
    model.compile(
        optimizer=keras.optimizers.AdamW(
            OneCycle(config.learning_rate, steps, config.warmup), weight_decay=config.weight_decay
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


def endpoints(model: keras.Model) -> dict[str, keras.Model]:
    """`image` to `logits`, `probabilities` and `label`."""
    return {"serve": classifier(model)}


def draw(model: keras.Model, data: Data, config: Config) -> dict[str, Figure]:
    """Confusion matrix and worst mistakes on the test split, and the first filters."""
    shown, labels = collect(data.test)
    probabilities = keras.ops.convert_to_numpy(
        keras.ops.softmax(model.predict(data.test, verbose=0))
    )
    names = data.description["class_names"]
    first = next(layer for layer in model.layers if isinstance(layer, layers.Conv2D))
    return {
        "confusion_matrix": figures.confusion_matrix(labels, probabilities.argmax(1), names),
        "worst_mistakes": figures.worst_mistakes(shown, labels, probabilities, names),
        "filters": figures.filters(keras.ops.convert_to_numpy(first.kernel)),
    }


def predict(*pictures: Path, export: Export = Export()) -> None:
    """Say which digit each picture shows.

    Args:
        pictures: Image files of any size, dark on light or light on dark.
    """
    if not pictures:
        raise InputError("predict needs one image file or more. Received: none")
    names = export.metadata(app.name, "class_names")["class_names"]
    answers = export.call(app.name, np.stack([images.read_picture(path) for path in pictures]))
    for path, label, probabilities in zip(
        pictures, answers["label"], answers["probabilities"], strict=True
    ):
        print(f"{path}: {names[label]} ({probabilities[label]:.1%})")


app = App(
    name="mnist_cnn",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    figures=draw,
    commands={"predict": predict},
    try_next="predict your_digit.png",
    recipes={
        "fast": {
            "epochs": 1,
            "batch_size": 80,
            "learning_rate": 7e-3,
            "warmup": 0.1,
            "filters": (16, 32, 96),
            "dropout": 0.0,
            "weight_decay": 0.0,
            "rotation": 0.0,
            "shift": 0.0,
            "zoom": 0.0,
        },
        "accurate": {
            "epochs": 27,
            "filters": (32, 64, 64, 128),
            "dropout": 0.15,
        },
    },
)

if __name__ == "__main__":
    main(app)
