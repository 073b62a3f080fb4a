"""MNIST digits by a multi-layer perceptron, with all levers of a training.

A layer of weights from pixels to classes is softmax regression; every further number in `--units`
puts a hidden layer before it. There is no convolution, and pictures are not distorted unless a flag
asks for it, so that each lever shows what it does alone.
"""

from typing import Annotated, Literal

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, checked, settings
from suite.app import Fitted, Metrics, Phase, one_phase
from suite.cli import main
from suite.figures import images as figures
from suite.knobs import (
    Activation,
    Epochs,
    LearningRate,
    Noise,
    NumClasses,
    Rate,
    Units,
    WeightDecay,
)
from suite.layers.normalization import normalize
from suite.tasks import image_classification as task
from suite.trainers import full_batch

Initializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "normal"
]
Penalty = Annotated[float, Field(ge=0, le=1000)]
# Knobs of epochs and batches, of which L-BFGS has none.
OF_EPOCHS = (
    "weight_decay", "rotation", "shift", "zoom", "flip", "crop", "cutout", "mixup",
    "weight_average", "clip_value", "clip_norm", "patience", "attack_epsilon", "virtual_epsilon",
)  # fmt: skip
MOST_UNITS = 64  # of the first layer, whose weights are drawn


@settings
class Config(task.Config):
    """The settings of the training of an image classifier, which does not distort its pictures.

    Args:
        lbfgs_iterations: Iterations of L-BFGS on all training pictures at once, instead of epochs;
            0 trains by epochs.
    """

    epochs: Epochs = 10
    learning_rate: LearningRate = 2e-3
    weight_decay: WeightDecay = 0.0
    rotation: task.Rotation = 0.0
    shift: task.Shift = 0.0
    zoom: Rate = 0.0
    lbfgs_iterations: Annotated[int, Field(ge=0, le=1_000_000)] = 0


