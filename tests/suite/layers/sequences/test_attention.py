import keras
import numpy as np
import pytest
from keras import ops

from suite.errors import InputError
from suite.layers.sequences.attention import (
    BahdanauAttention,
    LuongAttention,
    MultiHeadAttention,
    attention_weights,
)

X = np.random.default_rng(0).normal(size=(3, 7, 12)).astype("float32")
MEMORY = np.random.default_rng(1).normal(size=(3, 5, 10)).astype("float32")
MASK = np.arange(5) < np.array([[5], [2], [1]])


def padded(values, count, fill):
    shape = (len(values), count, *values.shape[2:])
    return np.concatenate([values, np.full(shape, fill, values.dtype)], axis=1)


@pytest.mark.parametrize("causal", [False, True])
def test_the_same_weights_give_what_keras_gives(causal):
    ours = MultiHeadAttention(3, 4, causal=causal)
    theirs = keras.layers.MultiHeadAttention(3, 4)
    outputs, weights = ours(X, return_attention_scores=True)
    theirs.build(X.shape, X.shape)
    for mine, weight in zip(ours.weights, theirs.weights, strict=True):
        weight.assign(ops.reshape(mine, weight.shape))

    expected, scores = theirs(X, X, use_causal_mask=causal, return_attention_scores=True)

    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(weights, scores, atol=1e-5)


def test_a_memory_with_its_mask_gives_what_keras_gives():
    ours = MultiHeadAttention(3, 4)
    theirs = keras.layers.MultiHeadAttention(3, 4)
    outputs = ours(X, MEMORY, MASK)
    theirs.build(X.shape, MEMORY.shape)
    for mine, weight in zip(ours.weights, theirs.weights, strict=True):
        weight.assign(ops.reshape(mine, weight.shape))

    np.testing.assert_allclose(outputs, theirs(X, MEMORY, attention_mask=MASK[:, None]), atol=1e-5)
    np.testing.assert_allclose(ours(X, cache=ours.project(MEMORY), value_mask=MASK), outputs)


@pytest.mark.parametrize("rotary", [False, True])
def test_steps_with_a_cache_equal_the_whole(rotary):
    layer = MultiHeadAttention(2, 6, causal=True, rotary=rotary)
    whole = np.array(layer(X))

    cache = layer.start_cache(3, 9)
    for index in range(7):
        step, cache = layer(X[:, index : index + 1], cache=cache, index=index)
        np.testing.assert_allclose(step[:, 0], whole[:, index], atol=1e-5)


def test_a_step_does_not_see_the_empty_places_of_the_cache():
    layer = MultiHeadAttention(2, 6)
    alone = np.array(layer(X[:, :1]))

    step, _ = layer(X[:, :1], cache=layer.start_cache(3, 9), index=0)

    np.testing.assert_allclose(step, alone, atol=1e-5)


def test_a_full_cache_forgets_the_oldest():
    layer = MultiHeadAttention(2, 6, causal=True, rotary=True)
    layer.build(X.shape)

    cache = layer.start_cache(3, 4)
    for index in range(7):
        step, cache = layer(X[:, index : index + 1], cache=cache, index=index)
        window = layer(X[:, max(0, index - 3) : index + 1])
        np.testing.assert_allclose(step[:, 0], window[:, -1], atol=1e-5)


def test_nothing_sees_what_comes_later():
    layer = MultiHeadAttention(2, 6, causal=True, rotary=True)
    changed = X.copy()
    changed[:, 4:] += 1

    before, after = np.array(layer(X)), np.array(layer(changed))

    np.testing.assert_allclose(before[:, :4], after[:, :4], atol=1e-6)
    assert np.abs(before[:, 4:] - after[:, 4:]).max() > 1e-2


