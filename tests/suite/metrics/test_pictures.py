import keras
import numpy as np
import pytest
from keras import layers

from suite.metrics.pictures import feature_distance, luma_psnr, luma_ssim, ssim


def some_pictures(count=2, height=17, width=15, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def luma(picture):
    red, green, blue = np.moveaxis(picture.astype(float), -1, 0)
    return 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255


@pytest.mark.parametrize("border", [0, 1, 3])
def test_psnr_by_hand(border):
    real, made = some_pictures(seed=0), some_pictures(seed=1)

    values = keras.ops.convert_to_numpy(luma_psnr(real, made, border))

    for value, one, other in zip(values, real, made, strict=True):
        inside = slice(border, -border or None)
        error = np.mean((luma(one) - luma(other))[inside, inside] ** 2)
        assert value == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)


def test_psnr_of_equal_pictures_is_a_number_and_of_values_beyond_the_range_that_of_its_ends():
    pictures = some_pictures()
    white = np.full_like(pictures, 255)

    assert np.isfinite(luma_psnr(pictures, pictures)).all()
    assert (np.asarray(luma_psnr(pictures, pictures)) > 100).all()
    np.testing.assert_array_equal(
        luma_psnr(white, white), luma_psnr(white, white.astype("float32") + 40)
    )


def plain_ssim(one, other):
    """Wang et al.'s formulas, window by window."""
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    window /= window.sum()
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(one.shape[0] - 10):
        for column in range(one.shape[1] - 10):
            x, y = (picture[row : row + 11, column : column + 11] for picture in (one, other))
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            variance_x = (window * (x - mean_x) ** 2).sum()
            variance_y = (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            luminance = (2 * mean_x * mean_y + first) / (mean_x**2 + mean_y**2 + first)
            structure = (2 * covariance + second) / (variance_x + variance_y + second)
            values.append(luminance * structure)
    return np.mean(values)


def test_ssim_is_the_paper_s_window_by_window():
    one = some_pictures(1, 17, 15)[0].astype(float)
    other = np.clip(one + np.random.default_rng(2).normal(0, 30, one.shape), 0, 255)

    assert ssim(one[..., 0], other[..., 0]) == pytest.approx(
        plain_ssim(one[..., 0], other[..., 0]), abs=1e-9
    )
    assert luma_ssim(one, other) == pytest.approx(plain_ssim(luma(one), luma(other)), abs=1e-9)
    assert luma_ssim(one, other, 2) == pytest.approx(
        plain_ssim(luma(one)[2:-2, 2:-2], luma(other)[2:-2, 2:-2]), abs=1e-9
    )


def test_ssim_of_equal_pictures_is_one_and_of_a_negative_below_zero():
    one = some_pictures(1)[0]

    assert luma_ssim(one, one) == pytest.approx(1)
    assert luma_ssim(one, 255 - one) < 0


def test_in_features_a_blurred_picture_is_farther_away_than_a_brighter_one():
    image = keras.Input((None, None, 3), name="image")
    edges = layers.Conv2D(8, 3, use_bias=False)(image)
    features = keras.Model(image, [edges, layers.ReLU()(edges)])
    pictures = some_pictures().astype("float32")
    blurred = np.broadcast_to(pictures.mean(axis=(1, 2), keepdims=True), pictures.shape)

    assert feature_distance(features, pictures, pictures) == 0
    brighter = feature_distance(features, pictures, 1.1 * pictures)
    assert brighter == pytest.approx(0, abs=1e-6)
    assert feature_distance(features, pictures, blurred) > 0.1
