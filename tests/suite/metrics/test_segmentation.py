import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from suite.data.pairs.masks import VOID
from suite.metrics.segmentation import class_scores, confusion_matrix, mean_iou

NAMES = ("ground", "disc", "square", "never")
PRESENT = [0, 1, 2]


def masks():
    """True and predicted classes `(4, 6, 5)`; one class never occurs, and some pixels are void."""
    random = np.random.default_rng(0)
    true = random.integers(0, 3, (4, 6, 5)).astype(np.uint8)
    predicted = np.where(random.random(true.shape) < 0.6, true, random.integers(0, 3, true.shape))
    true[:, :2, :2] = VOID
    return true, predicted


def counted(true, predicted):
    """The pixels that are not void, as scikit-learn takes them."""
    return true[true != VOID], predicted[true != VOID]


def test_scores_equal_those_of_scikit_learn():
    true, predicted = masks()

    confusion = confusion_matrix([(true[:1], predicted[:1]), (true[1:], predicted[1:])], 4)
    scores = class_scores(confusion, NAMES)

    iou = jaccard_score(*counted(true, predicted), labels=PRESENT, average=None)
    dice = f1_score(*counted(true, predicted), labels=PRESENT, average=None)
    assert scores["iou_by_class"] == pytest.approx(dict(zip(NAMES, [*iou, None], strict=True)))
    assert scores["dice_by_class"] == pytest.approx(dict(zip(NAMES, [*dice, None], strict=True)))
    assert scores["iou"] == pytest.approx(iou.mean())
    assert scores["dice"] == pytest.approx(dice.mean())
    kept, answers = counted(true, predicted)
    assert scores["accuracy"] == pytest.approx((kept == answers).mean())
    assert scores["largest_class"] == pytest.approx(np.bincount(kept).max() / kept.size)


def test_rows_of_the_confusion_matrix_are_true_classes():
    confusion = confusion_matrix([(np.array([0, 0, 1, VOID]), np.array([1, 1, 1, 0]))], 2)

    assert confusion.tolist() == [[0, 2], [0, 1]]


def test_the_metric_of_a_training_equals_that_of_a_report():
    true, predicted = masks()
    logits = np.eye(4, dtype="float32")[predicted]
    scores = class_scores(confusion_matrix([(true, predicted)], 4), NAMES)

    metric = mean_iou(4)
    metric.update_state(true[:1], logits[:1])
    metric.update_state(true[1:], logits[1:])
    assert metric.name == "iou"
    assert float(metric.result()) == pytest.approx(scores["iou"], abs=1e-5)


def test_an_answer_of_one_class_is_warned_of(caplog):
    true, predicted = masks()

    class_scores(confusion_matrix([(true, predicted)], 4), NAMES)
    assert not caplog.records
    class_scores(confusion_matrix([(true, np.ones_like(predicted))], 4), NAMES)

    assert "All pixels are predicted as one class: disc." in caplog.text


def test_without_a_pixel_nothing_is_known():
    scores = class_scores(confusion_matrix([], 2), ("a", "b"))

    assert scores == {
        "iou": None,
        "dice": None,
        "accuracy": None,
        "largest_class": None,
        "iou_by_class": {"a": None, "b": None},
        "dice_by_class": {"a": None, "b": None},
    }
