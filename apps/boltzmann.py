"""A restricted Boltzmann machine of handwritten digits, or a deep belief network of several.

A machine learns how probable pictures in black and white are: it lowers the energy of those that it
is shown, and raises that of those that it samples, without backpropagation. Several machines are
trained one after the other, each on the hidden units of the one below. The evaluation computes the
log likelihood of test pictures in nats, exactly for few hidden units, and else by annealed
importance sampling.
"""

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, Run, checked, settings
from suite.app import Fitted, Metrics, Phase
from suite.cli import main
from suite.data import Data
from suite.data.examples import spread
from suite.export.endpoints import Endpoint, of_model
from suite.figures import images as figures
from suite.knobs import Epochs, LearningRate, Rate, Steps, Units, WeightDecay
from suite.memories.boltzmann import (
    EVALUATION_SEED,
    ContrastiveDivergence,
    RestrictedBoltzmann,
    drawn,
    inputs_of,
    machines_of,
    sample,
    split,
)
from suite.memories.partition import (
    Parameters,
    estimated_log_partition,
    exact_log_partition,
    log_likelihood,
)
from suite.tasks import image_generation, pictures

MOST_UNITS = 18  # of one side of a machine whose partition function is computed exactly
MOST_ROWS = 10_000  # of the training split, of which means are computed
IMAGES_AT_ONCE = 1000
FILTERS_SHOWN = 64
Machines = Annotated[tuple[Units, ...], Field(min_length=1, max_length=8)]


