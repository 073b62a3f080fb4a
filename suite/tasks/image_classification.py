"""The task of image classification: data, loss, endpoints, metrics, figures and commands.

An application builds a network, and passes the functions of this module to its `App`: `load_data`,
`compile_model`, `endpoints`, `evaluate`, `draw`, the `COMMANDS` and the `STUDIES`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite.app import App, Fitted, Metrics, evaluate_on_test
from suite.data import Data
from suite.data.images.augmentation import random_affine
from suite.errors import InputError
from suite.explanations import heat_maps
from suite.export.endpoints import Endpoint, classifier, named_classes
from suite.export.exported import Exports
from suite.figures import classes
from suite.figures import images as figures
from suite.knobs import BatchSize, Epochs, LearningRate, Rate, Share, WeightDecay, settings
from suite.run import Run
from suite.tasks import pictures
from suite.trainers.schedules import one_cycle

# Height and width may be None for a network that pools over the whole image.
AnyImageShape = tuple[PositiveInt | None, PositiveInt | None, PositiveInt]
Pooling = Literal["avg", "max"]


@settings
class Config(pictures.Config):
    """The settings of the training of an image classifier.

    Args:
        epochs: Passes over the training split; an epoch makes several passes over a small split.
        learning_rate: Peak of the one-cycle schedule.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: Decoupled weight decay in a step, times the learning rate.
        rotation: Largest random rotation of a training image, in degrees.
        shift: Largest random shift along each axis, in pixels.
        zoom: Largest random change of width and of height, as a share.
    """

    epochs: Epochs = 6
    batch_size: BatchSize = 120
    learning_rate: LearningRate = 5e-3
    warmup: Share = 0.2
    weight_decay: WeightDecay = 0.05
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    shift: Annotated[float, Field(ge=0, le=1000)] = 2.0
    zoom: Rate = 0.1


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)` with values in 0..255, and labels `()`."""
    augment = random_affine(config.rotation, config.shift, config.zoom)
    return pictures.load_data(config, run, labelled=True, augment=augment)


def refuse_small_images(
    input_shape: AnyImageShape, halvings: int, knob: str, stages: Sequence[int]
) -> None:
    """Refuses images that would be smaller than one pixel after so many halvings.

    Args:
        input_shape: `(height, width, channels)`; a height or width of None is not checked.
        halvings: Number of times that the network halves height and width.
        knob: Name of the knob that holds the stages, for the error.
        stages: Value of that knob, one number for each stage.

    Raises:
        InputError: There are too many stages for images of this shape.
    """
    height, width, _ = input_shape
    smallest = min((side for side in (height, width) if side), default=2**halvings)
    if smallest < 2**halvings:
        most = len(stages) - halvings + smallest.bit_length() - 1
        raise InputError(
            f"`{knob}` must be of at most {most} stages for images of {height} x {width}", stages
        )


def head(
    x: keras.KerasTensor, num_classes: int, include_top: bool, pooling: Pooling | None
) -> keras.KerasTensor:
    """The last layers of a classifier: from the output of the convolutions to logits or features.

    Args:
        x: Output of the convolutions, `(batch, height, width, filters)`.
        num_classes: Number of logits.
        include_top: Whether to return logits, or else the features before them.
        pooling: Global pooling, `avg` or `max`, which allows images of any size. None flattens the
            features for the logits, or returns them without a change.

    Returns:
        Logits `(batch, num_classes)`; or features `(batch, filters)`, without pooling
        `(batch, height, width, filters)`.

    Raises:
        InputError: Height or width is None, and logits without pooling need them.
    """
    if pooling:
        x = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]()(x)
    elif include_top:
        if None in x.shape[1:]:
            raise InputError("`pooling` must be avg or max for images of any size", pooling)
        x = layers.Flatten()(x)
    if not include_top:
        return x
    return layers.Dense(num_classes, dtype=keras.config.floatx(), name="logits")(x)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy on logits and AdamW, with a one-cycle learning rate."""
    model.compile(
        optimizer=keras.optimizers.AdamW(
            one_cycle(config.learning_rate, steps, config.warmup), weight_decay=config.weight_decay
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` to `logits`, `probabilities`, `label` and `name`.

    `picture`, if the source has a preparation: encoded pictures to the same outputs.

    `explain`, if the network has a convolution as well: encoded pictures to `heat_map`, `label`,
    `name` and `probabilities`.
    """
    [model] = fitted.networks.values()
    serve = named_classes(classifier(model), fitted.data.description.class_names)
    source = fitted.data.source
    if source is None or source.preparation is None:
        return {"serve": serve}
    picture = pictures.endpoint(serve, source.preparation)
    offered: dict[str, keras.Model | Endpoint] = {"serve": serve, "picture": picture}
    if heat_maps.has_convolution(model):
        offered["explain"] = pictures.endpoint(explanation(model, serve), source.preparation)
    return offered


