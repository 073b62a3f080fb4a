import keras
import numpy as np
import pytest

from apps.alexnet import app, build_model, normalize_response
from suite import InputError

SMALL = {"filters": (4, 8, 8, 8, 8), "units": (8,)}


@pytest.mark.parametrize("size", [224, 227])
def test_it_has_the_paper_s_number_of_weights(size):
    architecture = app.recipe("paper").architecture
    with keras.StatelessScope(initialize_variables=False):  # the weights take no memory
        model = build_model((size, size, 3), 1000, **architecture)

    assert model.count_params() == 60_965_224


def test_towers_see_half_of_the_maps():
    kernels = [
        {weight.shape for weight in build_model(towers=towers, **SMALL).weights if weight.ndim == 4}
        for towers in (1, 2)
    ]

    assert (5, 5, 4, 8) in kernels[0] and (5, 5, 2, 4) in kernels[1]


def test_response_is_normalised_over_five_channels():
    x = np.random.default_rng(0).normal(0, 100, (2, 3, 3, 7)).astype("float32")
    image = keras.Input(x.shape[1:])
    model = keras.Model(image, normalize_response(image))

    expected = [
        x[..., n] / (2 + 1e-4 * (x[..., max(0, n - 2) : n + 3] ** 2).sum(axis=-1)) ** 0.75
        for n in range(7)
    ]

    np.testing.assert_allclose(model(x), np.stack(expected, axis=-1), rtol=1e-4)


def test_images_of_any_size_go_in_with_pooling():
    model = build_model((None, None, 3), pooling="max", **SMALL)

    for size in (16, 23):
        assert model(np.zeros((1, size, size, 3))).shape == (1, 10)


def test_without_a_top_it_gives_features():
    assert build_model(include_top=False, **SMALL).output_shape == (None, 3, 3, 8)


@pytest.mark.parametrize(("stem", "smallest"), [("small", 15), ("large", 57)])
def test_small_images_are_refused(stem, smallest):
    build_model((smallest, smallest, 1), stem=stem, **SMALL)
    with pytest.raises(InputError, match=f"images must have at least {smallest} x {smallest}"):
        build_model((smallest, smallest - 1, 1), stem=stem, **SMALL)


def test_filters_that_cannot_be_halved_are_refused():
    with pytest.raises(InputError, match="`filters` must be even numbers with `towers` 2"):
        build_model(filters=(4, 8, 8, 7, 8), towers=2)


@pytest.mark.parametrize("normalization", ["batch", "response"])
def test_logits_stay_float32_in_mixed_precision(normalization):
    keras.config.set_dtype_policy("mixed_float16")

    assert build_model(normalization=normalization, **SMALL).output.dtype == "float32"
