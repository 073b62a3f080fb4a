"""Transfer: a network that has learnt on other pictures sorts these, even with few labels.

A backbone, whose weights are ImageNet's or those of any image classifier that the suite exported,
makes features of a picture. A new last layer is trained on them, and then all layers together, at a
smaller rate.
"""

import dataclasses
import inspect
import logging
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings, train, train_aside
from suite.app import Phase
from suite.cli import main, show_messages
from suite.data import Data
from suite.data.images.files import writable_picture
from suite.errors import Diverged, one_line_message
from suite.export.endpoints import to_logits
from suite.export.exported import open_folder
from suite.figures import curves
from suite.figures.comparisons import deviation
from suite.knobs import Fraction, LearningRate, NumClasses, Rate
from suite.layers import whitening
from suite.tasks import image_classification as task

# Under `suite`, whose messages a training shows.
log = logging.getLogger("suite.transfer")

Weights = Literal["auto", "imagenet", "none"]
SMALL = "small"
SMALL_FILTERS = (32, 64, 128)
HEAD_DROPOUT, LOGITS = "head_dropout", "logits"  # the names of the layers of the head
SECONDS_TO_ANSWER = 20  # of the server of ImageNet's weights
# For the command `labels`, which chooses among them by the validation split.
RATES = (
    {"learning_rate": 1e-2, "fine_tuning_rate": 2e-4},
    {"learning_rate": 5e-2, "fine_tuning_rate": 2e-3},
    {"learning_rate": 2e-1, "fine_tuning_rate": 1e-2},  # what a network without a past may need
)


def spelt(name: str) -> str:
    """The name of a network as it is compared: without underscores and capitals."""
    return name.replace("_", "").lower()


# The networks of keras.applications, such as `mobilenetv2`.
KERAS_NETWORKS: dict[str, Callable[..., keras.Model]] = {
    spelt(name): network
    for name, network in vars(keras.applications).items()
    if inspect.isfunction(network)
}


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        epochs: Epochs in which the head alone is trained, on features that are computed once; 0
            begins with the fine-tuning.
        learning_rate: Peak of the one-cycle schedule while the head alone is trained.
        fine_tuning_epochs: Epochs in which the backbone is trained as well; 0 leaves them out.
        fine_tuning_rate: Peak of the one-cycle schedule of the fine-tuning.
        unfrozen: Share of the backbone's layers, counted from the last, that is fine-tuned.
        train_batch_norm: Whether the fine-tuning also trains batch normalisation; otherwise its
            weights and statistics stay as they are.
        labels_per_class: Training examples of each class, drawn by the seed. Defaults to all.
    """

    epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    learning_rate: LearningRate = 0.02
    fine_tuning_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 4
    fine_tuning_rate: LearningRate = 5e-4
    unfrozen: Fraction = 1.0
    train_batch_norm: bool = False
    labels_per_class: PositiveInt | None = None


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)` with values in 0..255, and labels `()`.

    Raises:
        InputError: A class has fewer examples than `labels_per_class`.
    """
    if config.labels_per_class is None or run.preparation is not None:
        return task.load_data(config, run)  # all pictures, for an export that is judged again
    data = task.load_data(dataclasses.replace(config, label_noise=0.0), run)
    if data.source is None:
        raise TypeError("labels are chosen of examples: data that `load_data` has made")
    everything = data.splits["train"]
    names = data.description.class_names
    rows = rows_per_class(everything.targets, names, config.labels_per_class, run.seed)
    splits: dict[str, Any] = {**data.splits, "train": everything.rows(rows)}
    source = dataclasses.replace(data.source, groups=None, **splits)
    return task.load_data(config, dataclasses.replace(run, arrays=source, min_per_class=1))


