"""Residual networks: layers that learn what to add, so that a hundred of them can be trained.

Every block adds its result to its input, so a block with zero weights computes the identity. This
module builds the networks for small pictures (6n + 2 layers) and those for ImageNet (18 to 152
layers).
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from suite import App, InputError, Run, checked, train_aside
from suite.app import Fitted, Phase
from suite.cli import main, show_messages
from suite.data import Data, Examples
from suite.data.examples import spread
from suite.data.images.files import writable_picture
from suite.figures import curves
from suite.knobs import Depths, Epochs, Filters, NumClasses, Seed
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization
from suite.layers.residual import block, match_shape
from suite.layers.whitening import fit_whitening, has_whitening, whiten
from suite.tasks import image_classification as task

AT_ONCE = 100  # pictures
MOST_PICTURES = 1000  # of the test split, on which networks without some of their blocks are tried
NUM_SHUFFLES = 5
# Of the training split, which the whitening decorrelates: as many pixels as CIFAR-10's 5,000.
WHITENING_PICTURES, WHITENING_PIXELS = 5000, 5000 * 32 * 32


@checked
def build_model(
    input_shape: task.AnyImageShape = (32, 32, 3),
    num_classes: NumClasses = 10,
    include_top: bool = True,
    pooling: task.Pooling = "avg",
    *,
    blocks: Depths = (3, 3, 3),
    filters: Filters = 16,
    bottleneck: bool = False,
    stem: Literal["small", "large", "whitening"] = "small",
    downsampling: Literal["stride", "pooling"] = "stride",
    shortcut: Literal["padding", "projection"] = "padding",
    residual: bool = True,
    normalization: Normalization = "batch",
) -> keras.Model:
    """Builds a residual network: from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None.
        num_classes: Number of logits.
        include_top: Whether the outputs are logits, or else the features before them.
        pooling: Global pooling, `avg` or `max`.
        blocks: Numbers of blocks, one for each stage; all stages except the first halve height and
            width.
        filters: Filters of the first stage; each further stage has twice as many.
        bottleneck: Whether a block has three convolutions, of 1 x 1, 3 x 3 and 1 x 1, and four
            times the filters at its end, instead of two of 3 x 3.
        stem: `small` begins with a 3 x 3 convolution; `large`, for large pictures, with a 7 x 7
            convolution and pooling; `whitening` with a 2 x 2 convolution that decorrelates the
            pixels of the training pictures and is not trained.
        downsampling: A stage halves height and width by the `stride` of its first block; or, the
            first stage as well, by a convolution with `pooling` before its first block.
        shortcut: Adaptation of a block's input to a new shape: `padding` with zeros, or
            `projection` by a 1 x 1 convolution.
        residual: Whether blocks add their input; False gives a plain network of the same depth.
        normalization: Normalisation after each convolution.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32; without `include_top` to pooled features
        `(batch, features)`.

    Raises:
        InputError: An argument is out of range, or the image is too small for so many stages.

    Reference:
        He, Zhang, Ren and Sun, 2015, Deep Residual Learning for Image Recognition,
        https://arxiv.org/abs/1512.03385
        Page, 2018, How to Train Your ResNet (`whitening` and `pooling`),
        https://github.com/davidcpage/cifar10-fast
    """
    pools = downsampling == "pooling"
    halvings = len(blocks) - (not pools) + 2 * (stem == "large")
    border = int(stem == "whitening")
    task.refuse_small_images(input_shape, halvings, "blocks", blocks, border)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    if stem == "large":
        x = layers.ReLU()(convolve(x, filters, 7, 2, normalization))
        x = layers.MaxPooling2D(3, 2, padding="same", name="stem")(x)
    elif stem == "whitening":
        x = layers.ReLU(name="stem")(whiten(x))
    else:
        x = layers.ReLU(name="stem")(convolve(x, filters, 3, normalization=normalization))
    for stage, count in enumerate(blocks):
        stage_filters = filters * 2**stage
        if pools:
            x = convolve(x, stage_filters, 3, normalization=normalization, pooling=True)
            x = layers.ReLU()(x)
        for number in range(count):
            stride = 2 if stage and not number and not pools else 1
            y = block(x, stage_filters, stride, bottleneck, normalization)
            if residual:
                y = layers.Add()([y, match_shape(x, y, stride, shortcut, normalization)])
            x = layers.ReLU(name=f"block_{stage + 1}_{number + 1}")(y)
    return keras.Model(image, task.head(x, num_classes, include_top, pooling), name="resnet")


def phases(config: task.Config) -> list[Phase]:
    """One phase, which begins by fitting the whitening to training pictures, if there is any."""

    def begin(fitted: Fitted) -> None:
        [model] = fitted.networks.values()
        if has_whitening(model):
            train = fitted.data.splits["train"]
            height, width = model.input_shape[1:3]
            most = min(WHITENING_PICTURES, max(1, WHITENING_PIXELS // (height * width)))
            fit_whitening(model, spread(train, most).in_memory().inputs)

    return [Phase(name="fit", epochs=config.epochs, begin=begin)]


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws what every classifier does, and the errors without single blocks or with others' order.

    Reference:
        Veit, Wilber and Belongie, 2016, Residual Networks Behave Like Ensembles of Relatively
        Shallow Networks, https://arxiv.org/abs/1605.06431
    """
    [model] = fitted.networks.values()
    some = some_pictures(fitted.data)
    errors = block_errors(model, some.inputs, some.targets)
    if not errors["left_out"]:
        return task.draw(fitted)
    return {**task.draw(fitted), "blocks": draw_errors({"network": errors}, some.num_examples)}


