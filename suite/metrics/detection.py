"""Average precision of boxes, as COCO counts it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.data.boxes.annotations import Truths

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of overlap
RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is taken
# Areas in pixels, both ends included. They are COCO's, whose pixels are those of its pictures.
SIZES = {
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
LIMITS = (1, 10, 100)  # boxes of a class that count in a picture, those of the highest scores


class Detections(NamedTuple):
    """What a detector answers for a picture.

    Args:
        boxes: Corners `x1 y1 x2 y2`, `(n, 4)`, in pixels.
        labels: Classes, `(n,)`, from 0.
        scores: How sure the detector is, `(n,)`, in any order.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class PrecisionRecall(NamedTuple):
    """Precision and recall of a detector; NaN where a class has no things of a size.

    Args:
        precision: For each of `RECALLS`, the highest precision at this recall or beyond,
            `(thresholds, 101, classes, sizes, limits)`.
        recall: The highest recall, `(thresholds, classes, sizes, limits)`.
    """

    precision: np.ndarray
    recall: np.ndarray


class _Matches(NamedTuple):
    """The boxes of one class that were detected in a picture, those of the highest scores first.

    Args:
        scores: The scores of the boxes, `(n,)`.
        matched: Whether a box was matched with a thing, `(sizes, thresholds, n)`.
        ignored: Whether a box counts neither as right nor as wrong, `(sizes, thresholds, n)`.
        things: Number of things to be detected, `(sizes,)`.
    """

    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    things: np.ndarray


