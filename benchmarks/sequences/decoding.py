"""How much faster is decoding with cached keys and values than without?

    python -m benchmarks.sequences.decoding

A Transformer of a usual size for translation, with random weights, decodes 64 tokens of
every sentence of a batch, greedily and by beam search. `with_cache` computes keys and values of one
token in a step. `without_cache` has the decoder compute those of all tokens so far, again, and the
logits of the last. `whole_network` calls the network as it was trained, encoder included, on a
sequence of full length, and takes the logits of one position, as many tutorials do. All three are
the same loop in a graph, choose the same tokens, and take turns.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import cyclopts

from benchmarks.results import publish

VOCABULARY, WIDTH, HEADS, HIDDEN, DEPTH = 8000, 256, 8, 1024, 4
SOURCE, LENGTH = 32, 64  # tokens


def translation_network() -> Any:
    """Encoder and decoder, from two sequences of ids to logits."""
    import keras
    from keras import layers, ops

    from suite.layers.sequences.transformer import TransformerBlock

    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    embedding = layers.Embedding(VOCABULARY, WIDTH, name="embedding")
    mask = ops.not_equal(source, 0)
    x = embedding(source)
    for _ in range(DEPTH):
        x = TransformerBlock(HEADS, HIDDEN, rotary=True)(x, x_mask=mask)
    memory = layers.LayerNormalization(name="memory")(x)
    x = embedding(target)
    for number in range(DEPTH):
        block = TransformerBlock(
            HEADS, HIDDEN, causal=True, rotary=True, cross_attention=True, name=f"block_{number}"
        )
        x = block(x, memory, memory_mask=mask)
    x = layers.LayerNormalization(name="features")(x)
    return keras.Model([source, target], layers.Dense(VOCABULARY, name="logits")(x))


def with_cache(model: Any) -> Any:
    """The stepper with cached keys and values."""
    import keras
    import tensorflow as tf

    from suite.decoding.stepper import Stepper

    names = ("embedding", "features", "logits")
    embedding, norm, logits = (model.get_layer(name) for name in names)
    blocks = [model.get_layer(f"block_{number}") for number in range(DEPTH)]
    encoder = keras.Model(model.inputs[0], model.get_layer("memory").output)

    def start(source: Any) -> Any:
        memory, rows = encoder(source), tf.shape(source)[0]
        caches = [block.start_cache(rows, LENGTH, memory) for block in blocks]
        return {"mask": source != 0, "caches": caches}

    def step(tokens: Any, index: Any, state: Any) -> Any:
        x, caches = embedding(tokens[:, None]), []
        for block, cache in zip(blocks, state["caches"], strict=True):
            x, cache = block(x, memory_mask=state["mask"], cache=cache, index=index)
            caches.append(cache)
        return logits(norm(x[:, 0])), {**state, "caches": caches}

    return Stepper(start, step)


def without_cache(model: Any) -> Any:
    """The stepper that reads the whole sequence again in every step."""
    import keras
    import tensorflow as tf

    from suite.decoding.stepper import Stepper

    source, target = model.inputs
    memory = model.get_layer("memory").output
    encoder = keras.Model(source, memory)
    decoder = keras.Model([source, memory, target], model.get_layer("features").output)
    logits = model.get_layer("logits")

    def start(source: Any) -> Any:
        rows = tf.shape(source)[0]
        ids = tf.zeros((rows, LENGTH), tf.int32)
        return {"source": source, "memory": encoder(source), "ids": ids}

    def step(tokens: Any, index: Any, state: Any) -> Any:
        ids = tf.where(tf.range(LENGTH) == index, tokens[:, None], state["ids"])
        features = decoder([state["source"], state["memory"], ids[:, : index + 1]])
        return logits(features[:, -1]), {**state, "ids": ids}

    return Stepper(start, step)


def whole_network(model: Any) -> Any:
    """The stepper that calls the model as it is."""
    import tensorflow as tf

    from suite.decoding.stepper import Stepper

    def start(source: Any) -> Any:
        return {"source": source, "ids": tf.zeros((tf.shape(source)[0], LENGTH), tf.int32)}

    def step(tokens: Any, index: Any, state: Any) -> Any:
        ids = tf.where(tf.range(LENGTH) == index, tokens[:, None], state["ids"])
        return model([state["source"], ids])[:, index], {**state, "ids": ids}

    return Stepper(start, step)


def decoder_of(stepper: Any, beams: int) -> Callable[[Any], Any]:
    """Ids `(rows, 64)` for ids of sentences, none of which ends earlier, as one graph."""
    import tensorflow as tf

    from suite.data.text.tokenizers import END, PADDING, START
    from suite.decoding.search import beam, greedy

    def decode(source: Any) -> Any:
        state, rows, never = stepper.start(source), tf.shape(source)[0], (PADDING, START, END)
        if beams == 1:
            return greedy(stepper, state, rows, LENGTH, never=never).ids
        return beam(stepper, state, rows, LENGTH, beams=beams, never=never).ids

    spec = tf.TensorSpec((None, SOURCE), tf.int32)
    return tf.function(decode, input_signature=[spec], autograph=False)


def main(
    *, repeats: int = 3, rows: tuple[int, ...] = (1, 16), beams: tuple[int, ...] = (1, 4)
) -> None:
    """Measures every size of batch and of beam.

    Args:
        repeats: Measurements of each.
        rows: Sentences of a batch.
        beams: Sequences that are followed for each; 1 is the greedy search.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = translation_network()
    steppers = {make.__name__: make(model) for make in (with_cache, without_cache, whole_network)}
    results = []
    for width in beams:
        decoders = {name: decoder_of(stepper, width) for name, stepper in steppers.items()}
        for count in rows:
            ids = np.random.default_rng(0).integers(4, VOCABULARY, (count, SOURCE))
            source = tf.constant(ids, tf.int32)
            answers = [decode(source).numpy() for decode in decoders.values()]  # also the warm-up
            seconds: dict[str, list[float]] = {name: [] for name in decoders}
            for _ in range(repeats):
                for name, decode in decoders.items():
                    started = time.perf_counter()
                    decode(source).numpy()
                    seconds[name].append(time.perf_counter() - started)
            medians = {name: statistics.median(values) for name, values in seconds.items()}
            results.append(
                {
                    "sentences": count,
                    "beams": width,
                    **{f"seconds_{name}": value for name, value in medians.items()},
                    "times_without_cache": medians["without_cache"] / medians["with_cache"],
                    "times_whole_network": medians["whole_network"] / medians["with_cache"],
                    "tokens_per_second": count * LENGTH / medians["with_cache"],
                    "same_tokens": all((answer == answers[0]).all() for answer in answers),
                }
            )
            print(results[-1], flush=True)
    publish(
        "decoding",
        results,
        parameters=model.count_params(),
        tokens=LENGTH,
        source_tokens=SOURCE,
        vocabulary=VOCABULARY,
        width=WIDTH,
        blocks=DEPTH,
    )


if __name__ == "__main__":
    cyclopts.run(main)
