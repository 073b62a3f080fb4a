"""pix2pix: a network that makes one picture from another, such as a house from a drawing of it.

It learns from pairs of pictures. A U-Net makes the second picture from the first; it is to come
close to the true one, pixel by pixel, and to deceive a discriminator, which judges patches of both.
The metrics compare what is made from held-out pictures with the true ones.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings, train_aside
from suite.app import Fitted, Metrics
from suite.cli import main, show_messages
from suite.data import Augmentation, Data, Examples, supervised
from suite.data.images.augmentation import combined
from suite.data.images.decoding import scale_to_bytes
from suite.data.images.files import (
    read_encoded,
    tiled,
    writable_picture,
    write_picture,
    write_png,
)
from suite.data.images.preparation import to_grey
from suite.data.pairs.augmentation import joint_crop, joint_flip
from suite.data.pairs.sources import PicturePairPreparation, load_picture_pairs
from suite.export.endpoints import Endpoint, of_model
from suite.export.exported import Exports
from suite.export.tiles import in_tiles
from suite.figures import curves, images
from suite.knobs import BatchSize, Epochs, Filters, LearningRate, Rate, Seed, Share, Stages, Steps
from suite.layers.normalization import Normalization, normalize
from suite.layers.unet import contract_and_expand, refuse_too_deep
from suite.metrics import fidelity
from suite.tasks import pictures
from suite.trainers.gan import GanLoss, PairedAdversarialNetwork
from suite.trainers.schedules import one_cycle

Patch = Literal["1", "16", "70", "whole"]
Weight = Annotated[float, Field(ge=0, le=1e6)]

DEVIATION = 0.02  # of the initial weights
DROPOUT_STAGES = 3  # innermost stages of the decoder, which have dropout
CONSTANT = 0.5  # share of the steps in which the learning rates are constant
SMALLEST = 16  # pixels of a side: structural similarity looks at squares of 11 x 11
AT_ONCE = 16  # pictures that are made, or validated, in a batch
SHOWN = 8  # pairs in a figure
SQUARES = 4  # squares along the shorter side of a picture whose features are compared
# The parts of the loss that `losses` compares.
ABLATION: dict[str, dict[str, Any]] = {
    "L1 alone": {"adversarial_weight": 0.0},
    "adversary alone": {"l1_weight": 0.0},
    "both": {},
}


@settings
class Config:
    """The settings of the training.

    Args:
        epochs: Passes over the training pairs; an epoch makes several passes over few pairs.
        batch_size: Pairs per optimizer step, over all replicas.
        validation_split: Share of the training pairs that is held out for validation.
        min_steps_per_epoch: Smallest number of steps in an epoch.
        targets: Folder of the second pictures of the pairs, if it does not lie in `data`.
        swap: Whether the first picture of a pair is made from the second, rather than the second
            from the first.
        train_list: File with the names of the pictures to train on, one a line.
        test_list: File with the names of the pictures to test on, one a line.
        image_size: Height and width of the model's pictures. Defaults to those of the data.
        channels: 1 for grey, 3 for colour. Defaults to that of the data.
        jitter: Pixels by which training pairs are enlarged, to be cropped at a random place.
        flip: Whether half of the training pairs are mirrored, left to right.
        learning_rate: Learning rate of the generator's Adam; constant for half of the steps, it
            then falls to zero.
        discriminator_learning_rate: Learning rate of the discriminator's Adam, likewise.
        beta_1: Decay of the mean of past gradients in Adam.
        loss: `non_saturating` and `minimax` by cross-entropy, `hinge` or `least_squares`.
        l1_weight: Weight of the mean absolute difference from the true picture, whose values are
            taken to lie in -1..1.
        adversarial_weight: Weight of the generator's adversarial loss; 0 leaves L1 alone, and the
            discriminator does not learn.
        ema_momentum: Momentum of the moving average of the generator's weights, which makes the
            pictures; with 0 the generator itself makes them.
    """

    epochs: Epochs = 20
    batch_size: BatchSize = 4
    validation_split: Share = 0.1
    min_steps_per_epoch: Steps = 1
    targets: Path | None = None
    swap: bool = False
    train_list: Path | None = None
    test_list: Path | None = None
    image_size: Annotated[int, Field(ge=SMALLEST, le=4096)] | None = None
    channels: pictures.Channels | None = None
    jitter: Annotated[int, Field(ge=0, le=1000)] = 4
    flip: bool = True
    learning_rate: LearningRate = 5e-4
    discriminator_learning_rate: LearningRate = 5e-4
    beta_1: Rate = 0.5
    loss: GanLoss = "non_saturating"
    l1_weight: Weight = 100.0
    adversarial_weight: Weight = 1.0
    ema_momentum: Rate = 0.999


def load_data(config: Config, run: Run) -> Data:
    """Pairs of pictures `(height, width, channels)`, values in 0..255: inputs and targets."""
    source = load_picture_pairs(
        run,
        config.targets,
        swap=config.swap,
        train_list=config.train_list,
        test_list=config.test_list,
        image_size=config.image_size,
        channels=config.channels,
    )
    shape, target_channels = source.preparation.shape, source.preparation.target_channels
    if min(shape[:2]) < SMALLEST:
        raise InputError(
            f"pairs must be at least {SMALLEST} pixels high and wide; `image_size` enlarges them",
            f"{shape[0]} x {shape[1]}",
        )
    data = supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        model_arguments=lambda train: {
            "input_shape": shape,
            "target_channels": target_channels,
        },
        augment=combined(
            jittered(config.jitter, *shape[:2]), joint_flip() if config.flip else None
        ),
    )
    return dataclasses.replace(data, evaluation_batch_size=AT_ONCE)


def jittered(pixels: int, height: int, width: int) -> Augmentation | None:
    """Enlarges pairs, and crops them to their size again at a random place.

    Args:
        pixels: Pixels by which height and width are enlarged.
        height: Height of the pictures.
        width: Width of the pictures.

    Returns:
        The augmentation, or None for 0 pixels.
    """
    if not pixels:
        return None

    def enlarge(batch: tuple[Any, ...], draws: tf.Tensor) -> tuple[Any, ...]:
        inputs, targets = batch
        size = (height + pixels, width + pixels)
        return tf.image.resize(inputs, size), tf.image.resize(targets, size)

    return combined(Augmentation(enlarge, num_draws=0), joint_crop(height, width))


def initial() -> keras.Initializer:
    """The initial weights of a convolution, new ones in every call."""
    return keras.initializers.RandomNormal(stddev=DEVIATION)


def convolve(
    x: keras.KerasTensor, filters: int, size: int, stride: int, normalization: Normalization
) -> keras.KerasTensor:
    """A convolution, its normalisation and a leaky ReLU; a stride of 2 halves height and width."""
    convolution = layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=normalization == "none",
        kernel_initializer=initial(),
    )
    return layers.LeakyReLU(0.2)(normalize(convolution(x), normalization))


def double(
    x: keras.KerasTensor, filters: int, normalization: Normalization, dropout: float
) -> keras.KerasTensor:
    """Doubles height and width, normalises, and drops some of the features in training."""
    convolution = layers.Conv2DTranspose(
        filters,
        4,
        2,
        padding="same",
        use_bias=normalization == "none",
        kernel_initializer=initial(),
    )
    x = normalize(convolution(x), normalization)
    return layers.ReLU()(layers.Dropout(dropout)(x) if dropout else x)


@checked
def build_generator(
    input_shape: pictures.ImageShape = (64, 64, 3),
    target_channels: pictures.Channels = 3,
    *,
    filters: Stages,
    skips: bool = True,
    normalization: Normalization = "instance",
    dropout: Rate = 0.5,
) -> keras.Model:
    """Builds the generator, a U-Net: from pixels to pixels.

    Args:
        input_shape: `(height, width, channels)` of the first picture of a pair.
        target_channels: Channels of the second one, which is as high and wide.
        filters: Filters of the encoder's convolutions, each of which halves height and width.
        skips: Whether the decoder gets the features of the encoder at every size.
        normalization: As in `build_model`.
        dropout: Rate of dropout in the innermost stages of the decoder.

    Returns:
        A functional model, `condition` `(batch, height, width, channels)`, values in 0..255, to a
        dict of `image` `(batch, height, width, target_channels)`, values in 0..255, float32.

    Raises:
        InputError: There are more stages than the pictures can be halved.
    """
    height, width, _ = input_shape
    refuse_too_deep((height, width), len(filters), "generator_filters")
    condition = keras.Input(input_shape, name="condition")
    # The first stage gets the colours as they are; the last may be a single pixel, whose features
    # would be normalised to 0.
    normalizations: list[Normalization] = ["none", *[normalization] * (len(filters) - 2), "none"]
    contract = [
        functools.partial(convolve, filters=count, size=4, stride=2, normalization=by)
        for count, by in zip(filters, normalizations, strict=False)
    ]
    expand = [
        functools.partial(
            double,
            filters=count,
            normalization=normalization,
            dropout=dropout if stage < DROPOUT_STAGES else 0.0,
        )
        for stage, count in enumerate(reversed(filters[:-1]))
    ]
    x = layers.Rescaling(2 / 255, offset=-1)(condition)
    x = contract_and_expand(x, contract, expand, skips)
    floatx = keras.config.floatx()
    x = layers.Conv2DTranspose(
        target_channels, 4, 2, padding="same", kernel_initializer=initial(), dtype=floatx
    )(x)
    x = layers.Activation("tanh", dtype=floatx)(x[:, :height, :width])
    image = layers.Rescaling(255 / 2, offset=255 / 2, dtype=floatx)(x)
    return keras.Model(condition, {"image": image}, name="generator")


def halvings_of(patch: Patch, side: int) -> int:
    """How often a discriminator halves pictures so that a score is one of a patch.

    A score depends on `9 * 2**n - 2` pixels along each side after n halvings, by convolutions of
    4 x 4 pixels of which two more halve nothing.

    Args:
        patch: Side of the patch in pixels, but not 1; or `whole`, at least that of the pictures.
        side: The longer side of the pictures.
    """
    pixels = side if patch == "whole" else int(patch)
    return max(1, math.ceil(math.log2((pixels + 2) / 9)))


@checked
def build_discriminator(
    input_shape: pictures.ImageShape = (64, 64, 3),
    target_channels: pictures.Channels = 3,
    *,
    filters: Filters,
    patch: Patch = "16",
    normalization: Normalization = "instance",
) -> keras.Model:
    """Builds the discriminator: from the pixels of a pair to a logit for each patch.

    Args:
        input_shape: `(height, width, channels)` of the first picture of a pair.
        target_channels: Channels of the second one.
        filters: Filters of the first convolution; the next ones have twice as many, at most eight
            times.
        patch: As in `build_model`.
        normalization: As in `build_model`. With all but `none` a score depends on more than its
            patch, by means and variances.

    Returns:
        A functional model, a dict of `condition` `(batch, height, width, channels)` and `image`
        `(batch, height, width, target_channels)`, values in 0..255, to scores
        `(batch, rows, columns, 1)`, float32: logits of the image being the true one of its
        condition.
    """
    if patch == "1":
        size, strides = 1, [1, 1]
    else:
        size, strides = 4, [2] * halvings_of(patch, max(input_shape[:2])) + [1]
    condition = keras.Input(input_shape, name="condition")
    image = keras.Input((*input_shape[:2], target_channels), name="image")
    x = layers.Rescaling(2 / 255, offset=-1)(layers.Concatenate()([condition, image]))
    for stage, stride in enumerate(strides):
        count = filters * 2 ** min(stage, 3)
        x = convolve(x, count, size, stride, normalization if stage else "none")
    scores = layers.Conv2D(
        1, size, padding="same", kernel_initializer=initial(), dtype=keras.config.floatx()
    )(x)
    return keras.Model({"condition": condition, "image": image}, scores, name="discriminator")


@checked
def build_model(
    input_shape: pictures.ImageShape = (64, 64, 3),
    target_channels: pictures.Channels = 3,
    *,
    generator_filters: Stages = (32, 64, 128, 128, 128, 128),
    discriminator_filters: Filters = 32,
    patch: Patch = "16",
    skips: bool = True,
    normalization: Normalization = "instance",
    dropout: Rate = 0.5,
) -> dict[str, keras.Model]:
    """Builds a generator, which makes a picture from another, and a discriminator of pairs.

    Args:
        input_shape: `(height, width, channels)` of the first picture of a pair.
        target_channels: Channels of the second one, which is as high and wide.
        generator_filters: Filters of the convolutions of the generator's encoder. Each halves
            height and width; the decoder doubles them as often.
        discriminator_filters: Filters of the discriminator's first convolution; the next ones have
            twice as many, at most eight times.
        patch: Side of the patches that the discriminator judges, in pixels; or `whole`, as large as
            the picture.
        skips: Whether the decoder gets the features of the encoder at every size; without them all
            goes through the smallest.
        normalization: What means and variances are taken over, as in `suite.layers.normalization`.
        dropout: Rate of dropout in the three innermost stages of the decoder.

    Returns:
        Two functional models. `generator`: `condition` `(batch, height, width, channels)` to a dict
        of `image` `(batch, height, width, target_channels)`, values of both in 0..255.
        `discriminator`: a dict of `condition` and `image` to scores `(batch, rows, columns, 1)`,
        logits of the image being the true one of its condition. All float32.

    Raises:
        InputError: An argument is out of range, or there are more stages than the pictures can be
            halved.

    Reference:
        Isola, Zhu, Zhou and Efros, 2016, Image-to-Image Translation with Conditional Adversarial
        Networks, https://arxiv.org/abs/1611.07004
        Differs from the paper: smaller by default; no normalisation of the innermost features;
        normalised over a picture also where batches have several; dropout in training only.
    """
    return {
        "generator": build_generator(
            input_shape,
            target_channels,
            filters=generator_filters,
            skips=skips,
            normalization=normalization,
            dropout=dropout,
        ),
        "discriminator": build_discriminator(
            input_shape,
            target_channels,
            filters=discriminator_filters,
            patch=patch,
            normalization=normalization,
        ),
    }


def compile_model(built: dict[str, keras.Model], config: Config, steps: int) -> keras.Model:
    """Compiles generator and discriminator as adversaries, both with Adam.

    Raises:
        InputError: Both parts of the generator's loss have a weight of 0.
    """
    if not config.l1_weight and not config.adversarial_weight:
        raise InputError("`l1_weight` or `adversarial_weight` must be more than 0", 0)
    trainer = PairedAdversarialNetwork(
        built["generator"],
        built["discriminator"],
        loss=config.loss,
        reconstruction_weight=config.l1_weight,
        adversarial_weight=config.adversarial_weight,
        ema_momentum=config.ema_momentum,
    )

    def adam(learning_rate: float) -> keras.Optimizer:
        schedule = one_cycle(learning_rate, steps, CONSTANT, start=1.0)
        return keras.optimizers.Adam(schedule, beta_1=config.beta_1)

    trainer.compile(adam(config.learning_rate), adam(config.discriminator_learning_rate))
    return trainer


def translated(generator: keras.Model, conditions: np.ndarray) -> np.ndarray:
    """What the generator makes from pictures, in batches.

    Args:
        generator: Maps `condition` to a dict with an `image`.
        conditions: Pictures `(n, height, width, channels)`, values in 0..255.

    Returns:
        Images `(n, height, width, target_channels)`, values in 0..255, float32.
    """
    parts = [
        keras.ops.convert_to_numpy(generator(conditions[n : n + AT_ONCE], training=False)["image"])
        for n in range(0, len(conditions), AT_ONCE)
    ]
    return np.concatenate(parts)


def squares(pixels: np.ndarray) -> np.ndarray:
    """Cuts pictures into squares, side by side; what is left over at the edges is left out.

    Args:
        pixels: Pictures `(n, height, width, channels)`.

    Returns:
        `(m, side, side, channels)`, where the side is a quarter of the shorter one, rounded down.
    """
    count, height, width, channels = pixels.shape
    side = min(height, width) // SQUARES
    rows, columns = height // side, width // side
    cut = pixels[:, : rows * side, : columns * side]
    cut = cut.reshape(count, rows, side, columns, side, channels).swapaxes(2, 3)
    return cut.reshape(-1, side, side, channels)


def features_of(pixels: np.ndarray) -> fidelity.Gaussian:
    """The distribution of the features of the squares of pictures, in a network without training.

    Even few pictures have many squares, whose features show texture and sharpness.
    """
    return fidelity.fit_gaussian(fidelity.random_features(squares(pixels)).features)


def compare_with_true(made: np.ndarray, true: np.ndarray, others: np.ndarray) -> Metrics:
    """Compares made pictures with the true ones of their pairs.

    Args:
        made: Pictures `(n, height, width, channels)`, values in 0..255.
        true: The true ones.
        others: True pictures of training pairs.

    Returns:
        `l1`, the mean absolute difference as a share of the range of a pixel; `ssim`, the mean
        structural similarity, 1 for equal pictures; `frechet_distance` between the features of
        the squares of made and of true pictures; `frechet_distance_of_train`, the same for as many
        training pictures, which is a floor for it.

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, 2004, Image Quality Assessment: From Error Visibility
        to Structural Similarity, https://doi.org/10.1109/TIP.2003.819861
    """
    similarities = [
        tf.image.ssim(
            tf.cast(true[n : n + AT_ONCE], tf.float32),
            tf.cast(made[n : n + AT_ONCE], tf.float32),
            max_val=255.0,
        )
        for n in range(0, len(made), AT_ONCE)
    ]
    chosen = np.random.default_rng(0).permutation(len(others))[: len(true)]
    real = features_of(true)
    return {
        "l1": float(np.abs(made - true.astype(np.float32)).mean() / 255),
        "ssim": float(np.concatenate(similarities).mean()),
        "frechet_distance": fidelity.frechet_distance(real, features_of(made)),
        "frechet_distance_of_train": fidelity.frechet_distance(real, features_of(others[chosen])),
    }


def in_rows(*parts: np.ndarray) -> list[np.ndarray]:
    """The first pictures of several arrays, all in colour: figures invert grey ones.

    Args:
        parts: Pictures `(n, height, width, 1 or 3)`.
    """
    return [np.repeat(part[:SHOWN], 3 // part.shape[-1], axis=-1) for part in parts]


class ValidationPictures(keras.callbacks.Callback):
    """Logs `val_frechet_distance` after every epoch, and writes a picture of the first pairs.

    Args:
        generator: Maps `condition` to a dict with an `image`.
        pairs: Pictures with the true ones that belong to them.
        folder: Folder of the run; pictures go to `samples/`: inputs, what was made, and the truth.
    """

    def __init__(self, generator: keras.Model, pairs: Examples, folder: Path) -> None:
        super().__init__()
        self.generator, self.pairs, self.folder = generator, pairs, folder / "samples"

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._real = features_of(self.pairs.targets)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        made = translated(self.generator, self.pairs.inputs)
        logs["val_frechet_distance"] = fidelity.frechet_distance(self._real, features_of(made))
        rows = in_rows(self.pairs.inputs, made, self.pairs.targets)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"epoch-{epoch + 1:07}.png"
        write_picture(tiled(np.concatenate(rows), columns=len(rows[0])), path)


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Compares and draws what is made from the validation pictures after every epoch."""
    pairs = fitted.data.splits["validation"].in_memory()
    return [ValidationPictures(fitted.networks["generator"], pairs, fitted.folder)]


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `condition` to `image`. `picture`: image files to `image_bytes`, PNG files.

    `tiles`, if the pictures of the training are squares: the same at the size of the file, by
    applying the generator to overlapping squares of the training's size, one after the other.
    """
    generator = fitted.networks["generator"]
    serve, source = of_model(generator), fitted.data.source
    if source is None or source.preparation is None:
        return {"serve": generator}

    def encoded(condition: tf.Tensor) -> dict[str, tf.Tensor]:
        made = serve.function(condition)["image"]
        return {"image_bytes": tf.map_fn(as_png, made, fn_output_signature=tf.string)}

    picture = pictures.endpoint(serve._replace(function=encoded), source.preparation)
    offered: dict[str, keras.Model | Endpoint] = {"serve": generator, "picture": picture}
    height, width, _ = source.preparation.shape
    if height == width:
        offered["tiles"] = tiles_endpoint(generator, source.preparation)
    return offered


def as_png(made: tf.Tensor) -> tf.Tensor:
    """Encodes an image `(height, width, channels)`, values in 0..255, as a PNG file."""
    return tf.io.encode_png(scale_to_bytes(made, 255))


def tiles_endpoint(generator: keras.Model, preparation: PicturePairPreparation) -> Endpoint:
    """Makes an endpoint for image files of any size, to which the generator is applied in tiles.

    Args:
        generator: Maps squares `(batch, side, side, channels)` to a dict with an `image`.
        preparation: That of the training pictures. If it changed their size, a picture is brought
            to its scale before, and what is made of it back to the size of the picture.

    Returns:
        An endpoint of `picture` `(batch,)`, the bytes of files, to `image_bytes` `(batch,)`, PNG
        files of the same sizes.
    """
    _, side, _, channels = generator.input_shape

    def apply(tile: tf.Tensor) -> tf.Tensor:
        return generator(tile, training=False)["image"]

    def redraw(colours: tf.Tensor) -> tf.Tensor:
        scaled = pictures.at_scale(colours, preparation) if preparation.resized else colours
        made = in_tiles(
            apply,
            to_grey(scaled) if channels == 1 else scaled,
            tile=side,
            overlap=side // 2,
            drop=0,  # a tile is as large as the training's pictures, whose edges were learnt, too
            finish=lambda rows: scale_to_bytes(rows, 255),
        )
        if not preparation.resized:
            return made
        return scale_to_bytes(tf.image.resize(made, tf.shape(colours)[:2], "bicubic"), 255)

    return pictures.redrawing(redraw, "image_bytes")


def evaluate(fitted: Fitted) -> Metrics:
    """Compares what is made from the test pictures with the true ones."""
    test, train = (fitted.data.splits[name].in_memory() for name in ("test", "train"))
    made = translated(fitted.networks["generator"], test.inputs)
    return compare_with_true(made, test.targets, train.targets)


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws the first test pictures, what is made from them, and the true ones."""
    test = fitted.data.splits["test"]
    inputs, targets = test.rows(np.arange(min(SHOWN, test.num_examples))).in_memory()
    made = translated(fitted.networks["generator"], inputs)
    rows = in_rows(inputs, made, targets)
    return {"pairs": images.image_rows(dict(zip(("input", "made", "true"), rows, strict=True)))}


