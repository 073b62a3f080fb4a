import numpy as np
import pytest
import tensorflow as tf

from suite.data import Source, supervised
from suite.data.boxes.annotations import NO_LABEL, Truths, as_targets
from suite.data.boxes.augmentation import box_crop, box_flip, colour, mosaic
from suite.data.examples import Examples
from suite.data.images.augmentation import combined

SIZE, MOST = (64, 96), 3  # height and width


def batch(count=16, things=None):
    """Pictures that show their boxes: 255 inside of them, and 0 elsewhere; boxes do not overlap."""
    random = np.random.default_rng(0)
    pictures = np.zeros((count, *SIZE, 3), np.uint8)
    truths = []
    for picture in pictures:
        boxes = []
        for column in range(random.integers(0, MOST + 1) if things is None else things):
            x1, y1 = 32 * column + random.integers(0, 8), random.integers(0, 30)
            width, height = random.integers(10, 24), random.integers(10, 30)
            boxes.append((x1, y1, x1 + width, y1 + height))
            picture[y1 : y1 + height, x1 : x1 + width] = 255
        labels = random.integers(0, 5, len(boxes))
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        truths.append(Truths(boxes, labels, np.zeros(len(boxes), bool)))
    return pictures, as_targets(truths, MOST)


def draws(augmentation, count=16, seed=1):
    return tf.random.stateless_uniform((augmentation.num_draws, count), [seed, 2], -1, 1)


def masks(targets):
    """1 where the middle of a pixel is inside of a box."""
    rows, columns = (np.arange(side) + 0.5 for side in SIZE)
    inside = np.zeros((len(targets), *SIZE), bool)
    for mask, things in zip(inside, np.asarray(targets), strict=True):
        for x1, y1, x2, y2, label, _ in things:
            if label >= 0:
                across, down = (x1 <= columns) & (columns < x2), (y1 <= rows) & (rows < y2)
                mask |= down[:, None] & across
    return inside


def is_light(pictures):
    return np.asarray(pictures)[..., 0] > 127


def test_flips_are_exact():
    pictures, targets = batch()
    augmentation = box_flip(horizontal=True, vertical=True)

    flipped, changed = augmentation.distort((pictures, targets), draws(augmentation))

    np.testing.assert_array_equal(is_light(flipped), masks(changed))
    assert np.mean(is_light(flipped) != is_light(pictures)) > 0.03
    np.testing.assert_array_equal(changed[..., 4:], targets[..., 4:])
    absent = targets[..., 4] == NO_LABEL
    assert (np.asarray(changed)[absent][:, :4] == 0).all()


@pytest.mark.parametrize(
    "chosen, moved", [({}, (60, 10, 86, 30)), ({"vertical": True}, (60, 34, 86, 54))]
)
def test_a_flip_by_hand(chosen, moved):
    augmentation = box_flip(**chosen)
    targets = as_targets(
        [Truths(np.array([[10.0, 10, 36, 30]], np.float32), np.array([1]), np.array([True]))]
    )
    turned = -np.ones((augmentation.num_draws, 1), np.float32)

    _, changed = augmentation.distort((np.zeros((1, *SIZE, 3)), targets), tf.constant(turned))

    np.testing.assert_array_equal(changed[0], [[*moved, 1, 1]])


def test_boxes_stay_on_their_things_in_a_crop():
    pictures, targets = batch(64)
    augmentation = box_crop(0.3)

    cropped, changed = augmentation.distort((pictures, targets), draws(augmentation, 64))

    assert cropped.dtype == tf.float32 and changed.shape == targets.shape
    inside = masks(changed)
    # Pixels at outlines are interpolated.
    assert is_light(cropped)[inside].mean() > 0.97
    # What is shown without a box is what is left of boxes that were cut too much.
    assert inside[is_light(cropped)].mean() > 0.9
    assert np.mean(is_light(cropped) != is_light(pictures)) > 0.05


def test_a_crop_keeps_a_box_whole_and_enlarges_it():
    pictures, targets = batch(64, things=1)
    augmentation = box_crop(0.2)

    _, changed = augmentation.distort((pictures, targets), draws(augmentation, 64))

    sides, before = (
        np.asarray(rows)[:, 0, 2:4] - np.asarray(rows)[:, 0, :2] for rows in (changed, targets)
    )
    scale = sides / before
    assert (changed[:, 0, 4] >= 0).numpy().all() and (scale > 0.999).all()
    np.testing.assert_allclose(scale[:, 0], scale[:, 1], rtol=1e-3)
    assert scale.max() > 2