def explanation(model: keras.Model, serve: Endpoint) -> Endpoint:
    """An endpoint that shows where a picture speaks for its most likely class, by Grad-CAM.

    Args:
        model: A classifier with a convolution.
        serve: The endpoint of the classifier, from images to `label`, `name` and `probabilities`.

    Returns:
        An endpoint with the same inputs, and the outputs `heat_map` `(batch, height, width)`,
        float32, from 0 to 1 at the largest value of a picture, `label`, `name` and `probabilities`.
    """

    def explain(image: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = serve.function(image)
        maps = heat_maps.grad_cam(model, image, answers["label"])
        kept = {name: answers[name] for name in ("label", "name", "probabilities")}
        return {"heat_map": heat_maps.normalized(maps), **kept}

    return serve._replace(function=explain)


def evaluate(fitted: Fitted) -> Metrics:
    """Loss and accuracy on the test split.

    `test_accuracy_by_class` has an accuracy by the name of the class, None for one without
    examples.
    """
    labels = fitted.data.splits["test"].targets
    correct = np.asarray(fitted.outputs()).argmax(axis=1) == labels
    names = fitted.data.description.class_names
    counts = np.bincount(labels, minlength=len(names))
    correct_counts = np.bincount(labels[correct], minlength=len(names))
    by_class = {
        name: float(num_correct / count) if count else None
        for name, num_correct, count in zip(names, correct_counts, counts, strict=True)
    }
    return {**evaluate_on_test(fitted), "test_accuracy_by_class": by_class}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws confusion matrix and worst mistakes on the test split, and the first filters."""
    test = fitted.data.splits["test"].in_memory()
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(fitted.outputs()))
    names = fitted.data.description.class_names
    [model] = fitted.networks.values()
    drawings = {
        "confusion_matrix": classes.confusion_matrix(
            test.targets, probabilities.argmax(axis=1), names
        ),
        "worst_mistakes": classes.worst_mistakes(test.inputs, test.targets, probabilities, names),
    }
    first = next((layer for layer in model.layers if isinstance(layer, layers.Conv2D)), None)
    if first is not None:
        drawings["filters"] = figures.filters(keras.ops.convert_to_numpy(first.kernel))
    return drawings


def predict(app: App, *files: Path, exports: Exports = Exports()) -> None:
    """Say what each picture shows.

    Args:
        files: Image files of any size, dark on light or light on dark.
    """
    exported, images = pictures.read_files(app, files, exports)
    names = exported.metadata("class_names")["class_names"]
    outputs = exported.call(images)
    for path, label, probabilities in zip(
        files, outputs["label"], outputs["probabilities"], strict=True
    ):
        print(f"{path}: {names[label]} ({probabilities[label]:.1%})")


COMMANDS: dict[str, Callable[..., None]] = {"predict": predict}
STUDIES = ("explain",)
OWN_DATA = pictures.OWN_DATA
TINY = {"epochs": 1, "batch_size": 8, "min_steps_per_epoch": 20, "dataset": "mnist"}
