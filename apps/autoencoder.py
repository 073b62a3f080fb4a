"""An autoencoder: draws its inputs again from a code, and learns so without labels.

An encoder makes a code of a picture, and a decoder makes the picture of the code. The layers are
trained one after the other, each to reconstruct what the ones below make of the pictures, and then
all of them together; noise on the inputs, sparse codes and codes that hardly change near the
pictures keep them from copying. A classifier of the codes may follow, whose errors reach back
through the whole encoder.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase
from suite.cli import main
from suite.data import Data, Examples, Source, supervised
from suite.data.sources import MADE_HERE
from suite.export.endpoints import Endpoint, most_likely, of_model, with_class_names
from suite.export.exported import Exports
from suite.figures import classes
from suite.figures import images as figures
from suite.figures.sequences import principal_plane
from suite.knobs import Activation, LearningRate, Share, Units
from suite.layers.networks import identity_loss
from suite.layers.normalization import normalize
from suite.layers.reversible import ReversibleDense
from suite.tasks import image_classification as classification
from suite.tasks import neighbours, pictures
from suite.trainers.autoencoder import Autoencoder, Noise, Sparsity, with_noise
from suite.trainers.schedules import one_cycle
from suite.trainers.virtual_adversarial import VirtualAdversarial

SomeEpochs = Annotated[int, Field(ge=0, le=1_000_000)]
EncoderUnits = Annotated[tuple[Units, ...], Field(min_length=1, max_length=20)]
WHITE = 255
PIXELS, OUTPUT, LOGITS = "pixels", "output", "logits"  # names of layers
MOST_FILTERS = 64  # that are drawn
ARROWS = 25  # on each side of the field that is drawn
THICKNESS = 0.03  # standard deviation of points around their curve
CURVE_POINTS = 1000  # of which the density of the points is summed


def spiral(time: np.ndarray) -> np.ndarray:
    """Points `(n, 2)` of a spiral of one and a half turns, at times from 0 to 1."""
    angle, radius = 3 * np.pi * time, 0.25 + 0.75 * time
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def ring(time: np.ndarray) -> np.ndarray:
    """Points `(n, 2)` of a circle of radius 0.7, at times from 0 to 1."""
    angle = 2 * np.pi * time
    return 0.7 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


# Curves in the plane, by the name of the dataset, around which points are drawn.
PLANES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"spiral": spiral, "ring": ring}


@settings
class Config(pictures.Config):
    """The settings of the training.

    Args:
        dataset: Name of any image-classification dataset in TensorFlow Datasets; or `spiral` or
            `ring`, points around a curve of the plane, which are made here.
        points: Number of these points.
        units: Units of the layers of the encoder, the last of which are the code; the decoder has
            them in reverse order.
        pretraining_epochs: Epochs in which each layer is trained alone, on what the layers below it
            make of the examples; 0 trains no layer alone.
        epochs: Epochs in which all layers are trained together to reconstruct; an epoch makes
            several passes over a small split.
        classifier_epochs: Epochs in which the encoder and a classifier of its code are trained
            with labels; 0 leaves the classifier out.
        learning_rate: Peak of the one-cycle schedule of the layers alone and of all together.
        classifier_rate: Peak of the one-cycle schedule with labels.
        warmup: Share of the steps of a schedule in which the learning rate rises.
        noise: What is done to the inputs that are to be reconstructed: `gaussian` adds normal
            numbers, `masking` sets values to 0, `salt` sets them to 0 or 1.
        noise_level: Standard deviation of Gaussian noise, with pixels from 0 to 1; for the others
            the share of the values. 0 adds no noise.
        sparsity: Penalty of active codes: `kl`, the divergence of the mean activities from
            `sparsity_target`; or `l1`, the sum of the absolute activities.
        sparsity_weight: Weight of that penalty.
        sparsity_target: Mean activity of a unit that `kl` asks for.
        contraction: Weight of the penalty of codes that change with the inputs: the squared norm of
            the derivative.
        virtual_epsilon: Length of the change, with pixels from 0 to 1, after which the classifier
            shall give the same answer to a training image; the change is the one that would change
            it most. 0 makes none.
    """

    points: Annotated[int, Field(ge=10, le=10_000_000)] = 5000
    units: EncoderUnits = (256, 128, 32)
    pretraining_epochs: SomeEpochs = 2
    epochs: SomeEpochs = 10
    classifier_epochs: SomeEpochs = 0
    learning_rate: LearningRate = 3e-3
    classifier_rate: LearningRate = 2e-3
    warmup: Share = 0.1
    noise: Noise = "masking"
    noise_level: Annotated[float, Field(ge=0, le=100)] = 0.25
    sparsity: Sparsity = "kl"
    sparsity_weight: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    sparsity_target: Share = 0.05
    contraction: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    virtual_epsilon: Annotated[float, Field(ge=0, le=1000)] = 0.0


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)`, values in 0..255; or points `(2,)`, without labels.

    The builder gets the `units`, which the phases have to know, and the `num_classes` if there is
    to be a classifier.

    Raises:
        InputError: Points shall be classified, or pictures without two classes.
    """

    def arguments(train: Any) -> dict[str, Any]:
        return {"units": config.units}

    source = run.arrays
    if source is None and config.dataset in PLANES and run.data in MADE_HERE:
        source = points_around(config)
    if source is None or not has_points(source):
        return pictures.load_data(
            config, run, labelled=config.classifier_epochs > 0, model_arguments=arguments
        )
    if config.classifier_epochs:
        raise InputError(
            "`classifier_epochs` must be 0 for points of a plane, which have no classes",
            config.classifier_epochs,
        )
    return supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        model_arguments=lambda train: {"input_shape": (2,), **arguments(train)},
    )