def some_pictures(data: Data) -> Examples:
    """The test pictures on which networks are taken apart."""
    return spread(data.splits["test"], MOST_PICTURES).in_memory()


def block_errors(
    model: keras.Model, images: np.ndarray, labels: np.ndarray
) -> dict[str, dict[str, float]]:
    """The share of wrong answers of a network that is taken apart block by block.

    Args:
        model: A network of this module, with or without residual connections.
        images: `(n, height, width, channels)`, values in 0..255.
        labels: Their classes, `(n,)`.

    Returns:
        `left_out`: the error without a block, by its name; the first of every stage stays.
        `shuffled`: the error with the blocks of every stage in another order, by the number of the
        attempt, if a stage has several that can move. `whole`: the error of the network as it is.
    """
    names = [layer.name for layer in model.layers if layer.name.startswith("block_")]
    ends = [model.get_layer(name).output for name in ["stem", *names]]
    start = keras.Model(model.input, ends[0])
    parts = [keras.Model(before, after) for before, after in itertools.pairwise(ends)]
    end = keras.Model(ends[-1], model.output)

    def error(order: Sequence[int]) -> float:
        answers = []
        for first in range(0, len(images), AT_ONCE):
            x = start(images[first : first + AT_ONCE], training=False)
            for number in order:
                x = parts[number](x, training=False)
            answers.append(np.argmax(end(x, training=False), axis=-1))
        return float(np.mean(np.concatenate(answers) != labels))

    everything = range(len(parts))
    removable = [number for number in everything if not names[number].endswith("_1")]
    by_stage = itertools.groupby(removable, lambda number: names[number].split("_")[1])
    stages = [list(numbers) for _, numbers in by_stage]
    can_be_shuffled = any(len(stage) > 1 for stage in stages)
    random, shuffled = np.random.default_rng(0), {}
    for attempt in range(NUM_SHUFFLES if can_be_shuffled else 0):
        order = list(everything)
        while order == list(everything):
            for stage in stages:
                order[stage[0] : stage[-1] + 1] = random.permutation(stage).tolist()
        shuffled[str(attempt)] = error(order)
    left_out = {names[one]: error([n for n in everything if n != one]) for one in removable}
    return {"whole": {"": error(everything)}, "left_out": left_out, "shuffled": shuffled}


