"""Inception networks: every module looks with filters of several sizes at once.

A module has convolutions of 1 x 1, 3 x 3 and 5 x 5 and a pooling side by side; convolutions of
1 x 1 before the larger ones keep it cheap. Two auxiliary classifiers in the middle bring gradients
to the first layers; they are needed in training alone.
"""

import functools
from typing import Annotated, Literal

import keras
from keras import layers
from pydantic import Field

from suite import App, checked
from suite.cli import main
from suite.knobs import NumClasses, Rate
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization
from suite.tasks import image_classification as task

# Table 1 of the paper, for the modules of each stage: the filters of 1 x 1; of 1 x 1 before 3 x 3,
# and of 3 x 3; of 1 x 1 before 5 x 5, and of 5 x 5; of 1 x 1 after the pooling.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip
UpTo2 = Annotated[int, Field(ge=1, le=2)]
UpTo5 = Annotated[int, Field(ge=1, le=5)]
AUXILIARY = {(1, 0): "auxiliary_1", (1, 3): "auxiliary_2"}  # behind these modules
FACTORS = {3: ((3, 1), (1, 3)), 5: ((3, 3), (3, 3))}


@checked
def build_model(
    input_shape: task.AnyImageShape = (32, 32, 3),
    num_classes: NumClasses = 10,
    include_top: bool = True,
    pooling: task.Pooling = "avg",
    *,
    modules: tuple[UpTo2, UpTo5, UpTo2] = (2, 5, 2),
    share: Annotated[float, Field(gt=0, le=4)] = 0.5,
    stem: Literal["small", "large"] = "small",
    factorized: bool = False,
    auxiliary: bool = True,
    normalization: Normalization = "batch",
    dropout: Rate = 0.2,
) -> keras.Model:
    """Builds GoogLeNet, of inception modules: from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None.
        num_classes: Number of logits.
        include_top: Whether the outputs are logits, or else the features before them.
        pooling: Global pooling, `avg` or `max`.
        modules: Number of modules of each stage, at most 2, 5 and 2 as in the paper.
        share: Filters of every convolution, as a share of the paper's.
        stem: `small` begins with a 3 x 3 convolution, for images from 8 x 8; `large`, for images
            from 32 x 32, with three convolutions and pooling.
        factorized: Whether two convolutions of 3 x 3 take the place of one of 5 x 5, and those of
            3 x 1 and 1 x 3 the place of one of 3 x 3.
        auxiliary: Whether there are auxiliary classifiers.
        normalization: Normalisation before each activation; `none` in the paper.
        dropout: Dropout rate of the features before the logits.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to a dict
        of `logits` and auxiliary ones `(batch, num_classes)`, float32; without
        `auxiliary` to the logits alone; without `include_top` to pooled features
        `(batch, features)`.

    Raises:
        InputError: An argument is out of range, or the image is too small.

    Reference:
        Szegedy et al., 2014, Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842
        Szegedy et al., 2015, Rethinking the Inception Architecture (`factorized`),
        https://arxiv.org/abs/1512.00567
        Differs from the paper: batch normalisation by default, in place of two local response
        normalisations; auxiliary classifiers average over the image before their dense layer.
    """
    task.refuse_images_below(input_shape, 8 if stem == "small" else 32)
    convolution = functools.partial(
        convolve_scaled, share=share, factorized=factorized, normalization=normalization
    )
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    if stem == "large":
        x = layers.MaxPooling2D(3, 2, padding="same")(convolution(x, 64, 7, 2))
        x = convolution(convolution(x, 64, 1), 192, 3)
    else:
        x = convolution(x, 64, 3)
    outputs: dict[str, keras.KerasTensor] = {}
    for stage, (table, count) in enumerate(zip(STAGES, modules, strict=True)):
        x = layers.MaxPooling2D(3, 2, padding="same")(x)
        for number, (direct, before_3, size_3, before_5, size_5, pooled) in enumerate(
            table[:count]
        ):
            branches = [
                convolution(x, direct, 1),
                convolution(convolution(x, before_3, 1), size_3, 3),
                convolution(convolution(x, before_5, 1), size_5, 5),
                convolution(layers.MaxPooling2D(3, 1, padding="same")(x), pooled, 1),
            ]
            x = layers.Concatenate()(branches)
            if auxiliary and include_top and (name := AUXILIARY.get((stage, number))):
                y = convolution(layers.AveragePooling2D(5, 3, padding="same")(x), 128, 1)
                units = [max(1, round(1024 * share))]
                outputs[name] = task.head(
                    y, num_classes, True, "avg", units=units, dropout=0.7, name=name
                )
    if include_top:
        x = layers.SpatialDropout2D(dropout)(x)  # whole maps, which the pooling makes features of
    x = task.head(x, num_classes, include_top, pooling)
    return keras.Model(image, {"logits": x} | outputs if outputs else x, name="inception")


def convolve_scaled(
    x: keras.KerasTensor,
    filters: int,
    size: int,
    stride: int = 1,
    *,
    share: float,
    factorized: bool,
    normalization: Normalization,
) -> keras.KerasTensor:
    """A rectified convolution with a share of the filters, or the two that take its place."""
    for part in FACTORS.get(size, (size,)) if factorized else (size,):
        x = layers.ReLU()(convolve(x, max(1, round(filters * share)), part, stride, normalization))
    return x


app = App(
    name="inception",
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
    search=task.SEARCH,
    recipes={
        "cifar10": task.CIFAR10 | {"epochs": 24},
        "googlenet": {"share": 1.0, "stem": "large", "normalization": "none", "dropout": 0.4}
        | {"image_size": 224, "channels": 3, "rotation": 0.0, "flip": True, "learning_rate": 3e-4},
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"share": 0.1, "modules": (1, 1, 1)},
)

if __name__ == "__main__":
    main(app)