def points_around(config: Config) -> Source:
    """Points `(n, 2)` around a curve of `PLANES`, always the same ones."""
    random = np.random.default_rng(0)
    curve = PLANES[config.dataset](random.uniform(size=config.points))
    points = curve + random.normal(scale=THICKNESS, size=curve.shape)
    return Source(name=f"synthetic:{config.dataset}", train=Examples(points.astype(np.float32)))


def has_points(source: Source) -> bool:
    """Whether the examples of a source are points `(n, 2)`, and not pictures."""
    return isinstance(source.train, Examples) and np.shape(source.train.inputs)[1:] == (2,)


@checked
def build_model(
    input_shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (28, 28, 1),
    units: EncoderUnits = (256, 128, 32),
    num_classes: Annotated[int, Field(ge=0)] = 0,
    *,
    tied: bool = True,
    activation: Activation = "sigmoid",
    linear_code: bool = False,
    normalization: Literal["batch", "layer", "none"] = "none",
    output: Literal["sigmoid", "linear"] = "sigmoid",
) -> keras.Model:
    """Builds the encoder, the decoder and perhaps a classifier of the code, as one model.

    Args:
        input_shape: `(height, width, channels)` of pictures, or `(features,)`.
        units: Units of the layers of the encoder, in its order.
        num_classes: Number of logits; 0 builds no classifier.
        tied: Whether a layer of the decoder has the transposed weights of the encoder's, and only a
            bias that is learnt apart.
        activation: Keras's name of the activation of the hidden layers.
        linear_code: Whether the code, the last layer of the encoder, has no activation.
        normalization: Normalisation before each activation.
        output: Activation of the reconstruction: `sigmoid`, trained by the cross-entropy of the
            pixels; or `linear`, trained by their squared error.

    Returns:
        A functional model. Its input is `image` `(batch, height, width, channels)`, values in
        0..255; or `point` `(batch, features)`, as it is. Its outputs are a dict of `code`
        `(batch, units[-1])`, `reconstruction` in shape and range of the input, and, with classes,
        `logits` `(batch, num_classes)`. All are float32.

    Raises:
        InputError: An argument is out of range, or points are to be reconstructed by sigmoids.

    Reference:
        Hinton and Salakhutdinov, 2006, Reducing the Dimensionality of Data with Neural Networks,
        https://doi.org/10.1126/science.1127647
        Bengio, Lamblin, Popovici and Larochelle, 2006, Greedy Layer-Wise Training of Deep Networks,
        https://papers.nips.cc/paper/3048
    """
    are_pictures = len(input_shape) == 3
    if not are_pictures and output == "sigmoid":
        raise InputError(
            "`output` must be linear for points of a plane; `recipe` plane has all that they need",
            output,
        )
    scale, floatx = WHITE if are_pictures else 1, keras.config.floatx()
    inputs = keras.Input(input_shape, name="image" if are_pictures else "point")
    x = layers.Rescaling(1 / scale, dtype=floatx)(inputs)
    x = layers.Flatten(dtype=floatx, name=PIXELS)(x)
    stack = [
        ReversibleDense(size, tied=tied, name=f"dense_{number}")
        for number, size in enumerate(units, start=1)
    ]
    for number, dense in enumerate(stack, start=1):
        x = dense(x)
        linear = linear_code and number == len(stack)
        if not linear:
            x = normalize(x, normalization)
        x = layers.Activation(
            "linear" if linear else activation, dtype=floatx, name=code_name(number)
        )(x)
    code = x
    for dense in stack[:0:-1]:
        x = layers.Activation(activation)(normalize(dense(x, reverse=True), normalization))
    x = layers.Activation(output, dtype=floatx, name=OUTPUT)(stack[0](x, reverse=True))
    x = layers.Reshape(input_shape, dtype=floatx)(layers.Rescaling(scale, dtype=floatx)(x))
    if are_pictures and output == "linear":
        x = ops.clip(x, 0, WHITE)
    outputs = {"code": code, "reconstruction": x}
    if num_classes:
        outputs[LOGITS] = layers.Dense(num_classes, dtype=floatx, name=LOGITS)(code)
    return keras.Model(inputs, outputs, name="autoencoder")


