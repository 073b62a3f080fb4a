"""An embedding with a table of neighbours, which is exported with the model."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from suite import App, checked, settings
from suite.data import Examples, Source, supervised
from suite.export.endpoints import Endpoint
from suite.knobs import BatchSize, Epochs, Units

COLOURS = ("red", "green", "blue")


@settings
class Config:
    """The recipe.

    Args:
        epochs: Passes over the colours.
        batch_size: Colours of a step.
    """

    epochs: Epochs = 2
    batch_size: BatchSize = 10


def load_data(config, run):
    """Colours `(3,)` and the name of the strongest channel."""
    random = np.random.default_rng(0)
    colours = random.random((90, 3), dtype=np.float32)
    examples = Examples(colours, colours.argmax(axis=1).astype(np.int32))
    source = Source(name="synthetic:colours", train=examples, class_names=COLOURS)
    return supervised(
        source, batch_size=config.batch_size, validation_split=0.2, seed=run.seed, min_steps=1
    )


@checked
def build_model(*, units: Units = 4) -> dict[str, keras.Model]:
    """Builds an encoder, and a head that is thrown away.

    Args:
        units: Dimensions of the embedding.
    """
    colour = keras.Input((3,), name="colour")
    embedding = layers.UnitNormalization(name="embedding")(layers.Dense(units)(colour))
    features = keras.Input((units,), name="features")
    return {
        "encoder": keras.Model(colour, embedding, name="encoder"),
        "head": keras.Model(features, layers.Dense(3)(features), name="head"),
    }


def compile_model(built, config, steps):
    """Cross-entropy of the head on top of the encoder."""
    encoder, head = built["encoder"], built["head"]
    model = keras.Model(encoder.input, head(encoder.output))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
    return model


def endpoints(fitted):
    """`colour` to the `index`, `name` and `similarity` of its nearest training colours."""
    encoder, train = fitted.networks["encoder"], fitted.data.splits["train"]
    table = tf.Variable(encoder(train.inputs), trainable=False)
    names = tf.constant([COLOURS[label] for label in train.targets])

    def serve(colour):
        similarity = tf.matmul(encoder(colour, training=False), table, transpose_b=True)
        best = tf.math.top_k(similarity, 3)
        return {
            "similarity": best.values,
            "index": best.indices,
            "name": tf.gather(names, best.indices),
        }

    inputs = [tf.TensorSpec((None, 3), tf.float32, "colour")]
    return {"serve": Endpoint(serve, inputs, [table]), "encode": encoder}


app = App(
    name="neighbours",
    topic="tables",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=endpoints,
    tiny={"epochs": 2},
)