def iou(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of boxes `(n, 4)` with others `(m, 4)`, `(n, m)`, float64.

    Args:
        boxes: Corners.
        others: Corners.
        crowd: Which of the others are crowds, `(m,)`: the intersection is divided by the area of
            the box alone.
    """
    boxes, others = (np.asarray(b, np.float64).reshape(-1, 4) for b in (boxes, others))
    first = np.maximum(boxes[:, None, :2], others[None, :, :2])
    second = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.maximum(second - first, 0), axis=-1)
    areas = _areas(boxes)[:, None]
    unions = areas + _areas(others) - common
    if crowd is not None:
        unions = np.where(np.asarray(crowd, bool), areas, unions)
    return common / np.where(common > 0, unions, 1)


def precision_recall(
    truths: Sequence[Truths], detections: Sequence[Detections], num_classes: int
) -> PrecisionRecall:
    """Precision and recall over pictures, for every class, size and limit.

    Equal to COCO's own tool: a box is matched with the thing of its class that it overlaps most,
    the boxes of the highest scores first. No other box is matched with that thing, unless it is a
    crowd. Things of another size count neither as missed nor as detected, and an unmatched box of
    another size does not count as wrong.

    Args:
        truths: The things in every picture.
        detections: The answer for every picture, in the same order.
        num_classes: Number of classes.

    Reference:
        Lin et al., 2014, Microsoft COCO: Common Objects in Context,
        https://arxiv.org/abs/1405.0312; its tool: https://github.com/cocodataset/cocoapi
        Differs from the tool: the area of a thing is that of its box.
    """
    precision = np.full(
        (len(THRESHOLDS), len(RECALLS), num_classes, len(SIZES), len(LIMITS)), np.nan
    )
    recall = np.full((len(THRESHOLDS), num_classes, len(SIZES), len(LIMITS)), np.nan)
    for label in range(num_classes):
        pictures = [
            _matches(things, answer, label)
            for things, answer in zip(truths, detections, strict=True)
        ]
        if not pictures:
            continue
        things = np.sum([picture.things for picture in pictures], axis=0)
        for index, limit in enumerate(LIMITS):
            scores = np.concatenate([picture.scores[:limit] for picture in pictures])
            order = np.argsort(-scores, kind="stable")
            matched, ignored = (
                np.concatenate([part[..., :limit] for part in parts], axis=-1)[..., order]
                for parts in (
                    [picture.matched for picture in pictures],
                    [picture.ignored for picture in pictures],
                )
            )
            right = np.cumsum(matched & ~ignored, axis=-1, dtype=np.float64)
            wrong = np.cumsum(~matched & ~ignored, axis=-1, dtype=np.float64)
            for size in np.flatnonzero(things):
                for threshold in range(len(THRESHOLDS)):
                    curve = _curve(right[size, threshold], wrong[size, threshold], things[size])
                    precision[threshold, :, label, size, index] = curve[0]
                    recall[threshold, label, size, index] = curve[1]
    return PrecisionRecall(precision, recall)


def box_scores(counted: PrecisionRecall, class_names: Sequence[str]) -> dict[str, Any]:
    """Average precision as numbers and tables, for a report.

    Args:
        counted: From `precision_recall`.
        class_names: Names of the classes, in order.

    Returns:
        `ap`, the mean over `THRESHOLDS`; `ap_50` and `ap_75`, at an overlap of 0.5 and 0.75;
        `recall_1`, `recall_10` and `recall_100`, mean highest recalls by `LIMITS`; and the tables
        `ap_by_size` (small, medium, large), `recall_by_size`, `ap_by_class` and `ap_50_by_class`.
        A value of which there are no things is None.
    """
    precision, recall = counted.precision[..., -1], counted.recall
    at_50, at_75 = (int(np.argmin(abs(THRESHOLDS - overlap))) for overlap in (0.5, 0.75))
    sizes = [(name, index) for index, name in enumerate(SIZES) if name != "all"]
    classes = list(enumerate(class_names))
    return {
        "ap": _mean(precision[..., 0]),
        "ap_50": _mean(precision[at_50, ..., 0]),
        "ap_75": _mean(precision[at_75, ..., 0]),
        **{f"recall_{limit}": _mean(recall[..., 0, index]) for index, limit in enumerate(LIMITS)},
        "ap_by_size": {name: _mean(precision[..., index]) for name, index in sizes},
        "recall_by_size": {name: _mean(recall[..., index, -1]) for name, index in sizes},
        "ap_by_class": {name: _mean(precision[:, :, label, 0]) for label, name in classes},
        "ap_50_by_class": {name: _mean(precision[at_50, :, label, 0]) for label, name in classes},
    }


def _matches(truths: Truths, detections: Detections, label: int) -> _Matches:
    """Matches the boxes of one class in a picture with its things."""
    is_label = np.asarray(truths.labels) == label
    things = np.asarray(truths.boxes, np.float64).reshape(-1, 4)[is_label]
    crowd = np.asarray(truths.crowd, bool)[is_label]
    rows = np.flatnonzero(np.asarray(detections.labels) == label)
    scores = np.asarray(detections.scores, np.float64)[rows]
    order = np.argsort(-scores, kind="stable")[: LIMITS[-1]]
    boxes = np.asarray(detections.boxes, np.float64).reshape(-1, 4)[rows[order]]
    shared = iou(boxes, things, crowd)
    ignored_things = crowd | _of_other_size(things)  # (sizes, things)
    shape = (len(SIZES), len(THRESHOLDS))
    used = np.zeros((*shape, len(things)), bool)
    matched, ignored = np.zeros((*shape, len(boxes)), bool), np.zeros((*shape, len(boxes)), bool)
    at_size, at_threshold = np.ogrid[: shape[0], : shape[1]]
    for box in np.flatnonzero(shared.max(axis=1, initial=0) >= THRESHOLDS[0]):
        reached = shared[box] >= THRESHOLDS[:, None]
        free = reached & (~used | crowd)
        preferred = free & ~ignored_things[:, None]
        candidates = np.where(preferred.any(axis=-1, keepdims=True), preferred, free)
        # Of equal ones the last, as in COCO's tool.
        from_last = np.argmax(np.where(candidates, shared[box], -1.0)[..., ::-1], axis=-1)
        thing = len(things) - 1 - from_last
        matches = candidates.any(axis=-1)
        matched[..., box] = matches
        ignored[..., box] = matches & ignored_things[at_size, thing]
        used[at_size, at_threshold, thing] |= matches
    ignored |= ~matched & _of_other_size(boxes)[:, None]
    return _Matches(scores[order], matched, ignored, np.sum(~ignored_things, axis=-1))


def _curve(right: np.ndarray, wrong: np.ndarray, things: int) -> tuple[np.ndarray, float]:
    """Precision at each of `RECALLS`, and the highest recall.

    Args:
        right: Number of right boxes up to each, in the order of the scores, `(n,)`.
        wrong: Number of wrong boxes, likewise.
        things: Number of things.
    """
    recall = right / things
    precision = right / (right + wrong + np.spacing(1))
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    # Beyond the highest recall the precision is 0.
    places = np.searchsorted(recall, RECALLS, side="left")
    return np.append(highest, 0.0)[places], float(recall[-1]) if len(recall) else 0.0


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _of_other_size(boxes: np.ndarray) -> np.ndarray:
    """Whether boxes `(n, 4)` are not of each of the `SIZES`, `(sizes, n)`."""
    least, most = np.array(list(SIZES.values())).T[..., None]
    areas = _areas(boxes)
    return (areas < least) | (areas > most)


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