def code_name(number: int) -> str:
    """The name of the layer that puts out the codes of a layer of the encoder, counted from 1.

    What layer 0 puts out are the pixels.
    """
    return f"code_{number}" if number else PIXELS


def codes_of(networks: Mapping[str, keras.Model], *, number: int) -> keras.Model:
    """The model from inputs to the codes `(batch, units)` of a layer of the encoder."""
    [network] = networks.values()
    return keras.Model(network.input, network.get_layer(code_name(number)).output)


def compile_layer(network: keras.Model, config: Config, steps: int, *, number: int) -> keras.Model:
    """Compiles one layer, counted from 1, to reconstruct the codes of the layer below it.

    The first one takes the inputs themselves, the others take these codes.

    Raises:
        InputError: Settings do not go together.
    """
    below, code = (network.get_layer(code_name(n)).output for n in (number - 1, number))
    outputs = {"code": code, "output": network.get_layer(f"dense_{number}")(code, reverse=True)}
    return trainer_of(
        keras.Model(below, outputs, name=f"layer_{number}"),
        network,
        config,
        steps,
        reconstructed=code_name(number - 1) if number > 1 else OUTPUT,
        seed=number,
    )


def compile_model(network: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles all layers to reconstruct the inputs.

    Raises:
        InputError: Settings do not go together.
    """
    outputs = {
        "code": network.get_layer(code_name(len(config.units))).output,
        "output": network.get_layer(OUTPUT).input,
    }
    whole = keras.Model(network.get_layer(PIXELS).output, outputs, name="all")
    return trainer_of(whole, network, config, steps, reconstructed=OUTPUT, seed=0)


def trainer_of(
    part: keras.Model,
    network: keras.Model,
    config: Config,
    steps: int,
    *,
    reconstructed: str,
    seed: int,
) -> Autoencoder:
    """Compiles a part of a network to reconstruct what it takes, with Adam under one cycle.

    Args:
        part: Maps values to a dict of `code` and `output`.
        network: The whole network.
        config: The settings of the training.
        steps: Optimizer steps of the phase.
        reconstructed: Name of the layer whose activation says what range the values have. With that
            of the output, the training takes inputs as they are, and not yet as values.
        seed: Seed of the noise, which must be the same one when the phase is resumed.

    Raises:
        InputError: Settings do not go together.
    """
    refuse_what_does_not_go_together(network, config)
    trainer = Autoencoder(
        part,
        codes_of({network.name: network}, number=0) if reconstructed == OUTPUT else None,
        bounded=is_bounded(network, reconstructed),
        noise=config.noise,
        noise_level=config.noise_level,
        sparsity=config.sparsity,
        sparsity_weight=config.sparsity_weight,
        sparsity_target=config.sparsity_target,
        contraction=config.contraction,
        seed=seed,
    )
    schedule = one_cycle(config.learning_rate, steps, config.warmup)
    trainer.compile(keras.optimizers.Adam(schedule), loss=identity_loss)
    return trainer


def is_bounded(network: keras.Model, name: str) -> bool:
    """Whether the layer of this name puts out sigmoids, which lie between 0 and 1."""
    return bool(network.get_layer(name).get_config()["activation"] == "sigmoid")


def refuse_what_does_not_go_together(network: keras.Model, config: Config) -> None:
    """Refuses noise and penalties that the values and codes of a network cannot have.

    Raises:
        InputError: A share of the values is 1 or more; values without bounds are to be set to 0 or
            1; codes that are no probabilities are to have a divergence; or a derivative is to be
            taken through batch normalisation, by which examples depend on each other.
    """
    if config.noise != "gaussian" and config.noise_level >= 1:
        raise InputError(
            "`noise_level` must be below 1 for masking and salt, of which it is the share",
            config.noise_level,
        )
    codes = [code_name(number) for number in range(1, len(config.units) + 1)]
    reconstructed = [OUTPUT, *(codes[:-1] if config.pretraining_epochs else [])]
    bounded = all(is_bounded(network, name) for name in reconstructed)
    if config.noise == "salt" and config.noise_level and not bounded:
        raise InputError(
            "`noise` must be gaussian or masking unless `output` and `activation` are sigmoid",
            config.noise,
        )
    penalised = codes if config.pretraining_epochs else codes[-1:]
    probabilities = all(is_bounded(network, name) for name in penalised)
    if config.sparsity == "kl" and config.sparsity_weight and not probabilities:
        raise InputError(
            "`sparsity` must be l1 unless `activation` is sigmoid and `linear_code` is left out",
            config.sparsity,
        )
    by_batch = any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)
    if config.contraction and by_batch:
        raise InputError("`normalization` must be layer or none with `contraction`", "batch")


def compile_classifier(network: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles the encoder and the classifier for labels, with Adam under one cycle.

    What only the decoder has is left as it is.
    """
    for number in range(1, len(config.units) + 1):
        network.get_layer(f"dense_{number}").freeze_reverse()
    model = keras.Model(network.input, network.output[LOGITS], name="classifier")
    if config.virtual_epsilon:
        model = VirtualAdversarial(model, epsilon=config.virtual_epsilon, seed=0)
    model.compile(
        keras.optimizers.Adam(one_cycle(config.classifier_rate, steps, config.warmup)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[classification.accuracy_metric()],
    )
    return model


def phases(config: Config) -> Sequence[Phase]:
    """Each layer alone, on the codes of the one below, which are computed once; all; with labels.

    Raises:
        InputError: All are left out, or a knob is for phases that are.
    """
    if not config.pretraining_epochs and not config.epochs and not config.classifier_epochs:
        raise InputError(
            "`pretraining_epochs`, `epochs` or `classifier_epochs` must be 1 or more", 0
        )
    of_phases = {
        "virtual_epsilon": ("classifier_epochs",),
        "contraction": ("pretraining_epochs", "epochs"),
        "sparsity_weight": ("pretraining_epochs", "epochs"),
    }
    for knob, epochs in of_phases.items():
        if getattr(config, knob) and not any(getattr(config, name) for name in epochs):
            names = " or ".join(f"`{name}`" for name in epochs)
            raise InputError(
                f"`{knob}` must be 0 unless {names} is 1 or more", getattr(config, knob)
            )
    alone = [
        Phase(
            name=f"layer_{number}",
            epochs=config.pretraining_epochs,
            compile=functools.partial(compile_layer, number=number),
            features=functools.partial(codes_of, number=number - 1) if number > 1 else None,
        )
        for number in range(1, len(config.units) + 1)
    ]
    with_labels = Phase(
        name="classifier", epochs=config.classifier_epochs, compile=compile_classifier
    )
    return [
        *(alone if config.pretraining_epochs else []),
        Phase(name="all", epochs=config.epochs),
        *([with_labels] if config.classifier_epochs else []),
    ]


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `image` or `point` to `code` and `reconstruction`.

    With a classifier, `serve` also answers with `logits`, `probabilities`, `label` and `name`.

    `decode`: `code` to `reconstruction`. `picture`, if the source has a preparation: encoded
    pictures to the outputs of `serve`. `nearest`, for pictures: `image` to the training pictures
    with the nearest codes.
    """
    [network] = fitted.networks.values()
    outputs = dict(network.output)
    if LOGITS in outputs:
        logits = ops.cast(outputs[LOGITS], "float32")
        answers = {"probabilities": ops.softmax(logits), "label": most_likely(logits)}
        model = keras.Model(network.input, {**outputs, LOGITS: logits, **answers})
        serve = with_class_names(model, fitted.data.description.class_names)
    else:
        serve = of_model(network)
    code = network.get_layer(code_name(len(fitted.config.units))).output
    decoder = keras.Model(code, {"reconstruction": outputs["reconstruction"]})

    def decode(code: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(decoder(code, training=False))

    spec = tf.TensorSpec((None, code.shape[-1]), tf.float32, "code")
    offered = {**pictures.with_pictures(serve, fitted), "decode": Endpoint(decode, [spec])}
    if not are_points(fitted):
        offered["nearest"] = neighbours.of_pictures(serve, "code", fitted)
    return offered


def answers_of(fitted: Fitted) -> dict[str, np.ndarray]:
    """The outputs of the network on the test split by name, computed once."""
    [network] = fitted.networks.values()
    test = fitted.data.one_pass("test")
    answers: dict[str, np.ndarray] = fitted.once(
        "answers", lambda: network.predict(test, verbose=0)
    )
    return answers


def values_of(inputs: np.ndarray) -> np.ndarray:
    """Pictures, values in 0..255, as pixels from 0 to 1; points as they are: `(n, features)`."""
    scale = WHITE if inputs.ndim == 4 else 1
    return np.asarray(inputs, np.float32).reshape(len(inputs), -1) / scale


def evaluate(fitted: Fitted) -> Metrics:
    """How well the test split is reconstructed, without noise, and what the codes are like.

    `test_squared_error` is the mean over pixels from 0 to 1, `test_variance_explained` the share of
    their variance over the test split that the reconstruction keeps, None if they have none;
    `test_activity` the mean of the absolute codes. A classifier adds `test_accuracy` and
    `test_loss`, its cross-entropy. For points with Gaussian noise `test_score_cosine` and
    `test_score_error` compare the steps to the reconstructions of noisy test points with the
    gradient of the log density, times the variance of the noise: the mean cosine, and the length of
    the difference as a share of the length, over all points.
    """
    from scipy.special import log_softmax

    test, answers = fitted.data.splits["test"].in_memory(), answers_of(fitted)
    values = values_of(test.inputs)
    squared_error = np.square(values - values_of(answers["reconstruction"])).mean()
    variance = np.square(values - values.mean(axis=0)).mean()
    metrics: Metrics = {
        "test_squared_error": float(squared_error),
        "test_variance_explained": float(1 - squared_error / variance) if variance else None,
        "test_activity": float(np.abs(answers["code"]).mean()),
    }
    if LOGITS in answers:
        logits = answers[LOGITS]
        log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
        rows = np.arange(len(logits))
        metrics["test_accuracy"] = float((logits.argmax(axis=1) == test.targets).mean())
        metrics["test_loss"] = -float(log_probabilities[rows, test.targets].mean())
    if has_known_score(fitted):
        noise = np.random.default_rng(0).normal(size=values.shape)
        noisy = (values + fitted.config.noise_level * noise).astype(np.float32)
        learnt, true = steps_to_reconstruction(fitted, noisy), true_steps(fitted.config, noisy)
        lengths = np.linalg.norm(learnt, axis=1) * np.linalg.norm(true, axis=1)
        metrics["test_score_cosine"] = float(((learnt * true).sum(axis=1) / lengths).mean())
        metrics["test_score_error"] = float(np.linalg.norm(learnt - true) / np.linalg.norm(true))
    return metrics


def are_points(fitted: Fitted) -> bool:
    """Whether the examples are points of a plane, and not pictures."""
    [network] = fitted.networks.values()
    return network.input.name == "point"


def has_known_score(fitted: Fitted) -> bool:
    """Whether the gradient of the log density of the noisy examples is known."""
    config: Config = fitted.config
    made = f"synthetic:{config.dataset}"
    is_made = config.dataset in PLANES and fitted.data.description.source.startswith(made)
    return is_made and config.noise == "gaussian" and config.noise_level > 0


def steps_to_reconstruction(fitted: Fitted, points: np.ndarray) -> np.ndarray:
    """From points `(n, 2)` to what the network makes of them, `(n, 2)`."""
    [network] = fitted.networks.values()
    return np.asarray(network.predict(points, verbose=0)["reconstruction"] - points, np.float64)


def true_steps(config: Config, points: np.ndarray) -> np.ndarray:
    """The variance of the noise times the gradient of the log density of noisy points, `(n, 2)`.

    It leads to the mean of the points of which the noise may have made this one. The density is a
    mean of normal distributions along the curve, whose variance is that of the noise and that of
    the points around the curve.

    Args:
        config: Says which curve, and how much noise.
        points: `(n, 2)`.

    Reference:
        Vincent, 2011, A Connection Between Score Matching and Denoising Autoencoders,
        https://doi.org/10.1162/NECO_a_00142
        Alain and Bengio, 2012, What Regularized Auto-Encoders Learn from the Data Generating
        Distribution, https://arxiv.org/abs/1211.4246
    """
    from scipy.special import softmax

    centres = PLANES[config.dataset](np.linspace(0, 1, CURVE_POINTS))
    differences = centres - points[:, None].astype(np.float64)
    variance = config.noise_level**2 + THICKNESS**2
    shares = softmax(-np.square(differences).sum(axis=2) / (2 * variance), axis=1)
    gradient = (shares[:, :, None] * differences).sum(axis=1) / variance
    return config.noise_level**2 * gradient


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws reconstructions of noisy pictures, filters and codes; of points, the arrow field."""
    test, answers = fitted.data.splits["test"].in_memory(), answers_of(fitted)
    if are_points(fitted):
        return {"field": field(fitted, test.inputs)}
    config, names = fitted.config, fitted.data.description.class_names
    [network] = fitted.networks.values()
    labels = test.targets if names else np.arange(test.num_examples) % 10
    shown = test.inputs[np.unique(labels, return_index=True)[1][:10]]
    noisy = with_noise(
        tf.constant(values_of(shown)), config.noise, config.noise_level, tf.constant([0, 0])
    )
    noisy = WHITE * np.clip(noisy.numpy(), 0, 1).reshape(shown.shape)
    reconstruction = network.predict(noisy, verbose=0)["reconstruction"]
    kernel = ops.convert_to_numpy(network.get_layer("dense_1").kernel)[:, :MOST_FILTERS]
    rows = {"image": shown, "with noise": noisy, "reconstruction": reconstruction}
    drawings = {
        "reconstructions": figures.image_rows(rows),
        "filters": figures.filters(kernel.reshape(*shown.shape[1:], -1)),
    }
    if names and min(answers["code"].shape) > 1:
        title = "principal components of the codes"
        drawings["codes"] = classes.plane(principal_plane(answers["code"]), labels, names, title)
    if LOGITS in answers:
        drawings["confusion_matrix"] = classes.confusion_matrix(
            labels, answers[LOGITS].argmax(axis=1), names
        )
    return drawings


def field(fitted: Fitted, points: np.ndarray) -> Figure:
    """Arrows from places of the plane to their reconstructions, over points `(n, 2)`.

    Beside them, where it is known, the gradient of the log density of noisy points, times the
    variance of the noise.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.1 * (high - low)
    sides = np.linspace(low - margin, high + margin, ARROWS)
    places = np.stack(np.meshgrid(*sides.T), axis=-1).reshape(-1, 2).astype(np.float32)
    arrows = {"to the reconstruction": steps_to_reconstruction(fitted, places)}
    if has_known_score(fitted):
        arrows["gradient of the log density"] = true_steps(fitted.config, places)
    figure = Figure(figsize=(5 * len(arrows), 5), layout="constrained")
    panels = figure.subplots(1, len(arrows), squeeze=False).flat
    for axes, (title, steps) in zip(panels, arrows.items(), strict=True):
        axes.scatter(*points.T, s=2, color="tab:orange")
        axes.quiver(*places.T, *steps.T, angles="xy", scale_units="xy", scale=1, width=0.003)
        axes.set(title=title, aspect="equal")
    return figure


def predict(app: App, *files: Path, exports: Exports = Exports()) -> None:
    """Say what each picture shows, by an export with a classifier.

    Args:
        files: Image files of any size, dark on light or light on dark.
    """
    epochs = exports.open(app.name).metadata()["config"].get("classifier_epochs")
    if not epochs:
        raise InputError(
            "`classifier_epochs` must be 1 or more in the training of an export that names classes",
            epochs,
        )
    classification.predict(app, *files, exports=exports)


app = App(
    name="autoencoder",
    topic="unsupervised",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=endpoints,
    evaluate=evaluate,
    figures=draw,
    commands={
        "reconstruct": pictures.reconstruct,
        "predict": predict,
        **neighbours.COMMANDS,
    },
    recipes={
        "deep": {
            "units": (1000, 500, 250, 30),
            "linear_code": True,
            "pretraining_epochs": 5,
            "epochs": 30,
            "noise_level": 0.0,
        },
        "sparse": {
            "units": (196,),
            "pretraining_epochs": 0,
            "noise_level": 0.0,
            "sparsity_weight": 1.0,
        },
        "contractive": {
            "units": (500,),
            "pretraining_epochs": 0,
            "noise_level": 0.0,
            "contraction": 0.1,
        },
        "plane": {
            "dataset": "spiral",
            "units": (128, 128),
            "tied": False,
            "activation": "relu",
            "output": "linear",
            "pretraining_epochs": 0,
            "epochs": 40,
            "noise": "gaussian",
            "noise_level": 0.1,
        },
        "stacked": {
            "units": (1000, 1000, 1000),
            "pretraining_epochs": 10,
            "epochs": 0,
            "classifier_epochs": 30,
        },
        "classifier": {
            "units": (800, 400, 200),
            "activation": "relu",
            "normalization": "batch",
            "batch_size": 250,
            "pretraining_epochs": 5,
            "epochs": 0,
            "classifier_epochs": 40,
            "virtual_epsilon": 2.0,
        },
    },
    data_layouts=pictures.DATA_LAYOUTS,
    tiny={
        "units": (16, 8),
        "pretraining_epochs": 1,
        "epochs": 1,
        "classifier_epochs": 1,
        "batch_size": 40,
        "min_steps_per_epoch": 10,
    },
)

if __name__ == "__main__":
    main(app)
