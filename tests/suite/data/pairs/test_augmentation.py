import itertools

import numpy as np
import pytest
import tensorflow as tf

from suite.data import Source, supervised
from suite.data.examples import Examples
from suite.data.images.augmentation import combined
from suite.data.pairs.augmentation import (
    joint_affine,
    joint_crop,
    joint_elastic,
    joint_flip,
    mirrored,
)
from suite.data.pairs.shapes import draw_shapes

ALL = {
    "flip": joint_flip(vertical=True, diagonal=True),
    "affine": joint_affine(rotation=30, scale=0.2, shift=4),
    "elastic": joint_elastic(4),
}


def pairs(count=16, size=64):
    """Pictures that show their masks: 200 where the mask is 1, and 0 elsewhere."""
    masks = (draw_shapes(count, size, seed=0).masks > 0).astype(np.uint8)
    return (200 * masks[..., None]).astype(np.uint8), masks


def draws(augmentation, count=16):
    return tf.random.stateless_uniform((augmentation.num_draws, count), [1, 2], -1, 1)


@pytest.mark.parametrize("augmentation", ALL.values(), ids=ALL)
def test_a_mask_stays_on_its_picture(augmentation):
    before, masks = pairs()

    pictures, changed = augmentation.distort((before, masks), draws(augmentation))

    assert changed.dtype == tf.uint8 and set(np.unique(changed)) == {0, 1}
    assert np.mean(changed.numpy() != masks) > 0.03
    # Interpolation and the nearest pixel may differ at outlines only.
    assert np.mean((pictures.numpy()[..., 0] > 100) == changed.numpy()) > 0.97


@pytest.mark.parametrize("augmentation", ALL.values(), ids=ALL)
def test_equal_draws_distort_equally_and_nested_arrays_too(augmentation):
    pictures, masks = pairs()
    weights = masks.astype(np.float32)
    batch = ({"image": pictures}, {"mask": masks, "weight": weights, "row": np.arange(16)})

    inputs, targets = augmentation.distort(batch, draws(augmentation))
    alone, changed = augmentation.distort((pictures, masks), draws(augmentation))

    np.testing.assert_array_equal(inputs["image"], alone)
    np.testing.assert_array_equal(targets["mask"], changed)
    np.testing.assert_array_equal(targets["weight"], changed)
    np.testing.assert_array_equal(targets["row"], np.arange(16))


def test_nothing_to_do_is_no_augmentation():
    assert joint_flip(horizontal=False) is None
    assert joint_affine() is None
    assert joint_elastic(0) is None


@pytest.mark.parametrize("name", ["affine", "elastic"])
def test_draws_of_0_change_nothing(name):
    pictures, masks = pairs(2)

    same, unchanged = ALL[name].distort((pictures, masks), tf.zeros((ALL[name].num_draws, 2)))

    np.testing.assert_allclose(same, pictures, atol=1e-2)
    np.testing.assert_array_equal(unchanged, masks)


def test_flips_mirror_along_the_chosen_axes():
    pictures, masks = pairs(4)
    flip = joint_flip(vertical=True)

    turned, _ = flip.distort((pictures, masks), tf.constant([[1, -1, 1, -1], [1, 1, -1, -1.0]]))

    np.testing.assert_array_equal(turned[0], pictures[0])
    np.testing.assert_array_equal(turned[1], pictures[1][:, ::-1])
    np.testing.assert_array_equal(turned[2], pictures[2][::-1])
    np.testing.assert_array_equal(turned[3], pictures[3][::-1, ::-1])


def test_flips_along_all_axes_are_all_turns_of_a_square():
    pictures, _ = pairs(1)
    flip = joint_flip(vertical=True, diagonal=True)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=3)), np.float32).T

    [flipped] = flip.distort((np.repeat(pictures, 8, 0),), signs)

    both = (pictures[0], pictures[0].transpose(1, 0, 2))
    turns = {np.rot90(picture, turn).tobytes() for picture in both for turn in range(4)}
    assert len(turns) == 8 and {picture.numpy().tobytes() for picture in flipped} == turns


def test_what_is_not_square_has_no_diagonal():
    flip = joint_flip(diagonal=True)

    with pytest.raises(ValueError, match=r"must be square. Received: 8 x 6"):
        flip.distort((np.zeros((1, 8, 6, 1), np.uint8),), draws(flip, 1))


def test_what_lies_outside_is_mirrored():
    pictures, masks = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8), np.uint8)
    masks[:, :, 0] = 1
    shift = joint_affine(shift=2)

    # By the last two draws the picture moves two pixels to the right.
    _, moved = shift.distort((pictures, masks), tf.constant([[0.0], [0.0], [-1.0], [0.0]]))

    assert moved[0, 0].numpy().tolist() == [0, 1, 1, 0, 0, 0, 0, 0]


def test_crops_come_from_everywhere_and_belong_together():
    places = np.broadcast_to(np.arange(36).reshape(6, 6), (500, 6, 6)).astype(np.uint8)
    crop = joint_crop(3, 4)

    pictures, masks = crop.distort((places[..., None], places), draws(crop, 500))

    assert pictures.shape == (500, 3, 4, 1)
    np.testing.assert_array_equal(pictures[..., 0], masks)
    corners = masks[:, 0, 0].numpy()
    assert set(corners) == {6 * row + column for row in range(4) for column in range(3)}
    inside = corners[0] + 6 * np.arange(3)[:, None] + np.arange(4)
    np.testing.assert_array_equal(masks[0], inside)


def test_crops_larger_than_the_picture_are_refused():
    with pytest.raises(ValueError, match="at least 8 x 65"):
        joint_crop(8, 65).distort(pairs(), tf.zeros((2, 16)))


def test_the_largest_draws_bend_by_a_finite_distance():
    pictures, masks = pairs(2)

    for draw in (-1.0, 1.0):
        bent, _ = joint_elastic(3).distort((pictures, masks), tf.fill((18, 2), draw))
        assert np.isfinite(bent).all()


def test_bends_have_the_deviation_that_was_asked_for():
    # A picture whose values are the numbers of their columns tells how far each was moved.
    columns = np.broadcast_to(np.arange(101.0, dtype=np.float32), (400, 101, 101))[..., None]
    elastic = joint_elastic(2, points=3)

    (bent,) = elastic.distort((columns,), draws(elastic, 400))

    # At the centre, where the middle point of the grid decides.
    assert np.std(bent[:, 50, 50, 0].numpy() - 50) == pytest.approx(2, rel=0.15)


def test_a_grid_of_one_point_is_refused():
    with pytest.raises(ValueError, match="at least 2 points"):
        joint_elastic(2, points=1)


def test_places_are_mirrored_as_often_as_it_takes():
    places = mirrored(tf.range(-5, 9), 3).numpy().tolist()

    assert places == [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1, 2]


def test_a_pipeline_of_all_is_a_function_of_the_step():
    shapes = draw_shapes(40, 32, seed=0)
    data = supervised(
        Source(name="arrays", train=Examples(*shapes)),
        batch_size=8,
        validation_split=0.2,
        seed=3,
        augment=combined(*ALL.values(), joint_crop(24, 24)),
    )

    first, again = (next(iter(data.train(5).take(1))) for _ in range(2))
    (other, _) = next(iter(data.train(6).take(1)))

    assert first[0].shape == (8, 24, 24, 3) and first[1].shape == (8, 24, 24)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other)
