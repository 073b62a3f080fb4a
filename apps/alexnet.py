"""AlexNet: the convolutional network that won ImageNet's contest of 2012.

Five convolutions with rectified units, overlapping poolings, and dense layers with dropout. The
paper divided it among two graphics cards: two towers of convolutions, which exchange their maps
only once, before the third.
"""

from typing import Annotated, Literal

import keras
from keras import layers, ops
from pydantic import Field

from suite import App, InputError, checked
from suite.cli import main
from suite.knobs import Filters, NumClasses, Rate, Units
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization
from suite.tasks import image_classification as task


@checked
def build_model(
    input_shape: task.AnyImageShape = (32, 32, 3),
    num_classes: NumClasses = 10,
    include_top: bool = True,
    pooling: task.Pooling | None = None,
    *,
    filters: tuple[Filters, Filters, Filters, Filters, Filters] = (64, 128, 192, 192, 128),
    units: tuple[Units, ...] = (512, 512),
    stem: Literal["small", "large"] = "small",
    towers: Annotated[int, Field(ge=1, le=2)] = 1,
    normalization: Literal["batch", "layer", "instance", "group", "response", "none"] = "batch",
    dropout: Rate = 0.5,
) -> keras.Model:
    """Builds AlexNet, from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None with a `pooling`.
        num_classes: Number of logits.
        include_top: Whether the outputs are logits, or else the features of the convolutions.
        pooling: Global pooling, `avg` or `max`, instead of flattening the features.
        filters: Filters of the five convolutions.
        units: Units of the dense layers before the logits.
        stem: First convolution: `small` of 5 x 5, for images from 15 x 15; `large` of 11 x 11 with
            a stride of 4, for images from 57 x 57.
        towers: With 2, the second, fourth and fifth convolutions are divided into two, each of
            which sees half of the maps.
        normalization: Normalisation before each activation; or `response`, the paper's, after the
            first two.
        dropout: Dropout rate after each dense layer.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32; without `include_top` to features `(batch, filters)`, and
        without `pooling`, too, `(batch, height, width, filters)`.

    Raises:
        InputError: An argument is out of range, or the image is too small.

    Reference:
        Krizhevsky, Sutskever and Hinton, 2012, ImageNet Classification with Deep Convolutional
        Neural Networks,
        https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks
        Differs from the paper: the first convolution pads, so images of 224 x 224 and 227 x 227
        end in 6 x 6 maps alike; pixels are scaled to -1..1; convolutions begin as He et
        al. propose, https://arxiv.org/abs/1502.01852
    """
    if towers == 2 and any(width % 2 for width in filters):
        raise InputError("`filters` must be even numbers with `towers` 2", filters)
    task.refuse_images_below(input_shape, 15 if stem == "small" else 57)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    sizes = (5 if stem == "small" else 11, 5, 3, 3, 3)
    for number, (width, size) in enumerate(zip(filters, sizes, strict=True), 1):
        stride = 4 if stem == "large" and number == 1 else 1
        parts = ops.split(x, 2, axis=-1) if towers == 2 and number in (2, 4, 5) else [x]
        before: Normalization = "none" if normalization == "response" else normalization
        maps = [convolve(part, width // len(parts), size, stride, before) for part in parts]
        x = layers.ReLU()(layers.Concatenate()(maps) if len(maps) > 1 else maps[0])
        if normalization == "response" and number in (1, 2):
            x = normalize_response(x)
        if number in (1, 2, 5):
            x = layers.MaxPooling2D(3, 2)(x)
    logits = task.head(x, num_classes, include_top, pooling, units=units, dropout=dropout)
    return keras.Model(image, logits, name="alexnet")


def normalize_response(x: keras.KerasTensor) -> keras.KerasTensor:
    """Makes a value smaller where the same place has large ones in the five nearest channels."""
    channels = x.shape[-1]
    squares = ops.pad(ops.square(x), [[0, 0], [0, 0], [0, 0], [2, 2]])
    sums = sum(squares[..., first : first + channels] for first in range(5))
    return x / (2 + 1e-4 * sums) ** 0.75


PAPER = {"filters": (96, 256, 384, 384, 256), "units": (4096, 4096)}

app = App(
    name="alexnet",
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
        "cifar10": task.CIFAR10 | {"epochs": 22, "dropout": 0.3},
        "paper": PAPER
        | {"stem": "large", "towers": 2, "normalization": "response"}
        | {"image_size": 224, "channels": 3, "rotation": 0.0, "flip": True, "learning_rate": 3e-4},
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"filters": (8, 8, 16, 16, 16), "units": (32,), "dropout": 0.1},
)

if __name__ == "__main__":
    main(app)
