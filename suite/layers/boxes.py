"""Boxes: overlap, anchors, offsets, matching, non-maximum suppression, and features of regions.

A box is `x1 y1 x2 y2`: its left, upper, right and lower border in pixels, from the upper left
corner of the picture. A box without area is no box, but padding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# Divisors of the offsets of centres and of sizes, so that all vary about as much.
DEVIATIONS = (0.1, 0.1, 0.2, 0.2)
HUBER_DELTA = 1 / 9  # an offset up to which its loss is quadratic
LARGEST_LOG = 4.0  # an offset makes a side at most about 55 times as long
SMALLEST_SIDE = 1e-3  # pixels, so that no side has a logarithm of minus infinity


class KeptBoxes(NamedTuple):
    """The boxes that non-maximum suppression keeps, the most certain first, padded with zeros.

    Args:
        boxes: `(batch, most, 4)`.
        scores: `(batch, most)`, from 0 to 1.
        labels: Indices of classes, `(batch, most)`, int64.
        count: Number of boxes before the padding, `(batch,)`, int32.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    labels: tf.Tensor
    count: tf.Tensor


class Match(NamedTuple):
    """The true box of every candidate.

    Args:
        index: The number of the true box, `(batch, candidates)`, int32; meaningless where
            `positive` is False.
        positive: Whether a candidate stands for that box, `(batch, candidates)`, bool.
        negative: Whether it stands for the background, bool. Candidates that are neither positive
            nor negative are left out of losses.
        overlap: Intersection over union of the candidate and that box, `(batch, candidates)`.
    """

    index: Any
    positive: Any
    negative: Any
    overlap: Any


def area(boxes: Any) -> Any:
    """The area of boxes `(..., 4)` in square pixels, `(...)`; 0 where the corners are swapped."""
    x1, y1, x2, y2 = _borders(boxes)
    return ops.maximum(x2 - x1, 0) * ops.maximum(y2 - y1, 0)


def intersections(boxes: Any, others: Any) -> Any:
    """The common area of all pairs of boxes.

    Args:
        boxes: `(..., n, 4)`.
        others: `(..., m, 4)`.

    Returns:
        `(..., n, m)`.
    """
    x1, y1, x2, y2 = (ops.expand_dims(border, -1) for border in _borders(boxes))
    left, top, right, bottom = (ops.expand_dims(border, -2) for border in _borders(others))
    width = ops.minimum(x2, right) - ops.maximum(x1, left)
    height = ops.minimum(y2, bottom) - ops.maximum(y1, top)
    return ops.maximum(width, 0) * ops.maximum(height, 0)


def iou(boxes: Any, others: Any) -> Any:
    """The intersection over union of all pairs of boxes, from 0 to 1; 0 for a box without area.

    Args:
        boxes: `(..., n, 4)`.
        others: `(..., m, 4)`.

    Returns:
        `(..., n, m)`.
    """
    common = intersections(boxes, others)
    areas = ops.expand_dims(area(boxes), -1) + ops.expand_dims(area(others), -2)
    return _share(common, areas - common)


def paired_iou(boxes: Any, others: Any, generalized: bool = False) -> Any:
    """The intersection over union of boxes and others at the same places.

    Args:
        boxes: `(..., 4)`.
        others: `(..., 4)`.
        generalized: Whether the share of the smallest box around both that neither of them covers
            is subtracted. The result is then from -1 to 1, and has a gradient where boxes do not
            touch.

    Returns:
        `(...)`.

    Reference:
        Rezatofighi et al., 2019, Generalized Intersection over Union,
        https://arxiv.org/abs/1902.09630
    """
    x1, y1, x2, y2 = _borders(boxes)
    left, top, right, bottom = _borders(others)
    width = ops.minimum(x2, right) - ops.maximum(x1, left)
    height = ops.minimum(y2, bottom) - ops.maximum(y1, top)
    common = ops.maximum(width, 0) * ops.maximum(height, 0)
    union = area(boxes) + area(others) - common
    overlap = _share(common, union)
    if not generalized:
        return overlap
    around = (ops.maximum(x2, right) - ops.minimum(x1, left)) * (
        ops.maximum(y2, bottom) - ops.minimum(y1, top)
    )
    return overlap - _share(around - union, around)


def to_centres(boxes: Any) -> tuple[Any, Any]:
    """The centres of boxes `(..., 4)`, and their widths and heights, `(..., 2)`, x before y."""
    first, last = boxes[..., :2], boxes[..., 2:]
    return (first + last) / 2, last - first


