"""Digits drawn by a deep convolutional generative adversarial network, with figures of merit.

A generator draws images from noise and a discriminator tells them from real ones; each learns
from the other, kind by kind. Convolutions with strides take the place of pooling. How good the
digits are is judged against images kept for the test, by a classifier that never changes.
"""

import functools
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveFloat, PositiveInt

from suite import App, Run, checked, settings
from suite.app import Metrics
from suite.cli import main
from suite.data import pictures as images
from suite.data import pseudo_labels as clusters
from suite.data.examples import Data, collect, supervised
from suite.export.saved_model import Endpoint
from suite.figures import classes as figures
from suite.knobs import BatchSize, Epochs, LatentDim, LearningRate, Rate, Share, Stages
from suite.metrics import fidelity
from suite.trainers import latents as generative
from suite.trainers.gan import GanLoss, GenerativeAdversarialNetwork, StopWhenDiscriminatorWins
from suite.trainers.schedules import OneCycle

Codes = Annotated[int, Field(ge=0, le=4096)]
CODE_SCALE = 4.0  # makes the code as heavy as the noise


@settings
class Config:
    """The training recipe.

    Args:
        epochs: Passes over the training split.
        num_codes: Kinds of images that are found before, without looking at the labels; generator
            and discriminator are told of each image's. 0 to leave them out.
        batch_size: Images per step of the generator, over all replicas.
        learning_rate: Of the generator, at the peak of the one-cycle schedule.
        discriminator_learning_rate: Of the discriminator, likewise.
        warmup: Share of the steps in which the learning rates rise.
        beta_1: Decay of the mean of past gradients in Adam.
        loss: `non_saturating` and `minimax` by cross-entropy, `hinge` or `least_squares`.
        discriminator_steps: Steps of the discriminator for each of the generator, each with its
            part of the batch.
        label_smoothing: Share by which the discriminator should doubt real images.
        ema_momentum: Of the moving average of the generator's weights, which draws.
        validation_split: Share of the training images held out to watch the training.
    """

    epochs: Epochs = 7
    num_codes: Codes = 128
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 1e-3
    discriminator_learning_rate: LearningRate = 1e-3
    warmup: Share = 0.05
    beta_1: Rate = 0.5
    loss: GanLoss = "non_saturating"
    discriminator_steps: Annotated[int, Field(ge=1, le=100)] = 1
    label_smoothing: Rate = 0.1
    ema_momentum: Rate = 0.999
    validation_split: Share = 0.1


def load_data(config: Config, run: Run) -> Data:
    """MNIST images `(28, 28, 1)` with grey values in 0..255, labelled by what they look like."""
    codes: dict[str, Any] = {
        "relabel": functools.partial(clusters.kinds, num=config.num_codes, seed=run.seed),
        "model_arguments": lambda train: {"code_shares": clusters.shares(train)},
    }
    return supervised(
        images.load_digits(run),
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        **(codes if config.num_codes else {}),
    )


