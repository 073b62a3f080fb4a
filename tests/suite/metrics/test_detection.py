import contextlib
import io

import numpy as np
import pytest

from suite.data.boxes.annotations import Truths
from suite.metrics.detection import (
    LIMITS,
    SIZES,
    Detections,
    box_scores,
    iou,
    precision_recall,
)


def truths(boxes, labels=None, crowd=None):
    count = len(boxes)
    return Truths(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(count, np.int32) if labels is None else np.array(labels, np.int32),
        np.zeros(count, bool) if crowd is None else np.array(crowd, bool),
    )


def detections(boxes, scores, labels=None):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(len(boxes), np.int32) if labels is None else np.array(labels, np.int32),
        np.array(scores, np.float32),
    )


def scores_of(things, answers, class_names=("digit",)):
    return box_scores(precision_recall(things, answers, len(class_names)), class_names)


ONE, TWO, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)


def test_overlaps_by_hand():
    boxes, others = [ONE, (5, 0, 15, 10)], [ONE, (0, 0, 10, 5), FAR]

    np.testing.assert_allclose(iou(boxes, others), [[1, 0.5, 0], [1 / 3, 0.2, 0]])
    np.testing.assert_allclose(
        iou(boxes, others, [True, False, True]), [[1, 0.5, 0], [0.5, 0.2, 0]]
    )
    assert iou(np.zeros((0, 4)), others).shape == (0, 3)


def test_right_boxes_have_a_precision_of_one():
    scores = scores_of([truths([ONE, TWO]), truths([FAR])], [
        detections([TWO, ONE], [0.5, 0.1]),
        detections([FAR], [0.3]),
    ])  # fmt: skip

    assert [scores[name] for name in ("ap", "ap_50", "ap_75")] == pytest.approx([1, 1, 1])
    assert scores["recall_1"] == pytest.approx(2 / 3) and scores["recall_10"] == 1
    assert scores["ap_by_size"]["small"] == pytest.approx(1)
    assert scores["ap_by_size"]["medium"] is scores["ap_by_size"]["large"] is None
    assert scores["ap_by_class"] == scores["ap_50_by_class"] == pytest.approx({"digit": 1})