def to_corners(centres: Any, sizes: Any) -> Any:
    """The boxes `(..., 4)` with these centres `(..., 2)`, and widths and heights `(..., 2)`."""
    return ops.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)


def boxes_to_offsets(boxes: Any, anchors: Any) -> Any:
    """The offsets by which anchors become boxes, of a size that a network can learn.

    Args:
        boxes: `(..., 4)`.
        anchors: `(..., 4)`, all with an area.

    Returns:
        `(..., 4)`: the shift of the centre as a share of the anchor's width and height, and the
        logarithms of the ratios of widths and of heights, all divided by `DEVIATIONS`.

    Reference:
        Girshick et al., 2014, Rich Feature Hierarchies for Accurate Object Detection,
        https://arxiv.org/abs/1311.2524
    """
    (centres, sizes), (middles, sides) = to_centres(boxes), to_centres(anchors)
    shifts = (centres - middles) / sides
    logarithms = ops.log(ops.maximum(sizes, SMALLEST_SIDE) / sides)
    offsets = ops.concatenate([shifts, logarithms], axis=-1)
    return offsets / ops.convert_to_tensor(DEVIATIONS, offsets.dtype)


def offsets_to_boxes(offsets: Any, anchors: Any) -> Any:
    """The boxes `(..., 4)` that anchors `(..., 4)` become by offsets as of `boxes_to_offsets`."""
    middles, sides = to_centres(anchors)
    shifts = offsets[..., :2] * DEVIATIONS[0]
    logarithms = ops.minimum(offsets[..., 2:] * DEVIATIONS[2], LARGEST_LOG)
    return to_corners(middles + shifts * sides, sides * ops.exp(logarithms))


def clip(boxes: Any, height: Any, width: Any) -> Any:
    """The parts of boxes `(..., 4)` that lie inside a picture of this height and width."""
    x1, y1, x2, y2 = _borders(boxes)
    borders = [
        ops.clip(x1, 0, width),
        ops.clip(y1, 0, height),
        ops.clip(x2, 0, width),
        ops.clip(y2, 0, height),
    ]
    return ops.stack(borders, axis=-1)


