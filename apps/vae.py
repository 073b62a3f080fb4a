"""A variational autoencoder of handwritten digits, evaluated by its log likelihood in nats.

An encoder maps an image to a distribution in a low-dimensional space, and a decoder reconstructs
the image from a sample of it. The training maximises a lower bound of the log likelihood of the
images, whose pixels are drawn as black or white in every step. The evaluation estimates the log
likelihood of test images by importance sampling.
"""

import functools
import math
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics
from suite.cli import main
from suite.data import Data
from suite.export.endpoints import Endpoint, of_model
from suite.figures import classes
from suite.figures import images as figures
from suite.knobs import Activation, Epochs, Fraction, LatentDim, LearningRate, Share, Stages, Units
from suite.metrics import fidelity
from suite.tasks import image_generation as task
from suite.tasks import pictures
from suite.trainers.latents import decode_latents, interpolate_latents, latent_grid, sample_latents
from suite.trainers.schedules import one_cycle
from suite.trainers.variational import (
    Likelihood,
    VariationalAutoencoder,
    evaluate_evidence,
    negative_bound,
)

NetworkType = Literal["convolutional", "mlp"]


@settings
class Config(pictures.Config):
    """The settings of the training.

    Args:
        epochs: Passes over the training split; an epoch makes several passes over a small split.
        learning_rate: Peak of the one-cycle schedule.
        warmup: Share of the steps in which the learning rate rises.
        likelihood: Distribution of a pixel: `bernoulli` for black and white, drawn from the grey
            values in every step; `continuous_bernoulli` for the grey values themselves.
        objective: `elbo`, or `iwae` for the tighter bound of several samples.
        num_samples: Samples of the posterior for each image in training.
        beta: Weight of the Kullback-Leibler divergence.
        beta_warmup: Share of the steps in which that weight rises from zero.
        free_bits: Least divergence, in nats, that each latent unit is charged.
        nll_samples: Samples of the posterior for each image in the evaluation.
    """

    epochs: Epochs = 20
    learning_rate: LearningRate = 3e-3
    warmup: Share = 0.1
    likelihood: Likelihood = "bernoulli"
    objective: Literal["elbo", "iwae"] = "elbo"
    num_samples: Annotated[int, Field(ge=1, le=1000)] = 1
    beta: Annotated[float, Field(ge=0, le=1000)] = 1.0
    beta_warmup: Fraction = 0.0
    free_bits: Annotated[float, Field(ge=0, le=100)] = 0.0
    nll_samples: Annotated[int, Field(ge=1, le=100_000)] = 100


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)`, values in 0..255; labels only colour a figure."""
    return task.refuse_single_pictures(pictures.load_data(config, run))


@checked
def build_encoder(
    input_shape: pictures.ImageShape = (28, 28, 1),
    *,
    latent_dim: LatentDim,
    network: NetworkType,
    filters: Stages,
    units: tuple[Units, ...],
    activation: Activation,
) -> keras.Model:
    """Builds the encoder: from pixels to the posterior of the latents; for knobs see `build_model`.

    Returns:
        A functional model, `image` `(batch, height, width, channels)` to a dict of `mean` and
        `log_variance`, both `(batch, latent_dim)`, float32.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(2 / 255, offset=-1)(image)
    if network == "convolutional":
        for width in filters:
            x = layers.Conv2D(width, 3, 2, padding="same", activation=activation)(x)
    x = layers.Flatten()(x)
    for width in units:
        x = layers.Dense(width, activation=activation)(x)
    posterior = {
        name: layers.Dense(latent_dim, dtype=keras.config.floatx(), name=name)(x)
        for name in ("mean", "log_variance")
    }
    return keras.Model(image, posterior, name="encoder")


@checked
def build_decoder(
    input_shape: pictures.ImageShape = (28, 28, 1),
    *,
    latent_dim: LatentDim,
    network: NetworkType,
    filters: Stages,
    units: tuple[Units, ...],
    activation: Activation,
) -> keras.Model:
    """Builds the decoder: the encoder's layers in reverse order; for knobs see `build_model`.

    Returns:
        A functional model, `latent` `(batch, latent_dim)` to a dict of `logits` and `image`,
        values in 0..255, both `(batch, height, width, channels)`, float32.
    """
    height, width, channels = input_shape
    latent = x = keras.Input((latent_dim,), name="latent")
    for size in reversed(units):
        x = layers.Dense(size, activation=activation)(x)
    if network == "convolutional":
        halved = [-(-side // 2 ** len(filters)) for side in (height, width)]
        x = layers.Dense(math.prod(halved) * filters[-1], activation=activation)(x)
        x = layers.Reshape((*halved, filters[-1]))(x)
        for size in filters[-2::-1]:
            x = layers.Conv2DTranspose(size, 3, 2, padding="same", activation=activation)(x)
        x = layers.Conv2DTranspose(channels, 3, 2, padding="same", dtype=keras.config.floatx())(x)
        logits = x[:, :height, :width]
    else:
        x = layers.Dense(math.prod(input_shape), dtype=keras.config.floatx())(x)
        logits = layers.Reshape(input_shape, dtype=keras.config.floatx())(x)
    outputs = {"logits": logits, "image": 255 * ops.sigmoid(logits)}
    return keras.Model(latent, outputs, name="decoder")


@checked
def build_model(
    input_shape: pictures.ImageShape = (28, 28, 1),
    *,
    latent_dim: LatentDim = 32,
    network: NetworkType = "convolutional",
    filters: Stages = (16, 32),
    units: tuple[Units, ...] = (128,),
    activation: Activation = "silu",
) -> dict[str, keras.Model]:
    """Builds an encoder of images and a decoder of latents.

    Args:
        input_shape: `(height, width, channels)`.
        latent_dim: Dimensions of the latent space.
        network: `convolutional`, or `mlp` without the convolutions.
        filters: Filters of the convolutions, each of which halves height and width; the decoder
            has them in reverse order.
        units: Units of the dense layers next to the latents, in the encoder's order.
        activation: Keras's name of the activation.

    Returns:
        Two functional models. `encoder`: `image` `(batch, height, width, channels)`, values in
        0..255, to a dict of `mean` and `log_variance` `(batch, latent_dim)`. `decoder`: `latent`
        `(batch, latent_dim)` to a dict of `logits` and `image`, values in 0..255, both in the
        shape of the images. All float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Kingma and Welling, 2013, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
    """
    knobs: dict[str, Any] = {"latent_dim": latent_dim, "network": network, "filters": filters}
    knobs |= {"units": units, "activation": activation}
    return {
        "encoder": build_encoder(input_shape, **knobs),
        "decoder": build_decoder(input_shape, **knobs),
    }


def compile_model(built: dict[str, keras.Model], config: Config, steps: int) -> keras.Model:
    """Compiles encoder and decoder with the bound and Adam, with a one-cycle learning rate.

    Raises:
        InputError: `free_bits` is not 0, and the objective is `iwae`.
    """
    if config.objective == "iwae" and config.free_bits:
        raise InputError("`free_bits` must be 0 with `objective` iwae", config.free_bits)
    trainer = VariationalAutoencoder(
        built["encoder"],
        built["decoder"],
        likelihood=config.likelihood,
        num_samples=config.num_samples,
        importance_weighted=config.objective == "iwae",
        beta=config.beta,
        beta_warmup=round(config.beta_warmup * steps),
        free_bits=config.free_bits,
    )
    schedule = one_cycle(config.learning_rate, steps, config.warmup)
    trainer.compile(keras.optimizers.Adam(schedule), loss=negative_bound)
    return trainer


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Draws samples after every epoch."""
    return [task.EpochSamples(fitted.networks["decoder"], fitted.folder)]


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` to `reconstruction`, values in 0..255.

    `picture`, if the source has a preparation: encoded pictures to `reconstruction`; `encode`:
    `image` to `mean` and `log_variance`; `decode`: `latent` to `logits` and `image`; `sample`:
    `num` and `seed` to `image`.
    """
    encoder, decoder = fitted.networks["encoder"], fitted.networks["decoder"]
    reconstruction = {"reconstruction": decoder(encoder.output["mean"])["image"]}
    serve = of_model(keras.Model(encoder.input, reconstruction, name="vae"))
    return {
        **pictures.with_pictures(serve, fitted),
        "encode": encoder,
        "decode": decoder,
        "sample": task.sample_endpoint(decoder),
    }


def evaluate(fitted: Fitted) -> Metrics:
    """Log likelihood of the test images and its parts, in nats; and metrics of samples."""
    splits, config = fitted.data.splits, fitted.config
    test = splits["test"].in_memory().inputs
    train = splits["train"].in_memory().inputs if fitted.learnt_from else None
    nats = evaluate_evidence(fitted.model, test, config.nll_samples)
    features = fidelity.feature_network(fitted.data.source, test.shape[1:])
    samples = fidelity.evaluate_samples(fitted.networks["decoder"], test, train, features)
    metrics = {f"test_{name}": value for name, value in nats.items()}
    return {**metrics, "nll_samples": config.nll_samples, **samples}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws reconstructions, samples and interpolations; and the latents, if they are a plane."""
    test = fitted.data.splits["test"].in_memory()
    encoder, decoder = fitted.networks["encoder"], fitted.networks["decoder"]
    means = encoder.predict(test.inputs, verbose=0)["mean"]
    decode = functools.partial(decode_latents, decoder)
    labels = test.targets if fitted.data.description.class_names else np.arange(len(means)) % 10
    firsts = np.unique(labels, return_index=True)[1][:10]
    path = interpolate_latents(means[[*firsts, firsts[0]]], 10)
    rows = {"image": test.inputs[firsts], "reconstruction": decode(means[firsts])}
    drawings = {
        "reconstructions": figures.image_rows(rows),
        "samples": figures.image_grid(decode(sample_latents(100, means.shape[1], seed=0))),
        "interpolation": figures.image_grid(decode(path), columns=10),
    }
    if means.shape[1] == 2:
        names = fitted.data.description.class_names or tuple(map(str, range(10)))
        drawings["latents"] = classes.plane(means, labels, names, "means of the posterior")
        drawings["manifold"] = figures.image_grid(decode(latent_grid(20)))
    return drawings


LONG = {"batch_size": 200, "objective": "iwae", "num_samples": 4, "nll_samples": 5000}

app = App(
    name="vae",
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
    commands=task.COMMANDS | {"reconstruct": pictures.reconstruct},
    try_next="sample --num 64 --seed 0 --output samples.png",
    recipes={
        "best": {**LONG, "epochs": 70, "filters": (24, 48), "units": (256,)},
        "mlp": {**LONG, "epochs": 200, "network": "mlp", "units": (512, 512)},
    },
    data_layouts=pictures.DATA_LAYOUTS,
    tiny={
        "epochs": 1,
        "batch_size": 8,
        "min_steps_per_epoch": 10,
        "nll_samples": 1,
        "filters": (4, 8),
        "units": (8,),
        "latent_dim": 2,
    },
)

if __name__ == "__main__":
    main(app)
