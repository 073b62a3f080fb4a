"""Average precision of boxes, as COCO counts it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.data.boxes.annotations import Truths

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of overlap
RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is taken
# Areas in pixels, both ends included.
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
        precision: The highest precision at each of `RECALLS` or beyond it,
            `(thresholds, 101, classes, sizes, limits)`.
        recall: The highest recall, `(thresholds, classes, sizes, limits)`.
    """

    precision: np.ndarray
    recall: np.ndarray


def overlaps(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of boxes `(n, 4)` with others `(m, 4)`, `(n, m)`, float64.

    Args:
        boxes: Corners.
        others: Corners.
        crowd: Which of the others are crowds, `(m,)`: the intersection is divided by the area of
            the box alone.
    """
    raise NotImplementedError


def precision_recall(
    truths: Sequence[Truths], detections: Sequence[Detections], num_classes: int
) -> PrecisionRecall:
    """Precision and recall over pictures, for every class, size and limit.

    Equal to COCO's own tool: a box takes the thing of its class that it overlaps most, the boxes of
    the highest scores first; what it takes is gone for others, unless it is a crowd. Things of
    another size count neither as missed nor as found, and neither does a box of another size that
    takes nothing.

    Args:
        truths: The things in every picture.
        detections: The answer for every picture, in the same order.
        num_classes: Number of classes.

    Reference:
        Lin et al., 2014, Microsoft COCO: Common Objects in Context,
        https://arxiv.org/abs/1405.0312; https://github.com/ppwwyyxx/cocoapi
    """
    raise NotImplementedError


def box_scores(counted: PrecisionRecall, class_names: Sequence[str]) -> dict[str, Any]:
    """Average precision as numbers and tables, for a report.

    Args:
        counted: From `precision_recall`.
        class_names: Names of the classes, in order.

    Returns:
        `ap`, the mean over `THRESHOLDS`; `ap_50` and `ap_75`, at an overlap of 0.5 and 0.75;
        `recall_1`, `recall_10` and `recall_100`, mean highest recalls by `LIMITS`; and the tables
        `ap_by_size` (small, medium, large), `recall_by_size`, `ap_by_class` and `ap_50_by_class`.
        What no thing was there for is None.
    """
    raise NotImplementedError
