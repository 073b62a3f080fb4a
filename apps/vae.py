"""Digits by a variational autoencoder, judged in nats.

An encoder reads where in a space of few dimensions an image may come from, and a decoder draws it
again from there. Trained on a bound of the log likelihood of images drawn anew, as black and
white, each time they are seen; judged by importance sampling on images kept for the test.
"""

import functools
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Metrics
from suite.cli import main
from suite.data import pictures as images
from suite.data.examples import Data, collect, supervised
from suite.export.saved_model import Endpoint, Export
from suite.figures import classes as figures
from suite.knobs import Activation, BatchSize, Epochs, LatentDim, LearningRate, Share, Stages, Units
from suite.metrics import fidelity
from suite.trainers import latents as generative
from suite.trainers.schedules import OneCycle
from suite.trainers.variational import (
    Likelihood,
    VariationalAutoencoder,
    evaluate_evidence,
    negative,
)

Network = Literal["convolutional", "mlp"]


@settings
class Config:
    """The training recipe.

    Args:
        epochs: Passes over the training split.
        batch_size: Images per optimizer step, over all replicas.
        learning_rate: Peak of the one-cycle schedule.
        warmup: Share of the steps in which the learning rate rises.
        likelihood: Of a pixel: `bernoulli` for black and white, drawn anew from the grey values
            each time; `continuous_bernoulli` for the grey values themselves.
        objective: `elbo`, or `iwae` for the tighter bound that several samples make together.
        num_samples: Samples of the posterior for each image in training.
        beta: Weight of the Kullback-Leibler divergence.
        beta_warmup: Share of the steps in which that weight rises from zero.
        free_bits: Nats of each latent unit that cost nothing.
        nll_samples: Samples of the posterior for each image in the evaluation.
        validation_split: Share of the training images held out to watch the training.
    """

    epochs: Epochs = 20
    batch_size: BatchSize = 100
    learning_rate: LearningRate = 3e-3
    warmup: Share = 0.1
    likelihood: Likelihood = "bernoulli"
    objective: Literal["elbo", "iwae"] = "elbo"
    num_samples: Annotated[int, Field(ge=1, le=1000)] = 1
    beta: Annotated[float, Field(ge=0, le=1000)] = 1.0
    beta_warmup: Annotated[float, Field(ge=0, le=1)] = 0.0
    free_bits: Annotated[float, Field(ge=0, le=100)] = 0.0
    nll_samples: Annotated[int, Field(ge=1, le=100_000)] = 100
    validation_split: Share = 0.1


def load_data(config: Config, run: Run) -> Data:
    """MNIST images `(28, 28, 1)` with grey values in 0..255; the labels only colour a figure."""
    return supervised(
        images.load_digits(run),
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
    )


@checked
def build_encoder(
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (28, 28, 1),
    *,
    latent_dim: LatentDim = 32,
    network: Network = "convolutional",
    filters: Stages = (16, 32),
    units: tuple[Units, ...] = (128,),
    activation: Activation = "silu",
) -> keras.Model:
    """Builds the encoder: grey values in, the posterior of the latents out.

    Arguments and errors are those of `build_model`.

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
        name: layers.Dense(latent_dim, dtype="float32", name=name)(x)
        for name in ("mean", "log_variance")
    }
    return keras.Model(image, posterior, name="encoder")


@checked
def build_decoder(
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (28, 28, 1),
    *,
    latent_dim: LatentDim = 32,
    network: Network = "convolutional",
    filters: Stages = (16, 32),
    units: tuple[Units, ...] = (128,),
    activation: Activation = "silu",
) -> keras.Model:
    """Builds the decoder: the encoder's layers in the opposite order.

    Arguments and errors are those of `build_model`.

    Returns:
        A functional model, `latent` `(batch, latent_dim)` to a dict of `logits` and `image`, grey
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
        x = layers.Conv2DTranspose(channels, 3, 2, padding="same", dtype="float32")(x)
        logits = x[:, :height, :width]
    else:
        x = layers.Dense(math.prod(input_shape), dtype="float32")(x)
        logits = layers.Reshape(input_shape, dtype="float32")(x)
    drawn = {"logits": logits, "image": 255 * ops.sigmoid(logits)}
    return keras.Model(latent, drawn, name="decoder")


