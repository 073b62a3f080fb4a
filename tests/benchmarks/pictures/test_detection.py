import numpy as np

from benchmarks.pictures.detection import (
    BATCH,
    CLASSES,
    MOST,
    OVERLAP,
    SMALLEST_SCORE,
    covered_shares,
    matched_by_loop,
    overlap_of,
    random_boxes,
    suppressed_by_loop,
)
from suite.layers.boxes import match, non_max_suppression


def test_overlap_is_that_of_the_area():
    assert overlap_of([0, 0, 2, 2], [1, 0, 3, 2]) == 1 / 3
    assert overlap_of([0, 0, 2, 2], [2, 0, 3, 2]) == 0


def test_the_loop_matches_as_the_graph_does():
    random = np.random.default_rng(0)
    anchors, truths = random_boxes(random, 40), random_boxes(random, 3)

    matched = match(anchors, truths)
    expected = np.where(matched.positive, matched.index, -1)

    looped = [matched_by_loop(*one) for one in zip(anchors.tolist(), truths.tolist(), strict=True)]
    assert np.shape(looped) == (BATCH, 40) and np.max(looped) > 0
    np.testing.assert_array_equal(looped, expected)


def test_the_loop_suppresses_as_the_graph_does():
    random = np.random.default_rng(0)
    boxes = random_boxes(random, 60)
    scores = random.uniform(0, 1, (BATCH, 60, CLASSES)).astype(np.float32)

    kept = non_max_suppression(
        boxes, scores, most=MOST, overlap=OVERLAP, smallest_score=SMALLEST_SCORE
    )

    for expected, count, *one in zip(kept.scores, kept.count, boxes, scores, strict=True):
        looped = suppressed_by_loop(*(part.tolist() for part in one))
        assert len(looped) == count
        np.testing.assert_allclose(looped, expected[:count], rtol=1e-6)


def test_the_share_of_a_box_that_one_drawn_above_it_covers():
    boxes = np.array([[0, 0, 4, 4], [2, 0, 4, 4], [3, 3, 5, 5], [9, 9, 10, 10]], np.float32)

    np.testing.assert_allclose(covered_shares(boxes), [0.5, 0.125, 0, 0])
    assert covered_shares(boxes[:0]).shape == (0,)
    np.testing.assert_allclose(covered_shares(boxes[:1]), [0])