def rows_per_class(
    labels: np.ndarray, class_names: Sequence[str], count: int, seed: int
) -> np.ndarray:
    """The rows of some random examples of each class, in ascending order.

    Args:
        labels: Labels of all examples, `(examples,)`.
        class_names: Names of the classes.
        count: Examples of each class.
        seed: Decides which ones.

    Raises:
        InputError: A class has fewer examples.
    """
    sizes = np.bincount(labels, minlength=len(class_names))
    if sizes.min() < count:
        raise InputError(
            f"`labels_per_class` must be at most the {sizes.min()} training examples of "
            f"{class_names[int(sizes.argmin())]}",
            count,
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(
        np.concatenate([order[labels[order] == label][:count] for label in range(len(class_names))])
    )


@checked
def build_model(
    input_shape: task.AnyImageShape = (32, 32, 3),
    num_classes: NumClasses = 10,
    *,
    backbone: str = SMALL,
    weights: Weights = "auto",
    dropout: Rate = 0.2,
) -> keras.Model:
    """Builds a backbone and a new last layer: from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None.
        num_classes: Number of logits.
        backbone: Name of a network of keras.applications, such as mobilenet_v2; or the folder of an
            export, such as saved_models/resnet/1, or saved_models/resnet for its newest version; or
            small, three convolutions with random weights.
        weights: `imagenet`'s, for networks of keras.applications; or `none`, random ones; `auto`
            takes what there is: ImageNet's, or those of the export.
        dropout: Rate of dropout on the features.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32. All layers but the last two are the backbone's.

    Raises:
        InputError: There is no such backbone, or its weights cannot be downloaded, or it does not
            take pictures of this shape.

    Reference:
        Yosinski, Clune, Bengio and Lipson, 2014, How Transferable Are Features in Deep Neural
        Networks?, https://arxiv.org/abs/1411.1792
    """
    if weights == "imagenet" and spelt(backbone) not in KERAS_NETWORKS:
        raise InputError(
            "`weights` must be auto or none for a backbone that is not of keras.applications",
            weights,
        )
    image = keras.Input(input_shape, name="image")
    if backbone == SMALL:
        features = of_small_network(image)
    elif spelt(backbone) in KERAS_NETWORKS:
        features = of_keras_network(image, backbone, pretrained=weights != "none")
    elif "/" in backbone or os.path.isdir(backbone):  # noqa: PTH112 - Path raises for long names
        features = of_export(image, Path(backbone), pretrained=weights != "none")
    else:
        names = sorted(network.__name__ for network in KERAS_NETWORKS.values())
        raise InputError(
            f"`backbone` must be {SMALL}, the folder of an export such as saved_models/resnet/1, "
            f"or one of: {', '.join(names)}",
            backbone,
        )
    x = layers.Dropout(dropout, name=HEAD_DROPOUT)(features)
    logits = layers.Dense(num_classes, dtype=keras.config.floatx(), name=LOGITS)(x)
    return keras.Model(image, logits, name="transfer")


def of_small_network(image: keras.KerasTensor) -> keras.KerasTensor:
    """The features of three convolutions with random weights, `(batch, 128)`."""
    log.info(
        "The backbone is a small network with random weights, so nothing is transferred; "
        "--backbone mobilenet_v2 or --backbone saved_models/resnet begins with what those have "
        "learnt."
    )
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    for filters in SMALL_FILTERS:
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D(2, padding="same")(x)
    return layers.GlobalAveragePooling2D()(x)


def of_keras_network(image: keras.KerasTensor, name: str, pretrained: bool) -> keras.KerasTensor:
    """The features of a network of keras.applications, `(batch, features)`.

    Args:
        image: Pictures `(batch, height, width, 1 or 3)`, values in 0..255. What the network expects
            of them instead is part of its features.
        name: Name of the network.
        pretrained: Whether its weights are ImageNet's, which are downloaded if they are not in
            Keras's folder, or else random.

    Raises:
        InputError: The pictures are too small, or the weights cannot be downloaded or do not fit.
    """
    network = KERAS_NETWORKS[spelt(name)]
    log.info(
        "The backbone is %s with %s weights.",
        network.__name__,
        "ImageNet's" if pretrained else "random",
    )
    preprocess = inspect.getmodule(network).preprocess_input  # type: ignore[union-attr]
    x = preprocess(in_channels(image, 3))
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_TO_ANSWER)

    def built(weights: str | None) -> keras.KerasTensor:
        with warnings.catch_warnings():
            # That the weights were trained on pictures of another size.
            warnings.simplefilter("ignore", UserWarning)
            return network(
                include_top=False,
                weights=weights,
                input_tensor=x,
                input_shape=tuple(x.shape[1:]),
                pooling="avg",
            ).output

    try:
        features = built(None)
    except ValueError as error:
        raise InputError(
            f"`image_size` must be one that {network.__name__} takes", one_line_message(error)
        ) from error
    try:
        return built("imagenet") if pretrained else features
    except ValueError as error:
        raise InputError(
            f"`weights` imagenet must fit {network.__name__}: remove its file from Keras's folder",
            one_line_message(error),
        ) from error
    except Exception as error:
        # A failed download is an `Exception` of Keras, of no class of its own, or an `OSError`.
        if type(error) is not Exception and not isinstance(error, OSError):
            raise
        raise InputError(
            "`weights` imagenet must be in Keras's folder or be downloaded; `weights` none begins "
            "with random ones",
            one_line_message(error),
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def of_export(image: keras.KerasTensor, folder: Path, pretrained: bool) -> keras.KerasTensor:
    """The features of an exported image classifier, those before its last dense layer.

    Args:
        image: Pictures `(batch, height, width, channels)`, values in 0..255, of any size that the
            exported network can be built for.
        folder: `<export_dir>/<app>/<version>`, or `<export_dir>/<app>` for the newest version.
        pretrained: Whether its weights are those of the export, or else random.

    Raises:
        InputError: There is no such export, it is damaged, or it does not take such pictures.
    """
    exported = open_folder(folder)
    network = exported.built()
    if not isinstance(network, keras.Model) or [len(x.shape) for x in network.inputs] != [4]:
        raise InputError("`backbone` must be an export with one network of pictures", folder)
    if len(network.outputs) > 1 and "logits" not in network.output:
        raise InputError("`backbone` must be an export of a classifier of pictures", folder)
    network = to_logits(network)  # without auxiliary classifiers
    log.info(
        "The backbone is %s with %s weights.", exported.folder, "its" if pretrained else "random"
    )
    dense = [layer for layer in network.layers if isinstance(layer, layers.Dense)]
    features = keras.Model(network.inputs[0], dense[-1].input if dense else network.outputs[0])
    _, height, width, channels = network.inputs[0].shape
    x = in_channels(image, channels)
    try:
        x = copied(features, x, pretrained)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"`image_size` must be one that the backbone takes, such as its {height} x {width}",
            " x ".join(map(str, image.shape[1:3])),
        ) from error
    return layers.GlobalAveragePooling2D(name="backbone_pooling")(x) if len(x.shape) == 4 else x