def anchor_shapes(
    sizes: Sequence[float], ratios: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """Widths and heights of anchors: of every size all ratios of width to height, of one area.

    Args:
        sizes: Square roots of the areas, in pixels.
        ratios: Width divided by height.
    """
    return tuple((size * ratio**0.5, size / ratio**0.5) for size in sizes for ratio in ratios)


def predict_per_anchor(
    x: keras.KerasTensor, shapes: int, values: int, kernel_size: int = 1, **options: Any
) -> keras.KerasTensor:
    """Predicts values for every box of every cell, in the order of `Anchors`.

    Args:
        x: Features, `(batch, height, width, channels)`.
        shapes: Number of boxes of a cell.
        values: Number of values of a box.
        kernel_size: Height and width of the convolution.
        options: Further arguments of the convolution.

    Returns:
        `(batch, height * width * shapes, values)`.
    """
    exact = {"dtype": keras.config.floatx()}  # whatever computes the features
    x = layers.Conv2D(shapes * values, kernel_size, padding="same", **exact, **options)(x)
    return layers.Reshape((-1, values), **exact)(x)


def offset_distances(true_offsets: Any, offsets: Any) -> Any:
    """How far the four offsets of every box `(batch, n, 4)` are from the true ones, `(batch, n)`.

    The sum of Huber's losses, whose slope is 1 but for offsets that are nearly right: boxes go on
    learning until they fit closely.
    """
    # Keras's is the mean over the four offsets.
    return 4 * keras.losses.huber(true_offsets, offsets, delta=HUBER_DELTA) / HUBER_DELTA


@keras.saving.register_keras_serializable(package="suite")
class Anchors(layers.Layer):
    """Boxes of some shapes about the centre of every cell of a feature map.

    Features `(batch, height, width, channels)` become boxes `(batch, height * width * shapes, 4)`
    in pixels of the picture, row by row, and in a cell in the order of the shapes. That is the
    order of the last axes of a convolution of `(batch, height, width, shapes * values)` that is
    reshaped to `(batch, height * width * shapes, values)`.

    Args:
        stride: Pixels of the picture from one cell to the next.
        shapes: Width and height of each box, in pixels.
    """

    def __init__(self, stride: float, shapes: Sequence[Sequence[float]], **kwargs: Any) -> None:
        super().__init__(**{"dtype": keras.config.floatx(), "trainable": False, **kwargs})
        self.stride = stride
        self.shapes = tuple((float(width), float(height)) for width, height in shapes)

    def call(self, features: Any) -> Any:
        """The boxes of the cells of features, the same for every picture."""
        batch, height, width, _ = ops.shape(features)
        dtype = self.compute_dtype
        x = (ops.cast(ops.arange(width), dtype) + 0.5) * self.stride
        y = (ops.cast(ops.arange(height), dtype) + 0.5) * self.stride
        columns, rows = ops.meshgrid(x, y)
        centres = ops.reshape(ops.stack([columns, rows], axis=-1), (1, -1, 1, 2))
        sizes = ops.reshape(ops.convert_to_tensor(self.shapes, dtype), (1, 1, -1, 2))
        boxes = to_corners(centres, sizes)
        return ops.tile(ops.reshape(boxes, (1, -1, 4)), (batch, 1, 1))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The shape of the boxes; their number is None where height or width is."""
        batch, height, width, _ = input_shape
        if height is None or width is None:
            return (batch, None, 4)
        return (batch, height * width * len(self.shapes), 4)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer."""
        return {**super().get_config(), "stride": self.stride, "shapes": self.shapes}


def match(
    candidates: Any,
    truths: Any,
    *,
    positive: float = 0.5,
    negative: float = 0.5,
    crowds: Any | None = None,
    force: bool = False,
) -> Match:
    """Finds the true box that every candidate, such as an anchor, stands for.

    Args:
        candidates: `(batch, n, 4)`, or `(n, 4)` if they are the same for all pictures.
        truths: `(batch, m, 4)`, m at least 1; those without area match nothing.
        positive: Smallest overlap with a true box of a candidate that stands for it.
        negative: Largest overlap with any true box, exclusive, of a candidate that stands for the
            background.
        crowds: Which true boxes are of crowds, `(batch, m)`, bool: no candidate stands for one of
            them, or for the background if at least the share `negative` of it lies inside. None if
            there are none.
        force: Whether the candidates that overlap a true box the most stand for it even below
            `positive`, so that no true box is left out. Where two true boxes have the same best
            candidate, it stands for the one that it overlaps more.

    Reference:
        Liu et al., 2015, SSD: Single Shot MultiBox Detector, https://arxiv.org/abs/1512.02325
        Differs from the paper: a true box that loses its best candidate to another gets no second.
    """
    # The candidates, which are many, along the last axis, where arithmetic is fast.
    overlap = iou(truths, candidates)
    if crowds is not None:
        crowds = ops.expand_dims(ops.cast(crowds, "bool"), -1)
        within = _share(intersections(truths, candidates), ops.expand_dims(area(candidates), -2))
        in_crowd = ops.any(ops.logical_and(crowds, within >= negative), axis=-2)
        overlap = ops.where(crowds, 0, overlap)
    largest = ops.max(overlap, axis=-2)
    index = ops.argmax(overlap, axis=-2)
    is_positive, is_negative = largest >= positive, largest < negative
    # With a threshold of 0, candidates that overlap nothing are not positive.
    is_positive = ops.logical_and(is_positive, largest > 0)
    if crowds is not None:
        is_negative = ops.logical_and(is_negative, ops.logical_not(in_crowd))
    if force:
        best = ops.max(overlap, axis=-1, keepdims=True)
        of_best = ops.where(overlap >= best, overlap, 0)
        forced = ops.any(of_best > 0, axis=-2)
        index = ops.where(forced, ops.argmax(of_best, axis=-2), index)
        largest = ops.where(forced, ops.max(of_best, axis=-2), largest)
        is_positive = ops.logical_or(is_positive, forced)
        is_negative = ops.logical_and(is_negative, ops.logical_not(forced))
    return Match(ops.cast(index, "int32"), is_positive, is_negative, largest)


def gather_rows(values: Any, index: Any) -> Any:
    """The rows with the numbers `index` `(batch, n)` of `(batch, m, ...)`, for every picture."""
    for _ in values.shape[2:]:
        index = ops.expand_dims(index, -1)
    return ops.take_along_axis(values, index, axis=1)


def non_max_suppression_mask(boxes: Any, threshold: float) -> Any:
    """Which boxes greedy non-maximum suppression keeps, of boxes sorted from the most certain on.

    A box is kept unless one before it that is kept overlaps it more than the threshold. All boxes
    are decided at once, again and again from the last decision, until nothing changes; after as
    many steps as the longest chain of boxes that suppress one another, that is the result of the
    loop over all boxes.

    Args:
        boxes: `(batch, n, 4)`.
        threshold: Largest intersection over union of two boxes that are both kept.

    Returns:
        `(batch, n)`, bool.
    """
    count = boxes.shape[1]
    before = ops.convert_to_tensor(np.triu(np.ones((count, count), bool), 1))
    suppresses = ops.cast(ops.logical_and(iou(boxes, boxes) > threshold, before), "float32")
    everything = ops.cast(ops.ones_like(boxes[..., 0]), "float32")

    def decide(kept: Any) -> Any:
        suppressed = ops.squeeze(ops.matmul(ops.expand_dims(kept, 1), suppresses), 1)
        return ops.cast(suppressed == 0, "float32")

    kept, _ = ops.while_loop(
        lambda kept, last: ops.any(kept != last),
        lambda kept, last: (decide(kept), kept),
        (decide(everything), everything),
        maximum_iterations=count,
    )
    return kept > 0


@keras.saving.register_keras_serializable(package="suite")
class Proposals(layers.Layer):
    """Chooses the regions that a head classifies: always the same number, with little overlap.

    The most certain anchors are moved by their offsets. Those that overlap a more certain one too
    much come last, and are taken only to fill the number. No gradient flows through the choice.

    Args:
        count: Number of proposals of a picture.
        candidates: Number of the most certain anchors from which they are chosen.
        overlap: Largest intersection over union of two proposals, unless there are too few.
        size: Height and width of the picture, at whose borders proposals are cut.

    Reference:
        Ren, He, Girshick and Sun, 2015, Faster R-CNN: Towards Real-Time Object Detection with
        Region Proposal Networks, https://arxiv.org/abs/1506.01497
        Differs from the paper: the number is fixed, so that all shapes are.
    """

    def __init__(
        self, count: int, candidates: int, overlap: float, size: Sequence[int], **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": keras.config.floatx(), "trainable": False, **kwargs})
        self.count, self.candidates, self.overlap = count, candidates, overlap
        self.size = tuple(size)

    def call(self, objectness: Any, offsets: Any, anchors: Any) -> Any:
        """The proposals `(batch, count, 4)`, the most certain first.

        Args:
            objectness: Logits of the probability that an anchor holds a thing, `(batch, n)`.
            offsets: As of `boxes_to_offsets`, `(batch, n, 4)`.
            anchors: `(batch, n, 4)`.
        """
        _, best = ops.top_k(ops.stop_gradient(objectness), self.candidates)
        boxes = offsets_to_boxes(
            gather_rows(ops.stop_gradient(offsets), best), gather_rows(anchors, best)
        )
        boxes = clip(boxes, *self.size)
        places = ops.arange(self.candidates)
        places = ops.where(
            non_max_suppression_mask(boxes, self.overlap), places, places + self.candidates
        )
        _, first = ops.top_k(-places, self.count)
        return gather_rows(boxes, first)

    def compute_output_shape(
        self,
        objectness_shape: Sequence[int | None],
        offsets_shape: Sequence[int | None],
        anchors_shape: Sequence[int | None],
    ) -> tuple[int | None, ...]:
        """The shape of the proposals."""
        return (objectness_shape[0], self.count, 4)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer."""
        return {
            **super().get_config(),
            "count": self.count,
            "candidates": self.candidates,
            "overlap": self.overlap,
            "size": list(self.size),
        }


def non_max_suppression(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    most: int,
    overlap: float,
    smallest_score: float,
) -> KeptBoxes:
    """Non-maximum suppression: leaves out boxes that overlap more certain ones of their class.

    Args:
        boxes: `(batch, n, 4)`; or `(batch, n, classes, 4)`, another one for every class.
        scores: `(batch, n, classes)`, from 0 to 1.
        most: Largest number of boxes of a picture that are kept, of all classes together.
        overlap: Largest intersection over union of two boxes of one class that are both kept.
        smallest_score: Boxes of a smaller score are left out.
    """
    boxes = tf.cast(boxes, tf.float32)
    kept = tf.image.combined_non_max_suppression(
        boxes[:, :, None] if boxes.shape.rank == 3 else boxes,
        tf.cast(scores, tf.float32),
        max_output_size_per_class=most,
        max_total_size=most,
        iou_threshold=overlap,
        score_threshold=smallest_score,
        clip_boxes=False,
    )
    return KeptBoxes(
        tf.ensure_shape(kept.nmsed_boxes, (None, most, 4)),
        tf.ensure_shape(kept.nmsed_scores, (None, most)),
        tf.cast(tf.ensure_shape(kept.nmsed_classes, (None, most)), tf.int64),
        tf.ensure_shape(kept.valid_detections, (None,)),
    )


def region_features(
    features: Any, boxes: Any, stride: float, side: int = 7, samples: int = 2
) -> Any:
    """Features of regions, brought to one size by bilinear interpolation.

    A region has `side` x `side` cells, and each the mean of `samples` x `samples` interpolated
    points. Height and width are interpolated one after the other, by two products of matrices: so
    is the gradient.

    Args:
        features: `(batch, height, width, channels)`.
        boxes: The regions, `(batch, n, 4)`, in pixels of the picture.
        stride: Pixels of the picture from one cell of the features to the next.
        side: Height and width of the result.
        samples: Points along each side of a cell.

    Returns:
        `(batch, n, side, side, channels)`.

    Reference:
        He, Gkioxari, Dollár and Girshick, 2017, Mask R-CNN (RoIAlign),
        https://arxiv.org/abs/1703.06870
    """
    height, width = features.shape[1:3]
    x1, y1, x2, y2 = _borders(boxes / stride)
    rows = ops.cast(_weights(y1, y2, height, side, samples), features.dtype)
    columns = ops.cast(_weights(x1, x2, width, side, samples), features.dtype)
    of_rows = ops.einsum("bnyh,bhwc->bnywc", rows, features)
    return ops.einsum("bnxw,bnywc->bnyxc", columns, of_rows)


@keras.saving.register_keras_serializable(package="suite")
class RegionFeatures(layers.Layer):
    """Brings the features of boxes to one size, see `region_features`.

    The boxes keep their precision, whatever that of the features is.

    Args:
        stride: Pixels of the picture from one cell of the features to the next.
        side: Height and width of the result.
    """

    def __init__(self, stride: float, side: int, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        self.stride, self.side = stride, side

    def call(self, features: Any, boxes: Any) -> Any:
        """The features of every box, `(batch, n, side, side, channels)`.

        Args:
            features: `(batch, height, width, channels)`.
            boxes: `(batch, n, 4)`, in pixels of the picture.
        """
        return region_features(features, boxes, self.stride, self.side)

    def compute_output_shape(
        self, features_shape: Sequence[int | None], boxes_shape: Sequence[int | None]
    ) -> tuple[int | None, ...]:
        """The shape of the features."""
        return (*boxes_shape[:2], self.side, self.side, features_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer."""
        return {**super().get_config(), "stride": self.stride, "side": self.side}


def _weights(start: Any, end: Any, length: int, side: int, samples: int) -> Any:
    """The weight of every cell of a line in the cells of regions along it.

    Args:
        start: Where the regions begin, `(batch, n)`, in cells.
        end: Where they end.
        length: Number of cells of the line.
        side: Number of cells of a region.
        samples: Points in each of them.

    Returns:
        `(batch, n, side, length)`.
    """
    points = (np.arange(side * samples) + 0.5) / (side * samples)
    points = ops.convert_to_tensor(points, start.dtype)
    start, end = ops.expand_dims(start, -1), ops.expand_dims(end, -1)
    # Values belong to the centres of cells, half a cell from their borders; outermost ones go on.
    places = ops.clip(start + (end - start) * points - 0.5, 0, length - 1)
    cells = ops.convert_to_tensor(np.arange(length), start.dtype)
    near = ops.maximum(1 - ops.abs(ops.expand_dims(places, -1) - cells), 0)
    count = near.shape[1]
    shape = (-1, count if count is not None else ops.shape(near)[1], side, samples, length)
    return ops.mean(ops.reshape(near, shape), axis=-2)


def _borders(boxes: Any) -> tuple[Any, Any, Any, Any]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _share(part: Any, whole: Any) -> Any:
    """A part of a whole, without a division by 0: 0 of 0 is 0, and so is its gradient."""
    return part / ops.where(whole > 0, whole, 1)
