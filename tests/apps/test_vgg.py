import keras
import numpy as np
import pytest

from apps.vgg import app, build_model
from suite import InputError


@pytest.mark.parametrize(
    ("recipe", "weights"),
    [("vgg11", 132_863_336), ("vgg16", 138_357_544), ("vgg19", 143_667_240)],
)
def test_it_has_the_paper_s_number_of_weights(recipe, weights):
    architecture = app.recipe(recipe).architecture
    with keras.StatelessScope(initialize_variables=False):  # the weights take no memory
        model = build_model((224, 224, 3), 1000, **architecture)

    assert model.count_params() == weights


def weights_of_convolutions(number, **knobs):
    """The weights that so many further convolutions add, from eight maps to eight."""
    kernels = [
        sum(
            weight.value.shape.num_elements()
            for weight in build_model(filters=(8,), convolutions=(n,), **knobs).weights
            if len(weight.shape) == 4
        )
        for n in (1, 1 + number)
    ]
    return kernels[1] - kernels[0]


def test_two_convolutions_of_3_x_3_have_72_percent_of_the_weights_of_one_of_5_x_5():
    one, two = weights_of_convolutions(1, kernel=5), weights_of_convolutions(2, kernel=3)

    assert (one, two) == (25 * 8 * 8, 18 * 8 * 8)
    assert round(two / one, 2) == 0.72


def test_a_column_and_a_row_have_67_percent_of_the_weights_of_3_x_3():
    whole, factorized = (weights_of_convolutions(1, factorized=f) for f in (False, True))

    assert (whole, factorized) == (9 * 8 * 8, 6 * 8 * 8)
    assert round(factorized / whole, 2) == 0.67


@pytest.mark.parametrize(
    "knobs",
    [{"kernel": 3, "convolutions": (2,)}, {"kernel": 5}, {"kernel": 5, "factorized": True}],
)
def test_all_of_them_see_5_x_5_pixels(knobs):
    """A pixel changes the features of those alone that lie within two pixels of it."""
    keras.utils.set_random_seed(1)
    knobs = {"convolutions": (1,), "filters": (32,), "normalization": "none"} | knobs
    model = build_model((16, 16, 1), include_top=False, **knobs)
    before_pooling = keras.Model(model.input, model.layers[-2].output)
    images = np.zeros((2, 16, 16, 1), "float32")
    images[1, 8, 8] = 255
    black, dotted = np.asarray(before_pooling(images))

    # Far from the pixel, fast convolutions may round differently.
    rows, columns = np.nonzero(np.abs(black - dotted).max(axis=-1) > 1e-4 * np.abs(dotted).max())

    assert {*rows} == {*columns} == {6, 7, 8, 9, 10}


@pytest.mark.parametrize("normalization", ["batch", "layer", "instance", "group", "none"])
def test_any_normalisation_will_do(normalization):
    model = build_model((8, 8, 3), filters=(4, 8), convolutions=(1, 1), normalization=normalization)

    biases = [layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert biases == [normalization == "none"] * 2
    assert np.isfinite(model(np.ones((1, 8, 8, 3)))).all()


def test_images_of_any_size_go_in_with_pooling():
    model = build_model((None, None, 3), pooling="avg", filters=(4, 4), convolutions=(1, 1))

    for size in (8, 13):
        assert model(np.zeros((1, size, size, 3))).shape == (1, 10)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(InputError, match="`filters` must be of at most 2 stages"):
        build_model((7, 7, 1))
    with pytest.raises(InputError, match="`convolutions` must be 3 numbers"):
        build_model(convolutions=(1, 1))


def test_logits_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")

    assert build_model().output.dtype == "float32"
