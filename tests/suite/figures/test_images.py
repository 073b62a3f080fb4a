import numpy as np
import pytest

from suite.figures import curves, images


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_image(channels, tmp_path):
    pictures = np.zeros((5, 6, 4, channels))
    pictures[4] = 255

    figure = images.image_grid(pictures)

    [axes] = figure.axes
    pixels = np.asarray(axes.images[0].get_array())
    assert pixels.shape[:2] == (2 * 6, 3 * 4)
    assert pixels.ndim == (2 if channels == 1 else 3)
    assert (pixels[6:, 4:8] == 255).all() and (pixels[:6] == 0).all()
    [path] = curves.save({"grid": figure}, tmp_path)
    assert path.stat().st_size > 100


def test_colours_are_drawn_as_they_are():
    pictures = np.zeros((1, 2, 2, 3))
    pictures[..., 1] = 199.6

    [axes] = images.image_grid(pictures).axes

    assert np.asarray(axes.images[0].get_array())[0, 0].tolist() == [0, 200, 0]


def test_many_images_stay_within_the_page():
    figure = images.image_grid(np.zeros((2500, 64, 64, 1)))

    assert max(figure.get_size_inches()) <= images.LARGEST_SIDE


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_bear_their_names(channels):
    rows = {name: np.full((3, 4, 4, channels), 9.0) for name in ("images", "reconstructions")}

    [axes] = images.image_rows(rows).axes

    assert [text.get_text() for text in axes.get_yticklabels()] == ["images", "reconstructions"]
    assert np.asarray(axes.images[0].get_array()).shape[:2] == (8, 12)


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_are_drawn_one_by_one(channels, tmp_path):
    kernel = np.random.default_rng(0).normal(size=(3, 3, channels, 10))

    figure = images.filters(kernel)

    kernels = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(kernels) == 10
    weights = kernel if channels == 3 else kernel.mean(axis=2, keepdims=True)
    expected = 0.5 + weights[..., 9] / (2 * np.abs(weights).max())
    np.testing.assert_allclose(np.squeeze(kernels[9]), np.squeeze(expected))
    [path] = curves.save({"filters": figure}, tmp_path)
    assert path.stat().st_size > 1000
