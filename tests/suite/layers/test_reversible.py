import keras
import numpy as np
import pytest

from suite.layers.reversible import ReversibleDense


def there_and_back(tied):
    """A model of 4 features, 3 units and 4 features again, and its layer."""
    x, layer = keras.Input((4,), name="x"), ReversibleDense(3, tied=tied, name="dense")
    code = layer(x)
    return keras.Model(x, {"code": code, "back": layer(code, reverse=True)}), layer


def with_random_weights(layer):
    """Sets all weights, biases as well, and returns them by name."""
    random = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(random.normal(size=variable.shape))
    return {v.name: keras.ops.convert_to_numpy(v) for v in layer.variables}


def rows():
    return np.random.default_rng(1).normal(size=(5, 4)).astype("f4")


@pytest.mark.parametrize("tied", [True, False])
def test_it_runs_both_ways(tied):
    model, layer = there_and_back(tied)
    weights = with_random_weights(layer)
    back = weights["kernel"].T if tied else weights["reverse_kernel"]

    outputs = model(rows())

    code = rows() @ weights["kernel"] + weights["bias"]
    np.testing.assert_allclose(outputs["code"], code, rtol=1e-4, atol=1e-5)
    expected = code @ back + weights["reverse_bias"]
    np.testing.assert_allclose(outputs["back"], expected, rtol=1e-4, atol=1e-5)
    assert ("reverse_kernel" in weights) is not tied


@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded_it_answers_alike(tied, tmp_path):
    model, layer = there_and_back(tied)
    with_random_weights(layer)
    model.save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    for name, values in model(rows()).items():
        np.testing.assert_allclose(loaded(rows())[name], values, rtol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_what_only_the_way_back_has_can_be_frozen(tied):
    _, layer = there_and_back(tied)

    layer.freeze_reverse()

    assert [variable.name for variable in layer.trainable_variables] == ["kernel", "bias"]