def translate(
    app: App,
    file: Path,
    *,
    output: Path = Path("translated.png"),
    tiles: bool = False,
    exports: Exports = Exports(),
) -> None:
    """Make the other picture of a pair.

    Args:
        file: Image file of any size.
        output: Image file for the result.
        tiles: Keep the size of the picture, and translate it in overlapping squares of the size of
            the training pictures. Otherwise it is cropped about its centre and resized to that
            size.
    """
    writable_picture(output)
    encoded = read_encoded(file)
    exported = exports.open(app.name)
    if tiles and len({*exported.built()["generator"].input_shape[1:3]}) > 1:
        raise InputError("`tiles` must be off where training pictures are no squares", tiles)
    [content] = exported.call([encoded], "tiles" if tiles else "picture")["image_bytes"]
    write_png(content, output)
    print(f"{output}: from {file}")


def compare_losses(
    app: App,
    *,
    data: str = "auto",
    targets: Path | None = None,
    swap: bool = False,
    image_size: PositiveInt | None = None,
    epochs: PositiveInt = 20,
    seed: Seed = 0,
    output: Path = Path("losses.png"),
) -> None:
    """Draw what six generators make from validation pictures: by loss, with skips and without.

    They learn by L1 alone, by the adversary alone, and by both, for as many epochs each.

    Args:
        data: Where pairs come from, as in training.
        targets: As in training.
        swap: As in training.
        image_size: As in training.
        epochs: Epochs of every training.
        seed: Seed of initial weights and of the order of the pairs.
        output: Image file for the pictures.
    """
    show_messages(quiet=False)
    writable_picture(output)
    knobs: dict[str, Any] = {
        "targets": targets,
        "swap": swap,
        "image_size": image_size,
        "epochs": epochs,
    }
    made_by: dict[str, np.ndarray] = {}
    for skips in (True, False):
        for name, weights in ABLATION.items():
            label = name if skips else f"{name}, no skips"
            recipe = app.recipe(**{**knobs, **weights, "skips": skips})
            trained = train_aside(app, recipe, Run(data=data, seed=seed, quiet=True))
            pairs, others = (
                trained.data.splits[split].in_memory() for split in ("validation", "train")
            )
            made = translated(trained.networks["generator"], pairs.inputs)
            metrics = compare_with_true(made, pairs.targets, others.targets)
            print(", ".join([label, *(f"{key} {value:.4f}" for key, value in metrics.items())]))
            made_by[label] = made
    names = ("input", *made_by, "true")
    rows = in_rows(pairs.inputs, *made_by.values(), pairs.targets)
    curves.write(images.image_rows(dict(zip(names, rows, strict=True))), output)
    print(f"{output}: {'; '.join(made_by)}")