@checked
def build_model(
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (28, 28, 1),
    *,
    latent_dim: LatentDim = 32,
    network: Network = "convolutional",
    filters: Stages = (16, 32),
    units: tuple[Units, ...] = (128,),
    activation: Activation = "silu",
) -> keras.Model:
    """Builds encoder and decoder in a row: grey values in, their reconstruction out.

    Args:
        input_shape: `(height, width, channels)`.
        latent_dim: Dimensions of the latent space.
        network: `convolutional`, or `mlp` without the convolutions.
        filters: Filters of the convolutions, each of which halves height and width; the decoder
            has them in the opposite order.
        units: Units of the dense layers next to the latents, in the encoder's order.
        activation: Keras's name of the activation.

    Returns:
        A functional model of two layers, `encoder` and `decoder`, through the posterior's mean:
        `image` `(batch, height, width, channels)`, grey values in 0..255, to the same, float32.

    Raises:
        ValueError: An argument is out of range.

    Reference:
        Kingma and Welling, 2013, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
    """
    knobs: dict[str, Any] = {"latent_dim": latent_dim, "network": network, "filters": filters}
    knobs |= {"units": units, "activation": activation}
    encoder, decoder = build_encoder(input_shape, **knobs), build_decoder(input_shape, **knobs)
    image = keras.Input(input_shape, name="image")
    return keras.Model(image, decoder(encoder(image)["mean"])["image"], name="vae")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """The model as it is trained: on the bound, under Adam with a one-cycle learning rate."""
    if config.objective == "iwae" and config.free_bits:
        raise InputError(f"`free_bits` must be 0 with objective iwae. Received: {config.free_bits}")
    trained = VariationalAutoencoder(
        model,
        likelihood=config.likelihood,
        num_samples=config.num_samples,
        importance_weighted=config.objective == "iwae",
        beta=config.beta,
        beta_warmup=round(config.beta_warmup * steps),
        free_bits=config.free_bits,
    )
    schedule = OneCycle(config.learning_rate, steps, config.warmup)
    trained.compile(keras.optimizers.Adam(schedule), loss=negative)
    return trained


def callbacks(
    model: keras.Model, config: Config, data: Data, folder: Path
) -> list[keras.callbacks.Callback]:
    """Keeps samples of every epoch."""
    return [generative.SamplesEachEpoch(model.get_layer("decoder"), folder)]


def endpoints(model: keras.Model) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` to `reconstruction`; `encode`; `decode`; `sample`."""
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    return {
        "serve": keras.Model(model.input, {"reconstruction": model.output}, name=model.name),
        "encode": encoder,
        "decode": decoder,
        "sample": generative.sampler(decoder),
    }


def evaluate(model: keras.Model, data: Data, config: Config) -> Metrics:
    """Log likelihood of the test images and its parts, in nats; and how good samples look."""
    shown = collect(data.test).inputs
    found = evaluate_evidence(model, shown, config.nll_samples)
    drawn = fidelity.judge(model.get_layer("decoder"), shown, data.training.inputs)
    metrics = {f"test_{name}": value for name, value in found.items()}
    return {**metrics, "nll_samples": config.nll_samples, **drawn}


def draw(model: keras.Model, data: Data, config: Config) -> dict[str, Figure]:
    """Reconstructions, samples, digits turning into others; the plane, if it is one."""
    shown, labels = collect(data.test)
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    means = encoder.predict(shown, verbose=0)["mean"]
    drawn = functools.partial(generative.decoded, decoder)
    few = np.unique(labels, return_index=True)[1]
    way = generative.interpolated(means[[*few, few[0]]], 10)
    rows = {"image": shown[few], "reconstruction": drawn(means[few])}
    pictures = {
        "reconstructions": figures.image_rows(rows),
        "samples": figures.image_grid(drawn(generative.latents(100, means.shape[1], seed=0))),
        "interpolation": figures.image_grid(drawn(way), columns=10),
    }
    if means.shape[1] == 2:
        names = data.description["class_names"]
        pictures["latents"] = figures.plane(means, labels, names, "means of the posterior")
        pictures["manifold"] = figures.image_grid(drawn(generative.quantiles(20)))
    return pictures


def reconstruct(
    *pictures: Path, output: Path = Path("reconstruction.png"), export: Export = Export()
) -> None:
    """Draw pictures again from what the encoder keeps of them.

    Args:
        pictures: Image files of any size, dark on light or light on dark.
        output: Image file that gets them, above their reconstructions.
    """
    if not pictures:
        raise InputError("reconstruct needs one image file or more. Received: none")
    images.writable_picture(output)
    read = np.stack([images.read_picture(path) for path in pictures])
    drawn = export.call(app.name, read)["reconstruction"]
    images.write_picture(images.tiled(np.concatenate([read, drawn]), len(read)), output)
    print(f"{output}: {len(read)} above, reconstructed below")


LONG = {"batch_size": 200, "objective": "iwae", "num_samples": 4, "nll_samples": 5000}

app = App(
    name="vae",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    evaluate=evaluate,
    figures=draw,
    commands=generative.commands("vae", "decode") | {"reconstruct": reconstruct},
    try_next="sample --num 64 --seed 0 --output samples.png",
    recipes={
        "best": {**LONG, "epochs": 70, "filters": (24, 48), "units": (256,)},
        "mlp": {**LONG, "epochs": 200, "network": "mlp", "units": (512, 512)},
    },
)

if __name__ == "__main__":
    main(app)
