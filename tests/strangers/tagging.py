"""A tag for every word: targets as long as their inputs, in batches by number of tokens.

Padding has the number 0 in inputs and targets. The embedding makes a mask of it that Keras hands on
to the loss, so that padding takes no part in it; nor does it in a `TokenMean`.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from suite import App, checked, settings
from suite.data import Examples, Source, supervised
from suite.export.endpoints import Endpoint
from suite.knobs import BatchSize, Epochs, Units
from suite.metrics.tokens import TokenMean

TAGS = {"the": 1, "a": 1, "dog": 2, "cat": 2, "雨": 2, "sees": 3, "is": 3, "old": 4, "not": 5}
NAMES = ("", "article", "noun", "verb", "adjective", "adverb")


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the sentences.
        batch_size: Most sentences of a step.
        tokens_per_batch: Most words of a step, padding included.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 16
    tokens_per_batch: BatchSize = 40


def numbers(sentences):
    """Numbers of the words, ragged; 1 for an unknown one."""
    words = tf.strings.split(sentences)
    matches = tf.equal(words.flat_values[:, None], tf.constant(list(TAGS)))
    index = tf.where(tf.reduce_any(matches, 1), tf.argmax(tf.cast(matches, tf.int32), 1) + 2, 1)
    return words.with_flat_values(tf.cast(index, tf.int32))


def load_data(config, run):
    """Sentences of 1 to 12 words, and the tag of each word."""
    random = np.random.default_rng(0)
    sentences = [random.choice(list(TAGS), n) for n in random.integers(1, 13, 120)]
    inputs = numbers(np.array([" ".join(words) for words in sentences]))
    tags = tf.ragged.constant([[TAGS[word] for word in words] for words in sentences], tf.int32)
    return supervised(
        Source(name="synthetic:tagging", train=Examples(inputs, tags)),
        batch_size=config.batch_size,
        validation_split=0.2,
        seed=run.seed,
        min_steps=1,
        lengths=lambda train: train.inputs.row_lengths().numpy(),
        tokens_per_batch=config.tokens_per_batch,
    )


@checked
def build_model(*, units: Units = 8) -> keras.Model:
    """Builds the network, which reads in both directions.

    Args:
        units: Units of the embedding, and of each direction.
    """
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(len(TAGS) + 2, units, mask_zero=True)(words)
    x = layers.Bidirectional(layers.GRU(units, return_sequences=True))(x)
    logits = layers.Dense(len(NAMES), dtype=keras.config.floatx(), name="logits")
    return keras.Model(words, logits(x), name="tagging")


def compile_model(model, config, steps):
    """Cross-entropy of the words: the mean of a step's, and as a metric that of all."""

    def nats(y_true, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    model.compile(
        keras.optimizers.Adam(0.03),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            TokenMean(nats, name="nats"),
            TokenMean(keras.metrics.sparse_categorical_accuracy, name="accuracy"),
        ],
    )
    return model


def endpoints(fitted):
    """`text` to `tags`, text."""
    model, names = fitted.networks["tagging"], tf.constant(NAMES)

    def serve(text):
        words = numbers(text)
        logits = model(words.to_tensor(), training=False)
        tags = tf.RaggedTensor.from_tensor(tf.argmax(logits, axis=-1), words.row_lengths())
        return {"tags": tf.strings.reduce_join(tf.gather(names, tags), axis=-1, separator=" ")}

    return {"serve": Endpoint(serve, [tf.TensorSpec((None,), tf.string, "text")])}


app = App(
    name="tagging",
    topic="sequences",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    example=lambda fitted: np.array(["the old dog sees a cat", "雨", "the cat is not old"]),
    objective="val_nats",
    tiny={"epochs": 2},
)
