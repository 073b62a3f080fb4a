"""Residual networks: layers that learn what to add, so that a hundred of them can be trained.

Every block adds its result to its input, so a block with zero weights computes the identity. This
module builds the networks for small pictures (6n + 2 layers) and those for ImageNet (18 to 152
layers).
"""

from typing import Annotated, Literal

import keras
from keras import layers, ops
from pydantic import Field, PositiveInt

from suite import App, checked
from suite.cli import main
from suite.knobs import Filters, NumClasses
from suite.tasks import image_classification as task


@checked
def build_model(
    input_shape: task.AnyImageShape = (32, 32, 3),
    num_classes: NumClasses = 10,
    include_top: bool = True,
    pooling: task.Pooling = "avg",
    *,
    blocks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (3, 3, 3),
    filters: Filters = 16,
    bottleneck: bool = False,
    stem: Literal["small", "large"] = "small",
    shortcut: Literal["padding", "projection"] = "padding",
    residual: bool = True,
) -> keras.Model:
    """Builds a residual network: from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None.
        num_classes: Number of logits.
        include_top: Whether the outputs are logits, or else the features before them.
        pooling: Global pooling, `avg` or `max`.
        blocks: Numbers of blocks, one for each stage; all stages except the first halve height and
            width.
        filters: Filters of the first stage; each further stage has twice as many.
        bottleneck: Whether a block has three convolutions, of 1 x 1, 3 x 3 and 1 x 1, and four
            times the filters at its end, instead of two of 3 x 3.
        stem: `small` begins with a 3 x 3 convolution; `large`, for large pictures, with a 7 x 7
            convolution and pooling.
        shortcut: Adaptation of a block's input to a new shape: `padding` with zeros, or
            `projection` by a 1 x 1 convolution.
        residual: Whether blocks add their input; False gives a plain network of the same depth.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32; without `include_top` to pooled features
        `(batch, features)`.

    Raises:
        InputError: An argument is out of range, or the image is too small for so many stages.

    Reference:
        He, Zhang, Ren and Sun, 2015, Deep Residual Learning for Image Recognition,
        https://arxiv.org/abs/1512.03385
    """
    halvings = len(blocks) - 1 + 2 * (stem == "large")
    task.refuse_small_images(input_shape, halvings, "blocks", blocks)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    if stem == "large":
        x = layers.ReLU()(conv_bn(x, filters, 7, 2))
        x = layers.MaxPooling2D(3, 2, padding="same")(x)
    else:
        x = layers.ReLU()(conv_bn(x, filters, 3))
    for stage, count in enumerate(blocks):
        stage_filters = filters * 2**stage
        for number in range(count):
            stride = 2 if stage and not number else 1
            y = block(x, stage_filters, stride, bottleneck)
            if residual:
                y = layers.Add()([y, match_shape(x, y, stride, shortcut)])
            x = layers.ReLU()(y)
    return keras.Model(image, task.head(x, num_classes, include_top, pooling), name="resnet")


def block(x: keras.KerasTensor, filters: int, stride: int, bottleneck: bool) -> keras.KerasTensor:
    """The convolutions of a block: two, or three with a bottleneck."""
    if not bottleneck:
        return conv_bn(layers.ReLU()(conv_bn(x, filters, 3, stride)), filters, 3)
    x = layers.ReLU()(conv_bn(x, filters, 1, stride))
    return conv_bn(layers.ReLU()(conv_bn(x, filters, 3)), 4 * filters, 1)


def match_shape(
    x: keras.KerasTensor, y: keras.KerasTensor, stride: int, shortcut: str
) -> keras.KerasTensor:
    """Adapts the input `x` of a block to the shape of its result `y`."""
    missing = y.shape[-1] - x.shape[-1]
    if not missing and stride == 1:
        return x
    if shortcut == "projection":
        return conv_bn(x, y.shape[-1], 1, stride)
    return ops.pad(x[:, ::stride, ::stride], [[0, 0], [0, 0], [0, 0], [0, missing]])


def conv_bn(x: keras.KerasTensor, filters: int, size: int, stride: int = 1) -> keras.KerasTensor:
    """A convolution without bias, followed by batch normalisation."""
    x = layers.Conv2D(
        filters, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


LARGE = {"filters": 64, "stem": "large", "shortcut": "projection"}

app = App(
    name="resnet",
    topic="images",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=task.compile_model,
    endpoints=task.endpoints,
    evaluate=task.evaluate,
    figures=task.draw,
    commands=task.COMMANDS,
    studies=task.STUDIES,
    recipes={
        "cifar10": {"dataset": "cifar10", "epochs": 30, "rotation": 0.0, "zoom": 0.0, "shift": 4.0},
        "resnet56": {"dataset": "cifar10", "epochs": 180, "blocks": (9, 9, 9)},
        "resnet18": LARGE | {"blocks": (2, 2, 2, 2)},
        "resnet50": LARGE | {"blocks": (3, 4, 6, 3), "bottleneck": True},
    },
    objective="val_accuracy",
    own_data=task.OWN_DATA,
    tiny=task.TINY | {"blocks": (1, 1), "filters": 4},
)

if __name__ == "__main__":
    main(app)
