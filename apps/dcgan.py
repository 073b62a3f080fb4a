"""DCGAN: a deep convolutional generative adversarial network that draws handwritten digits.

A generator draws images from noise, and a discriminator separates them from real images. Both train
against each other, conditioned on clusters of similar images. Convolutions with strides replace
pooling. The metrics compare samples with test images, in the features of a fixed network.
"""

import functools
from typing import Annotated, Any

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveFloat

from suite import App, Run, checked, settings
from suite.app import Fitted, Metrics
from suite.cli import main
from suite.data import Data, pseudo_labels
from suite.export.endpoints import Endpoint
from suite.figures import images
from suite.knobs import BatchSize, Epochs, LatentDim, LearningRate, Rate, Share, Stages
from suite.layers.latents import choice
from suite.metrics import fidelity
from suite.tasks import image_generation as task
from suite.tasks import pictures
from suite.trainers.gan import GanLoss, GenerativeAdversarialNetwork, StopWhenDiscriminatorWins
from suite.trainers.latents import decode_latents, interpolate_latents, sample_latents
from suite.trainers.schedules import one_cycle

Codes = Annotated[int, Field(ge=0, le=4096)]
CODE_SCALE = 4.0  # gives the code about the same influence as the noise


@settings
class Config(pictures.Config):
    """The settings of the training.

    Args:
        epochs: Passes over the training split; an epoch makes several passes over a small split.
        num_codes: Number of codes, on which generator and discriminator are conditioned. A code is
            the index of a cluster of similar images; the clusters are found before the training,
            without labels. 0 turns this off.
        batch_size: Images per step of the generator, over all replicas.
        learning_rate: Peak of the generator's one-cycle schedule.
        discriminator_learning_rate: Peak of the discriminator's one-cycle schedule.
        warmup: Share of the steps in which the learning rates rise.
        beta_1: Decay of the mean of past gradients in Adam.
        loss: `non_saturating` and `minimax` by cross-entropy, `hinge` or `least_squares`.
        discriminator_steps: Steps of the discriminator per step of the generator; they share the
            batch equally.
        label_smoothing: Amount by which the discriminator's target for real images is below 1.
        ema_momentum: Momentum of the moving average of the generator's weights, which draws the
            samples.
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


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)`, values in 0..255; the labels are their codes."""
    codes: dict[str, Any] = {}
    if config.num_codes:
        codes = {
            "relabel": functools.partial(
                pseudo_labels.fit_clusters, num=config.num_codes, seed=run.seed
            ),
            "model_arguments": lambda train: {
                "code_shares": pseudo_labels.label_shares(train.in_memory())
            },
        }
    return task.refuse_single_pictures(pictures.load_data(config, run, **codes))