def in_channels(image: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    """The pictures with as many channels as a backbone takes: grey ones repeat theirs.

    Raises:
        InputError: The pictures are in colour, and the backbone takes grey ones.
    """
    given = image.shape[-1]
    if given == channels:
        return image
    if given != 1:
        raise InputError(f"`channels` must be {channels} for this backbone", given)
    return layers.Concatenate(name="repeated_grey")([image] * channels)


def copied(network: keras.Model, x: keras.KerasTensor, with_weights: bool) -> keras.KerasTensor:
    """Applies a copy of every layer of a network to other inputs, of perhaps another size.

    The layers become layers of the model that is being built, and are not hidden in a layer that is
    a model: so freezing, drawing and explaining find them. Their names begin with `backbone_`.

    Args:
        network: A functional model of one input and one output.
        x: The other inputs.
        with_weights: Whether the copies have the weights of the originals, or else new ones, but
            for a whitening.

    Raises:
        ValueError: The network does not take inputs of this shape.
    """
    outputs = []

    def renamed(operation: Any) -> Any:
        config = operation.get_config()
        if "name" in config:
            config["name"] = f"backbone_{config['name']}"
        return type(operation).from_config(config)

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        outputs.append(operation(*args, **kwargs))
        return outputs[-1]

    copy = keras.models.clone_model(
        network, input_tensors=x, clone_function=renamed, call_function=call
    )
    for layer in network.layers:
        # The whitening is a statistic of pictures, with which a training from scratch begins, too.
        if layer.weights and (with_weights or is_whitening(layer)):
            copy.get_layer(f"backbone_{layer.name}").set_weights(layer.get_weights())
    return outputs[-1]  # Keras calls the operation that makes the output last


def is_whitening(layer: keras.layers.Layer) -> bool:
    """Whether a layer, or what it is a copy of, was made by `suite.layers.whitening.whiten`."""
    return layer.name.endswith(whitening.NAME)


def backbone_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers with weights that are not the head's, the first one first."""
    return [layer for layer in model.layers if layer.weights and layer.name != LOGITS]


def backbone_of(networks: Mapping[str, keras.Model]) -> keras.Model:
    """The model from pictures to the features `(batch, features)` that the head takes."""
    [model] = networks.values()
    return keras.Model(model.input, model.get_layer(HEAD_DROPOUT).input, name="backbone")


def compile_head(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles the head alone, from features to logits; it shares its layers with the model."""
    task.refuse_what_does_not_go_together(config)  # before the epochs of the head
    if not config.fine_tuning_epochs and (config.attack_epsilon or config.virtual_epsilon):
        raise InputError("`fine_tuning_epochs` must be 1 or more: the head is not attacked", 0)
    head = keras.Model(model.get_layer(HEAD_DROPOUT).input, model.output, name="head")
    # Attacks are on pictures, which the head does not see.
    unattacked = dataclasses.replace(config, attack_epsilon=0.0, virtual_epsilon=0.0)
    return task.compile_model(head, unattacked, steps)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles the whole model for the fine-tuning, with the first layers frozen."""
    backbone = backbone_layers(model)
    first = len(backbone) - round(config.unfrozen * len(backbone))
    for number, layer in enumerate(backbone):
        # Not trainable, a batch normalisation also leaves its statistics as they are.
        trained = config.train_batch_norm or not isinstance(layer, layers.BatchNormalization)
        layer.trainable = trained and number >= first and not is_whitening(layer)
    fine_tuning = dataclasses.replace(config, learning_rate=config.fine_tuning_rate)
    return task.compile_model(model, fine_tuning, steps)


def phases(config: Config) -> Sequence[Phase]:
    """The head alone on cached features, then the fine-tuning.

    Raises:
        InputError: Both are left out.
    """
    if not config.epochs and not config.fine_tuning_epochs:
        raise InputError("`epochs` or `fine_tuning_epochs` must be 1 or more", 0)
    return [
        Phase(name="head", epochs=config.epochs, compile=compile_head, features=backbone_of),
        Phase(name="fine_tuning", epochs=config.fine_tuning_epochs),
    ]


def ways_to_train(epochs: int) -> dict[str, dict[str, Any]]:
    """The knobs of four ways to train, of as many epochs each, by the name of the way."""
    everything = {"epochs": 0, "fine_tuning_epochs": epochs}
    return {
        "scratch": {**everything, "weights": "none", "train_batch_norm": True},
        "probe": {"epochs": epochs, "fine_tuning_epochs": 0},
        "fine-tuned": everything,
        "probe, then fine-tuned": {
            "epochs": epochs - epochs // 2,
            "fine_tuning_epochs": epochs // 2,
        },
    }


def compare_labels(
    app: App,
    *,
    backbone: str = "saved_models/resnet",
    dataset: str = "fashion_mnist",
    data: str = "auto",
    data_dir: Path | None = None,
    image_size: PositiveInt | None = None,
    channels: PositiveInt | None = None,
    labels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10, 100),
    epochs: Annotated[int, Field(ge=2)] = 20,
    seeds: PositiveInt = 5,
    output: Path = Path("labels.png"),
) -> None:
    """Draw the accuracy of four ways to train against the number of labels.

    They are: from scratch; the head alone; everything at once; the head, then everything. The rates
    are chosen on the validation split, and the best of them is tested.

    Args:
        backbone: As in training.
        dataset: As in training.
        data: Where examples come from, as in training.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
        image_size: As in training.
        channels: As in training.
        labels: Numbers of training examples of each class.
        epochs: Epochs of every training.
        seeds: Trainings of every way; each has other labels and other new weights.
        output: Image file for the curves.
    """
    show_messages(quiet=False)
    writable_picture(output)
    knobs: dict[str, Any] = {
        "backbone": backbone,
        "dataset": dataset,
        "image_size": image_size,
        "channels": channels,
    }
    run = Run(data=data, data_dir=data_dir, quiet=True)
    # Before any training: are there as many labels, and what the backbone has learnt?
    train(app, app.recipe(**knobs, labels_per_class=max(labels)), run, until="open")
    accuracies = accuracies_by_labels(app, knobs, run, labels, epochs, seeds)
    curves.write(draw_accuracies(accuracies, labels), output)
    print(f"{output}: {', '.join(accuracies)}")


def accuracies_by_labels(
    app: App,
    knobs: Mapping[str, Any],
    run: Run,
    labels: Sequence[int],
    epochs: int,
    seeds: int,
) -> dict[str, np.ndarray]:
    """Trains in four ways with few labels, and prints the test accuracies as they come.

    Args:
        app: The application of this module.
        knobs: Knobs of all trainings.
        run: Settings of all trainings but the seed.
        labels: Numbers of training examples of each class.
        epochs: Epochs of every training.
        seeds: Trainings of every way; each has other labels and other new weights.

    Returns:
        Accuracies `(labels, seeds)` by the way of `ways_to_train`.
    """
    accuracies = {}
    for way, knobs_of_way in ways_to_train(epochs).items():
        accuracies[way] = np.empty((len(labels), seeds))
        for row, count in enumerate(labels):
            chosen = {**knobs, **knobs_of_way, "labels_per_class": count}
            for seed in range(seeds):
                seeded = dataclasses.replace(run, seed=seed)
                accuracies[way][row, seed] = accuracy_of_best_rate(app, chosen, seeded)
            values = accuracies[way][row]
            spread = f"{deviation(values):.1%}"
            print(f"{way}, {count} a class: {values.mean():.1%}, spread {spread}", flush=True)
    return accuracies


def accuracy_of_best_rate(app: App, knobs: Mapping[str, Any], run: Run) -> float:
    """Trains at all `RATES`; the test accuracy of the one that is best on the validation split.

    Raises:
        Diverged: At none of them the loss stays a number.
    """
    trained: list[Any] = []
    diverged = None
    for rates in RATES:
        try:
            trained.append(train_aside(app, app.recipe(**{**knobs, **rates}), run))
        except Diverged as error:
            diverged = error
    if diverged and not trained:
        raise diverged
    best = max(trained, key=lambda one: one.history["val_accuracy"][-1])
    return float(best.model.evaluate(best.data.test, verbose=0, return_dict=True)["accuracy"])


def draw_accuracies(accuracies: Mapping[str, np.ndarray], labels: Sequence[int]) -> Figure:
    """Plots the mean accuracy against the number of labels, within bands of one deviation.

    Args:
        accuracies: Accuracies `(labels, seeds)` by the name of the curve.
        labels: Numbers of labels of each class.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in accuracies.items():
        mean, spread = values.mean(axis=1), deviation(values.T)
        axes.plot(labels, mean, marker="o", markersize=3, label=name)
        axes.fill_between(labels, mean - spread, mean + spread, alpha=0.2)
    axes.set(xscale="log", xlabel="labels of each class", ylabel="test accuracy")
    axes.set_xticks(labels, list(map(str, labels)))
    axes.minorticks_off()
    axes.legend(frameon=False)
    return figure


app = App(
    name="transfer",
    topic="images",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    callbacks=task.callbacks,
    endpoints=task.endpoints,
    evaluate=task.evaluate,
    figures=task.draw,
    commands=task.COMMANDS | {"labels": compare_labels},
    studies=task.STUDIES,
    search={
        "learning_rate": "0.002..0.2",
        "fine_tuning_rate": "0.00005..0.005",
        "weight_decay": "0.005..0.5",
        "dropout": "0..0.6",
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"fine_tuning_epochs": 1},
)

if __name__ == "__main__":
    main(app)
