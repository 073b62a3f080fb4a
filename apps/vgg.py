"""VGG networks: blocks of small convolutions, one after the other, in place of few large ones.

Two convolutions of 3 x 3 see as much as one of 5 x 5, with fewer weights and one more activation.
Knobs choose larger kernels, or convolutions in a column and a row, to compare.
"""

from typing import Annotated

import keras
from keras import layers
from pydantic import Field

from suite import App, checked
from suite.cli import main
from suite.knobs import Depths, NumClasses, Rate, Stages, Units
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
    filters: Stages = (32, 64, 128),
    convolutions: Depths = (2, 2, 2),
    kernel: Annotated[int, Field(ge=1, le=11)] = 3,
    factorized: bool = False,
    units: tuple[Units, ...] = (256,),
    normalization: Normalization = "batch",
    dropout: Rate = 0.5,
) -> keras.Model:
    """Builds a VGG network, from pixels to logits.

    Args:
        input_shape: `(height, width, channels)`; height and width may be None with a `pooling`.
        num_classes: Number of logits.
        include_top: Whether the outputs are logits, or else the features of the convolutions.
        pooling: Global pooling, `avg` or `max`, instead of flattening the features.
        filters: Filters of the blocks, each of which halves height and width at its end.
        convolutions: Number of convolutions in every block.
        kernel: Height and width of a convolution, 3 in the paper.
        factorized: Whether two convolutions, of `kernel` x 1 and of 1 x `kernel`, take the place of
            each.
        units: Units of the dense layers before the logits.
        normalization: Normalisation before each activation; `none` in the paper.
        dropout: Dropout rate after each dense layer.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32; without `include_top` to features `(batch, filters)`, and
        without `pooling`, too, `(batch, height, width, filters)`.

    Raises:
        InputError: An argument is out of range, or the image is too small for so many blocks.

    Reference:
        Simonyan and Zisserman, 2014, Very Deep Convolutional Networks for Large-Scale Image
        Recognition, https://arxiv.org/abs/1409.1556
        Szegedy et al., 2015, Rethinking the Inception Architecture (`factorized`),
        https://arxiv.org/abs/1512.00567
        Differs from the paper: pixels are scaled to -1..1; convolutions begin as He et
        al. propose, https://arxiv.org/abs/1502.01852
    """
    task.refuse_other_length("convolutions", convolutions, "filters", filters)
    task.refuse_small_images(input_shape, len(filters), "filters", filters)
    image = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    sizes = [(kernel, 1), (1, kernel)] if factorized else [(kernel, kernel)]
    for width, count in zip(filters, convolutions, strict=True):
        for size in sizes * count:
            x = layers.ReLU()(convolve(x, width, size, normalization=normalization))
        x = layers.MaxPooling2D()(x)
    logits = task.head(x, num_classes, include_top, pooling, units=units, dropout=dropout)
    return keras.Model(image, logits, name="vgg")


LARGE = {
    "filters": (64, 128, 256, 512, 512),
    "units": (4096, 4096),
    "normalization": "none",
    "image_size": 224,
    "channels": 3,
    "rotation": 0.0,
    "flip": True,
    "learning_rate": 1e-4,
}

app = App(
    name="vgg",
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
        "cifar10": task.CIFAR10
        | {"epochs": 32, "label_smoothing": 0.2, "cutout": 10}
        | {"filters": (32, 128, 256), "dropout": 0.3},
        "vgg11": LARGE | {"convolutions": (1, 1, 2, 2, 2)},
        "vgg16": LARGE | {"convolutions": (2, 2, 3, 3, 3)},
        "vgg19": LARGE | {"convolutions": (2, 2, 4, 4, 4)},
    },
    objective="val_accuracy",
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY | {"filters": (4, 8), "convolutions": (1, 2), "units": (32,), "dropout": 0.1},
)

if __name__ == "__main__":
    main(app)