@checked
def build_generator(
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (28, 28, 1),
    code_shares: tuple[PositiveFloat, ...] = (),
    *,
    latent_dim: LatentDim = 64,
    filters: Stages = (128, 64),
) -> keras.Model:
    """Builds the generator: noise in, grey values out.

    Arguments and errors are those of `build_model`, whose `generator_filters` are `filters`.

    Returns:
        A functional model, `latent` `(batch, latent_dim + num_codes)` to a dict of `image`
        `(batch, height, width, channels)`, grey values in 0..255, float32, and the `code`
        `(batch,)`, if any.
    """
    height, width, channels = input_shape
    smallest = [-(-side // 2 ** len(filters)) for side in (height, width)]
    latent = keras.Input((latent_dim + len(code_shares),), name="latent")
    drawn, x = {}, latent
    if code_shares:
        drawn["code"] = code = generative.code(latent[:, latent_dim:], code_shares)
        told = CODE_SCALE * ops.one_hot(code, len(code_shares))
        x = layers.Concatenate()([latent[:, :latent_dim], told])
    x = layers.Reshape((1, 1, x.shape[-1]))(x)
    x = _normalized(layers.Conv2DTranspose(filters[0], smallest, use_bias=False)(x))
    for size in filters[1:]:
        x = _normalized(layers.Conv2D(x.shape[-1], 3, padding="same", use_bias=False)(x))
        x = _normalized(layers.Conv2DTranspose(size, 4, 2, padding="same", use_bias=False)(x))
    x = layers.Conv2DTranspose(channels, 4, 2, padding="same", dtype="float32")(x)
    x = layers.Activation("tanh", dtype="float32")(x[:, :height, :width])
    drawn["image"] = layers.Rescaling(255 / 2, offset=255 / 2, dtype="float32")(x)
    return keras.Model(latent, drawn, name="generator")


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


@checked
def build_discriminator(
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (28, 28, 1),
    num_codes: Codes = 0,
    *,
    filters: Stages = (32, 64, 128),
) -> keras.Model:
    """Builds the discriminator: grey values in, how real they look out.

    Arguments and errors are those of `build_model`, whose `discriminator_filters` are `filters`.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, grey values in 0..255, to
        scores `(batch, 1)`, or `(batch, num_codes)`, logits of being real, float32.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(2 / 255, offset=-1)(image)
    for stage, width in enumerate(filters):
        x = layers.Conv2D(width, 4, 2, padding="same", use_bias=not stage)(x)
        if stage:
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(0.2)(x)
    # What all kinds have in common, and what is special to each.
    parts = [layers.Conv2D(n, x.shape[1:3], dtype="float32")(x) for n in (1, num_codes) if n]
    scores = layers.Flatten(dtype="float32")(sum(parts[1:], parts[0]))
    return keras.Model(image, scores, name="discriminator")


@checked
def build_model(
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (28, 28, 1),
    code_shares: tuple[PositiveFloat, ...] = (),
    *,
    latent_dim: LatentDim = 64,
    generator_filters: Stages = (128, 64),
    discriminator_filters: Stages = (32, 64, 128),
) -> keras.Model:
    """Builds generator and discriminator in a row: noise in, how real its image looks out.

    Args:
        input_shape: `(height, width, channels)` of an image.
        code_shares: How frequent each kind of image is. The latents have a dimension more for each,
            which choose the kind, so that between different ones there need be no way.
        latent_dim: Dimensions of the noise.
        generator_filters: Filters of the generator's transposed convolutions but the last, each of
            which doubles height and width, except the first, whose input is a point.
        discriminator_filters: Filters of the discriminator's convolutions, each of which halves
            height and width.

    Returns:
        A functional model of two layers, `generator` and `discriminator`: `latent`
        `(batch, latent_dim + num_codes)` to scores `(batch, 1)`, or `(batch, num_codes)`, logits of
        being real, float32.

    Raises:
        ValueError: An argument is out of range.

    Reference:
        Radford, Metz and Chintala, 2015, Unsupervised Representation Learning with Deep
        Convolutional Generative Adversarial Networks, https://arxiv.org/abs/1511.06434
        Khayatkhoei, Singh and Elgammal, 2018, Disconnected Manifold Learning for Generative
        Adversarial Networks, https://arxiv.org/abs/1806.00880, on why codes help
        Liu et al., 2020, Diverse Image Generation via Self-Conditioned GANs,
        https://arxiv.org/abs/2006.10728, on codes from clusters
        Differs from the first: smaller; 4 x 4 kernels, which the strides divide; and a further
        3 x 3 convolution before each transposed one that doubles, but the last.
    """
    generator = build_generator(
        input_shape, code_shares, latent_dim=latent_dim, filters=generator_filters
    )
    discriminator = build_discriminator(
        input_shape, len(code_shares), filters=discriminator_filters
    )
    latent = keras.Input(generator.input_shape[1:], name="latent")
    return keras.Model(latent, discriminator(generator(latent)["image"]), name="dcgan")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """The model as it is trained: against its discriminator, both under Adam."""
    trained = GenerativeAdversarialNetwork(
        model,
        loss=config.loss,
        discriminator_steps=config.discriminator_steps,
        label_smoothing=config.label_smoothing,
        ema_momentum=config.ema_momentum,
    )

    def adam(learning_rate: float, steps: int) -> keras.Optimizer:
        schedule = OneCycle(learning_rate, steps, config.warmup)
        return keras.optimizers.Adam(schedule, beta_1=config.beta_1)

    trained.compile(
        adam(config.learning_rate, steps),
        adam(config.discriminator_learning_rate, steps * config.discriminator_steps),
    )
    return trained


def callbacks(
    model: keras.Model, config: Config, data: Data, folder: Path
) -> list[keras.callbacks.Callback]:
    """Watches the quality of the samples, keeps some of every epoch, and gives up a lost game."""
    generator = model.get_layer("generator")
    return [
        fidelity.FrechetDistance(generator, data.validation),
        generative.SamplesEachEpoch(generator, folder),
        StopWhenDiscriminatorWins(),
    ]


def noise(model: keras.Model, num: int) -> np.ndarray:
    """The same latents each time, `(num, latent_dim)`."""
    return generative.latents(num, model.input_shape[-1], seed=0).numpy()


def endpoints(model: keras.Model) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `latent` to `image`; `sample`: `num` and `seed` to `image`; `discriminate`."""
    generator, discriminator = model.get_layer("generator"), model.get_layer("discriminator")
    score = {"score": ops.max(discriminator.output, axis=-1)}  # as what it looks most like
    return {
        "serve": generator,
        "sample": generative.sampler(generator),
        "discriminate": keras.Model(discriminator.input, score, name=discriminator.name),
    }


def evaluate(model: keras.Model, data: Data, config: Config) -> Metrics:
    """The figures of merit of as many samples as there are test images."""
    generator = model.get_layer("generator")
    return fidelity.judge(generator, collect(data.test).inputs, data.training.inputs)


def draw(model: keras.Model, data: Data, config: Config) -> dict[str, Figure]:
    """Samples, the training images next to them, ways between them, and sums of latents."""
    drawn = functools.partial(generative.decoded, model.get_layer("generator"))
    points = noise(model, 2000)
    samples = drawn(points)
    classes = fidelity.look(samples).probabilities.argmax(axis=1)
    # Of each class one, and the mean of all: taking one mean off and adding another should turn
    # a digit into the other. A kind is no sum: it is that of the other's.
    firsts, means = (
        np.stack([choose(points[classes == label]) for label in np.unique(classes)])
        for choose in (lambda of_class: of_class[0], lambda of_class: of_class.mean(axis=0))
    )
    sums = firsts[:, None] - means[:, None] + means[None]
    size = points.shape[1] - len(data.model_arguments.get("code_shares", ()))
    sums[..., size:] = firsts[None, :, size:]
    few = samples[:10]
    rows = {"sample": few, "next in training": fidelity.nearest(few, data.training.inputs)}
    return {
        "samples": figures.image_grid(samples[:100]),
        "nearest": figures.image_rows(rows),
        "interpolation": figures.image_grid(drawn(generative.interpolated(points[:9], 10)), 10),
        "arithmetic": figures.image_grid(drawn(sums.reshape(-1, points.shape[1])), len(means)),
    }


app = App(
    name="dcgan",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    example=lambda model, data: noise(model, 64),
    evaluate=evaluate,
    figures=draw,
    commands=generative.commands("dcgan", "serve"),
    try_next="sample --num 64 --seed 0 --output samples.png",
    monitor="val_frechet_distance",
    monitor_mode="min",
)

if __name__ == "__main__":
    main(app)
