"""Small networks, with random weights, and their steppers."""

from itertools import pairwise, product

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from suite.data.text.tokenizers import END, PADDING, START
from suite.decoding.stepper import Stepper
from suite.layers.sequences.attention import LuongAttention
from suite.layers.sequences.positions import SinusoidalPositions
from suite.layers.sequences.recurrent import RecurrentStack
from suite.layers.sequences.transformer import TransformerBlock

VOCABULARY = 11


def transformer(width=16, heads=2, hidden=24, depth=1, vocabulary=VOCABULARY, **block):
    """An encoder and a decoder of Transformer blocks, from two sequences of ids to logits."""
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    mask = ops.not_equal(source, PADDING)
    x = SinusoidalPositions()(layers.Embedding(vocabulary, width, name="source_embedding")(source))
    for number in range(depth):
        x = TransformerBlock(heads, hidden, name=f"encoder_{number}", **block)(x, x_mask=mask)
    memory = layers.LayerNormalization(name="memory")(x)
    x = layers.Embedding(vocabulary, width, name="target_embedding")(target)
    for number in range(depth):
        x = TransformerBlock(
            heads,
            hidden,
            causal=True,
            rotary=True,
            cross_attention=True,
            name=f"decoder_{number}",
            **block,
        )(x, memory, memory_mask=mask)
    x = layers.LayerNormalization(name="last_norm")(x)
    return keras.Model([source, target], layers.Dense(vocabulary, name="logits")(x))


def transformer_stepper(model, length):
    """Steps of `transformer`, at most `length` of them, with cached keys and values."""
    encoder = keras.Model(model.inputs[0], model.get_layer("memory").output)
    embedding, norm, logits = map(model.get_layer, ("target_embedding", "last_norm", "logits"))
    blocks = [layer for layer in model.layers if layer.name.startswith("decoder_")]

    def start(source):
        memory = encoder(source, training=False)
        caches = [block.start_cache(tf.shape(source)[0], length, memory) for block in blocks]
        return {"mask": source != PADDING, "caches": caches}

    def step(tokens, index, state):
        x, caches = embedding(tokens[:, None]), []
        for block, cache in zip(blocks, state["caches"], strict=True):
            x, cache = block(x, memory_mask=state["mask"], cache=cache, index=index, training=False)
            caches.append(cache)
        return logits(norm(x[:, 0])), {**state, "caches": caches}

    return Stepper(start, step)


def recurrent(cell):
    """An encoder and a decoder of two recurrent layers, with Luong's attention."""
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    mask = ops.not_equal(source, PADDING)
    x = layers.Embedding(VOCABULARY, 8, name="source_embedding")(source)
    memory, states = RecurrentStack(cell, (12, 10), name="encoder")(x, mask=mask)
    x = layers.Embedding(VOCABULARY, 8, name="target_embedding")(target)
    x, _ = RecurrentStack(cell, (12, 10), name="decoder")(x, states)
    context, _ = LuongAttention(name="attention")(x, memory, mask)
    x = layers.Dense(10, "tanh", name="joined")(ops.concatenate([x, context], axis=-1))
    return keras.Model([source, target], layers.Dense(VOCABULARY, name="logits")(x))


def recurrent_stepper(model):
    """Steps of `recurrent`."""
    read, encoder = map(model.get_layer, ("source_embedding", "encoder"))
    names = ("target_embedding", "decoder", "attention", "joined", "logits")
    embedding, decoder, attention, joined, logits = map(model.get_layer, names)

    def start(source):
        mask = source != PADDING
        memory, states = encoder(read(source), mask=mask, training=False)
        return {"memory": memory, "mask": mask, "states": states}

    def step(tokens, index, state):
        x, states = decoder(embedding(tokens[:, None]), state["states"], training=False)
        context, _ = attention(x, state["memory"], state["mask"])
        x = joined(ops.concatenate([x, context], axis=-1))
        return logits(x[:, 0]), {**state, "states": states}

    return Stepper(start, step)


def markov(probabilities):
    """A chain in which a token depends on the one before: `probabilities[before, token]`."""
    table = tf.math.log(tf.constant(probabilities, tf.float32))

    def step(tokens, index, state):
        return tf.gather(table, tokens), state

    return Stepper(lambda: (), step)


def chain(seed, words=3, spread=2.0):
    """Random probabilities of a chain over END and some words, which START begins."""
    random = np.random.default_rng(seed)
    size = 4 + words
    logits = random.normal(scale=spread, size=(size, size))
    logits[:, [PADDING, START, 3]] = -60  # neither these nor UNKNOWN
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def all_sequences(probabilities, max_length):
    """Every sequence of a chain that ends within `max_length`, with its log-probability."""
    words = range(4, len(probabilities))
    table = np.log(probabilities)
    for length in range(max_length):
        for ids in product(words, repeat=length):
            path = [START, *ids, END]
            yield path[1:], sum(table[a, b] for a, b in pairwise(path))


def plain_greedy(model, source, length):
    """Greedy decoding by whole forward passes, one sentence and one token at a time."""
    rows, scores = [], []
    for sentence in source:
        ids, score = [START], 0.0
        while len(ids) <= length and ids[-1] != END:
            inputs = [np.asarray([x], "int32") for x in (sentence, ids)]
            logits = np.asarray(model(inputs, training=False), "float64")[0, -1]
            log_probabilities = logits - np.log(np.exp(logits).sum())
            logits[[PADDING, START]] = -np.inf
            ids.append(int(np.argmax(logits)))
            score += log_probabilities[ids[-1]]
        rows.append(ids[1:] + [PADDING] * (length + 1 - len(ids)))
        scores.append(score)
    return np.array(rows), np.array(scores)