def draw_errors(networks: Mapping[str, dict[str, dict[str, float]]], num_pictures: int) -> Figure:
    """Draws what `block_errors` returns.

    Args:
        networks: The errors of networks with the same blocks, by the name of the network.
        num_pictures: Number of pictures, for the title.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(networks)
    for number, (name, errors) in enumerate(networks.items()):
        color, left_out = f"C{number}", errors["left_out"]
        places = np.arange(len(left_out)) + width * (number - (len(networks) - 1) / 2)
        axes.bar(places, list(left_out.values()), width, color=color, label=f"{name}, without it")
        axes.axhline(errors["whole"][""], color=color, linewidth=1, label=f"{name}, whole")
        if shuffled := list(errors["shuffled"].values()):
            mean = float(np.mean(shuffled))
            axes.axhline(mean, color=color, linestyle="--", label=f"{name}, blocks shuffled")
    labels = [block.removeprefix("block_").replace("_", ".") for block in left_out]
    axes.set_xticks(range(len(labels)), labels)
    axes.set(xlabel="stage and block", ylabel=f"error on {num_pictures} test pictures", ylim=(0, 1))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def compare_blocks(
    app: App,
    *,
    dataset: str = "cifar10",
    data: str = "auto",
    data_dir: Path | None = None,
    blocks: Depths = (3, 3, 3),
    epochs: Epochs = 10,
    output: Path = Path("blocks.png"),
    seed: Seed = 0,
) -> None:
    """Train a residual and a plain network, and draw the errors of both without single blocks.

    Both have the knobs of the recipe `cifar10`.

    Args:
        dataset: As in training.
        data: Where examples come from, as in training.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
        blocks: Numbers of blocks of both, one for each stage; a stage needs two or more.
        epochs: Epochs of both trainings.
        output: Image file for the figure.
        seed: Seed of weights and order.
    """
    show_messages(quiet=False)
    writable_picture(output)
    if max(blocks) < 2:
        raise InputError("`blocks` must have a stage of two or more", blocks)
    networks: dict[str, dict[str, dict[str, float]]] = {}
    for name, residual in (("residual", True), ("plain", False)):
        chosen = app.recipe(
            "cifar10", dataset=dataset, blocks=blocks, epochs=epochs, residual=residual
        )
        trained = train_aside(app, chosen, Run(data=data, data_dir=data_dir, seed=seed))
        [model] = trained.networks.values()
        some = some_pictures(trained.data)
        errors = networks[name] = block_errors(model, some.inputs, some.targets)
        without = float(np.mean(list(errors["left_out"].values())))
        print(f"{name}: error {errors['whole']['']:.1%}, without a block {without:.1%} on average")
    curves.write(draw_errors(networks, some.num_examples), output)
    print(output)


FAST = {
    "dataset": "cifar10",
    "batch_size": 500,
    "min_steps_per_epoch": 50,
    "optimizer": "muon",
    "learning_rate": 0.05,
    "weight_decay": 0.1,
    "label_smoothing": 0.2,
    "rotation": 0.0,
    "zoom": 0.0,
    "shift": 0.0,
    "flip": True,
    "crop": 4,
    "cutout": 12,
    "views": "mirrored_and_shifted",
    "blocks": (1, 1, 1),
    "filters": 64,
    "stem": "whitening",
    "downsampling": "pooling",
}
LARGE = {
    "image_size": 224,
    "channels": 3,
    "rotation": 0.0,
    "flip": True,
    "filters": 64,
    "stem": "large",
    "shortcut": "projection",
}

app = App(
    name="resnet",
    topic="images",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=task.compile_model,
    callbacks=task.callbacks,
    phases=phases,
    endpoints=task.endpoints,
    evaluate=task.evaluate,
    figures=draw,
    commands={**task.COMMANDS, "blocks": compare_blocks},
    studies=task.STUDIES,
    recipes={
        "cifar10": task.CIFAR10 | {"epochs": 60},
        "fast": FAST | {"epochs": 40},
        "fashion": FAST
        | {
            "dataset": "fashion_mnist",
            "filters": 32,
            "label_smoothing": 0.1,
            "crop": 2,
            "cutout": 8,
            "epochs": 40,
        },
        "characters": FAST
        | {"rotation": 10.0, "zoom": 0.1, "shift": 3.0, "flip": False, "crop": 0, "cutout": 0}
        | {
            "filters": 32,
            "label_smoothing": 0.1,
            "views": "plain",
            "epochs": 30,
            "dataset": "mnist",
        },
        "resnet56": task.CIFAR10 | {"epochs": 180, "blocks": (9, 9, 9)},
        "resnet18": LARGE | {"blocks": (2, 2, 2, 2)},
        "resnet50": LARGE | {"blocks": (3, 4, 6, 3), "bottleneck": True},
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"blocks": (1, 1), "filters": 4},
)

if __name__ == "__main__":
    main(app)