@checked
def build_generator(
    input_shape: pictures.ImageShape = (28, 28, 1),
    code_shares: tuple[PositiveFloat, ...] = (),
    *,
    latent_dim: LatentDim,
    filters: Stages,
) -> keras.Model:
    """Builds the generator: from noise to pixels.

    Args:
        input_shape: `(height, width, channels)` of an image.
        code_shares: Frequencies of the codes, as in `build_model`.
        latent_dim: Dimensions of the noise.
        filters: Filters of the transposed convolutions except the last.

    Returns:
        A functional model, `latent` `(batch, latent_dim + num_codes)` to a dict of `image`
        `(batch, height, width, channels)`, values in 0..255, float32, and the `code`
        `(batch,)`, if there are codes.
    """
    height, width, channels = input_shape
    smallest = [-(-side // 2 ** len(filters)) for side in (height, width)]
    latent = keras.Input((latent_dim + len(code_shares),), name="latent")
    outputs, x = {}, latent
    if code_shares:
        outputs["code"] = code = choice(latent[:, latent_dim:], code_shares)
        condition = CODE_SCALE * ops.one_hot(code, len(code_shares))
        x = layers.Concatenate()([latent[:, :latent_dim], condition])
    x = layers.Reshape((1, 1, x.shape[-1]))(x)
    x = _normalized(layers.Conv2DTranspose(filters[0], smallest, use_bias=False)(x))
    for size in filters[1:]:
        x = _normalized(layers.Conv2D(x.shape[-1], 3, padding="same", use_bias=False)(x))
        x = _normalized(layers.Conv2DTranspose(size, 4, 2, padding="same", use_bias=False)(x))
    x = layers.Conv2DTranspose(channels, 4, 2, padding="same", dtype=keras.config.floatx())(x)
    x = layers.Activation("tanh", dtype=keras.config.floatx())(x[:, :height, :width])
    outputs["image"] = layers.Rescaling(255 / 2, offset=255 / 2, dtype=keras.config.floatx())(x)
    return keras.Model(latent, outputs, name="generator")


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


@checked
def build_discriminator(
    input_shape: pictures.ImageShape = (28, 28, 1),
    num_codes: Codes = 0,
    *,
    filters: Stages,
) -> keras.Model:
    """Builds the discriminator: from pixels to logits of being real.

    Args:
        input_shape: `(height, width, channels)` of an image.
        num_codes: Number of codes, which have one score each.
        filters: Filters of the convolutions.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to
        scores `(batch, 1)`, or `(batch, num_codes)`, logits of being real, float32.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(2 / 255, offset=-1)(image)
    for stage, width in enumerate(filters):
        x = layers.Conv2D(width, 4, 2, padding="same", use_bias=not stage)(x)
        if stage:
            x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.LeakyReLU(0.2)(x)
    # The score of a code is the sum of a score that all codes share and a score of that code.
    parts = [
        layers.Conv2D(n, x.shape[1:3], dtype=keras.config.floatx())(x) for n in (1, num_codes) if n
    ]
    scores = layers.Flatten(dtype=keras.config.floatx())(sum(parts[1:], parts[0]))
    return keras.Model(image, scores, name="discriminator")


@checked
def build_model(
    input_shape: pictures.ImageShape = (28, 28, 1),
    code_shares: tuple[PositiveFloat, ...] = (),
    *,
    latent_dim: LatentDim = 64,
    generator_filters: Stages = (128, 64),
    discriminator_filters: Stages = (32, 64, 128),
) -> dict[str, keras.Model]:
    """Builds a generator, which turns noise into images, and a discriminator, which scores images.

    Args:
        input_shape: `(height, width, channels)` of an image.
        code_shares: Frequencies of the codes, which are clusters of images. The latents have one
            more dimension for every code. These dimensions choose the code, so that the generator
            need not connect different clusters by a continuous path.
        latent_dim: Dimensions of the noise.
        generator_filters: Filters of the generator's transposed convolutions except the last. Each
            doubles height and width, except the first, which starts from a single pixel.
        discriminator_filters: Filters of the discriminator's convolutions, each of which halves
            height and width.

    Returns:
        Two functional models. `generator`: `latent` `(batch, latent_dim + num_codes)` to a dict of
        `image` `(batch, height, width, channels)`, values in 0..255, and `code` `(batch,)`, if
        there are codes. `discriminator`: `image` to scores `(batch, 1)`, or `(batch, num_codes)`,
        logits of being real. All float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Radford, Metz and Chintala, 2015, Unsupervised Representation Learning with Deep
        Convolutional Generative Adversarial Networks, https://arxiv.org/abs/1511.06434
        Khayatkhoei, Singh and Elgammal, 2018, Disconnected Manifold Learning for Generative
        Adversarial Networks, https://arxiv.org/abs/1806.00880 (the reason for codes)
        Liu et al., 2020, Diverse Image Generation via Self-Conditioned GANs,
        https://arxiv.org/abs/2006.10728 (codes from clusters)
        Differs from the first paper: smaller; 4 x 4 kernels, which the strides divide; one more
        3 x 3 convolution before every transposed convolution except the first and the last.
    """
    return {
        "generator": build_generator(
            input_shape, code_shares, latent_dim=latent_dim, filters=generator_filters
        ),
        "discriminator": build_discriminator(
            input_shape, len(code_shares), filters=discriminator_filters
        ),
    }


def compile_model(built: dict[str, keras.Model], config: Config, steps: int) -> keras.Model:
    """Compiles generator and discriminator as adversaries, both with Adam.

    Raises:
        InputError: `label_smoothing` is not 0, and the loss is not by cross-entropy.
    """
    trainer = GenerativeAdversarialNetwork(
        built["generator"],
        built["discriminator"],
        loss=config.loss,
        discriminator_steps=config.discriminator_steps,
        label_smoothing=config.label_smoothing,
        ema_momentum=config.ema_momentum,
    )

    def adam(learning_rate: float, steps: int) -> keras.Optimizer:
        schedule = one_cycle(learning_rate, steps, config.warmup)
        return keras.optimizers.Adam(schedule, beta_1=config.beta_1)

    trainer.compile(
        adam(config.learning_rate, steps),
        adam(config.discriminator_learning_rate, steps * config.discriminator_steps),
    )
    return trainer


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Measures and draws samples after every epoch, and stops when the discriminator wins."""
    generator = fitted.networks["generator"]
    validation = fitted.data.splits["validation"].in_memory().inputs
    return [
        fidelity.FrechetDistance(generator, validation, feature_network(fitted)),
        task.EpochSamples(generator, fitted.folder),
        StopWhenDiscriminatorWins(),
    ]


def feature_network(fitted: Fitted) -> fidelity.FeatureNetwork:
    """The network whose features the samples are judged by."""
    shape = fitted.networks["generator"].output["image"].shape[1:]
    return fidelity.feature_network(fitted.data.source, shape)


def noise(fitted: Fitted, num: int = 64) -> np.ndarray:
    """Latents `(num, latent_dim + num_codes)`, the same in every call."""
    return sample_latents(num, fitted.networks["generator"].input_shape[-1], seed=0).numpy()


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve` and `decode`: `latent` to `image`; `sample`: `num` and `seed` to `image`.

    `discriminate`: `image` to `score`.
    """
    generator, discriminator = (fitted.networks[n] for n in ("generator", "discriminator"))
    score = {"score": ops.max(discriminator.output, axis=-1)}  # the score of the likeliest code
    return {
        "serve": generator,
        "decode": generator,
        "sample": task.sample_endpoint(generator),
        "discriminate": keras.Model(discriminator.input, score, name=discriminator.name),
    }


def evaluate(fitted: Fitted) -> Metrics:
    """Metrics of as many samples as there are test images."""
    splits = fitted.data.splits
    test = splits["test"].in_memory().inputs
    train = splits["train"].in_memory().inputs if fitted.learnt_from else None
    features = feature_network(fitted)
    return fidelity.evaluate_samples(fitted.networks["generator"], test, train, features)


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws samples, their nearest training images, interpolations, and sums of latents."""
    generator = fitted.networks["generator"]
    decode = functools.partial(decode_latents, generator)
    points = noise(fitted, 2000)
    samples = decode(points)
    train = fitted.data.splits["train"].in_memory().inputs
    features = feature_network(fitted)
    nearest = fidelity.nearest(samples[:10], train, features)
    rows = {"sample": samples[:10], "next in training": nearest}
    figures = {
        "samples": images.image_grid(samples[:100]),
        "nearest": images.image_rows(rows),
        "interpolation": images.image_grid(decode(interpolate_latents(points[:9], 10)), 10),
    }
    probabilities = features(samples).probabilities
    if probabilities is not None:
        num_codes = len(fitted.data.model_arguments.get("code_shares", ()))
        sums = latent_arithmetic(points, probabilities.argmax(axis=1), num_codes)
        grid = decode(sums.reshape(-1, points.shape[1]))
        figures["arithmetic"] = images.image_grid(grid, sums.shape[1])
    return figures


def latent_arithmetic(points: np.ndarray, labels: np.ndarray, num_codes: int) -> np.ndarray:
    """Moves one latent of each class to every class: minus the mean of its own, plus the other's.

    The generator should draw the results as the other class.

    Args:
        points: Latents `(n, latent_dim + num_codes)`.
        labels: Classes of the images that are drawn from the latents, `(n,)`.
        num_codes: Number of the last dimensions, which choose a code. They are copied from the
            other class.

    Returns:
        Latents `(classes, classes, latent_dim + num_codes)`, from the first class to the second.
    """
    classes = [points[labels == label] for label in np.unique(labels)]
    firsts = np.stack([members[0] for members in classes])
    means = np.stack([members.mean(axis=0) for members in classes])
    sums = firsts[:, None] - means[:, None] + means[None]
    size = points.shape[1] - num_codes
    sums[..., size:] = firsts[None, :, size:]
    return sums


app = App(
    name="dcgan",
    topic="generative",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    example=noise,
    evaluate=evaluate,
    figures=draw,
    commands=task.COMMANDS,
    try_next="sample --num 64 --seed 0 --output samples.png",
    objective="val_frechet_distance",
    objective_mode="min",
    keep_best=True,
    data_layouts=pictures.DATA_LAYOUTS,
    tiny={
        "epochs": 1,
        "batch_size": 8,
        "num_codes": 4,
        "min_steps_per_epoch": 10,
        "generator_filters": (8, 4),
        "discriminator_filters": (4, 8),
        "latent_dim": 8,
    },
)

if __name__ == "__main__":
    main(app)
