"""Super-resolution: pictures enlarged two, three or four times, with the detail that was lost.

A network learns to reconstruct pictures that were made smaller. Bicubic interpolation gives the
smooth parts, and the network adds the edges. A second training may follow, against an adversary
that tells enlarged pictures from real ones: the textures become sharper, but need not be those that
were there.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase
from suite.cli import main
from suite.data import Data, supervised
from suite.data.images.bicubic import resize, to_bytes
from suite.data.images.decoding import allowed_size, scale_to_bytes
from suite.data.images.files import (
    read_encoded,
    read_opaque,
    writable_picture,
    write_png,
)
from suite.data.pairs.augmentation import joint_flip
from suite.data.pairs.patches import (
    load_whole_pictures,
    patch_pairs,
    pictures_of,
    refuse_small_pictures,
    unstacked,
    whole_pairs,
)
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports, open_folder
from suite.export.tiles import in_tiles
from suite.figures import images
from suite.knobs import (
    Activation,
    BatchSize,
    Epochs,
    Filters,
    LearningRate,
    Rate,
    Share,
    Stages,
    Steps,
)
from suite.layers.colours import to_rgb, to_ycbcr
from suite.layers.enlargement import enlarge
from suite.layers.reach import reach_of
from suite.metrics.pictures import feature_distance, luma_psnr, luma_ssim
from suite.tasks.pictures import redrawing
from suite.trainers.gan import PairedAdversarialNetwork
from suite.trainers.schedules import one_cycle

Scale = Annotated[int, Field(ge=2, le=4)]
Network = Literal["espcn", "srresnet"]
PixelLoss = Literal["charbonnier", "mse"]
EPSILON = 1e-3  # of the Charbonnier loss, as a share of the range: smaller differences are squared
DETAIL_DEVIATION = 1e-3  # of the last layer's initial weights: a training begins with no detail
TILE = 128  # smallest height and width of the tiles in which large pictures are enlarged
EVALUATED_AT_ONCE = 64  # patches
SHOWN = 5  # pictures in a figure
MOST_OF_PNG = 2**29 - 1  # pixels that TensorFlow decodes
DISCRIMINATOR = "discriminator"  # its name among the networks


@settings
class Config:
    """The settings of the training.

    Args:
        scale: How many times larger pictures become: 2, 3 or 4.
        epochs: Passes over the training patches, in which pixels are compared; an epoch makes
            several passes over few patches.
        batch_size: Patches per optimizer step, over all replicas.
        patch_size: Height and width of the small patches to learn from, in pixels.
        validation_split: Share of the training pictures that is held out for validation, if there
            are no others for it.
        min_steps_per_epoch: Smallest number of steps in an epoch.
        learning_rate: Peak of the one-cycle schedule.
        warmup: Share of the steps in which the learning rate rises.
        loss: `charbonnier` is nearly the absolute difference of pixels, smooth at zero; `mse` its
            square.
        symmetries: Whether patches are mirrored and turned at random.
        adversarial_epochs: Epochs of a second phase, against an adversary; 0 leaves it out.
        adversarial_rate: Peak of the one-cycle schedules of both networks in that phase.
        adversarial_weight: Weight of the adversarial loss in that phase; the other losses have 1.
        ema_momentum: Momentum of the moving average of the weights in that phase, which is kept.
        features: Folder of an exported image classifier: saved_models/resnet, of which the newest
            version is taken each time, or one version, saved_models/resnet/1. The second phase then
            lowers the difference of its features as well, and the test reports it.
    """

    scale: Scale = 3
    epochs: Epochs = 10
    batch_size: BatchSize = 16
    patch_size: Annotated[int, Field(ge=8, le=512)] = 24
    validation_split: Share = 0.1
    min_steps_per_epoch: Steps = 100
    learning_rate: LearningRate = 1e-3
    warmup: Share = 0.1
    loss: PixelLoss = "charbonnier"
    symmetries: bool = True
    adversarial_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    adversarial_rate: LearningRate = 1e-4
    adversarial_weight: Annotated[float, Field(ge=0, le=1000)] = 1e-3
    ema_momentum: Rate = 0.99
    features: str | None = None


def load_data(config: Config, run: Run) -> Data:
    """Patches of pictures to learn from, and whole pictures to test on.

    Targets are `(height, width, 3)`, uint8, and inputs the same pictures made `scale` times
    smaller. Test pictures may differ in size.

    Raises:
        InputError: The pictures cannot be read, or one is smaller than a patch.
    """
    source = load_whole_pictures(run)
    pictures = {
        name: pictures_of(split) for name, split in source.split(config.validation_split).items()
    }
    refuse_small_pictures(pictures, config.scale * config.patch_size, source.name)
    examples = dataclasses.replace(
        source,
        train=patch_pairs(pictures["train"], config.scale, config.patch_size),
        validation=patch_pairs(pictures["validation"], config.scale, config.patch_size),
        test=whole_pairs(pictures["test"], config.scale),
        notes={**source.notes, "pictures": {name: len(part) for name, part in pictures.items()}},
    )
    data = supervised(
        examples,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        model_arguments=lambda train: {
            "scale": config.scale,
            "adversary": bool(config.adversarial_epochs),
        },
        augment=joint_flip(vertical=True, diagonal=True) if config.symmetries else None,
    )
    return dataclasses.replace(data, source=source, evaluation_batch_size=EVALUATED_AT_ONCE)


@checked
def build_model(
    scale: Scale = 3,
    adversary: bool = False,
    *,
    network: Network = "espcn",
    filters: Stages = (64, 32),
    activation: Activation = "relu",
    width: Filters = 64,
    blocks: Annotated[int, Field(ge=1, le=256)] = 16,
    batch_norm: bool = True,
    residual: bool = True,
    discriminator_filters: Stages = (64, 128, 256, 512),
) -> keras.Model | dict[str, keras.Model]:
    """Builds a network that enlarges pictures of any size, and perhaps its adversary.

    Args:
        scale: How many times larger pictures become.
        adversary: Whether to build a discriminator, too.
        network: `espcn` is small, and enlarges the luma alone; `srresnet` is deep.
        filters: Filters of espcn's hidden convolutions, the first of 5 x 5, the others of 3 x 3.
        activation: Activation of espcn's hidden convolutions.
        width: Filters of srresnet's convolutions.
        blocks: Residual blocks of srresnet.
        batch_norm: Whether srresnet normalises.
        residual: Whether the output is added to the bicubic enlargement, or is the whole picture.
        discriminator_filters: Filters of the discriminator's pairs of convolutions, the second of
            which halves height and width.

    Returns:
        A functional model, named like the network, `image` `(batch, height, width, 3)`, values in
        0..255, to pictures `(batch, scale * height, scale * width, 3)`, which may leave that range.
        With an adversary a dict of it and the `discriminator`, `image` of any size to logits of
        being real `(batch, 1)`. All float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Shi et al., 2016, Real-Time Single Image and Video Super-Resolution Using an Efficient
        Sub-Pixel Convolutional Neural Network, https://arxiv.org/abs/1609.05158
        Ledig et al., 2016, Photo-Realistic Single Image Super-Resolution Using a Generative
        Adversarial Network, https://arxiv.org/abs/1609.04802
        Kim, Lee and Lee, 2015, Accurate Image Super-Resolution Using Very Deep Convolutional
        Networks (residual), https://arxiv.org/abs/1511.04587
        Differs from the papers: both networks add to the bicubic enlargement unless `residual` is
        off; espcn has `relu` for `tanh`; the discriminator takes the mean over the picture before
        its dense layers, and so pictures of any size.
    """
    image = keras.Input((None, None, 3), name="image")
    if network == "espcn":
        ycbcr = to_ycbcr(image)
        large = enlarge(ycbcr, scale)
        luma = espcn_luma(ycbcr[..., :1], scale, filters, activation)
        luma = large[..., :1] + luma if residual else luma
        output = to_rgb(ops.concatenate([luma, large[..., 1:]], axis=-1))
    else:
        output = srresnet_picture(image, scale, width, blocks, batch_norm)
        output = enlarge(image, scale) + output if residual else output
    generator = keras.Model(image, output, name=network)
    if not adversary:
        return generator
    return {network: generator, DISCRIMINATOR: build_discriminator(discriminator_filters)}


def espcn_luma(
    luma: keras.KerasTensor, scale: int, filters: Sequence[int], activation: str
) -> keras.KerasTensor:
    """What ESPCN makes of a luma `(batch, height, width, 1)`, `scale` times larger."""
    x = layers.Rescaling(1 / 255)(luma)
    for number, size in enumerate(filters):
        x = layers.Conv2D(size, 3 if number else 5, padding="same", activation=activation)(x)
    return 255 * ops.depth_to_space(_last_convolution(x, scale**2, 3), scale)


def srresnet_picture(
    image: keras.KerasTensor, scale: int, width: int, blocks: int, batch_norm: bool
) -> keras.KerasTensor:
    """What SRResNet makes of pictures `(batch, height, width, 3)`, `scale` times larger."""

    def convolution(x: keras.KerasTensor) -> keras.KerasTensor:
        x = layers.Conv2D(width, 3, padding="same", use_bias=not batch_norm)(x)
        return layers.BatchNormalization(momentum=0.9)(x) if batch_norm else x

    def rectified(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.PReLU(shared_axes=[1, 2])(x)

    x = layers.Rescaling(1 / 255)(image)
    x = first = rectified(layers.Conv2D(width, 9, padding="same")(x))
    for _ in range(blocks):
        x = layers.Add()([x, convolution(rectified(convolution(x)))])
    x = layers.Add()([first, convolution(x)])
    for factor in (2, 2) if scale == 4 else (scale,):
        x = layers.Conv2D(width * factor**2, 3, padding="same")(x)
        x = rectified(ops.depth_to_space(x, factor))
    return 255 * _last_convolution(x, 3, 9)


def _last_convolution(x: keras.KerasTensor, filters: int, size: int) -> keras.KerasTensor:
    return layers.Conv2D(
        filters,
        size,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=DETAIL_DEVIATION),
        dtype=keras.config.floatx(),
        name="detail",
    )(x)


def build_discriminator(filters: Sequence[int]) -> keras.Model:
    """Builds SRGAN's discriminator: from pictures of any size to logits of being real."""
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(2 / 255, offset=-1)(image)
    for stage, size in enumerate(filters):
        for stride in (1, 2):
            is_first = stage == 0 and stride == 1
            x = layers.Conv2D(size, 3, stride, padding="same", use_bias=is_first)(x)
            x = x if is_first else layers.BatchNormalization(momentum=0.9)(x)
            x = layers.LeakyReLU(0.2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.LeakyReLU(0.2)(layers.Dense(2 * filters[-1])(x))
    score = layers.Dense(1, dtype=keras.config.floatx(), name="score")(x)
    return keras.Model(image, score, name=DISCRIMINATOR)


def generator_of(networks: Mapping[str, keras.Model]) -> keras.Model:
    """The network that enlarges: the one that is not the discriminator."""
    [network] = (part for name, part in networks.items() if name != DISCRIMINATOR)
    return network


def charbonnier(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """The absolute difference of luma and colours, smooth at zero, for each pixel.

    Args:
        y_true: Pictures `(batch, height, width, 3)`, values in 0..255.
        y_pred: Pictures of the same shape.

    Returns:
        `(batch, height, width)`, as shares of the range. Luma and colours are compared separately,
        so that a network that makes the luma alone does not change it to correct the colours.

    Reference:
        Lai, Huang, Ahuja and Yang, 2017, Deep Laplacian Pyramid Networks for Fast and Accurate
        Super-Resolution, https://arxiv.org/abs/1704.03915
    """
    return ops.mean(ops.sqrt(ops.square(_difference(y_true, y_pred)) + EPSILON**2), axis=-1)


def mse(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """The squared difference of luma and colours for each pixel, as in `charbonnier`."""
    return ops.mean(ops.square(_difference(y_true, y_pred)), axis=-1)


def _difference(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    return (to_ycbcr(y_true) - to_ycbcr(y_pred)) / 255


LOSSES: dict[str, Callable[..., keras.KerasTensor]] = {"charbonnier": charbonnier, "mse": mse}


def psnr_metric(scale: int) -> keras.metrics.Metric:
    """The mean PSNR of the luma, without `scale` pixels at every border."""
    return keras.metrics.MeanMetricWrapper(luma_psnr, name="psnr", border=scale)


def compile_model(
    built: keras.Model | dict[str, keras.Model], config: Config, steps: int
) -> keras.Model:
    """Compiles the network that enlarges, to come close to every pixel, with Adam.

    Raises:
        InputError: `features`, which the second phase and the test need, cannot be opened; or
            there are settings of a second phase, and none.
    """
    if not config.adversarial_epochs:
        for knob in ("adversarial_rate", "adversarial_weight", "ema_momentum"):
            if (value := getattr(config, knob)) != getattr(Config(), knob):
                raise InputError(f"`{knob}` must be left out without `adversarial_epochs`", value)
    if config.features:
        open_features(config.features)
    model = built if isinstance(built, keras.Model) else generator_of(built)
    model.compile(
        keras.optimizers.Adam(one_cycle(config.learning_rate, steps, config.warmup)),
        LOSSES[config.loss],
        metrics=[psnr_metric(config.scale)],
    )
    return model


def compile_adversaries(
    built: dict[str, keras.Model], config: Config, steps: int
) -> PairedAdversarialNetwork:
    """Compiles the network that enlarges and its adversary, both with Adam.

    The network lowers the difference of pixels, that of features if there is a network for them,
    and `adversarial_weight` times the adversarial loss.

    Raises:
        InputError: `features` is no export of a network that takes pictures in colour.

    Reference:
        Ledig et al., 2016, Photo-Realistic Single Image Super-Resolution Using a Generative
        Adversarial Network, https://arxiv.org/abs/1609.04802
        Differs from the paper: features are those of any export, and their squared difference is
        divided by their squared size; the difference of pixels stays, so that colours do; and a
        moving average of the weights is kept.
    """
    network, psnr, pixels = generator_of(built), psnr_metric(config.scale), LOSSES[config.loss]
    features = open_features(config.features) if config.features else None

    def difference(real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        psnr.update_state(real, fake)
        total = ops.mean(pixels(real, fake))
        if features is not None:
            real_features, fake_features = (
                keras.tree.flatten(features(pictures, training=False))[-1]
                for pictures in (real, fake)
            )
            distance = ops.mean(ops.square(real_features - fake_features))
            total += distance / ops.mean(ops.square(real_features))
        return total

    trainer = PairedAdversarialNetwork(
        keras.Model(network.input, {"image": network.output}, name=network.name),
        built[DISCRIMINATOR],
        reconstruction=difference,
        reconstruction_weight=1.0,
        adversarial_weight=config.adversarial_weight,
        ema_momentum=config.ema_momentum,
    )
    trainer.means["psnr"] = psnr

    def adam() -> keras.Optimizer:
        return keras.optimizers.Adam(one_cycle(config.adversarial_rate, steps, config.warmup))

    trainer.compile(adam(), adam())
    return trainer


def open_features(folder: str) -> keras.Model:
    """The convolutions of an exported network, for pictures of any size.

    Args:
        folder: `<export_dir>/<app>/<version>`, or `<export_dir>/<app>` for the newest version.

    Returns:
        A model of pictures `(batch, height, width, 3)`, values in 0..255, to a list of the outputs
        of all convolutions, in their order, float32. Its weights are not trained.

    Raises:
        InputError: There is no such export, or its network does not take pictures in colour, or has
            no convolution.
    """
    network = open_folder(Path(folder)).built()
    if not isinstance(network, keras.Model) or [x.shape[-1] for x in network.inputs] != [3]:
        raise InputError(
            "`features` must be an export whose network takes pictures in colour", folder
        )
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    if not convolutions:
        raise InputError("`features` must be an export of a network with convolutions", folder)
    [image] = network.inputs
    fixed = keras.Model(image, [ops.cast(layer.output, "float32") for layer in convolutions])
    resizable = keras.models.clone_model(fixed, input_tensors=keras.Input((None, None, 3)))
    resizable.set_weights(fixed.get_weights())
    resizable.trainable = False
    return resizable


def phases(config: Config) -> list[Phase]:
    """One phase to come close to every pixel, and perhaps one against an adversary."""

    def begin(fitted: Fitted) -> None:
        """Gives the `learner`, a copy of the generator, the weights that the first phase left."""
        trainer: Any = fitted.model
        trainer.learner.set_weights(trainer.generator.get_weights())

    pixels = Phase(name="pixels", epochs=config.epochs)
    if not config.adversarial_epochs:
        return [pixels]
    adversary = Phase(
        name="adversary",
        epochs=config.adversarial_epochs,
        compile=compile_adversaries,
        begin=begin,
    )
    return [pixels, adversary]


def enlarger(network: keras.Model, scale: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Makes a function that enlarges one picture of any size in tiles, and so in bounded memory.

    Args:
        network: Maps pictures `(batch, height, width, 3)` to pictures `scale` times larger.
        scale: How many times larger the result is.

    Returns:
        A `tf.function` of a picture `(height, width, 3)`, uint8, that returns
        `(scale * height, scale * width, 3)`, uint8.
    """
    reach = reach_of(network)  # what is farther away changes nothing, so tiles leave no seam
    overlap = max(4, 2 * reach + 2)

    def enlarged(picture: tf.Tensor) -> tf.Tensor:
        return in_tiles(
            lambda part: network(tf.cast(part, tf.float32), training=False),
            picture,
            tile=max(TILE, 3 * overlap),
            overlap=overlap,
            drop=reach,
            factor=scale,
            finish=lambda rows: scale_to_bytes(rows, 255),
        )

    return tf.function(
        enlarged, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)], autograph=False
    )


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` to `enlarged`, arrays; `picture`: encoded pictures to encoded ones, PNG."""
    network = generator_of(fitted.networks)
    serve = keras.Model(
        network.input, {"enlarged": ops.clip(network.output, 0.0, 255.0)}, name=network.name
    )
    scale = fitted.config.scale
    enlarge_one = enlarger(network, scale)

    def redraw(colours: tf.Tensor) -> tf.Tensor:
        size = allowed_size(scale * tf.shape(colours)[:2], MOST_OF_PNG, "an enlarged picture")
        with tf.control_dependencies([size]):
            return enlarge_one(tf.cast(colours, tf.uint8))

    return {"serve": serve, "picture": redrawing(redraw, "enlarged")}


def example(fitted: Fitted) -> np.ndarray:
    """The upper left corners of the first test pictures, made smaller, as large as a patch."""
    size = fitted.config.patch_size
    inputs = unstacked(fitted.data.splits["test"].in_memory().inputs)
    return np.stack([picture[:size, :size] for picture in inputs[:EVALUATED_AT_ONCE]])


def tested_pairs(fitted: Fitted) -> list[tuple[np.ndarray, np.ndarray]]:
    """The test pictures made smaller, and as they were, `(height, width, 3)`, uint8, each."""
    test = fitted.data.splits["test"].in_memory()
    return list(zip(unstacked(test.inputs), unstacked(test.targets), strict=True))


def bicubic(small: np.ndarray, scale: int) -> np.ndarray:
    """A picture `(height, width, 3)` enlarged by bicubic interpolation, uint8."""
    return to_bytes(resize(small, scale * small.shape[0], scale * small.shape[1]))


def measure(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    enlarged: Callable[[np.ndarray], np.ndarray],
    scale: int,
    features: keras.Model | None = None,
) -> Metrics:
    """The mean metrics of pictures that were made smaller and are enlarged again.

    Args:
        pairs: Small pictures, and the originals.
        enlarged: Enlarges a small picture, uint8.
        scale: How many times it enlarges; PSNR and SSIM leave out as many pixels at every border.
        features: The network whose features are compared, as in
            `suite.metrics.pictures.feature_distance`.

    Returns:
        `psnr` in decibels and `ssim` of the luma, and `feature_distance` if there are features.
    """
    rows = []
    for small, original in pairs:
        made = enlarged(small)
        row = {
            "psnr": float(luma_psnr(original[None], made[None], scale)[0]),
            "ssim": luma_ssim(original, made, scale),
        }
        if features is not None:
            row["feature_distance"] = feature_distance(features, original[None], made[None])
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def evaluate(fitted: Fitted) -> Metrics:
    """The metrics of the test pictures, and of bicubic interpolation as `test_bicubic_...`."""
    config, pairs = fitted.config, tested_pairs(fitted)
    features = open_features(config.features) if config.features else None
    enlarge_one = enlarger(generator_of(fitted.networks), config.scale)
    ours = measure(pairs, lambda small: enlarge_one(small).numpy(), config.scale, features)
    plain = measure(pairs, functools.partial(bicubic, scale=config.scale), config.scale, features)
    return {
        **{f"test_{name}": value for name, value in ours.items()},
        **{f"test_bicubic_{name}": value for name, value in plain.items()},
        "test_psnr_gain": ours["psnr"] - plain["psnr"],
    }


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws parts of test pictures: by bicubic interpolation, enlarged, and as they were."""
    scale, side = fitted.config.scale, fitted.config.scale * fitted.config.patch_size
    enlarge_one = enlarger(generator_of(fitted.networks), scale)
    rows: dict[str, list[np.ndarray]] = {"bicubic": [], "enlarged": [], "original": []}
    for small, original in tested_pairs(fitted)[:SHOWN]:
        shown = (bicubic(small, scale), enlarge_one(small).numpy(), original)
        top, left = place_of_contrast(original, side)
        for row, picture in zip(rows.values(), shown, strict=True):
            row.append(picture[top : top + side, left : left + side])
    return {"enlarged": images.image_rows({name: np.stack(row) for name, row in rows.items()})}


def place_of_contrast(picture: np.ndarray, side: int) -> tuple[int, int]:
    """The upper left corner of the square with the largest standard deviation of its pixels.

    The squares that are compared lie half a side apart.

    Args:
        picture: `(height, width, 3)`, neither side shorter than the square.
        side: Height and width of the square.
    """
    height, width, _ = picture.shape
    corners = itertools.product(
        range(0, height - side + 1, side // 2), range(0, width - side + 1, side // 2)
    )
    return max(corners, key=lambda corner: picture[corner[0] :, corner[1] :][:side, :side].std())


def enlarge_file(
    app: App,
    file: Path,
    *,
    output: Path = Path("enlarged.png"),
    exports: Exports = Exports(),
) -> None:
    """Enlarge a picture of any size.

    Args:
        file: Image file, without transparent parts.
        output: Image file for the result.
    """
    writable_picture(output)
    height, width, _ = read_opaque(file).shape
    exported = exports.open(app.name)
    [encoded] = exported.call([read_encoded(file)], "picture")["enlarged"]
    write_png(encoded, output)
    scale = exported.metadata("config")["config"]["scale"]
    print(f"{output}: {scale * width} x {scale * height} pixels, from {width} x {height}")


SRRESNET = {"network": "srresnet", "scale": 4, "learning_rate": 5e-4}

app = App(
    name="super_resolution",
    topic="images",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=endpoints,
    example=example,
    evaluate=evaluate,
    figures=draw,
    commands={"enlarge": enlarge_file},
    try_next="enlarge your_photo.jpg --output enlarged.png",
    recipes={
        "paper": {"residual": False, "activation": "tanh", "loss": "mse", "patch_size": 17},
        "deeper": {"filters": (64, 32, 32, 32), "epochs": 15},
        "srresnet": {**SRRESNET, "epochs": 30},
        "srgan": {**SRRESNET, "epochs": 30, "adversarial_epochs": 15},
    },
    search={"learning_rate": "0.0001..0.01", "loss": "charbonnier,mse", "residual": "true,false"},
    objective="val_psnr",
    objective_mode="max",
    data_layouts=(
        "a folder of opaque pictures of any formats and sizes; it may have `train`, `validation` "
        "and `test` inside."
    ),
    tiny={
        "epochs": 1,
        "scale": 2,
        "batch_size": 32,
        "patch_size": 16,
        "min_steps_per_epoch": 10,
        "filters": (8,),
        "width": 4,
        "blocks": 1,
        "discriminator_filters": (4, 4),
    },
)

if __name__ == "__main__":
    main(app)
