"""SSD: the things in a picture, detected in one pass on feature maps of several sizes.

Default boxes of several shapes stand about the cells of feature maps: small ones on fine maps,
large ones on coarse maps. For every default box the network predicts which class it holds, or that
it is background, and how the box must be moved and stretched. Nearly all of them are background: of
these the loss counts the ones that are most wrongly taken for a thing, three for every box that
holds one.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from pydantic import PositiveInt

from suite import App, InputError, checked
from suite.cli import main
from suite.knobs import Filters, Share
from suite.layers.boxes import (
    Anchors,
    anchor_shapes,
    boxes_to_offsets,
    gather_rows,
    match,
    offset_distances,
    offsets_to_boxes,
    predict_per_anchor,
)
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization
from suite.layers.residual import feature_maps, feature_pyramid
from suite.tasks import detection as task
from suite.tasks.pictures import ImageShape

NEGATIVES = 3  # boxes of background for every box that holds a thing


@checked
def build_model(
    input_shape: ImageShape = (128, 128, 3),
    num_classes: task.NumClasses = 10,
    *,
    blocks: task.Blocks = (1, 1, 2, 2, 1),
    filters: Filters = 16,
    maps: PositiveInt = 3,
    head_filters: Filters = 64,
    pyramid: bool = True,
    smallest_box: Share = 0.12,
    largest_box: Share = 0.6,
    ratios: task.Ratios = (1.0, 0.6, 0.3),
    normalization: Normalization = "batch",
) -> keras.Model:
    """Builds an SSD: from pixels to a class and a box for every default box.

    Args:
        input_shape: `(height, width, channels)`, where height and width can be halved as often as
            there are `blocks`.
        num_classes: Number of classes, without the background.
        blocks: Numbers of residual blocks, one for each stage; every stage halves height and width.
        filters: Filters of the first stage; each further stage has twice as many.
        maps: Number of feature maps that have default boxes, those of the last stages.
        head_filters: Filters of the convolutions after the last stage.
        pyramid: Whether coarser maps are added to finer ones, as in a feature pyramid network.
        smallest_box: Side of the square default boxes of the finest map, as a share of the shorter
            side of the picture. Those of further maps are larger, in equal steps.
        largest_box: Side of the square default boxes that one more map after the coarsest would
            have, as a share of the shorter side of the picture.
        ratios: Width divided by height of the default boxes of a cell; there is one more square,
            of a size between that of this map and of the next.
        normalization: Normalisation after each convolution.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to
        `boxes` `(batch, n, 4)` in pixels and `scores` `(batch, n, classes)`; and what the loss
        needs: `anchors` `(batch, n, 4)`, the default boxes; `offsets` `(batch, n, 4)`; and
        `logits` `(batch, n, 1 + classes)`, the background first.

    Raises:
        InputError: An argument is out of range, or the picture cannot be halved so often.

    Reference:
        Liu et al., 2015, SSD: Single Shot MultiBox Detector, https://arxiv.org/abs/1512.02325
        Differs from the paper: residual blocks instead of VGG-16, maps of a feature pyramid, and
        smaller.
    """
    if maps > len(blocks):
        raise InputError(f"`maps` must be at most the {len(blocks)} stages of `blocks`", maps)
    if smallest_box >= largest_box:
        raise InputError(f"`smallest_box` must be below `largest_box`, {largest_box}", smallest_box)
    image = keras.Input(input_shape, name="image")
    features = feature_maps(image, blocks, filters, normalization)[-maps:]
    if pyramid:
        features = feature_pyramid(features, head_filters, normalization)
    sides = np.linspace(smallest_box, largest_box, maps + 1) * min(input_shape[:2])
    parts: dict[str, list[keras.KerasTensor]] = {"anchors": [], "offsets": [], "logits": []}
    for number, x in enumerate(features):
        side, between = float(sides[number]), float(np.sqrt(sides[number] * sides[number + 1]))
        shapes = (*anchor_shapes([side], ratios), (between, between))
        stride = 2 ** (len(blocks) - maps + number + 1)
        x = layers.ReLU()(convolve(x, head_filters, 3, normalization=normalization))
        parts["anchors"].append(Anchors(stride, shapes, name=f"anchors_{number + 1}")(x))
        parts["offsets"].append(predict_per_anchor(x, len(shapes), 4, kernel_size=3))
        parts["logits"].append(predict_per_anchor(x, len(shapes), 1 + num_classes, kernel_size=3))
    outputs = {
        name: layers.Concatenate(axis=1, dtype=keras.config.floatx(), name=name)(tensors)
        if maps > 1
        else tensors[0]
        for name, tensors in parts.items()
    }
    outputs["boxes"] = offsets_to_boxes(outputs["offsets"], outputs["anchors"])
    outputs["scores"] = ops.softmax(outputs["logits"])[..., 1:]
    return keras.Model(image, outputs, name="ssd")


def loss(targets: task.Targets, outputs: Mapping[str, Any], fixed: Mapping[str, Any]) -> Any:
    """The loss of every picture, `(batch,)`: Huber loss of the offsets, and cross-entropy.

    Both are sums over default boxes, divided by the number of those that hold a thing. Offsets
    count for these boxes only; classes count for these, and for three times as many boxes of the
    background: those with the largest cross-entropy.

    Differs from the paper: divided picture by picture; three boxes of the background count in a
    picture without things; the loss of offsets stays steep nearer to the true ones.

    Args:
        targets: The true things.
        outputs: The outputs of the network.
        fixed: The same without gradients.
    """
    anchors, dtype = outputs["anchors"], outputs["logits"].dtype
    matched = match(anchors, targets.boxes, crowds=targets.crowd, force=True)
    positive = ops.cast(matched.positive, dtype)
    number = ops.maximum(ops.sum(positive, axis=-1), 1)
    true_offsets = boxes_to_offsets(gather_rows(targets.boxes, matched.index), anchors)
    distances = offset_distances(true_offsets, outputs["offsets"])
    labels = ops.where(matched.positive, gather_rows(targets.labels, matched.index) + 1, 0)
    truth = ops.one_hot(labels, outputs["logits"].shape[-1], dtype=dtype)
    cross_entropy = -ops.sum(truth * ops.log_softmax(outputs["logits"]), axis=-1)
    hard = hardest(-ops.log_softmax(fixed["logits"])[..., 0], matched.negative, NEGATIVES * number)
    counted = positive + ops.cast(hard, dtype)
    return ops.sum(positive * distances + counted * cross_entropy, axis=-1) / number


def hardest(losses: Any, candidates: Any, number: Any) -> Any:
    """The candidates with the largest losses, `(batch, n)`, bool.

    Args:
        losses: At least 0, `(batch, n)`.
        candidates: Which boxes may be chosen, `(batch, n)`, bool.
        number: Number of boxes to choose in a picture, `(batch,)`.
    """
    ordered = ops.argsort(ops.where(candidates, -losses, 1), axis=-1)
    rank = ops.argsort(ordered, axis=-1)
    chosen = ops.cast(rank, number.dtype) < ops.expand_dims(number, -1)
    return ops.logical_and(candidates, chosen)


def compile_model(model: keras.Model, config: task.Config, steps: int) -> keras.Model:
    """Compiles with the loss of this module."""
    return task.compile_model(model, config, steps, loss)


# The paper's optimizer, and its ratios but on three maps of another backbone, for photos.
PAPER = {
    "image_size": 320,
    "blocks": (1, 1, 2, 2, 2),
    "filters": 32,
    "head_filters": 128,
    "pyramid": False,
    "smallest_box": 0.2,
    "largest_box": 0.95,
    "ratios": (1.0, 0.5, 2.0, 0.33, 3.0),
    "optimizer": "momentum",
    "learning_rate": 1e-2,
    "weight_decay": 5e-4,
    "flip": "horizontal",
    "crop": 0.3,
    "colour": 0.3,
    "epochs": 120,
}
BLOOD = task.BLOOD | {
    "smallest_box": 0.08,
    "largest_box": 0.5,
    "ratios": (1.0, 0.5, 2.0),
}

app = App(
    name="ssd",
    topic="images",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=compile_model,
    phases=task.phases,
    callbacks=task.callbacks,
    endpoints=task.endpoints,
    example=task.example,
    evaluate=task.evaluate,
    figures=task.draw,
    commands=task.COMMANDS,
    try_next="predict your_photo.jpg --output boxes.png",
    search={
        "learning_rate": "0.0003..0.01",
        "filters": "8..32",
        "smallest_box": "0.05..0.2",
    },
    recipes={"paper": PAPER, "blood": BLOOD},
    objective="val_ap",
    objective_mode="max",
    keep_best=True,
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY,
)

if __name__ == "__main__":
    main(app)
