"""YOLO: the things in a picture, detected in one pass, on one grid.

Every cell of a grid predicts whether a thing has its centre near it, how large it is, and its
class. There is no second stage and only one grid, which makes it fast. Its first version had two
boxes and one class for each cell: of two things in a cell it misses one, and it misses many of
those that overlap.
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
    gather_rows,
    match,
    offsets_to_boxes,
    paired_iou,
    predict_per_anchor,
    to_centres,
    to_corners,
)
from suite.layers.convolutions import convolve
from suite.layers.normalization import Normalization
from suite.layers.residual import feature_maps, feature_pyramid
from suite.tasks import detection as task
from suite.tasks.pictures import ImageShape

BOX_WEIGHT = 5.0  # of the loss of boxes; objectness and classes have 1
# Of the first version: the weights of boxes, and of the confidence where nothing is.
COORDINATES_WEIGHT, NO_OBJECT_WEIGHT = 5.0, 0.5  # lambda_coord and lambda_noobj of the paper
BOXES_OF_FIRST = 2  # in a cell
DEFAULT_SIDE = 4  # cells along the side of the box that is stretched, where there are no anchors
REACH = 1.5  # cells between the centre of a thing and that of a cell that learns it, at most
PRIOR_LOGIT = -4.0  # of objectness at first, since most cells have nothing
SQUARE = (1.0,)  # ratio of width to height


@checked
def build_model(
    input_shape: ImageShape = (128, 128, 3),
    num_classes: task.NumClasses = 10,
    *,
    first_version: bool = False,
    stride: PositiveInt = 8,
    blocks: task.Blocks = (1, 1, 2, 2, 1),
    filters: Filters = 16,
    head_filters: Filters = 64,
    anchors: tuple[Share, ...] = (),
    ratios: task.Ratios = SQUARE,
    normalization: Normalization = "batch",
) -> keras.Model:
    """Builds a YOLO: from pixels to a class and a box for every cell of a grid, or every anchor.

    Args:
        input_shape: `(height, width, channels)`, where height and width can be halved as often as
            there are `blocks`.
        num_classes: Number of classes.
        first_version: Whether every cell has two boxes and one class, as in the first YOLO.
            Otherwise it has objectness, a box and a class, or one of each for every anchor.
        stride: Height and width of a cell in pixels, a power of 2.
        blocks: Numbers of residual blocks, one for each stage; every stage halves height and width.
        filters: Filters of the first stage; each further stage has twice as many.
        head_filters: Filters of the convolutions after the last stage.
        anchors: Sides of square boxes about every cell, as shares of the shorter side of the
            picture, which are stretched to fit things. Without any, a cell has one box, which
            learns the thing that has its centre near.
        ratios: Width divided by height; every one of the `anchors` comes in all ratios.
        normalization: Normalisation after each convolution.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to
        `boxes` `(batch, n, 4)` in pixels and `scores` `(batch, n, classes)`; and what the loss
        needs. That is `cells` `(batch, n, 4)`, the boxes before they are stretched; `objectness`
        `(batch, n)`; and `logits` `(batch, n, classes)`. Of the first version it is `cells`
        `(batch, n / 2, 4)`; `parts` `(batch, n / 2, 2, 5)`: of two boxes the centre in the cell,
        the square roots of width and height as shares of the picture, and the confidence; and
        `classes` `(batch, n / 2, classes)`, which are not limited to probabilities.

    Raises:
        InputError: An argument is out of range, the picture cannot be halved so often, or no stage
            has cells of that size.

    Reference:
        Redmon, Divvala, Girshick and Farhadi, 2015, You Only Look Once (the first version),
        https://arxiv.org/abs/1506.02640
        Redmon and Farhadi, 2016, YOLO9000 (anchors), https://arxiv.org/abs/1612.08242
        Ge et al., 2021, YOLOX (without anchors), https://arxiv.org/abs/2107.08430
        Differs from the papers: residual blocks, one grid, to whose features those of coarser maps
        are added, and smaller. The first version ended in dense layers, and had no normalisation.
    """
    strides = [2**stage for stage in range(1, len(blocks) + 1)]
    if stride not in strides:
        raise InputError(
            f"`stride` must be one of: {', '.join(map(str, strides))}, for {len(blocks)} `blocks`",
            stride,
        )
    if anchors and first_version:
        raise InputError("`anchors` must be left out of the first version", anchors)
    if ratios != SQUARE and not anchors:
        raise InputError("`ratios` must be left out without `anchors`, which have them", ratios)
    image = keras.Input(input_shape, name="image")
    features = feature_maps(image, blocks, filters, normalization)[strides.index(stride) :]
    x, *_ = feature_pyramid(features, head_filters, normalization)
    if first_version:
        x = layers.LeakyReLU(0.1)(convolve(x, head_filters, 3, normalization=normalization))
        outputs = first_outputs(x, stride, num_classes)
    else:
        x = layers.ReLU()(convolve(x, head_filters, 3, normalization=normalization))
        side = min(input_shape[:2])
        shapes = anchor_shapes([share * side for share in anchors], ratios)
        outputs = later_outputs(x, stride, num_classes, shapes)
    return keras.Model(image, outputs, name="yolo")


def later_outputs(
    x: keras.KerasTensor, stride: int, num_classes: int, anchors: tuple[tuple[float, float], ...]
) -> dict[str, keras.KerasTensor]:
    """The outputs of later versions, from features `(batch, height, width, channels)`."""
    shapes = anchors or ((DEFAULT_SIDE * stride, DEFAULT_SIDE * stride),)
    cells = Anchors(stride, shapes, name="anchors" if anchors else "cells")(x)
    offsets = predict_per_anchor(x, len(shapes), 4)
    prior = keras.initializers.Constant(PRIOR_LOGIT)
    objectness = predict_per_anchor(x, len(shapes), 1, bias_initializer=prior)
    logits = predict_per_anchor(x, len(shapes), num_classes)
    return {
        "boxes": offsets_to_boxes(offsets, cells),
        "scores": ops.sigmoid(objectness) * ops.softmax(logits),
        "cells": cells,
        "objectness": ops.squeeze(objectness, axis=-1),
        "logits": logits,
    }


def first_outputs(
    x: keras.KerasTensor, stride: int, num_classes: int
) -> dict[str, keras.KerasTensor]:
    """The outputs of the first version, from features `(batch, height, width, channels)`."""
    _, height, width, _ = x.shape
    cells = Anchors(stride, [(stride, stride)], name="cells")(x)
    parts = predict_per_anchor(x, 1, 5 * BOXES_OF_FIRST)
    parts = layers.Reshape((-1, BOXES_OF_FIRST, 5), dtype=keras.config.floatx())(parts)
    classes = predict_per_anchor(x, 1, num_classes)
    corners = ops.expand_dims(cells[..., :2], 2)
    size = np.array([stride * width, stride * height], keras.config.floatx())
    boxes = to_corners(corners + stride * parts[..., :2], ops.square(parts[..., 2:4]) * size)
    confidence = ops.clip(parts[..., 4:], 0, 1)
    scores = confidence * ops.expand_dims(ops.clip(classes, 0, 1), 2)
    return {
        "boxes": ops.reshape(boxes, (-1, height * width * BOXES_OF_FIRST, 4)),
        "scores": ops.reshape(scores, (-1, height * width * BOXES_OF_FIRST, num_classes)),
        "cells": cells,
        "parts": parts,
        "classes": classes,
    }


def compile_model(model: keras.Model, config: task.Config, steps: int) -> keras.Model:
    """Compiles with the loss of the version that was built."""
    [cells] = [layer for layer in model.layers if isinstance(layer, Anchors)]
    stride = cells.stride

    def loss(targets: task.Targets, outputs: Mapping[str, Any], fixed: Mapping[str, Any]) -> Any:
        if "parts" in outputs:
            _, height, width, _ = model.input.shape
            return loss_of_first(targets, outputs, fixed, stride, (height, width))
        return loss_of_later(targets, outputs, fixed, None if cells.name == "anchors" else stride)

    return task.compile_model(model, config, steps, loss)


def loss_of_later(
    targets: task.Targets,
    outputs: Mapping[str, Any],
    fixed: Mapping[str, Any],
    stride: float | None,
) -> Any:
    """The loss of every picture, `(batch,)`: of boxes, objectness and classes.

    A box that stands for a thing learns where it is, by 1 minus the generalised intersection over
    union; its class, by cross-entropy; and as its objectness its intersection over union with the
    thing. All other boxes learn an objectness of 0. The sum is divided by the number of boxes that
    stand for a thing.

    Args:
        targets: The true things.
        outputs: The outputs of the network.
        fixed: The same without gradients.
        stride: Height and width of a cell, if there are no anchors: cells near the centre of a
            thing then stand for it. None for anchors, which stand for what they overlap.
    """
    cells, dtype = outputs["cells"], outputs["logits"].dtype
    if stride is None:
        index, stands, nothing, _ = match(
            cells, targets.boxes, negative=0.4, crowds=targets.crowd, force=True
        )
    else:
        index, stands = near_cells(cells, targets, stride, REACH)
        nothing = ops.logical_not(ops.logical_or(stands, in_crowds(cells, targets, stride)))
    truths = gather_rows(targets.boxes, index)
    overlap = ops.clip(paired_iou(fixed["boxes"], truths), 0, 1)
    stands, nothing = ops.cast(stands, dtype), ops.cast(nothing, dtype)
    of_places = 1 - paired_iou(outputs["boxes"], truths, generalized=True)
    logit = outputs["objectness"]
    of_objectness = ops.softplus(logit) - stands * overlap * logit  # binary cross-entropy
    labels = ops.one_hot(
        gather_rows(targets.labels, index), outputs["logits"].shape[-1], dtype=dtype
    )
    of_classes = -ops.sum(labels * ops.log_softmax(outputs["logits"]), axis=-1)
    losses = stands * (BOX_WEIGHT * of_places + of_classes) + (stands + nothing) * of_objectness
    return ops.sum(losses, axis=-1) / ops.maximum(ops.sum(stands, axis=-1), 1)


def loss_of_first(
    targets: task.Targets,
    outputs: Mapping[str, Any],
    fixed: Mapping[str, Any],
    stride: float,
    size: tuple[int, int],
) -> Any:
    """The loss of the first version for every picture, `(batch,)`: squares of differences.

    The cell in which a thing has its centre learns its class. Of the two boxes of the cell, the one
    that overlaps the thing more learns where it is and, as its confidence, the overlap;
    all others learn a confidence of 0. Of two things in a cell, one is lost.

    Args:
        targets: The true things.
        outputs: The outputs of the network.
        fixed: The same without gradients.
        stride: Height and width of a cell.
        size: Height and width of the picture.
    """
    cells, parts = outputs["cells"], outputs["parts"]
    index, stands = near_cells(cells, targets, stride, 0.5)
    truths = ops.expand_dims(gather_rows(targets.boxes, index), 2)
    boxes = ops.reshape(fixed["boxes"], (-1, cells.shape[1], BOXES_OF_FIRST, 4))
    overlap = paired_iou(boxes, truths)
    chosen = ops.one_hot(ops.argmax(overlap, axis=-1), BOXES_OF_FIRST, dtype=parts.dtype)
    has_thing = ops.cast(stands, parts.dtype)
    chosen = chosen * ops.expand_dims(has_thing, -1)
    not_in_crowd = ops.cast(ops.logical_not(in_crowds(cells, targets, stride)), parts.dtype)
    others = ops.expand_dims(not_in_crowd, -1) * (1 - chosen)
    centres, sizes = to_centres(truths)
    height, width = size
    true_places = ops.concatenate(
        [
            (centres - ops.expand_dims(cells[..., :2], 2)) / stride,
            ops.sqrt(sizes / ops.convert_to_tensor([width, height], sizes.dtype)),
        ],
        axis=-1,
    )
    of_places = ops.sum((parts[..., :4] - true_places) ** 2, axis=-1)
    confidence = parts[..., 4]
    of_boxes = chosen * (COORDINATES_WEIGHT * of_places + (confidence - overlap) ** 2)
    of_boxes += NO_OBJECT_WEIGHT * others * confidence**2
    labels = ops.one_hot(
        gather_rows(targets.labels, index), outputs["classes"].shape[-1], dtype=parts.dtype
    )
    of_cells = has_thing * ops.sum((outputs["classes"] - labels) ** 2, axis=-1)
    return ops.sum(of_boxes, axis=(1, 2)) + ops.sum(of_cells, axis=1)


def near_cells(cells: Any, targets: task.Targets, stride: float, reach: float) -> tuple[Any, Any]:
    """The thing that every cell stands for: the nearest of those whose centres are within reach.

    Args:
        cells: Boxes about the centres of the cells, `(batch, n, 4)`.
        targets: The true things.
        stride: Height and width of a cell, in pixels.
        reach: Largest distance of the centres along each axis, in cells. For a small thing it is
            half of its side, but at least half a cell.

    Returns:
        The index of the thing, `(batch, n)`; and whether there is one, `(batch, n)`, bool.
    """
    shifts, sizes = shifts_and_sizes(cells, targets)
    limits = ops.clip(sizes / 2, stride / 2, reach * stride)
    near = ops.all(ops.abs(shifts) <= limits, axis=-1)
    if reach <= 0.5:  # a centre on the border of two cells is in one of them
        near = ops.logical_and(near, ops.all(shifts < limits, axis=-1))
    to_learn = ops.logical_and(targets.exists, ops.logical_not(targets.crowd))
    near = ops.logical_and(near, ops.expand_dims(to_learn, 1))
    distances = ops.where(near, ops.sum(shifts**2, axis=-1), float("inf"))
    return ops.argmin(distances, axis=-1), ops.any(near, axis=-1)


def in_crowds(cells: Any, targets: task.Targets, stride: float) -> Any:
    """Whether the centre of a cell is in a crowd, or next to the centre of one: `(batch, n)`, bool.

    A cell is next to a centre if it were to stand for a thing that is as small.
    """
    shifts, sizes = shifts_and_sizes(cells, targets)
    inside = ops.all(ops.abs(shifts) <= ops.maximum(sizes / 2, stride / 2), axis=-1)
    return ops.any(ops.logical_and(inside, ops.expand_dims(targets.crowd, 1)), axis=-1)


def shifts_and_sizes(cells: Any, targets: task.Targets) -> tuple[Any, Any]:
    """From the centres of cells to those of things, `(batch, n, things, 2)`; the things' sizes."""
    (middles, _), (centres, sizes) = to_centres(cells), to_centres(targets.boxes)
    return ops.expand_dims(centres, 1) - ops.expand_dims(middles, 2), ops.expand_dims(sizes, 1)


# The first version: its grid of 7 x 7 cells becomes one of 8 x 8 for a picture of 128 pixels.
FIRST = {"first_version": True, "stride": 16, "learning_rate": 1e-3}
ANCHORED = {"anchors": (0.13, 0.19, 0.28, 0.36), "ratios": (0.75, 0.45)}

app = App(
    name="yolo",
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
    search={"learning_rate": "0.0003..0.01", "filters": "8..32", "stride": "8,16"},
    recipes={"first": FIRST, "anchored": ANCHORED, "blood": task.BLOOD},
    objective="val_ap",
    objective_mode="max",
    keep_best=True,
    data_layouts=task.DATA_LAYOUTS,
    tiny=task.TINY,
)

if __name__ == "__main__":
    main(app)
