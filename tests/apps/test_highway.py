import keras
import numpy as np
import pytest

from apps.highway import build_model
from suite import InputError


def images(size=8):
    return np.random.default_rng(0).integers(0, 255, (2, size, size, 1)).astype("float32")


def test_it_has_nineteen_layers():
    model = build_model()
    plain = build_model(highway=False)

    def layers(network):
        kinds = (keras.layers.Conv2D, keras.layers.Dense)
        return [layer for layer in network.layers if isinstance(layer, kinds)]

    assert len(layers(plain)) == 19
    assert len(layers(model)) == 19 + 15  # and a gate for all but the first of each stage


@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_with_closed_gates_it_passes_its_input_on(normalization):
    knobs = {"filters": (4,), "include_top": False, "normalization": normalization}
    model = build_model((8, 8, 1), convolutions=(5,), gate_bias=-100.0, **knobs)
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.ReLU))

    pooled = np.asarray(model(images()))
    expected = np.asarray(keras.Model(model.input, first.output)(images())).mean(axis=(1, 2))

    assert expected.any()
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_with_open_gates_it_is_the_plain_network():
    knobs = {"filters": (4,), "convolutions": (3,)}
    highway = build_model((8, 8, 1), gate_bias=100.0, **knobs)
    plain = build_model((8, 8, 1), highway=False, **knobs)
    gates = {
        weight.path
        for layer in highway.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.use_bias
        for weight in layer.weights
    }
    plain.set_weights([w.numpy() for w in highway.weights if w.path not in gates])

    np.testing.assert_allclose(highway(images()), plain(images()), rtol=1e-4, atol=1e-5)


def test_gates_begin_as_closed_as_their_bias_says():
    model = build_model((8, 8, 1), filters=(4,), convolutions=(2,), gate_bias=-3.0)
    [gate] = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.activation is keras.activations.sigmoid
    ]

    np.testing.assert_array_equal(gate.bias, [-3.0] * 4)


def test_images_of_any_size_go_in():
    model = build_model((None, None, 3), filters=(4, 4), convolutions=(1, 2))

    for size in (8, 13):
        assert model(np.zeros((1, size, size, 3))).shape == (1, 10)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(InputError, match="`filters` must be of at most 2 stages"):
        build_model((3, 3, 1))
    with pytest.raises(InputError, match="`convolutions` must be 3 numbers"):
        build_model(convolutions=(1, 1))


def test_logits_stay_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")

    assert build_model().output.dtype == "float32"
