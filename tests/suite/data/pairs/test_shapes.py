import numpy as np

from suite.data.pairs.shapes import CLASS_NAMES, SURFACE_COLOURS, draw_shapes


def test_pictures_are_a_function_of_the_seed():
    first, again, other = (draw_shapes(5, 32, seed) for seed in (0, 0, 1))

    np.testing.assert_array_equal(first.pictures, again.pictures)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert not np.array_equal(first.pictures, other.pictures)
    assert first.pictures.shape == (5, 32, 32, 3) and first.pictures.dtype == np.uint8
    assert first.masks.shape == (5, 32, 32) and first.masks.dtype == np.uint8


def test_every_class_has_a_fair_share_of_the_pixels():
    masks = draw_shapes(400, 32, seed=0).masks

    shares = np.bincount(masks.ravel(), minlength=len(CLASS_NAMES)) / masks.size
    assert shares[0] > 0.4
    assert shares[1:].min() > 0.07
    assert shares[1:].max() < 1.4 * shares[1:].min()  # none is larger by its outline


def test_colours_do_not_tell_the_class():
    pictures, masks = draw_shapes(200, 32, seed=0)

    means = np.array([pictures[masks == label].mean(axis=0) for label in range(4)])
    assert np.ptp(means, axis=0).max() < 30


def test_given_colours_tell_the_class_and_light_differs():
    pictures, masks = draw_shapes(200, 32, 0, SURFACE_COLOURS)

    for label, colour in enumerate(SURFACE_COLOURS):
        surfaces = pictures[masks == label]
        np.testing.assert_allclose(surfaces.mean(axis=0), colour, atol=5)
        assert surfaces.std(axis=0).min() > 10


def test_a_shape_differs_from_its_ground():
    pictures, masks = draw_shapes(50, 32, seed=0)

    for picture, mask in zip(pictures.astype(int), masks, strict=True):
        ground = picture[mask == 0].mean(axis=0)
        distances = np.abs(picture[mask > 0] - ground).max(axis=-1)
        assert np.mean(distances > 15) > 0.9