@checked
def build_model(
    input_shape: task.pictures.ImageShape = (28, 28, 1),
    num_classes: NumClasses = 10,
    *,
    units: Annotated[tuple[Units, ...], Field(max_length=100)] = (512, 512),
    activation: Activation = "relu",
    initializer: Initializer = "he_normal",
    initial_std: Annotated[float, Field(gt=0, le=100)] = 0.05,
    normalization: Literal["batch", "layer", "none"] = "none",
    noise: Noise = 0.0,
    input_dropout: Rate = 0.0,
    dropout: Rate = 0.0,
    l1: Penalty = 0.0,
    l2: Penalty = 0.0,
    max_norm: Annotated[float, Field(gt=0, le=1000)] | None = None,
) -> keras.Model:
    """Builds a multi-layer perceptron: from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of logits.
        units: Units of the hidden layers; without any number, softmax regression.
        activation: Keras's name of the activation of the hidden layers.
        initializer: Distribution of the initial weights. Xavier's is `glorot`; `normal` has the
            same standard deviation in all layers.
        initial_std: Standard deviation of `normal`.
        normalization: Normalisation before each activation.
        noise: Standard deviation of Gaussian noise on the pixels in training, as a share of their
            range.
        input_dropout: Dropout rate of the pixels.
        dropout: Dropout rate after each hidden layer.
        l1: Penalty in the loss on the sum of the absolute weights.
        l2: Penalty in the loss on the sum of the squared weights.
        max_norm: Largest norm of the incoming weights of a unit. None sets no bound.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        Rumelhart, Hinton and Williams, 1986, Learning Representations by Back-Propagating Errors,
        https://doi.org/10.1038/323533a0
        Glorot and Bengio, 2010, Understanding the Difficulty of Training Deep Feedforward Neural
        Networks, https://proceedings.mlr.press/v9/glorot10a.html
        He et al., 2015, Delving Deep into Rectifiers, https://arxiv.org/abs/1502.01852
        Srivastava et al., 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting
        (with the largest norm), https://jmlr.org/papers/v15/srivastava14a.html
    """

    def dense(size: int, name: str | None = None, dtype: str | None = None) -> layers.Dense:
        return layers.Dense(
            size,
            kernel_initializer=(
                keras.initializers.RandomNormal(stddev=initial_std)
                if initializer == "normal"
                else initializer
            ),
            kernel_regularizer=keras.regularizers.L1L2(l1, l2) if l1 or l2 else None,
            kernel_constraint=keras.constraints.MaxNorm(max_norm) if max_norm else None,
            name=name,
            dtype=dtype,
        )

    image = keras.Input(input_shape, name="image")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    if noise:
        x = layers.GaussianNoise(noise)(x)
    if input_dropout:
        x = layers.Dropout(input_dropout)(x)
    for size in units:
        x = layers.Activation(activation)(normalize(dense(size)(x), normalization))
        if dropout:
            x = layers.Dropout(dropout)(x)
    logits = dense(num_classes, "logits", keras.config.floatx())(x)
    return keras.Model(image, logits, name="mnist_mlp")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles as every image classifier, and refuses what L-BFGS cannot train.

    Raises:
        InputError: Settings do not go together.
    """
    if config.lbfgs_iterations:
        for knob in OF_EPOCHS:
            if value := getattr(config, knob):
                raise InputError(f"`{knob}` must be left out with `lbfgs_iterations`", value)
        full_batch.refuse_stochastic_loss(model, "lbfgs_iterations", config.lbfgs_iterations)
    return task.compile_model(model, config, steps)


def phases(config: Config) -> list[Phase]:
    """One phase: of epochs, or of L-BFGS on the training pictures as they are."""

    def begin(fitted: Fitted) -> None:
        full_batch.fit_lbfgs(fitted.model, fitted.data.splits["train"], config.lbfgs_iterations)

    if config.lbfgs_iterations:
        return [Phase(name="lbfgs", begin=begin)]
    return list(one_phase(config))


def evaluate(fitted: Fitted) -> Metrics:
    """The metrics of every image classifier, and what it has learnt by heart.

    `train_accuracy` is the share of training pictures that get the label that they were trained
    with, true or not, after training; None where an export is evaluated on other data.
    """
    metrics = task.evaluate(fitted)
    if not fitted.learnt_from:
        return {**metrics, "train_accuracy": None}
    labels = fitted.data.splits["train"].targets
    learnt = np.asarray(fitted.outputs("train")).argmax(axis=1) == labels
    return {**metrics, "train_accuracy": float(learnt.mean())}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws what every image classifier does, and the weights of units of the first layer."""
    [model] = fitted.networks.values()
    first = next(layer for layer in model.layers if isinstance(layer, layers.Dense))
    kernel = keras.ops.convert_to_numpy(first.kernel)[:, :MOST_UNITS]
    as_pictures = kernel.reshape(*model.input_shape[1:], -1)
    return {**task.draw(fitted), "filters": figures.filters(as_pictures)}


# Large enough to learn 50,000 labels by heart, whatever they are.
MEMORISING = {
    "validation_split": 1 / 6,
    "epochs": 62,
    "batch_size": 250,
    "units": (1024, 1024),
    "normalization": "batch",
}

app = App(
    name="mnist_mlp",
    topic="images",
    summary=__doc__,
    config=Config,
    data=task.load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    callbacks=task.callbacks,
    endpoints=task.endpoints,
    evaluate=evaluate,
    figures=draw,
    commands=task.COMMANDS,
    studies=("explain", "attack"),
    recipes={
        "softmax": {"units": ()},
        "softmax_lbfgs": {"units": (), "lbfgs_iterations": 200, "l2": 1e-5},
        "one_layer": {"units": (512,)},
        "three_layers": {"units": (512, 512, 512)},
        "random_labels": MEMORISING | {"label_noise": 1.0},
        "true_labels": MEMORISING,
        # Chosen with a sixth of the images held out; trained with nearly all.
        "accurate": {
            "validation_split": 0.02,
            "epochs": 60,
            "batch_size": 100,
            "weight_average": 0.995,
            "virtual_epsilon": 2.0,
            "units": (800, 400, 200),
            "normalization": "batch",
            "dropout": 0.1,
        },
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"units": (32, 16)},
)

if __name__ == "__main__":
    main(app)
