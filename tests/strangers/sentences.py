"""Sentences of any length: text in, text out, with a vocabulary that is exported with the model."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from suite import App, checked, settings
from suite.data import Examples, Source, supervised
from suite.export.endpoints import Endpoint
from suite.knobs import BatchSize, Epochs, Units

WORDS = ("good", "fine", "bad", "poor", "film", "book", "very", "not", "雨")
NAMES = ("negative", "positive")


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the sentences.
        batch_size: Sentences of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 8


def numbers(sentences):
    """Numbers of the words, padded with 0: in the graph, for training and in the export alike."""
    words = tf.strings.split(tf.strings.lower(sentences))
    matches = tf.equal(words.flat_values[:, None], tf.constant(WORDS))
    known = tf.reduce_any(matches, axis=1)
    index = tf.where(known, tf.argmax(tf.cast(matches, tf.int32), axis=1) + 2, 1)
    return words.with_flat_values(tf.cast(index, tf.int32))


def load_data(config, run):
    """Sentences as text, made numbers; positive where there are more good words than bad ones."""
    random = np.random.default_rng(0)
    sentences = [" ".join(random.choice(WORDS, n)) for n in random.integers(1, 9, 80)]
    good = [
        sum(s.count(w) for w in WORDS[:2]) - sum(s.count(w) for w in WORDS[2:4]) for s in sentences
    ]
    examples = Examples(numbers(np.array(sentences)), (np.array(good) > 0).astype(np.int32))
    source = Source(name="synthetic:sentences", train=examples, class_names=NAMES)
    return supervised(
        source,
        batch_size=config.batch_size,
        validation_split=0.2,
        seed=run.seed,
        min_steps=1,
        lengths=lambda train: train.inputs.row_lengths().numpy(),
    )


@checked
def build_model(*, units: Units = 8) -> keras.Model:
    """Builds the network.

    Args:
        units: Units of the embedding.
    """
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(len(WORDS) + 2, units, mask_zero=True)(words)
    x = layers.GlobalAveragePooling1D()(x)
    logits = layers.Dense(2, dtype=keras.config.floatx(), name="logits")
    return keras.Model(words, logits(x), name="sentences")


def compile_model(model, config, steps):
    """Cross-entropy."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])
    return model


def endpoints(fitted):
    """`text` to `name`, text, and `probabilities`."""
    model = fitted.networks["sentences"]
    names = tf.constant(NAMES)

    def serve(text):
        logits = model(numbers(text).to_tensor(), training=False)
        name = tf.gather(names, tf.argmax(logits, axis=-1))
        return {"name": name, "probabilities": tf.nn.softmax(logits)}

    return {"serve": Endpoint(serve, [tf.TensorSpec((None,), tf.string, "text")])}


app = App(
    name="sentences",
    topic="sequences",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    example=lambda fitted: np.array(["a very good film", "雨", "not good not fine bad book"]),
    objective="val_accuracy",
    tiny={"epochs": 2},
)
