"""Metrics of classes of pixels, all computed from one confusion matrix.

Pixels of the class `suite.data.pairs.masks.VOID` are not counted.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from suite.data.pairs.masks import VOID

log = logging.getLogger(__name__)


def mean_iou(num_classes: int) -> keras.metrics.Metric:
    """Keras's mean intersection over union of masks `(batch, height, width)`, named `iou`.

    The predictions are scores of the classes, `(batch, height, width, classes)`. Classes that
    neither occur nor are predicted do not count.
    """
    return keras.metrics.MeanIoU(num_classes, name="iou", ignore_class=VOID, sparse_y_pred=False)


def confusion_matrix(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int
) -> np.ndarray:
    """Counts the pixels of each class that were predicted as each class.

    Args:
        pairs: True classes, and predicted classes of the same shape, part by part.
        num_classes: Number of classes.

    Returns:
        `(classes, classes)`, int64; rows are true classes.
    """
    confusion = np.zeros(num_classes**2, np.int64)
    for true, predicted in pairs:
        valid = np.asarray(true) != VOID
        rows = np.asarray(true)[valid].astype(np.int64)
        columns = np.asarray(predicted)[valid].astype(np.int64)
        confusion += np.bincount(num_classes * rows + columns, minlength=num_classes**2)
    return confusion.reshape(num_classes, num_classes)


def class_scores(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """The scores of a confusion matrix for a report: means, and those of every class.

    Warns if all pixels were predicted as one class, since other metrics may hide that.

    Args:
        confusion: `(classes, classes)`; rows are true classes.
        class_names: Names of the classes, in order.

    Returns:
        `iou` and `dice`, means over the classes that occur or are predicted; `accuracy`, the share
        of right pixels, and `largest_class`, the share of the most frequent class, which the
        answer "always that class" would reach; `iou_by_class` and `dice_by_class`, tables by name,
        None for a class that neither occurs nor is predicted. Without any pixel all scores are
        None.
    """
    right, occurring, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    total = int(confusion.sum())
    answers = np.flatnonzero(predicted)
    if len(answers) == 1:
        log.warning("All pixels are predicted as one class: %s.", class_names[answers[0]])
    iou = _by_class(right, occurring + predicted - right, class_names)
    dice = _by_class(2 * right, occurring + predicted, class_names)
    return {
        "iou": _mean(iou.values()),
        "dice": _mean(dice.values()),
        "accuracy": float(right.sum() / total) if total else None,
        "largest_class": float(occurring.max() / total) if total else None,
        "iou_by_class": iou,
        "dice_by_class": dice,
    }


def _by_class(
    parts: np.ndarray, wholes: np.ndarray, class_names: Sequence[str]
) -> dict[str, float | None]:
    return {
        name: float(part / whole) if whole else None
        for name, part, whole in zip(class_names, parts, wholes, strict=True)
    }


def _mean(scores: Iterable[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None
