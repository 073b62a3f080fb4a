"""Highway networks: gates decide for every value whether a layer changes it or lets it pass.

A layer mixes its result and its input by a gate that is learnt, as in recurrent networks. Gates
begin almost closed, so that even a very deep network begins as a shallow one.
"""

from typing import Annotated

import keras
from keras import layers
from pydantic import Field

from suite import App, checked
from suite.cli import main
from suite.knobs import Depths, NumClasses, Stages
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization
from suite.tasks import image_classification as task


@checked
def build_model(
    input_shape: task.AnyImageShape = (32, 32, 3),
    num_classes: NumClasses = 10,
    include_top: bool = True,
    pooling: task.Pooling = "avg",
    *,
    filters: Stages = (16, 32, 64),
    convolutions: Depths = (6, 6, 6),
    gate_bias: Annotated[float, Field(ge=-100, le=100)] = -2.0,
    highway: bool = True,
    normalization: Normalization = "batch",
) -> keras.Model:
    """Builds a highway network: from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None.
        num_classes: Number of logits.
        include_top: Whether the outputs are logits, or else the features before them.
        pooling: Global pooling, `avg` or `max`.
        filters: Filters of the stages; all except the first halve height and width.
        convolutions: Number of convolutions in every stage. The first one of a stage changes the
            number of filters, and has no gate.
        gate_bias: Initial bias of the gates: the more negative, the more of the input passes.
        highway: Whether layers have gates; False gives a plain network of the same depth.
        normalization: Normalisation before each activation; the gates have none.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32; without `include_top` to pooled features
        `(batch, features)`.

    Raises:
        InputError: An argument is out of range, or the image is too small for so many stages.

    Reference:
        Srivastava, Greff and Schmidhuber, 2015, Highway Networks,
        https://arxiv.org/abs/1505.00387
        Srivastava, Greff and Schmidhuber, 2015, Training Very Deep Networks,
        https://arxiv.org/abs/1507.06228
        Differs from the paper: batch normalisation by default, a global pooling at the end, and no
        dropout.
    """
    task.refuse_other_length("convolutions", convolutions, "filters", filters)
    task.refuse_small_images(input_shape, len(filters) - 1, "filters", filters)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    for stage, (width, count) in enumerate(zip(filters, convolutions, strict=True)):
        if stage:
            x = layers.MaxPooling2D()(x)
        for number in range(count):
            y = layers.ReLU()(convolve(x, width, 3, normalization=normalization))
            x = mix(x, y, gate_bias) if highway and number else y
    return keras.Model(image, task.head(x, num_classes, include_top, pooling), name="highway")


def mix(x: keras.KerasTensor, y: keras.KerasTensor, gate_bias: float) -> keras.KerasTensor:
    """Mixes a layer's input `x` and its result `y` of the same shape, by a gate that sees `x`."""
    gate = layers.Conv2D(
        x.shape[-1],
        3,
        padding="same",
        activation="sigmoid",
        bias_initializer=keras.initializers.Constant(gate_bias),
    )(x)
    return gate * y + (1 - gate) * x


app = App(
    name="highway",
    topic="images",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=task.compile_model,
    callbacks=task.callbacks,
    endpoints=task.endpoints,
    evaluate=task.evaluate,
    figures=task.draw,
    commands=task.COMMANDS,
    studies=task.STUDIES,
    recipes={
        "cifar10": task.CIFAR10 | {"epochs": 24},
        "highway32": task.CIFAR10 | {"epochs": 24, "convolutions": (10, 10, 11)},
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"filters": (4, 8), "convolutions": (2, 2)},
)

if __name__ == "__main__":
    main(app)
