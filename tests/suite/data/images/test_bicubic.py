import numpy as np
import pytest

from suite.data.images.bicubic import (
    cubic,
    phase_weights,
    resize,
    resize_matrix,
    shrink,
    to_bytes,
)


def kernel(x):
    """Keys's kernel as it stands in his paper, for one number."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def resized_row(row, new_length):
    """Resizes a row pixel by pixel, with numbers from 1 on, as `imresize` has them."""
    length, result = len(row), []
    scale = new_length / length
    for x in range(1, new_length + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        narrow = min(scale, 1.0)
        total = weight_of_all = 0.0
        for index in range(int(u - 2 / narrow) - 2, int(u + 2 / narrow) + 3):
            weight = narrow * kernel(narrow * (u - index))
            place = index
            while not 1 <= place <= length:
                place = 1 - place if place < 1 else 2 * length + 1 - place
            total += weight * row[place - 1]
            weight_of_all += weight
        result.append(total / weight_of_all)
    return result


@pytest.mark.parametrize("new_length", [1, 4, 5, 11, 24, 36, 47])
def test_a_row_is_resized_as_pixel_by_pixel(new_length):
    row = np.random.default_rng(0).uniform(0, 255, 12)

    np.testing.assert_allclose(
        resize_matrix(12, new_length) @ row, resized_row(row, new_length), atol=1e-9
    )


def test_published_weights():
    """Half the size: (-3, -9, 29, 111, 111, 29, -9, -3) / 256, as is well known of a = -1/2."""
    matrix = resize_matrix(20, 10)

    expected = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    np.testing.assert_allclose(matrix[5, 7:15], expected, atol=1e-12)
    assert np.count_nonzero(np.abs(matrix[5]) > 1e-12) == 8


def test_twice_the_size_has_weights_of_quarters():
    """At a distance of a quarter the kernel is (-9, 111, 29, -3) / 128."""
    weights = phase_weights(2)

    np.testing.assert_allclose(weights[0], np.array([-3, 29, 111, -9, 0]) / 128, atol=1e-12)
    np.testing.assert_allclose(weights[1], np.array([0, -9, 111, 29, -3]) / 128, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_phases_are_the_rows_of_the_matrix_inside_a_picture(scale):
    matrix = resize_matrix(9, 9 * scale)

    np.testing.assert_allclose(matrix[4 * scale : 5 * scale, 2:7], phase_weights(scale), atol=1e-12)
    np.testing.assert_allclose(phase_weights(scale).sum(axis=1), 1)


def test_the_edge_is_mirrored_with_its_last_pixel():
    matrix = resize_matrix(4, 8)

    # The first new pixel lies at -1/4: old pixels -2, -1, 0 and 1, of which two are mirrored.
    np.testing.assert_allclose(matrix[0], np.array([29 + 111, -3 - 9, 0, 0]) / 128, atol=1e-12)


def test_pictures_are_resized_along_both_axes_and_an_even_surface_stays():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8)

    resized = resize(pictures, 4, 21)

    down, across = resize_matrix(9, 4), resize_matrix(7, 21)
    expected = np.array(
        [[down @ picture[..., n] @ across.T for n in range(3)] for picture in pictures]
    )
    np.testing.assert_allclose(resized, expected.transpose(0, 2, 3, 1), atol=1e-9)
    np.testing.assert_allclose(resize(np.full((9, 7, 1), 77), 5, 30), 77)


def test_the_same_size_changes_nothing():
    picture = np.random.default_rng(0).uniform(0, 255, (6, 5, 3))

    np.testing.assert_allclose(resize(picture, 6, 5), picture, atol=1e-9)


def test_shrinking_cuts_off_what_does_not_divide():
    picture = np.random.default_rng(0).integers(0, 256, (14, 11, 3), np.uint8)

    small, original = shrink(picture, 3)

    assert small.shape == (4, 3, 3) and small.dtype == np.uint8
    np.testing.assert_array_equal(original, picture[:12, :9])
    np.testing.assert_array_equal(small, to_bytes(resize(original, 4, 3)))


def test_turning_and_shrinking_can_change_places():
    """So that a patch and its low-resolution copy can be turned and mirrored together."""
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)

    for turn in (np.flipud, np.fliplr, lambda x: x.transpose(1, 0, 2)):
        np.testing.assert_allclose(
            resize(turn(picture), 4, 4), turn(resize(picture, 4, 4)), atol=1e-9
        )


def test_values_beyond_the_range_become_its_ends():
    assert to_bytes(np.array([-3.2, 0.4, 0.6, 254.7, 300.0])).tolist() == [0, 0, 1, 255, 255]


def test_the_kernel_passes_through_the_pixels():
    assert cubic(np.array([0.0, 1.0, -1.0, 2.0, -2.0, 3.0])).tolist() == [1, 0, 0, 0, 0, 0]
