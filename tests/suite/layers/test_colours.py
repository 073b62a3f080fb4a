import keras
import numpy as np
import pytest

from suite.layers.colours import to_luma, to_rgb, to_ycbcr


def converted(convert, pixels):
    pixels = np.asarray(pixels, "float32")[None, None]
    return keras.ops.convert_to_numpy(convert(pixels))[0, 0]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81.481, 90.203, 240)),
        ((0, 0, 255), (40.966, 240, 109.786)),
    ],
)
def test_colours_of_the_recommendation(colour, expected):
    np.testing.assert_allclose(converted(to_ycbcr, [colour]), [expected], rtol=1e-5)
    np.testing.assert_allclose(converted(to_luma, [colour]), [expected[:1]], rtol=1e-5)


def test_there_and_back():
    colours = np.random.default_rng(0).uniform(-20, 280, (50, 3))

    there = converted(to_ycbcr, colours)

    np.testing.assert_allclose(converted(to_rgb, there), colours, atol=1e-3)
