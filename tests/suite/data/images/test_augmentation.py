import numpy as np
import tensorflow as tf

from suite.data.images.augmentation import (
    combined,
    cutout,
    lighting,
    mixup,
    random_affine,
    random_crop,
)
from suite.data.pairs.augmentation import joint_flip


def images(count=64, size=28):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1)).astype(np.uint8)


def draws(augmentation, count=64):
    return tf.random.stateless_uniform((augmentation.num_draws, count), [1, 2], -1, 1)


def test_no_distortion_leaves_the_image():
    undistorted, labels = random_affine(1e-9, 0, 0).distort((images(2), [1, 2]), tf.ones((5, 2)))

    np.testing.assert_allclose(undistorted, images(2), atol=1e-2)
    assert labels == [1, 2]
    assert random_affine(0, 0, 0) is None


def test_shift_moves_by_at_most_that_many_pixels():
    image = np.zeros((64, 28, 28, 1), np.uint8)
    image[:, 14, 14] = 255
    shift = random_affine(0, 3, 0)

    (moved,) = shift.distort((image,), draws(shift))
    moved = moved.numpy()[..., 0]
    rows = (moved.sum(2) * np.arange(28)).sum(1) / moved.sum((1, 2))

    assert np.abs(rows - 14).max() <= 3
    assert np.abs(rows - 14).max() > 2


def test_light_changes_all_pixels_of_a_picture_alike():
    picture = np.full((4, 2, 2, 1), 100, np.uint8)
    picture[:, 0, 0] = 200
    change = lighting(0.1, 0.5)

    (lit,) = change.distort((picture,), tf.constant([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, -1.0, 1.0]]))

    dark, light = lit.numpy()[:, 1, 1, 0], lit.numpy()[:, 0, 0, 0]
    np.testing.assert_allclose(dark, [100, 125.5, 113.75, 111.75])
    np.testing.assert_allclose(light, [200, 225.5, 163.75, 255])  # and no lighter than white
    assert lighting(0, 0) is None


def test_about_half_of_the_pictures_are_turned():
    flip = joint_flip()

    (turned,) = flip.distort((images(),), draws(flip))

    changed = [not np.array_equal(a, b) for a, b in zip(turned.numpy(), images(), strict=True)]
    assert 16 < sum(changed) < 48
    np.testing.assert_array_equal(
        turned[changed.index(True)], images()[changed.index(True)][:, ::-1]
    )


def test_crops_come_from_everywhere_in_the_padded_picture():
    crop = random_crop(2)
    pictures = images(500, 6)

    (cut,) = crop.distort((pictures,), draws(crop, 500))

    padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)))
    places = set()
    for whole, part in zip(padded, cut.numpy(), strict=True):
        places.update(
            (row, column)
            for row in range(5)
            for column in range(5)
            if np.array_equal(whole[row : row + 6, column : column + 6], part)
        )
    assert places == {(row, column) for row in range(5) for column in range(5)}
    assert random_crop(0) is None


def test_pieces_are_combined_in_order():
    flip, crop = joint_flip(), random_crop(3)
    both = combined(flip, None, crop)
    numbers = draws(both)

    result, labels = both.distort((images(), "labels"), numbers)

    expected = crop.distort(flip.distort((images(),), numbers[:1]), numbers[1:])[0]
    np.testing.assert_array_equal(result, expected)
    assert labels == "labels"
    assert combined(None) is None


def test_a_square_is_cut_out_and_may_reach_over_the_edge():
    cut = cutout(8)
    white = np.full((500, 28, 28, 3), 255, np.uint8)

    (blanked,) = cut.distort((white,), draws(cut, 500))

    counts = (blanked.numpy() == 0).all(-1).sum((1, 2))
    assert counts.max() == 64 and 16 <= counts.min() < 64
    assert cutout(0) is None


def test_pictures_and_labels_are_mixed_in_the_same_shares():
    mix = mixup()
    pictures = np.stack([np.full((4, 4, 1), 10 * n, np.uint8) for n in range(20)])
    labels = np.arange(20)

    mixed, targets = mix.distort((pictures, labels), draws(mix, 20))

    first, second, share = targets.numpy().T
    np.testing.assert_array_equal(first, labels)
    np.testing.assert_array_equal(second, np.roll(labels, 1))
    assert share.min() >= 0.5 and share.max() <= 1 and share.std() > 0.05
    expected = 10 * (share * first + (1 - share) * second)
    np.testing.assert_allclose(mixed.numpy()[:, 0, 0, 0], expected, rtol=1e-5)
