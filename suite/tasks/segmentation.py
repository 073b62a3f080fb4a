"""The task of segmentation: a class for every pixel of a picture.

An application builds a network from pictures to a logit for every class at every pixel, and passes
the functions of this module to its `App`: `load_data`, `compile_model`, `endpoints`, `example`,
`evaluate`, `findings`, `draw` and the `COMMANDS`.
"""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from pydantic import Field

from suite.app import App, Fitted, Metrics, evaluate_on_test, first_of_test
from suite.data import Data, batches, supervised
from suite.data.images.augmentation import combined, lighting
from suite.data.images.decoding import decode_picture, to_opaque_rgb
from suite.data.images.files import read_encoded, writable_picture, write_png
from suite.data.images.preparation import to_grey
from suite.data.pairs.augmentation import (
    joint_affine,
    joint_crop,
    joint_elastic,
    joint_flip,
)
from suite.data.pairs.masks import VOID, MaskPreparation, load_masks
from suite.errors import InputError
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.export.tiles import in_tiles
from suite.figures import images as figures
from suite.figures.classes import AS_TEXT
from suite.knobs import BatchSize, Epochs, LearningRate, Rate, Share, Steps, WeightDecay, settings
from suite.layers.reach import reach_of
from suite.layers.views import PixelViews, average_pixel_views
from suite.metrics.segmentation import class_scores, confusion_matrix, mean_iou
from suite.run import Run
from suite.tasks.pictures import Channels, at_scale
from suite.trainers.optimizers import Optimization, scheduled_optimizer

log = logging.getLogger(__name__)

NumClasses = Annotated[int, Field(ge=2, le=VOID)]
LossName = Literal["crossentropy", "dice", "both"]
Pixels = Annotated[float, Field(ge=0, le=1000)]

DATA_LAYOUTS = (
    "a folder of pictures, and `--masks`, a folder of masks with the same names; or pictures with "
    "polygons of LabelMe or COCO. It may have `train`, `validation` and `test` inside."
)
LARGEST_TILE = 512  # pixels along a side; a multiple of the stride of any network with 6 halvings
SHOWN = 8  # test pictures in the figure


