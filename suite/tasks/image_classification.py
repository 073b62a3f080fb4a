"""The task of image classification: data, loss, endpoints, metrics, figures and commands.

An application builds a network, and passes the functions of this module to its `App`: `load_data`,
`compile_model`, `endpoints`, `evaluate`, `draw`, the `COMMANDS` and the `STUDIES`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
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
from suite.data.images.augmentation import (
    combined,
    cutout,
    mixup,
    random_affine,
    random_crop,
)
from suite.data.pairs.augmentation import joint_flip
from suite.errors import InputError
from suite.explanations import heat_maps
from suite.export.endpoints import Endpoint, classifier, to_logits, with_class_names
from suite.export.exported import Exports
from suite.figures import classes
from suite.figures import images as figures
from suite.knobs import (
    BatchSize,
    Epochs,
    Fraction,
    LearningRate,
    Rate,
    Share,
    WeightDecay,
    settings,
)
from suite.layers.views import Views, average_views
from suite.run import Run
from suite.tasks import pictures
from suite.trainers.adversarial import AdversarialClassifier
from suite.trainers.auxiliary import AuxiliaryLosses
from suite.trainers.averages import weight_average_callbacks
from suite.trainers.crossentropy import SmoothCrossentropy, accuracy
from suite.trainers.optimizers import Clip, Optimization, scheduled_optimizer
from suite.trainers.virtual_adversarial import VirtualAdversarial

# Height and width may be None for a network that pools over the whole image.
AnyImageShape = tuple[PositiveInt | None, PositiveInt | None, PositiveInt]
Pooling = Literal["avg", "max"]
Rotation = Annotated[float, Field(ge=0, le=180)]  # degrees
Shift = Annotated[float, Field(ge=0, le=1000)]  # pixels
NOISE_SEED = 0  # the same noise for all seeds of a run, so that an export can be judged again


@settings
class Config(Optimization, pictures.Config):
    """The settings of the training of an image classifier.

    Args:
        batch_size: Images per optimizer step, over all replicas.
        rotation: Largest random rotation of a training image, in degrees.
        shift: Largest random shift along each axis, in pixels.
        zoom: Largest random change of width and of height, as a share.
        flip: Whether half of the training images are mirrored, left to right.
        crop: Pixels by which training images are padded, to be cropped at a random place.
        cutout: Side of a square of every training image that is blanked, in pixels.
        mixup: Whether training images are mixtures of two, as are their labels.
        label_smoothing: Part of a label that is spread over all classes.
        weight_average: Share of a moving average of the weights that a step keeps; 0 keeps none.
            The validation uses the average, and the training ends with it.
        views: What the trained network looks at before it answers: the picture (`plain`), its
            mirror image as well (`mirrored`), and both of them shifted by a pixel, too
            (`mirrored_and_shifted`). The probabilities are of the mean of their logits. The
            validation looks at the picture alone.
        label_noise: Share of the training labels that are replaced by random classes; at 1 they say
            nothing about the pictures. Validation and test labels stay true.
        clip_value: Largest absolute value of a component of the gradient. None does not clip.
        patience: Epochs without a higher validation accuracy, after which the training ends with
            the best weights. None trains all epochs.
        attack_epsilon: Largest change of a pixel, as a share of its range, by attacks in the
            training; 0 trains on the pictures as they are.
        attack_steps: Steps of such an attack; unused while `attack_epsilon` is 0.
        attack_share: Share of the pictures of a batch that are attacked; the others stay as they
            are. Unused while `attack_epsilon` is 0.
        attack_step_size: Length of such a step, as a share of the range. Defaults to 2.5 times
            `attack_epsilon`, divided by the steps. Unused while `attack_epsilon` is 0.
        virtual_epsilon: Length of the change, with pixels from 0 to 1, after which the answer to a
            training image shall be the same; the change is the one that would change it most. 0
            makes none.
    """

    epochs: Epochs = 6
    batch_size: BatchSize = 120
    learning_rate: LearningRate = 5e-3
    warmup: Share = 0.2
    weight_decay: WeightDecay = 0.05
    rotation: Rotation = 10.0
    shift: Shift = 2.0
    zoom: Rate = 0.1
    flip: bool = False
    crop: Annotated[int, Field(ge=0, le=1000)] = 0
    cutout: Annotated[int, Field(ge=0, le=1000)] = 0
    mixup: bool = False
    label_smoothing: Rate = 0.0
    weight_average: Rate = 0.0
    views: Views = "plain"
    label_noise: Fraction = 0.0
    clip_value: Clip | None = None
    patience: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    attack_epsilon: Fraction = 0.0
    attack_steps: Annotated[int, Field(ge=1, le=100)] = 10
    attack_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    attack_step_size: Annotated[float, Field(gt=0, le=1)] | None = None
    virtual_epsilon: Annotated[float, Field(ge=0, le=1000)] = 0.0


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)` with values in 0..255, and labels `()`."""
    augment = combined(
        random_affine(config.rotation, config.shift, config.zoom),
        joint_flip() if config.flip else None,
        random_crop(config.crop),
        cutout(config.cutout),
        mixup() if config.mixup else None,
    )
    corrupt = functools.partial(with_label_noise, share=config.label_noise)
    return pictures.load_data(
        config,
        run,
        labelled=True,
        corrupt=corrupt if config.label_noise else None,
        augment=augment,
    )