@pytest.mark.parametrize(
    "layer", [MultiHeadAttention(2, 6), BahdanauAttention(9), LuongAttention()]
)
def test_padding_of_queries_and_memory_changes_nothing(layer):
    def first(outputs):
        return np.array(outputs[0] if isinstance(outputs, tuple) else outputs)

    plain = first(layer(X, MEMORY, MASK))
    mask = padded(MASK, 3, False)
    more = first(layer(padded(X, 2, 9.0), padded(MEMORY, 3, 9.0), mask))
    junk = np.where(MASK[..., None], MEMORY, 100).astype("float32")

    np.testing.assert_allclose(more[:, :7], plain, atol=1e-6)
    np.testing.assert_allclose(first(layer(X, junk, MASK)), plain, atol=1e-6)


@pytest.mark.parametrize("layer", [BahdanauAttention(9), LuongAttention()])
def test_recurrent_attention_step_by_step(layer):
    contexts, weights = layer(X, MEMORY, MASK)
    keys = layer.project(MEMORY)

    for index in range(7):
        context, weight = layer(X[:, index : index + 1], MEMORY, MASK, keys=keys)
        np.testing.assert_allclose(context[:, 0], contexts[:, index], atol=1e-5)
        np.testing.assert_allclose(weight[:, 0], weights[:, index], atol=1e-5)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.where(MASK[:, None], 0, weights), 0)
    assert contexts.shape == (3, 7, 10)


def test_scores_of_bahdanau_and_luong():
    query, value = X[:1, :1], MEMORY[:1]
    additive, general = BahdanauAttention(4), LuongAttention()
    _, added = additive(query, value)
    _, multiplied = general(query, value)
    w, b, u, v = (np.array(weight) for weight in additive.weights)
    [g] = (np.array(weight) for weight in general.weights)

    def softmax(scores):
        return np.exp(scores) / np.exp(scores).sum()

    expected = softmax((np.tanh(query[0, 0] @ w + b + value[0] @ u) @ v)[:, 0])
    np.testing.assert_allclose(added[0, 0], expected, rtol=1e-4)
    expected = softmax(value[0] @ g @ query[0, 0])
    np.testing.assert_allclose(multiplied[0, 0], expected, rtol=1e-4)


def test_a_row_without_any_token_gives_numbers():
    weights = attention_weights(ops.zeros((1, 2, 4)), ops.zeros((1, 4), "bool"))

    np.testing.assert_allclose(weights, np.full((1, 2, 4), 0.25))


@pytest.mark.parametrize(
    "layer",
    [
        MultiHeadAttention(2, 6, causal=True, rotary=True, dropout=0.1, use_bias=False),
        BahdanauAttention(9),
        LuongAttention(),
    ],
)
def test_a_copy_from_the_config_and_a_saved_model(layer, tmp_path):
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()

    query, value = keras.Input((None, 12)), keras.Input((None, 12))
    model = keras.Model([query, value], copy(query, value))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(
        keras.tree.flatten(model([X, X])), keras.tree.flatten(loaded([X, X])), strict=True
    ):
        np.testing.assert_allclose(before, after, atol=1e-6)


def test_dropout_is_for_training():
    layer = MultiHeadAttention(2, 6, dropout=0.5)

    np.testing.assert_array_equal(layer(X), layer(X))
    assert np.abs(np.array(layer(X, training=True)) - np.array(layer(X))).max() > 1e-3


@pytest.mark.parametrize("layer", [MultiHeadAttention, BahdanauAttention, LuongAttention])
def test_bfloat16(layer):
    knobs = {MultiHeadAttention: (2, 6), BahdanauAttention: (9,), LuongAttention: ()}[layer]
    low = layer(*knobs, dtype="mixed_bfloat16")
    full = layer(*knobs)
    outputs = keras.tree.flatten(low(X, MEMORY, MASK))
    full.build(X.shape, MEMORY.shape)
    full.set_weights(low.get_weights())

    expected = keras.tree.flatten(full(X, MEMORY, MASK))

    assert {keras.backend.standardize_dtype(x.dtype) for x in outputs} == {"bfloat16"}
    assert {str(weight.dtype) for weight in low.weights} == {"float32"}
    np.testing.assert_allclose(ops.cast(outputs[0], "float32"), expected[0], atol=0.05)


def test_rotary_positions_need_pairs():
    with pytest.raises(InputError, match="`key_dim` must be even"):
        MultiHeadAttention(2, 5, rotary=True)