def _colours() -> np.ndarray:
    """Red, green and blue of every class, `(256, 3)` in 0..255; black for `VOID`.

    First the colours of matplotlib's tab10 but its grey, then others that differ from all before.
    """
    first = np.delete(
        np.asarray(matplotlib.colormaps["tab10"](np.arange(10))[:, :3]), GREY_OF_TAB10, axis=0
    )
    others = np.arange(VOID + 1 - len(first))
    # By the golden ratio every hue falls into the largest gap that those before have left.
    hues = others * (5**0.5 - 1) / 2 % 1
    further = hsv_to_rgb(np.stack([hues, 1 - 0.4 * (others % 2), 1 - 0.35 * (others // 2 % 2)], 1))
    colours = np.rint(255 * np.concatenate([first, further])).astype(np.float32)
    colours[VOID] = 0
    return colours


GREY_OF_TAB10 = 7
COLOURS = _colours()  # of every class in an overlay


@settings
class Config(Optimization):
    """The settings of the training of a network that gives every pixel a class.

    Args:
        batch_size: Pictures per optimizer step, over all replicas.
        min_steps_per_epoch: Smallest number of steps in an epoch, which makes several passes over
            few pictures.
        validation_split: Share of the training pictures that is held out for validation.
        masks: Folder of the masks of the pictures in `data`, or COCO's file of polygons.
        classes: Names of the classes, in the order of their values in the masks, or each with its
            value, as in `255:cell` or `#ff0000:road`; or a file with one such line for each.
        train_list: File with the names of the pictures to train on, one a line.
        test_list: File with the names of the pictures to test on.
        image_size: Height and width that pictures are brought to. Defaults to their size if all
            have one, else to at most 64.
        channels: 1 for grey, 3 for colour. Defaults to that of the data.
        crop: Height and width of a part at a random place, on which a step trains in place of the
            picture.
        rotation: Largest random rotation of a training picture, in degrees.
        scale: Largest random change of the size of a training picture, as a share.
        shift: Largest random shift of a training picture along each axis, in pixels.
        flip: How training pictures are mirrored, each with a probability of one half: left to
            right (`horizontal`); top to bottom as well (`both`); along the diagonal as well, which
            makes all quarter turns, of squares or a `crop` (`turned`).
        elastic: How far training pictures are bent, in pixels: the standard deviation of the shifts
            of a grid of 3 x 3 points.
        brightness: Largest random change of the pixels of a training picture, as a share of their
            range.
        contrast: Largest random change of their distance from the middle grey, as a share.
        loss: `crossentropy` is that of the pixels, `dice` is 1 minus the Dice coefficient of the
            areas, and `both` is their sum.
        border_weight: Additional weight of a pixel's cross-entropy at the border of its area; 0
            weighs all alike.
        border_width: Pixels over which `border_weight` falls off, the standard deviation of a
            Gaussian.
        views: What the trained network looks at before it answers: the picture (`plain`), its
            mirror image as well (`mirrored`), or both at all quarter turns (`turned`). The
            probabilities are of the mean of their logits.
    """

    epochs: Epochs = 8
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 3e-3
    warmup: Share = 0.2
    weight_decay: WeightDecay = 0.01
    min_steps_per_epoch: Steps = 100
    validation_split: Share = 0.1
    masks: Path | None = None
    classes: tuple[str, ...] = ()
    train_list: Path | None = None
    test_list: Path | None = None
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    channels: Channels | None = None
    crop: Annotated[int, Field(ge=4, le=4096)] | None = None
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Rate = 0.0
    shift: Pixels = 0.0
    flip: Literal["none", "horizontal", "both", "turned"] = "horizontal"
    elastic: Pixels = 0.0
    brightness: Rate = 0.0
    contrast: Rate = 0.0
    loss: LossName = "both"
    border_weight: Annotated[float, Field(ge=0, le=1000)] = 0.0
    border_width: Annotated[float, Field(gt=0, le=20)] = 5.0
    views: PixelViews = "plain"


def load_data(config: Config, run: Run) -> Data:
    """Pictures `(height, width, channels)`, values in 0..255, and masks `(height, width)`.

    A mask has the class of every pixel, or `VOID`. The app's `build` gets the `input_shape`, the
    `num_classes` and the `crop`.

    Raises:
        InputError: The pictures or masks cannot be found or read, or do not belong together; or
            `crop` is larger than they are; or they are not square, and to be turned whole.
    """
    source = load_masks(
        run,
        config.masks,
        config.classes,
        train_list=config.train_list,
        test_list=config.test_list,
        image_size=config.image_size,
        channels=config.channels,
    )
    shape = source.train.rows(np.arange(1)).in_memory().inputs.shape[1:]
    height, width = shape[:2]
    if config.crop and config.crop > min(height, width):
        raise InputError(
            f"`crop` must be at most the {min(height, width)} pixels of the pictures", config.crop
        )
    if config.flip == "turned" and not config.crop and height != width:
        raise InputError(
            "`crop` must be set to turn what is not square, or `flip` be another",
            f"pictures of {height} x {width} pixels",
        )
    augment = combined(
        joint_affine(rotation=config.rotation, scale=config.scale, shift=config.shift),
        joint_elastic(config.elastic),
        joint_crop(config.crop, config.crop) if config.crop else None,
        joint_flip(
            horizontal=config.flip != "none",
            vertical=config.flip in ("both", "turned"),
            diagonal=config.flip == "turned",
        ),
        lighting(config.brightness, config.contrast),
    )
    data = supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        model_arguments=lambda _: {
            "input_shape": shape,
            "num_classes": len(source.class_names),
            "crop": config.crop,
        },
        augment=augment,
    )
    # As many pixels as in a step of the training, for which there is enough memory; but two
    # pictures at least, one for each of two replicas.
    trained = config.batch_size * (config.crop or height) * (config.crop or width)
    return dataclasses.replace(data, evaluation_batch_size=max(2, trained // (height * width)))


class PixelLoss(keras.losses.Loss):
    """How far the scores of all classes are from the classes of the pixels, picture by picture.

    The cross-entropy is the mean over all pixels that are not `VOID`, each of which may be weighted
    by its distance to a border. The Dice loss is 1 minus the mean over all classes of
    $(2 o + 1) / (a + b + 1)$, where $o$ is the sum of the probabilities of a class over its true
    area, $a$ their sum over the whole picture, and $b$ the true area, in pixels.

    Args:
        kind: `crossentropy`, `dice`, or `both` for the sum of the two.
        border_weight: As in `border_weights`; 0 weighs all pixels alike.
        border_width: As in `border_weights`.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation (the weights), https://arxiv.org/abs/1505.04597
        Milletari, Navab and Ahmadi, 2016, V-Net (the Dice loss), https://arxiv.org/abs/1606.04797
        Differs from the latter: several classes, and no squares.
    """

    def __init__(
        self, kind: LossName = "both", border_weight: float = 0.0, border_width: float = 5.0
    ) -> None:
        super().__init__(name="pixel_loss")
        self.kind = kind
        self.border_weight, self.border_width = border_weight, border_width

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of every picture, `(batch, 1, 1)`.

        Args:
            y_true: Classes, or `VOID`, `(batch, height, width)`.
            y_pred: Logits `(batch, height, width, classes)`.
        """
        has_class = ops.not_equal(y_true, VOID)
        valid = ops.cast(has_class, self.dtype)
        labels = ops.cast(ops.where(has_class, y_true, 0), "int32")
        loss = ops.zeros((1, 1, 1), self.dtype)
        if self.kind in ("crossentropy", "both"):
            crossentropy = valid * ops.sparse_categorical_crossentropy(
                labels, y_pred, from_logits=True
            )
            if self.border_weight:
                crossentropy *= border_weights(y_true, self.border_weight, self.border_width)
            pixels = ops.sum(valid, axis=(1, 2), keepdims=True)
            loss += ops.sum(crossentropy, axis=(1, 2), keepdims=True) / ops.maximum(pixels, 1)
        if self.kind in ("dice", "both"):
            truth = ops.one_hot(labels, y_pred.shape[-1], dtype=self.dtype)
            truth, probabilities = (
                ops.expand_dims(valid, -1) * values for values in (truth, ops.softmax(y_pred))
            )
            overlap = ops.sum(truth * probabilities, axis=(1, 2), keepdims=True)
            areas = ops.sum(truth + probabilities, axis=(1, 2), keepdims=True)
            loss += 1 - ops.mean((2 * overlap + 1) / (areas + 1), axis=-1)
        return loss


def border_weights(labels: Any, weight: float, width: float) -> Any:
    r"""Weights of pixels by their distance to a border between two classes.

    A pixel has $1 + w \exp(-d^2 / 2 \sigma^2)$, where $d$ is the number of steps, to any of eight
    neighbours, from it to the nearest pixel with a neighbour of another class; 1 where that is more
    than three times the width away.

    Args:
        labels: Classes, or `VOID`, which is a neighbour of no class, `(batch, height, width)`.
        weight: The additional weight at a border, $w$.
        width: The width $\sigma$ of the Gaussian, in pixels.

    Returns:
        `(batch, height, width)`, at least 1.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation, https://arxiv.org/abs/1505.04597
        Differs from the paper: by the distance to the nearest border, and not by the sum of the
        distances to the two nearest cells, which would have to be told apart.
    """
    classes = ops.expand_dims(ops.cast(labels, keras.config.floatx()), -1)
    has_class = ops.not_equal(classes, VOID)
    highest = ops.where(has_class, classes, -math.inf)
    # With the opposite sign, so that its maximum is the smallest class.
    lowest = ops.where(has_class, -classes, -math.inf)
    nearness = ops.zeros_like(classes)
    for distance in range(math.ceil(3 * width) + 1):
        highest = ops.max_pool(highest, 3, 1, padding="same")
        lowest = ops.max_pool(lowest, 3, 1, padding="same")
        other_class_is_near = ops.cast(ops.greater(highest + lowest, 0), highest.dtype)
        share = math.exp(-(distance**2) / (2 * width**2))
        nearness = ops.maximum(nearness, share * other_class_is_near)
    return 1 + weight * ops.squeeze(nearness, -1)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with the loss and the optimizer of the settings; measures the mean IoU.

    Raises:
        InputError: Borders have a weight in a loss that weighs no pixels.
    """
    if config.border_weight and config.loss == "dice":
        raise InputError(
            "`border_weight` must be 0 with `loss` dice, which weighs no pixels",
            config.border_weight,
        )
    model.compile(
        optimizer=scheduled_optimizer(config, steps),
        loss=loss_of(config),
        metrics=[mean_iou(model.output.shape[-1])],
    )
    return model


def loss_of(config: Config) -> PixelLoss:
    """The loss of the settings."""
    return PixelLoss(config.loss, config.border_weight, config.border_width)


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image`, of the size of training pictures, to `probabilities` and `mask`.

    `picture`, if the source has a preparation: encoded pictures of any size to `mask`, `overlay`,
    `names`, `colours` and `shares`; see `picture_endpoint`.
    """
    [network] = fitted.networks.values()
    answering = average_pixel_views(network, fitted.config.views)
    logits = ops.cast(answering.output, "float32")
    outputs = {"probabilities": ops.softmax(logits), "mask": ops.argmax(logits, axis=-1)}
    offered: dict[str, keras.Model | Endpoint] = {
        "serve": keras.Model(answering.input, outputs, name=network.name)
    }
    source, config = fitted.data.source, fitted.config
    if source is not None and source.preparation is not None:
        offered["picture"] = picture_endpoint(
            network,
            source.preparation,
            source.class_names,
            side=config.crop or max(source.preparation.shape[:2]),
            views=config.views,
        )
    return offered


def picture_endpoint(
    network: keras.Model,
    preparation: MaskPreparation,
    class_names: tuple[str, ...],
    *,
    side: int,
    views: PixelViews = "plain",
) -> Endpoint:
    """Makes an endpoint that takes the bytes of image files, and answers at their own size.

    The network is applied to overlapping tiles, so that memory is bounded but for the picture
    itself and its answer.

    Args:
        network: From `image` `(batch, height, width, channels)` to logits.
        preparation: That of the training pictures. If it changed their size, a picture is brought
            to its scale before the network is applied, and the probabilities back to the size of
            the picture.
        class_names: Names of the classes.
        side: Height and width of what the network was trained on, in pixels.
        views: What the network looks at before it answers.

    Returns:
        An endpoint of `picture` `(batch,)`, strings, to `mask` `(batch,)`, a grey PNG for each,
        whose values are the classes; `overlay` `(batch,)`, a PNG of the picture in the colours of
        its classes; `names`, `colours` and `shares` `(batch, classes)`, the classes, their colours
        in the overlay, as in `#ff7f0e`, and the shares of the pixels that have them.
    """
    count = len(class_names)
    tile, overlap, reach = tiling(network, side)
    answering = average_pixel_views(network, views)

    def apply(image: tf.Tensor, finish: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        return in_tiles(
            lambda tiles: answering(tiles, training=False),
            image,
            tile=tile,
            overlap=overlap,
            drop=reach,
            finish=finish,
        )

    def classes_of(image: tf.Tensor) -> tf.Tensor:
        if not preparation.resized:
            return apply(image, most_likely)
        size = tf.shape(image)[:2]
        probabilities = apply(at_scale(image, preparation), tf.nn.softmax)
        return most_likely_at(probabilities, size, count)

    # A graph of its own, so that the network is traced once, and not again for every picture.
    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def answer(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        colours = tf.ensure_shape(to_opaque_rgb(decode_picture(encoded)), (None, None, 3))
        classes = classes_of(to_grey(colours) if preparation.channels == 1 else colours)
        numbers = tf.reshape(tf.cast(classes, tf.int32), [-1])
        # `tf.math.bincount` would refuse `--deterministic` on a GPU.
        counts = tf.math.unsorted_segment_sum(tf.ones_like(numbers), numbers, count)
        return {
            "mask": tf.io.encode_png(classes[..., None]),
            "overlay": tf.io.encode_png(overlay(colours, classes)),
            "shares": tf.cast(counts / tf.size(numbers), tf.float32),
        }

    def picture(contents: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = tf.map_fn(
            answer,
            contents,
            fn_output_signature={
                "mask": tf.TensorSpec((), tf.string),
                "overlay": tf.TensorSpec((), tf.string),
                "shares": tf.TensorSpec((count,), tf.float32),
            },
            parallel_iterations=1,
        )
        colours = list(map(hexadecimal, range(count)))
        for name, texts in (("names", list(class_names)), ("colours", colours)):
            answers[name] = tf.tile(tf.constant([texts]), [tf.size(contents), 1])
        return answers

    return Endpoint(picture, [tf.TensorSpec((None,), tf.string, "picture")])


def hexadecimal(label: int) -> str:
    """The colour of a class in an overlay, as in `#ff7f0e`."""
    return "#" + bytes(COLOURS[label].astype(np.uint8)).hex()


def halvings(network: keras.Model) -> int:
    """How often a network halves the height and width of its input."""
    return sum(isinstance(layer, layers.MaxPooling2D) for layer in network.layers)


def tiling(network: keras.Model, side: int) -> tuple[int, int, int]:
    """Tiles at which a network answers as it would answer the whole picture.

    One that normalises by the mean of a whole picture does not: it gets tiles of about the size
    that it has learnt from, which overlap by about half.

    Args:
        network: From `image` `(batch, height, width, channels)` to logits.
        side: Height and width of what the network was trained on, a multiple of its stride.

    Returns:
        The side of a tile and what two tiles have in common, in pixels, multiples of the stride;
        and how far the network looks, which is what is dropped at every edge of a tile.
    """
    stride = 2 ** halvings(network)
    if any(isinstance(layer, layers.GroupNormalization) for layer in network.layers):
        side = max(side, 2 * stride, 8)  # so that there is an overlap for `in_tiles`
        return side, max(side // 2 // stride, 1) * stride, 0
    reach = reach_of(network)
    overlap = math.ceil(max(2 * reach + stride, 4) / stride) * stride  # at least 4, see `in_tiles`
    return max(min(side, LARGEST_TILE), 3 * overlap), overlap, reach


def most_likely(scores: tf.Tensor) -> tf.Tensor:
    """The class with the largest score along the last axis, uint8."""
    return tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), tf.uint8)


def most_likely_at(probabilities: tf.Tensor, size: tf.Tensor, count: int) -> tf.Tensor:
    """The most likely class of every pixel at another size, class by class to save memory.

    Args:
        probabilities: `(height, width, classes)`.
        size: Height and width of the result, to which probabilities are interpolated.
        count: Number of classes.

    Returns:
        `(height, width)` of that size, uint8.
    """

    def compare(
        label: tf.Tensor, best: tf.Tensor, classes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        of_class = tf.gather(probabilities, label, axis=-1)[..., None]
        resized = tf.image.resize(of_class, size)[..., 0]
        is_larger = resized > best
        return (
            label + 1,
            tf.where(is_larger, resized, best),
            tf.where(is_larger, tf.cast(label, tf.uint8), classes),
        )

    any_size = tf.TensorShape([None, None])
    *_, classes = tf.while_loop(
        lambda label, *_: label < count,
        compare,
        (tf.constant(0), tf.fill(size, -1.0), tf.zeros(size, tf.uint8)),
        shape_invariants=(tf.TensorShape([]), any_size, any_size),
        parallel_iterations=1,
    )
    return classes


def overlay(pictures: Any, classes: Any) -> tf.Tensor:
    """Mixes pictures in grey with the colours of their pixels' classes, `COLOURS`, half and half.

    Grey, so that every hue in the result is that of a class.

    Args:
        pictures: `(..., height, width, 3)`, values in 0..255.
        classes: Classes, or `VOID`, `(..., height, width)`.

    Returns:
        `(..., height, width, 3)`, uint8.
    """
    colours = tf.gather(COLOURS, tf.cast(classes, tf.int32))
    return tf.cast((to_grey(tf.cast(pictures, tf.float32)) + colours) / 2, tf.uint8)


# Few, since a picture has many pixels to agree on.
example = functools.partial(first_of_test, most=4)


def with_views(fitted: Fitted) -> Fitted:
    """The fitted network as it is exported, which answers after several views of a picture."""
    if fitted.config.views == "plain":
        return fitted

    def compute() -> Fitted:
        [network] = fitted.networks.values()
        return fitted.with_model(
            average_pixel_views(network, fitted.config.views),
            loss=loss_of(fitted.config),
            metrics=[mean_iou(network.output.shape[-1])],
        )

    return fitted.once(f"views {fitted.config.views}", compute)


def answers(fitted: Fitted) -> np.ndarray:
    """The most likely classes of the pixels of the test pictures, `(n, height, width)`, uint8."""

    def compute() -> np.ndarray:
        splits, model = fitted.data.splits, with_views(fitted).model
        parts = [
            np.argmax(model.predict_on_batch(inputs), axis=-1).astype(np.uint8)
            for inputs, *_ in batches(splits["test"], fitted.data.evaluation_batch_size)
        ]
        return np.concatenate(parts)

    return fitted.once("answers", compute)


def scores(fitted: Fitted) -> dict[str, Any]:
    """The scores of the test pictures, as `class_scores` has them."""

    def compute() -> dict[str, Any]:
        names = fitted.data.description.class_names
        masks = fitted.data.splits["test"].in_memory().targets
        return class_scores(confusion_matrix([(masks, answers(fitted))], len(names)), names)

    return fitted.once("scores", compute)


def evaluate(fitted: Fitted) -> Metrics:
    """The loss on the test split, and the `class_scores` of its pixels."""
    of_pixels = {f"test_{name}": value for name, value in scores(fitted).items()}
    return {**evaluate_on_test(with_views(fitted)), **of_pixels}


def findings(fitted: Fitted) -> dict[str, Any]:
    """`answered_classes`, the classes that any pixel of the test pictures is taken for."""
    names = fitted.data.description.class_names
    return {"answered_classes": [names[number] for number in np.unique(answers(fitted))]}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws the worst answers on the test split, and the scores of every class."""
    test = fitted.data.splits["test"].in_memory()
    answered = answers(fitted)
    wrong = np.mean((answered != test.targets) & (test.targets != VOID), axis=(1, 2))
    worst = np.argsort(-wrong, kind="stable")[:SHOWN]
    pictures = test.inputs[worst]
    pictures = np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures
    rows = {
        "picture": pictures,
        "mask": overlay(pictures, test.targets[worst]).numpy(),
        "answer": overlay(pictures, answered[worst]).numpy(),
    }
    return {"worst_answers": figures.image_rows(rows), "scores_by_class": draw_scores(fitted)}


@matplotlib.rc_context(AS_TEXT)
def draw_scores(fitted: Fitted) -> Figure:
    """Draws intersection over union and Dice coefficient of every class, in its colour."""
    of_classes = scores(fitted)
    tables = {"IoU": of_classes["iou_by_class"], "Dice": of_classes["dice_by_class"]}
    names = list(tables["IoU"])
    figure = Figure(figsize=(6, 0.9 + 0.3 * len(names)), layout="constrained")
    for axes, (title, table) in zip(
        figure.subplots(1, 2, sharey=True), tables.items(), strict=True
    ):
        values = [table[name] or 0.0 for name in names]
        axes.barh(np.arange(len(names)), values, color=COLOURS[: len(names)] / 255)
        axes.set(title=title, xlim=(0, 1), yticks=np.arange(len(names)), yticklabels=names)
    figure.axes[0].invert_yaxis()
    return figure


def predict(
    app: App,
    file: Path,
    *,
    output: Path = Path("mask.png"),
    show: Literal["overlay", "mask"] = "overlay",
    exports: Exports = Exports(),
) -> None:
    """Say what every pixel of a picture shows, and which colour stands for which class.

    Args:
        file: Image file of any size.
        output: Image file of the same size for the answer.
        show: What the output shows: the picture in the colours of its classes (`overlay`), or the
            numbers of the classes as grey values, 0, 1, 2 and so on, which are nearly black
            (`mask`).
    """
    writable_picture(output)
    if show == "mask" and output.suffix.lower() in (".jpg", ".jpeg", ".webp"):
        raise InputError(
            "`output` must end in .png, since JPEG and WebP do not keep the classes", output
        )
    encoded = read_encoded(file)
    outputs = exports.open(app.name).call(np.array([encoded], object), "picture")
    write_png(outputs[show][0], output)
    shares = outputs["shares"][0]
    names = [name.decode() for name in outputs["names"][0]]
    order = np.argsort(-shares, kind="stable")
    colours = [colour.decode() for colour in outputs["colours"][0]]
    parts = [
        f"{names[number]} {shares[number]:.1%} ({colours[number]})"
        for number in order
        if shares[number]
    ]
    print(f"{output}: {', '.join(parts)}")
    if len(parts) == 1:
        log.warning("The whole picture is taken for %s.", names[order[0]])


COMMANDS: dict[str, Callable[..., None]] = {"predict": predict}