def test_pictures_without_boxes_are_cropped_anywhere():
    pictures, targets = batch(8, things=0)
    pictures[:] = np.arange(SIZE[1], dtype=np.uint8)[:, None]
    augmentation = box_crop(0.3)

    cropped, changed = augmentation.distort((pictures, targets), draws(augmentation, 8))

    np.testing.assert_array_equal(changed, targets)
    assert len(np.unique(cropped[:, 0, 0, 0].numpy().round())) > 4


def test_a_mosaic_is_of_four_pictures():
    pictures, targets = batch(64)
    augmentation = mosaic(1.0)

    joined, changed = augmentation.distort((pictures, targets), draws(augmentation, 64))

    assert joined.shape == pictures.shape and changed.shape == (64, 4 * MOST, 6)
    inside = masks(changed)
    assert is_light(joined)[inside].mean() > 0.95 and inside[is_light(joined)].mean() > 0.85
    counts = (np.asarray(changed)[..., 4] >= 0).sum(axis=1)
    assert counts.mean() > 2 * (targets[..., 4] >= 0).sum(axis=1).mean()
    sources = [np.asarray(changed)[:, MOST * k : MOST * (k + 1), 4].max(axis=1) for k in range(4)]
    assert all((source >= 0).any() for source in sources)


def test_a_mosaic_of_the_middle_halves_pictures():
    pictures, targets = batch(4, things=3)
    augmentation = mosaic(1.0)
    middle = tf.zeros((3, 4))  # the chance is one half, which is less than the rate

    _, changed = augmentation.distort((pictures, targets), middle)

    for number, (x, y) in enumerate([(0, 0), (48, 0), (0, 32), (48, 32)]):
        expected = np.roll(targets, -number, axis=0)[..., :4] / 2 + [x, y, x, y]
        part = np.asarray(changed)[:, MOST * number : MOST * (number + 1), :4]
        np.testing.assert_allclose(part, expected, atol=1e-4)


def test_what_is_not_joined_is_padded_only():
    pictures, targets = batch()
    augmentation = mosaic(1e-9)

    same, changed = augmentation.distort((pictures, targets), draws(augmentation))

    np.testing.assert_array_equal(same, pictures)
    np.testing.assert_array_equal(changed[:, :MOST], targets)
    assert (changed[:, MOST:, 4] == NO_LABEL).numpy().all()


def test_colours_change_and_boxes_do_not():
    pictures, targets = batch()
    pictures = np.random.default_rng(0).integers(0, 256, pictures.shape).astype(np.uint8)
    augmentation = colour(0.4)

    changed, same = augmentation.distort((pictures, targets), draws(augmentation))

    assert same is targets and changed.dtype == tf.float32
    assert changed.numpy().min() >= 0 and changed.numpy().max() <= 255
    assert np.abs(changed.numpy() - pictures).mean() > 5
    still, _ = augmentation.distort((pictures, targets), tf.zeros((3, 16)))
    np.testing.assert_allclose(still, pictures, atol=1e-3)


def test_without_a_distortion_there_is_no_augmentation():
    assert box_flip(horizontal=False) is None
    assert box_crop(1.0) is None and mosaic(0.0) is None and colour(0.0) is None


def test_a_pipeline_of_all_is_a_function_of_the_step():
    pictures, targets = batch(40)
    data = supervised(
        Source(name="arrays", train=Examples(pictures, targets)),
        batch_size=8,
        validation_split=0.2,
        seed=3,
        augment=combined(mosaic(0.5), box_crop(0.5), box_flip(), colour(0.2)),
    )

    first, again = (next(iter(data.train(5).take(1))) for _ in range(2))
    other = next(iter(data.train(6).take(1)))

    assert first[0].shape == (8, *SIZE, 3) and first[1].shape == (8, 4 * MOST, 6)
    assert data.train(0).element_spec[1].shape.as_list() == [None, 4 * MOST, 6]
    for one, another in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, another)
    assert not np.array_equal(first[0], other[0])