def with_label_noise(labels: np.ndarray, share: float) -> np.ndarray:
    """Labels `(n,)`, a share of which is replaced by random classes, the same ones in every call.

    Every class is as likely, so that some labels are replaced by the same class.

    Reference:
        Zhang, Bengio, Hardt, Recht and Vinyals, 2017, Understanding Deep Learning Requires
        Rethinking Generalization, https://arxiv.org/abs/1611.03530
    """
    random = np.random.default_rng(NOISE_SEED)
    replaced = random.random(len(labels)) < share
    return np.where(replaced, random.choice(np.unique(labels), len(labels)), labels)


def refuse_small_images(
    input_shape: AnyImageShape, halvings: int, knob: str, stages: Sequence[int], border: int = 0
) -> None:
    """Refuses images that would be smaller than one pixel after so many halvings.

    Args:
        input_shape: `(height, width, channels)`; a height or width of None is not checked.
        halvings: Number of times that the network halves height and width.
        knob: Name of the knob that holds the stages, for the error.
        stages: Value of that knob, one number for each stage.
        border: Pixels of height and width that are gone before the first halving.

    Raises:
        InputError: There are too many stages for images of this shape.
    """
    height, width, _ = input_shape
    sides = [max(side - border, 0) for side in (height, width) if side is not None]
    smallest = min(sides, default=2**halvings)
    if smallest < 2**halvings:
        most = len(stages) - halvings + smallest.bit_length() - 1
        if most < 1:
            least = border + 2 ** (halvings - len(stages) + 1)
            raise _too_small(input_shape, least)
        raise InputError(
            f"`{knob}` must be of at most {most} stages for images of {height} x {width}", stages
        )


def refuse_other_length(
    knob: str, stages: Sequence[int], other_knob: str, others: Sequence[int]
) -> None:
    """Refuses two knobs of the stages of a network that differ in length.

    Raises:
        InputError: `stages`, the value of `knob`, has not as many numbers as the other.
    """
    if len(stages) != len(others):
        raise InputError(
            f"`{knob}` must be {len(others)} numbers, one for each of `{other_knob}`", stages
        )


def refuse_images_below(input_shape: AnyImageShape, smallest: int) -> None:
    """Refuses images with a side of fewer pixels; a height or width of None is not checked.

    Raises:
        InputError: The images are too small.
    """
    if min(side or smallest for side in input_shape[:2]) < smallest:
        raise _too_small(input_shape, smallest)


def _too_small(input_shape: AnyImageShape, smallest: int) -> InputError:
    sides = " x ".join(str(side) for side in input_shape[:2] if side)
    return InputError(
        f"images must have at least {smallest} x {smallest} pixels; in a training `image_size` "
        "enlarges them",
        sides,
    )


def head(
    x: keras.KerasTensor,
    num_classes: int,
    include_top: bool,
    pooling: Pooling | None,
    *,
    units: Sequence[int] = (),
    dropout: float = 0.0,
    name: str = "logits",
) -> keras.KerasTensor:
    """The last layers of a classifier: from the output of the convolutions to logits or features.

    Args:
        x: Output of the convolutions, `(batch, height, width, filters)`.
        num_classes: Number of logits.
        include_top: Whether to return logits, or else the features before them.
        pooling: Global pooling, `avg` or `max`, which allows images of any size. None flattens the
            features for the logits, or returns them without a change.
        units: Units of dense layers between features and logits, each with ReLU and dropout.
        dropout: Dropout rate after each of them.
        name: Name of the layer of the logits.

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
    for size in units:
        x = layers.Dropout(dropout)(layers.Dense(size, activation="relu")(x))
    return layers.Dense(num_classes, dtype=keras.config.floatx(), name=name)(x)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy on logits, and the optimizer and schedule of the settings.

    The result is the network itself; or, around it, an `AuxiliaryLosses` if it has outputs beside
    `logits`; an `AdversarialClassifier` if `attack_epsilon` is not 0, or a `VirtualAdversarial` if
    `virtual_epsilon` is not 0.

    Raises:
        InputError: `attack_epsilon` is set with `mixup`, whose pictures have no single class, or
            with `virtual_epsilon`; one of both is set for a network with auxiliary outputs;
            `clip_norm` is set with `clip_value`; or `patience` with `weight_average`, since the
            best weights are no average.
    """
    refuse_what_does_not_go_together(config)
    trained = model
    if isinstance(model.output, Mapping):
        for knob in ("attack_epsilon", "virtual_epsilon"):
            if value := getattr(config, knob):
                raise InputError(
                    f"`{knob}` must be 0 for a network with auxiliary outputs; `auxiliary` no "
                    "leaves them out",
                    value,
                )
        trained = AuxiliaryLosses(model)
    elif config.attack_epsilon:
        trained = AdversarialClassifier(
            model,
            epsilon=config.attack_epsilon,
            steps=config.attack_steps,
            share=config.attack_share,
            step_size=config.attack_step_size,
        )
    elif config.virtual_epsilon:
        trained = VirtualAdversarial(model, epsilon=config.virtual_epsilon)
    trained.compile(
        optimizer=scheduled_optimizer(config, steps, clip_value=config.clip_value),
        loss=crossentropy(config),
        metrics=[accuracy_metric()],
    )
    return trained


