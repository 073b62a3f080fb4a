"""U-Net: a class for every pixel of a picture.

An encoder takes in more and more of the picture at coarser and coarser sizes, and a decoder brings
its features back to the size of the picture. At each size the decoder is also given the encoder's
features of that size, so that outlines stay sharp. The network is judged by how far its areas and
the true ones agree, class by class.
"""

import functools
from typing import Annotated, Literal

import keras
from keras import layers, ops
from pydantic import Field, PositiveInt

from suite import App, InputError, checked
from suite.cli import main
from suite.knobs import Filters, Rate
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization
from suite.layers.unet import contract_and_expand, refuse_uneven
from suite.tasks import segmentation as task
from suite.tasks.image_classification import AnyImageShape


@checked
def build_model(
    input_shape: AnyImageShape = (64, 64, 3),
    num_classes: task.NumClasses = 4,
    crop: PositiveInt | None = None,
    *,
    depth: Annotated[int, Field(ge=1, le=6)] = 3,
    filters: Filters = 12,
    convolutions: Annotated[int, Field(ge=1, le=8)] = 2,
    padding: Literal["same", "valid"] = "same",
    normalization: Normalization = "batch",
    dropout: Rate = 0.0,
    skips: bool = True,
) -> keras.Model:
    """Builds a U-Net: from pixels to a logit for every class at every pixel.

    Args:
        input_shape: `(height, width, channels)` of the pictures to train on; height and width may
            be None. The network takes pictures of any height and width that are multiples of
            `2**depth`.
        num_classes: Number of logits of a pixel.
        crop: Height and width of the parts of the pictures to train on; None for whole pictures.
        depth: How often the encoder halves height and width.
        filters: Filters of the first convolutions; every halving doubles them.
        convolutions: Convolutions of 3 x 3 at each size on the way down, and on the way up.
        padding: Padding of the convolutions: `same` adds zeros at the borders; `valid` adds none,
            as in the paper, and the picture is first mirrored at its borders by as many pixels as
            the convolutions take away.
        normalization: What follows a convolution; the paper has `none`.
        dropout: Rate of dropout at the bottom of the U.
        skips: Whether the decoder is given the encoder's features of each size.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, height, width, num_classes)`, float32.

    Raises:
        InputError: An argument is out of range, or pictures of this shape cannot be halved `depth`
            times, or are too small to be mirrored.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation, https://arxiv.org/abs/1505.04597
        Differs from the paper: by default smaller, with padding and batch normalisation. With
        `valid`, the picture is mirrored inside the network, so that its answer has the size of the
        picture: one of 384 pixels becomes the paper's 572.
    """
    *sides, channels = input_shape
    refuse_uneven(sides, depth)
    if crop and crop % 2**depth:
        raise InputError(
            f"`crop` must be a multiple of {2**depth}, since the network halves it {depth} times",
            crop,
        )
    lost = lost_pixels(depth, convolutions)
    surplus = 2 * convolutions % 2**depth
    before, after = lost[0] // 2, lost[0] // 2 + surplus
    smallest = min(side for side in (*sides, crop, task.LARGEST_TILE) if side)
    if padding == "valid" and smallest <= after:
        raise InputError(
            f"`padding` must be same, or `depth` smaller, for pictures of {smallest} pixels, which "
            f"cannot be mirrored by {after} pixels",
            padding,
        )
    stages = [filters * 2**level for level in range(depth + 1)]

    def convolved(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        for _ in range(convolutions):
            x = convolve(x, filters, 3, normalization=normalization, padding=padding)
            x = layers.ReLU()(x)
        return x

    def down(level: int, x: keras.KerasTensor) -> keras.KerasTensor:
        x = convolved(layers.MaxPooling2D()(x) if level else x, stages[level])
        return layers.Dropout(dropout)(x) if level == depth else x

    def up(level: int, x: keras.KerasTensor) -> keras.KerasTensor:
        x = convolved(x, stages[level + 1]) if level + 1 < depth else x
        return layers.Conv2DTranspose(stages[level], 2, 2, kernel_initializer="he_normal")(x)

    # Height and width are left open: `crop` trains on parts, and the validation has whole pictures.
    image = keras.Input((None, None, channels), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    if padding == "valid":
        x = ops.pad(x, [[0, 0], [before, after], [before, after], [0, 0]], mode="reflect")
    x = contract_and_expand(
        x,
        [functools.partial(down, level) for level in range(depth + 1)],
        [functools.partial(up, level) for level in reversed(range(depth))],
        skips,
        # Pixels that a size loses in all are as many on either side once the size is doubled.
        cuts=lost[1:] if padding == "valid" else None,
    )
    x = convolved(x, filters)
    if padding == "valid" and surplus:
        x = layers.Cropping2D(((0, surplus), (0, surplus)))(x)
    logits = layers.Conv2D(num_classes, 1, dtype=keras.config.floatx(), name="logits")
    return keras.Model(image, logits(x), name="unet")


def lost_pixels(depth: int, convolutions: int) -> list[int]:
    """The pixels by which a U without padding shrinks features, at each size, the largest first.

    The loss of a size is the difference between the features that enter it on the way down and
    those that leave it on the way up.

    Args:
        depth: How often the U halves height and width.
        convolutions: Convolutions of 3 x 3 at each size, each of which loses two pixels.
    """
    lost = [2 * convolutions]
    for _ in range(depth):
        lost.append(2 * lost[-1] + 4 * convolutions)
    return lost[::-1]


# The paper's tile of 572 pixels is one of 384 that was mirrored at its borders.
PAPER = {
    "crop": 384,
    "depth": 4,
    "filters": 64,
    "padding": "valid",
    "normalization": "none",
    "dropout": 0.5,
    "optimizer": "momentum",
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "batch_size": 1,
    "loss": "crossentropy",
    "border_weight": 10.0,
    "rotation": 180.0,
    "flip": "both",
    "elastic": 10.0,
    "epochs": 60,
}
PETS = {
    "image_size": 128,
    "depth": 4,
    "filters": 16,
    "dropout": 0.3,
    "loss": "both",
    "rotation": 15.0,
    "scale": 0.25,
    "shift": 12.0,
    "epochs": 30,
    "batch_size": 16,
}
MEMBRANES = {
    "crop": 256,
    "depth": 4,
    "filters": 32,
    "dropout": 0.3,
    "loss": "crossentropy",
    "border_weight": 2.0,
    "border_width": 2.0,
    "flip": "turned",
    "elastic": 6.0,
    "views": "turned",
    "epochs": 18,
    "batch_size": 4,
}

app = App(
    name="unet",
    topic="images",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=task.compile_model,
    endpoints=task.endpoints,
    example=task.example,
    evaluate=task.evaluate,
    findings=task.findings,
    figures=task.draw,
    commands=task.COMMANDS,
    try_next="predict your_photo.jpg --output mask.png",
    search={
        "learning_rate": "0.0005..0.02",
        "depth": "2..4",
        "filters": "8..24",
        "dropout": "0..0.5",
        "loss": "crossentropy,dice,both",
    },
    recipes={"paper": PAPER, "pets": PETS, "membranes": MEMBRANES},
    objective="val_iou",
    objective_mode="max",
    keep_best=True,
    data_layouts=task.DATA_LAYOUTS,
    tiny={
        "epochs": 1,
        "batch_size": 8,
        "min_steps_per_epoch": 4,
        "image_size": 32,
        "depth": 2,
        "filters": 4,
    },
)

if __name__ == "__main__":
    main(app)
