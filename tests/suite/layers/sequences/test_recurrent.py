import keras
import numpy as np
import pytest
from keras import ops

from suite.layers.sequences.recurrent import RecurrentStack

X = np.random.default_rng(0).normal(size=(3, 6, 5)).astype("float32")
CELLS = ["rnn", "lstm", "gru"]


@pytest.mark.parametrize("cell", CELLS)
def test_states_go_on_where_a_window_ended(cell):
    layer = RecurrentStack(cell, (4, 7))
    whole, ends = layer(X)

    first, states = layer(X[:, :2])
    second, states = layer(X[:, 2:], states)

    np.testing.assert_allclose(ops.concatenate([first, second], axis=1), whole, atol=1e-6)
    for got, expected in zip(keras.tree.flatten(states), keras.tree.flatten(ends), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(whole[:, -1], ends[1][0], atol=1e-6)
    assert whole.shape == (3, 6, 7)


@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step(cell):
    layer = RecurrentStack(cell, (4, 7))
    whole, _ = layer(X)

    states = layer.zero_states(3)
    for index in range(6):
        step, states = layer(X[:, index : index + 1], states)
        np.testing.assert_allclose(step[:, 0], whole[:, index], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_does_not_change_the_states(cell):
    layer = RecurrentStack(cell, (4, 7))
    mask = np.arange(6) < np.array([[6], [4], [1]])
    _, states = layer(X, mask=mask)

    for row, length in enumerate((6, 4, 1)):
        _, alone = layer(X[row : row + 1, :length])
        pairs = zip(keras.tree.flatten(states), keras.tree.flatten(alone), strict=True)
        for padded, plain in pairs:
            np.testing.assert_allclose(padded[row], plain[0], atol=1e-6)


def test_dropout_of_inputs_between_layers_and_of_recurrent_outputs():
    for knobs in ({"dropout": 0.5}, {"recurrent_dropout": 0.5}):
        layer = RecurrentStack("lstm", (16, 16), **knobs)
        still, _ = layer(X)
        moved, _ = layer(X, training=True)

        np.testing.assert_array_equal(still, layer(X)[0])
        assert np.abs(np.array(still) - np.array(moved)).max() > 1e-3
    first, _ = RecurrentStack("lstm", (16,), dropout=0.9)(X, training=True)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_model(cell, tmp_path):
    x = keras.Input((None, 5))
    _, states = RecurrentStack(cell, (4, 7), name="encoder")(x)
    decoder = RecurrentStack(cell, (4, 7), recurrent_dropout=0.1, name="decoder")
    outputs, _ = decoder(x, states)
    model = keras.Model(x, outputs)
    assert RecurrentStack.from_config(decoder.get_config()).get_config() == decoder.get_config()

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    np.testing.assert_allclose(loaded(X), model(X), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16(cell):
    layer = RecurrentStack(cell, (4, 7), dtype="mixed_bfloat16")
    outputs, states = layer(X)
    step, _ = layer(X[:, :1], layer.zero_states(3))

    tensors = [outputs, step, *keras.tree.flatten(states)]
    assert {keras.backend.standardize_dtype(x.dtype) for x in tensors} == {"bfloat16"}
    np.testing.assert_allclose(
        ops.cast(step[:, 0], "float32"), ops.cast(outputs[:, 0], "float32"), atol=0.05
    )
