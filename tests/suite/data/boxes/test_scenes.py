import numpy as np
import pytest

from suite.data.boxes.scenes import draw_scenes
from suite.data.images.digits import embedded_digits
from suite.data.pairs.shapes import surface
from suite.metrics.detection import iou

BLOCKS = np.full((3, 20, 14), 255, np.uint8)  # "digits" that fill their box
LABELS = np.array([7, 2, 5])


def test_scenes_are_a_function_of_the_seed_and_fewer_are_the_first_of_more():
    images, labels = embedded_digits().train

    some, more = (draw_scenes(images[..., 0], labels, range(count), seed=3) for count in (3, 6))
    other = draw_scenes(images[..., 0], labels, range(3), seed=4)

    np.testing.assert_array_equal(some.pictures, more.pictures[:3])
    for one, another in zip(some.truths, more.truths, strict=False):
        np.testing.assert_array_equal(one.boxes, another.boxes)
        np.testing.assert_array_equal(one.labels, another.labels)
    assert not np.array_equal(some.pictures, other.pictures)
    assert some.pictures.shape == (3, 128, 128, 3) and some.pictures.dtype == np.uint8


@pytest.mark.parametrize("size, most", [(32, 1), (64, 4), (128, 8)])
def test_boxes_enclose_what_was_drawn(size, most):
    scenes = draw_scenes(BLOCKS, LABELS, range(12), size=size, most=most, seed=5)

    for number, (picture, truths) in enumerate(zip(*scenes, strict=True)):
        random = np.random.default_rng((5, number))
        ground = surface(random, size, random.integers(0, 256, 3))
        is_ink = (picture != ground).any(axis=-1)
        inside = np.zeros((size, size), bool)
        for left, top, right, bottom in truths.boxes.astype(int):
            inside[top:bottom, left:right] = True
        np.testing.assert_array_equal(is_ink, inside)
        assert 1 <= len(truths.labels) <= most and set(truths.labels) <= set(LABELS)
        assert not truths.crowd.any()
    counts = {len(truths.labels) for truths in scenes.truths}
    assert len(counts) > 1 or most == 1


@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_boxes_have_no_more_in_common_than_allowed(overlap):
    scenes = draw_scenes(BLOCKS, LABELS, range(20), overlap=overlap, seed=1)

    largest = 0.0
    for truths in scenes.truths:
        boxes = truths.boxes
        for number, box in enumerate(boxes):
            # Of a crowd, the intersection is divided by the area of the box alone.
            others = np.delete(boxes, number, axis=0)
            shares = iou(box[None], others, np.ones(len(others), bool))
            smaller = np.prod(others[:, 2:] - others[:, :2], axis=1) >= np.prod(box[2:] - box[:2])
            largest = max(largest, shares[:, smaller].max(initial=0))
    assert largest <= overlap + 1e-6 and (overlap == 0 or largest > 0.05)