PAPER_SETTINGS = {
    "image_size": 256,
    "jitter": 30,
    "batch_size": 1,
    "patch": "70",
    "learning_rate": 2e-4,
    "discriminator_learning_rate": 2e-4,
}

app = App(
    name="pix2pix",
    topic="generative",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    evaluate=evaluate,
    figures=draw,
    commands={"translate": translate, "losses": compare_losses},
    try_next="translate your_picture.png --output made.png",
    recipes={
        # The networks and the training of the paper, on facades.
        "paper": PAPER_SETTINGS
        | {
            "epochs": 200,
            "generator_filters": (64, 128, 256, 512, 512, 512, 512, 512),
            "discriminator_filters": 64,
            "ema_momentum": 0.0,
        },
        # A quarter of the paper's filters, so a sixteenth of the work of a step; and fewer passes.
        "facades": PAPER_SETTINGS
        | {
            "epochs": 100,
            "generator_filters": (16, 32, 64, 128, 128, 128, 128, 128),
            "discriminator_filters": 16,
        },
    },
    objective="val_frechet_distance",
    objective_mode="min",
    keep_best=True,
    data_layouts=(
        "a folder of double pictures, the input in the left half and the target in the right; or a "
        "folder with two folders of pictures, whose names are the same; or a folder of inputs, and "
        "`--targets` the folder of the pictures of the same names that are to be made from them."
    ),
    tiny={
        "epochs": 1,
        "batch_size": 8,
        "image_size": 32,
        "jitter": 2,
        "generator_filters": (4, 8, 8),
        "discriminator_filters": 4,
    },
)

if __name__ == "__main__":
    main(app)
