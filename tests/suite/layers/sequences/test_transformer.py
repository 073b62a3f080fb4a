import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from suite.errors import InputError
from suite.layers.sequences.transformer import TransformerBlock

ROOT = Path(__file__).parents[4]
X = np.random.default_rng(0).normal(size=(3, 7, 12)).astype("float32")
MEMORY = np.random.default_rng(1).normal(size=(3, 5, 10)).astype("float32")
MASK = np.arange(5) < np.array([[5], [2], [1]])
CHECK = """
import keras, numpy as np
from keras import layers, ops
from suite.layers.sequences.attention import BahdanauAttention, LuongAttention
from suite.layers.sequences.positions import SinusoidalPositions
from suite.layers.sequences.recurrent import RecurrentStack
from suite.layers.sequences.transformer import TransformerBlock

ids = keras.Input((None,), dtype="int32", name="ids")
mask = ops.not_equal(ids, 0)
x = SinusoidalPositions()(layers.Embedding(9, 8)(ids))
memory = TransformerBlock(2, 8, rotary=True, dropout=0.1)(x, x_mask=mask)
block = TransformerBlock(2, 8, causal=True, cross_attention=True, rotary=True)
x = block(x, memory, memory_mask=mask)
for cell in ("rnn", "lstm", "gru"):
    x, states = RecurrentStack(cell, (8,))(x, mask=mask)
x = BahdanauAttention(4)(x, memory, mask)[0] + LuongAttention()(x, memory, mask)[0]
model = keras.Model(ids, layers.Dense(9)(x))
logits = ops.convert_to_numpy(model(np.array([[3, 4, 5, 6], [7, 8, 0, 0]], "int32")))
assert logits.shape == (2, 4, 9) and np.isfinite(logits).all()

x = keras.random.normal((2, 5, 8), seed=0)
memory = keras.random.normal((2, 4, 8), seed=1)
whole = ops.convert_to_numpy(block(x, memory))
cache = block.start_cache(2, 5, memory)
for index in range(5):
    step, cache = block(x[:, index:index + 1], cache=cache, index=index)
    np.testing.assert_allclose(ops.convert_to_numpy(step)[:, 0], whole[:, index], atol=1e-5)
print(keras.backend.backend())
"""


def test_steps_with_a_cache_equal_the_whole():
    block = TransformerBlock(3, 20, causal=True, cross_attention=True, rotary=True)
    whole = np.array(block(X, MEMORY, memory_mask=MASK))

    cache = block.start_cache(3, 8, ops.convert_to_tensor(MEMORY))
    for index in range(7):
        memory = cache["memory"]
        step, cache = block(X[:, index : index + 1], memory_mask=MASK, cache=cache, index=index)
        np.testing.assert_allclose(step[:, 0], whole[:, index], atol=1e-5)
        # Beam search does not copy what is the same tensor as before.
        assert all(a is b for a, b in zip(cache["memory"], memory, strict=True))


def test_padding_changes_nothing():
    encoder = TransformerBlock(3, 20)
    decoder = TransformerBlock(3, 20, causal=True, cross_attention=True)
    more = np.concatenate([X, np.ones((3, 2, 12), "float32")], axis=1)
    mask = np.concatenate([np.ones((3, 7), bool), np.zeros((3, 2), bool)], axis=1)
    memory = np.concatenate([MEMORY, np.ones((3, 2, 10), "float32")], axis=1)
    memory_mask = np.concatenate([MASK, np.zeros((3, 2), bool)], axis=1)

    np.testing.assert_allclose(encoder(more, x_mask=mask)[:, :7], encoder(X), atol=1e-5)
    np.testing.assert_allclose(
        decoder(more, memory, memory_mask=memory_mask)[:, :7],
        decoder(X, MEMORY, memory_mask=MASK),
        atol=1e-5,
    )


def test_weights_of_the_attention_to_the_memory():
    block = TransformerBlock(3, 20, causal=True, cross_attention=True)
    outputs, weights = block(X, MEMORY, memory_mask=MASK, return_attention_scores=True)

    np.testing.assert_allclose(outputs, block(X, MEMORY, memory_mask=MASK))
    assert weights.shape == (3, 3, 7, 5)
    assert TransformerBlock(3, 20)(X, return_attention_scores=True)[1].shape == (3, 3, 7, 7)


def test_a_saved_model(tmp_path):
    x, memory = keras.Input((None, 12)), keras.Input((None, 10))
    mask = keras.Input((None,), dtype="bool")
    block = TransformerBlock(
        3, 20, causal=True, cross_attention=True, rotary=True, dropout=0.1, activation="relu"
    )
    model = keras.Model([x, memory, mask], block(x, memory, memory_mask=mask))
    assert TransformerBlock.from_config(block.get_config()).get_config() == block.get_config()

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    np.testing.assert_allclose(loaded([X, MEMORY, MASK]), model([X, MEMORY, MASK]), atol=1e-6)


def test_bfloat16():
    low = TransformerBlock(3, 20, causal=True, rotary=True, dtype="mixed_bfloat16")
    full = TransformerBlock(3, 20, causal=True, rotary=True)
    outputs = low(X)
    full.build(X.shape)
    full.set_weights(low.get_weights())

    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    np.testing.assert_allclose(ops.cast(outputs, "float32"), full(X), atol=0.1)
    step, _ = low(X[:, :1], cache=low.start_cache(3, 4), index=0)
    np.testing.assert_allclose(
        ops.cast(step[:, 0], "float32"), ops.cast(outputs[:, 0], "float32"), atol=0.1
    )


def test_heads_divide_the_features():
    with pytest.raises(InputError, match="`num_heads` must divide the 12 features"):
        TransformerBlock(5, 20)(X)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_layers_run_and_step_on_other_backends(backend):
    pytest.importorskip(backend)
    process = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.split()[-1] == backend