def test_a_wrong_box_between_two_right_ones():
    scores = scores_of([truths([ONE, TWO])], [detections([ONE, FAR, TWO], [0.9, 0.8, 0.7])])

    # Precision 1 up to a recall of 0.5, and 2/3 beyond.
    assert scores["ap_50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_missed_thing_has_no_precision():
    scores = scores_of([truths([ONE, TWO])], [detections([ONE], [0.9])])

    assert scores["ap_50"] == pytest.approx(51 / 101) and scores["recall_100"] == 0.5


def test_a_second_box_on_a_thing_is_wrong():
    twice = detections([ONE, ONE, TWO], [0.9, 0.8, 0.7])

    assert scores_of([truths([ONE, TWO])], [twice])["ap_50"] == pytest.approx(
        (51 + 50 * 2 / 3) / 101
    )


def test_overlap_decides_at_which_thresholds_a_box_is_right():
    scores = scores_of([truths([ONE])], [detections([(0, 0, 10, 6.25)], [0.9])])

    assert scores["ap"] == pytest.approx(0.3)  # at 0.5, 0.55 and 0.6
    assert scores["ap_50"] == pytest.approx(1) and scores["ap_75"] == 0


def test_what_is_in_a_crowd_is_neither_right_nor_wrong():
    crowd = truths([ONE, (40, 40, 80, 80)], crowd=[False, True])
    inside = [(42, 42, 50, 50), (60, 60, 70, 70)]

    scores = scores_of([crowd], [detections([*inside, ONE], [0.9, 0.8, 0.7])])

    assert scores["ap"] == pytest.approx(1) and scores["recall_100"] == 1


def test_things_of_other_classes_and_sizes():
    things = truths([ONE, (0, 0, 50, 50), (0, 0, 100, 100)], labels=[0, 1, 1])
    answer = detections([ONE, (0, 0, 50, 50), ONE], [0.9, 0.8, 0.95], labels=[0, 1, 1])

    scores = scores_of([things], [answer], ("cat", "dog", "cow"))

    assert scores["ap_50_by_class"]["cat"] == pytest.approx(1)
    assert scores["ap_50_by_class"]["cow"] is None
    # The dog's first box is wrong, but too small to be wrong for those of medium size.
    assert scores["ap_50_by_class"]["dog"] == pytest.approx(0.5 * 51 / 101)
    assert scores["ap_by_size"] == pytest.approx({"small": 1, "medium": 1, "large": 0})


def test_without_things_or_answers():
    nothing = detections([], [])

    assert scores_of([truths([ONE])], [nothing])["ap"] == 0
    empty = scores_of([truths([])], [detections([ONE], [0.9])])
    assert empty["ap"] is None and empty["recall_1"] is None
    assert scores_of([], [])["ap"] is None


def test_only_the_best_boxes_of_a_picture_count():
    boxes = [FAR] * 100 + [ONE]
    answer = detections(boxes, np.linspace(1, 0.5, 101))

    assert scores_of([truths([ONE])], [answer])["recall_100"] == 0
    first = detections(boxes, np.linspace(0.5, 1, 101))
    assert scores_of([truths([ONE])], [first])["recall_1"] == 1


def random_set(seed):
    """Pictures whose boxes often have equal scores, overlaps, and areas at the limits of sizes."""
    random = np.random.default_rng(seed)
    num_classes = int(random.integers(1, 4))
    sides = [6, 11, 16, 32, 40, 64, 96, 130]
    things, answers = [], []

    def boxes(count):
        corners = random.integers(0, 320, (count, 2)) / 4
        return np.concatenate([corners, corners + random.choice(sides, (count, 2))], axis=1)

    for _ in range(random.integers(1, 5)):
        true = boxes(random.integers(0, 7))
        labels = random.integers(0, num_classes, len(true))
        things.append(truths(true, labels, random.random(len(true)) < 0.2))
        rows = random.integers(0, len(true), random.integers(0, 12)) if len(true) else []
        near = true[rows] if len(true) else np.zeros((0, 4))
        # Moved by quarters of pixels, often not at all.
        moves = random.integers(-8, 9, near.shape) / 4 * (random.random((len(near), 1)) < 0.7)
        others = boxes(random.integers(0, 6))
        answered = np.concatenate([near + moves, others])
        known = np.concatenate([labels[rows] if len(true) else [], np.zeros(len(others))])
        answered_labels = np.where(
            random.random(len(answered)) < 0.8, known, random.integers(0, num_classes, len(known))
        )
        scores = random.integers(0, 6, len(answered)) / 5
        answers.append(detections(answered, scores, answered_labels))
    return things, answers, num_classes


def of_coco(things, answers, num_classes):
    """Precision and recall, and the twelve figures, of COCO's own tool."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def annotations(parts):
        entries = []
        for picture, part in enumerate(parts):
            extra = part.crowd if isinstance(part, Truths) else part.scores
            name = "iscrowd" if isinstance(part, Truths) else "score"
            for box, label, value in zip(part.boxes, part.labels, extra, strict=True):
                x1, y1, x2, y2 = box.tolist()
                entries.append(
                    {
                        "id": len(entries) + 1,
                        "image_id": picture,
                        "category_id": int(label),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                        name: value.item(),
                    }
                )
        return entries

    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for parts in (things, answers):
            side = COCO()
            side.dataset = {
                "images": [{"id": picture} for picture in range(len(things))],
                "categories": [{"id": label} for label in range(num_classes)],
                "annotations": annotations(parts),
            }
            side.createIndex()
            sides.append(side)
        judged = COCOeval(*sides, "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged.eval["precision"], judged.eval["recall"], judged.stats


def assert_as_coco(things, answers, num_classes):
    counted = precision_recall(things, answers, num_classes)
    scores = box_scores(counted, [str(label) for label in range(num_classes)])
    precision, recall, figures = of_coco(things, answers, num_classes)

    for ours, theirs in ((counted.precision, precision), (counted.recall, recall)):
        np.testing.assert_allclose(np.where(np.isnan(ours), -1, ours), theirs, atol=1e-6)
    names = ("small", "medium", "large")
    ours = [
        *(scores[name] for name in ("ap", "ap_50", "ap_75")),
        *(scores["ap_by_size"][name] for name in names),
        *(scores[f"recall_{limit}"] for limit in LIMITS),
        *(scores["recall_by_size"][name] for name in names),
    ]
    np.testing.assert_allclose(
        [-1 if value is None else value for value in ours], figures, atol=1e-6
    )


@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 1000), marks=pytest.mark.full)], ids=["40", "960"]
)
def test_equal_to_coco_on_random_sets(seeds):
    pytest.importorskip("pycocotools")

    for seed in seeds:
        assert_as_coco(*random_set(seed))


def test_equal_to_coco_beyond_the_limit_of_boxes():
    pytest.importorskip("pycocotools")
    random = np.random.default_rng(0)
    corners = random.integers(0, 400, (2, 150, 2)) / 4
    things, answers = [], []
    for part in corners:
        boxes = np.concatenate([part, part + 20], axis=1)
        things.append(truths(boxes[:30]))
        answers.append(detections(boxes, random.integers(0, 4, 150) / 4))

    assert_as_coco(things, answers, 1)


def test_the_sets_have_what_they_are_to_test():
    sets = [random_set(seed) for seed in range(40)]
    things = [part for pictures, _, _ in sets for part in pictures]
    answers = [part for _, pictures, _ in sets for part in pictures]
    areas = np.concatenate([np.prod(p.boxes[:, 2:] - p.boxes[:, :2], axis=1) for p in things])

    assert sum(part.crowd.sum() for part in things) > 30
    assert set(SIZES["small"]) & set(areas) and set(SIZES["medium"]) <= set(areas)
    assert sum(len(set(part.scores)) < len(part.scores) for part in answers) > 30
    assert any(not len(part.labels) for part in things)