@settings
class Config(pictures.Config):
    """The settings of the training.

    Args:
        units: Hidden units of each machine, the lowest first; several make a deep belief network.
        epochs: Passes over the training split for each machine; an epoch makes several passes over
            a small split.
        learning_rate: Learning rate of the first step; it falls linearly to zero.
        momentum: Momentum of the gradient.
        weight_decay: Decoupled weight decay of the kernels in a step, times the learning rate.
        gibbs_steps: Steps of Gibbs sampling for each step of the training.
        persistent: Whether the samples of a step go on from those of the step before, rather than
            from the training pictures.
        chains: Number of samples that persist, over all replicas.
        sample_steps: Steps of Gibbs sampling for a picture that is drawn by the trained network.
        ais_steps: Steps of annealed importance sampling, for more than 18 hidden units.
        ais_chains: Chains of annealed importance sampling.
    """

    units: Machines = (16,)
    epochs: Epochs = 10
    learning_rate: LearningRate = 0.02
    momentum: Rate = 0.5
    weight_decay: WeightDecay = 1e-4
    gibbs_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    persistent: bool = True
    chains: Annotated[int, Field(ge=1, le=100_000)] = 100
    sample_steps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    ais_steps: Steps = 1000
    ais_chains: Annotated[int, Field(ge=2, le=10_000)] = 100


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)`, values in 0..255; labels are not used."""
    return pictures.load_data(config, run, model_arguments=lambda train: {"units": config.units})


@checked
def build_model(
    input_shape: pictures.ImageShape = (28, 28, 1),
    units: Machines = (16,),
    *,
    weight_scale: Annotated[float, Field(gt=0, le=10)] = 0.01,
) -> keras.Model:
    """Builds machines on top of each other: from pixels up to the hidden units, and down again.

    Args:
        input_shape: `(height, width, channels)`.
        units: Hidden units of each machine, the lowest first.
        weight_scale: Standard deviation of the weights at first.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to a dict:
        the probabilities of the hidden units of each machine, `hidden_1` and so on
        `(batch, units)`; and the `reconstruction`, in the shape of the images, values in 0..255.
        All float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Hinton and Salakhutdinov, 2006, Reducing the Dimensionality of Data with Neural Networks,
        https://doi.org/10.1126/science.1127647
        Hinton, Osindero and Teh, 2006, A Fast Learning Algorithm for Deep Belief Nets,
        https://doi.org/10.1162/neco.2006.18.7.1527
        Differs from the second paper: the machines are not tuned together afterwards.
    """
    floatx = keras.config.floatx()
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 255, dtype=floatx)(image)
    x = layers.Reshape((math.prod(input_shape),), dtype=floatx, name="pixels")(x)
    machines = [
        RestrictedBoltzmann(
            size, weight_scale=weight_scale, dtype=floatx, name=f"boltzmann_{number}"
        )
        for number, size in enumerate(units, start=1)
    ]
    outputs = {}
    for number, machine in enumerate(machines, start=1):
        x = outputs[f"hidden_{number}"] = machine(x)
    for machine in reversed(machines):
        x = machine(x, down=True)
    x = layers.Reshape(input_shape, dtype=floatx)(x)
    outputs["reconstruction"] = layers.Rescaling(255.0, dtype=floatx)(x)
    return keras.Model(image, outputs, name="boltzmann")


def compile_model(
    network: keras.Model, config: Config, steps: int, number: int = 0
) -> ContrastiveDivergence:
    """Compiles one machine with contrastive divergence; the others stay as they are.

    Args:
        network: All machines.
        config: The settings of the training.
        steps: Steps of the training of this machine.
        number: The machine, counted from 0.
    """
    for place, machine in enumerate(machines_of(network)):
        machine.trainable = place == number
    trainer = ContrastiveDivergence(
        network,
        number,
        steps=config.gibbs_steps,
        chains=config.chains if config.persistent else None,
    )
    schedule = keras.optimizers.schedules.PolynomialDecay(
        config.learning_rate, max(steps, 1), end_learning_rate=0.0
    )
    optimizer = keras.optimizers.SGD(
        schedule, momentum=config.momentum, weight_decay=config.weight_decay
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    trainer.compile(optimizer)
    return trainer


def phases(config: Config) -> list[Phase]:
    """A phase for each machine, which reads the hidden units of the one below, computed once."""
    return [
        Phase(
            name=f"machine_{number + 1}",
            epochs=config.epochs,
            compile=functools.partial(compile_model, number=number),
            begin=functools.partial(set_visible_bias, number=number),
            features=functools.partial(features_below, number=number) if number else None,
        )
        for number in range(len(config.units))
    ]


def features_below(networks: Mapping[str, keras.Model], number: int) -> keras.Model:
    """The part of the network below a machine, counted from 0."""
    [network] = networks.values()
    return inputs_of(network, number)


def set_visible_bias(fitted: Fitted, number: int) -> None:
    """Sets the visible bias of a machine so that without weights it has the means of its examples.

    Args:
        fitted: Has the training split.
        number: The machine, counted from 0.
    """
    [network] = fitted.networks.values()
    machines_of(network)[number].visible_bias.assign(log_odds(fitted, number))


def log_odds(fitted: Fitted, number: int) -> np.ndarray:
    """The log odds of the mean of every visible unit of a machine, `(visible,)`, float64.

    They are of at most 10,000 training examples, and as if there were one more, half black and half
    white, since they would be infinite for a unit that is always the same.
    """
    [network] = fitted.networks.values()
    train = fitted.data.splits["train"]
    images = spread(train, MOST_ROWS).in_memory().inputs
    probabilities = keras.ops.convert_to_numpy(inputs_of(network, number)(images, training=False))
    means = (probabilities.astype(np.float64).sum(axis=0) + 0.5) / (len(images) + 1)
    odds: np.ndarray = np.log(means) - np.log1p(-means)
    return odds


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` to the uppermost `features`, and the `reconstruction`, values in 0..255.

    `picture`, if the source has a preparation: encoded pictures to the same; `sample`: `num` and
    `seed` to `image`.
    """
    [network] = fitted.networks.values()
    features = network.output[f"hidden_{len(fitted.config.units)}"]
    outputs = {"features": features, "reconstruction": network.output["reconstruction"]}
    serve = of_model(keras.Model(network.input, outputs, name=network.name))
    return {
        **pictures.with_pictures(serve, fitted),
        "sample": sample_endpoint(network, fitted.config.sample_steps),
    }


def sample_endpoint(network: keras.Model, steps: int) -> Endpoint:
    """The endpoint `sample`: what all machines draw by so many steps of Gibbs sampling."""

    def draw_samples(num: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        pair = tf.stack([tf.cast(seed, tf.int64), 0])
        probabilities = sample(machines_of(network), num, steps, pair)
        return 255 * tf.reshape(probabilities, [-1, *network.input_shape[1:]])

    return image_generation.drawing_endpoint(draw_samples)


def evaluate(fitted: Fitted) -> Metrics:
    """The log likelihood of the test images in nats, and the partition function it rests on.

    Every image is made black and white once, the same way for every model. With several machines
    `test_log_likelihood` is a lower bound. `log_partition` is the log of the partition function of
    the uppermost machine, and `log_partition_error` its standard error; None where it is exact.
    """
    [network] = fitted.networks.values()
    log_partition, error = partition_of(fitted)
    images = fitted.data.splits["test"].in_memory().inputs
    return {
        "test_log_likelihood": mean_log_likelihood(network, images, log_partition),
        "log_partition": log_partition,
        "log_partition_error": error,
    }


def partition_of(fitted: Fitted) -> tuple[float, float | None]:
    """The log of the partition function of the uppermost machine, and its error; None if exact."""
    [network] = fitted.networks.values()
    config, machines = fitted.config, machines_of(network)
    parameters = Parameters.of(machines[-1])
    if min(parameters.kernel.shape) <= MOST_UNITS:
        return exact_log_partition(parameters), None
    return estimated_log_partition(
        parameters,
        log_odds(fitted, len(machines) - 1),
        steps=config.ais_steps,
        chains=config.ais_chains,
        seed=EVALUATION_SEED,
    )


def mean_log_likelihood(network: keras.Model, images: np.ndarray, log_partition: float) -> float:
    """The mean log likelihood of images in nats, or its lower bound with several machines.

    Args:
        network: All machines.
        images: `(n, height, width, channels)`, values in 0..255.
        log_partition: The log of the partition function of the uppermost machine.
    """
    pixels, machines = inputs_of(network, 0), machines_of(network)

    @tf.function(reduce_retracing=True)
    def nats(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draw, walk = split(seed, 2)
        visible = drawn(pixels(images, training=False), draw)
        return log_likelihood(machines, visible, log_partition, walk)

    parts = [
        nats(
            tf.constant(images[first : first + IMAGES_AT_ONCE]),
            tf.constant([EVALUATION_SEED, first]),
        ).numpy()
        for first in range(0, len(images), IMAGES_AT_ONCE)
    ]
    return float(np.concatenate(parts).astype(np.float64).mean())


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws test images and their reconstructions, samples, and weights of the lowest machine."""
    [network] = fitted.networks.values()
    shape = network.input_shape[1:]
    images = fitted.data.splits["test"].in_memory().inputs[:10]
    reconstruction = keras.ops.convert_to_numpy(network(images, training=False)["reconstruction"])
    samples = tf.function(sample_endpoint(network, fitted.config.sample_steps).function)(
        tf.constant(64), tf.constant(0, tf.int64)
    )["image"]
    kernel = keras.ops.convert_to_numpy(machines_of(network)[0].kernel)[:, :FILTERS_SHOWN]
    return {
        "reconstructions": figures.image_rows({"image": images, "reconstruction": reconstruction}),
        "samples": figures.image_grid(samples.numpy()),
        "weights": figures.filters(kernel.reshape(*shape, -1)),
    }


LARGE: dict[str, Any] = {"learning_rate": 0.05, "weight_decay": 0.0, "ais_steps": 10_000}

app = App(
    name="boltzmann",
    topic="generative",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=endpoints,
    evaluate=evaluate,
    figures=draw,
    commands={"sample": image_generation.sample},
    try_next="sample --num 64 --seed 0 --output samples.png",
    recipes={
        "best": LARGE | {"units": (500,), "gibbs_steps": 5, "epochs": 70},
        "deep": LARGE | {"units": (500, 500), "gibbs_steps": 1, "epochs": 30},
    },
    objective="val_pseudo_likelihood",
    objective_mode="max",
    data_layouts=pictures.DATA_LAYOUTS,
    tiny={
        "units": (8,),
        "epochs": 1,
        "batch_size": 20,
        "min_steps_per_epoch": 10,
        "sample_steps": 5,
    },
)

if __name__ == "__main__":
    main(app)
