"""Metrics of classes of pixels, all computed from one confusion matrix.

Pixels of the class `suite.data.images.masks.VOID` count for nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np


def mean_iou(num_classes: int) -> keras.metrics.Metric:
    """Keras's mean intersection over union of masks `(batch, height, width)`, named `iou`.

    The predictions are scores of the classes, `(batch, height, width, classes)`. Classes that
    neither occur nor are predicted do not count.
    """
    raise NotImplementedError


def mean_dice(num_classes: int) -> keras.metrics.Metric:
    """The mean Dice coefficient, named `dice`, of the masks and scores that `mean_iou` takes."""
    raise NotImplementedError


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
    raise NotImplementedError


def class_scores(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Mean and single scores of a confusion matrix, for a report.

    Args:
        confusion: `(classes, classes)`; rows are true classes.
        class_names: Names of the classes, in order.

    Returns:
        `iou` and `dice`, means over the classes that occur or are predicted; `accuracy`, the share
        of right pixels, and `largest_class`, the share of the most frequent class, which the
        answer "always that class" would reach; `iou_by_class` and `dice_by_class`, tables by name,
        None for a class that neither occurs nor is predicted. All are None without any pixel.
    """
    raise NotImplementedError