def refuse_what_does_not_go_together(config: Config) -> None:
    """Refuses settings that exclude each other, whatever the network.

    Raises:
        InputError: See `compile_model`.
    """
    if config.weight_average and config.patience is not None:
        raise InputError("`patience` must be left out with `weight_average`", config.patience)
    if config.attack_epsilon and config.mixup:
        raise InputError("`mixup` must be left out with `attack_epsilon`", config.mixup)
    if config.attack_epsilon and config.virtual_epsilon:
        raise InputError(
            "`virtual_epsilon` must be 0 with `attack_epsilon`", config.virtual_epsilon
        )


def crossentropy(config: Config) -> keras.losses.Loss:
    """The cross-entropy of logits, with labels that are smoothed or mixed if the settings ask."""
    if config.mixup or config.label_smoothing:
        return SmoothCrossentropy(config.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def accuracy_metric() -> keras.metrics.Metric:
    """The share of pictures whose largest logit is that of their class."""
    return keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """The moving average of the weights, or the early end, if there is to be one."""
    patience = fitted.config.patience
    if patience is None:
        return weight_average_callbacks(fitted)
    return [
        keras.callbacks.EarlyStopping(
            "val_accuracy", mode="max", patience=patience, restore_best_weights=True
        )
    ]


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` to `logits`, `probabilities`, `label` and `name`.

    `picture`, if the source has a preparation: encoded pictures to the same outputs.

    `explain`, if the network has a convolution as well: encoded pictures to `heat_map`, `label`,
    `name` and `probabilities`.
    """
    [model] = fitted.networks.values()
    answering = average_views(to_logits(model), fitted.config.views)
    serve = with_class_names(classifier(answering), fitted.data.description.class_names)
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


def with_views(fitted: Fitted) -> Fitted:
    """The fitted network as it is exported, which answers after several views of a picture."""
    if fitted.config.views == "plain":
        return fitted

    def compute() -> Fitted:
        [network] = fitted.networks.values()
        return fitted.with_model(
            average_views(to_logits(network), fitted.config.views),
            loss=crossentropy(fitted.config),
            metrics=[accuracy_metric()],
        )

    return fitted.once(f"views {fitted.config.views}", compute)


def evaluate(fitted: Fitted) -> Metrics:
    """Loss and accuracy on the test split.

    `test_accuracy_by_class` has an accuracy by the name of the class, None for one without
    examples.
    """
    fitted = with_views(fitted)
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
    test = fitted.data.splits["test"]
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(with_views(fitted).outputs()))
    names = fitted.data.description.class_names
    [model] = fitted.networks.values()
    drawings = {
        "confusion_matrix": classes.confusion_matrix(
            test.targets, probabilities.argmax(axis=1), names
        ),
        "worst_mistakes": classes.worst_mistakes(
            lambda rows: test.rows(rows).in_memory().inputs, test.targets, probabilities, names
        ),
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
STUDIES = ("explain", "attack", "see")
DATA_LAYOUTS = pictures.DATA_LAYOUTS
# Of networks some of whose other knobs need large pictures.
SEARCH = {
    "learning_rate": "0.0005..0.05",
    "weight_decay": "0.005..0.5",
    "normalization": "batch,layer,group,none",
    "dropout": "0..0.6",
}
# The recipe of CIFAR-10: photographs, shifted and mirrored but neither turned nor zoomed. Every
# application adds its number of epochs, for which two cores need half an hour or less.
CIFAR10 = {
    "dataset": "cifar10",
    "batch_size": 250,
    "optimizer": "muon",
    "learning_rate": 0.05,
    "weight_decay": 0.1,
    "label_smoothing": 0.1,
    "rotation": 0.0,
    "zoom": 0.0,
    "shift": 0.0,
    "flip": True,
    "crop": 4,
    "views": "mirrored_and_shifted",
}
TINY = {"epochs": 1, "batch_size": 8, "min_steps_per_epoch": 20, "dataset": "mnist"}
