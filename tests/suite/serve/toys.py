"""SavedModels of few operations, with inputs and outputs that no application has."""

import json

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from suite.export.versions import METADATA, WARMUP

LETTERS = ("A", "B", "Ç")


def spec(shape, dtype, name):
    return tf.TensorSpec(shape, dtype, name)


def classify(scores, names):
    """The outputs of a classifier with scores `(batch, classes)`."""
    label = tf.argmax(scores, -1, output_type=tf.int64)
    name = tf.gather(tf.constant(names), label)
    return {"name": name, "label": label, "probabilities": tf.nn.softmax(scores)}


def brightness(pictures):
    """The scores of three letters: which third the brightness of a picture lies in."""

    def mean(encoded):
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.reduce_mean(tf.cast(image, tf.float32))

    means = tf.map_fn(mean, pictures, fn_output_signature=tf.float32)
    return -tf.abs(means[:, None] - [42.0, 128.0, 213.0]) / 10


def letters(image):
    means = tf.reduce_mean(image, (1, 2, 3))
    scores = -tf.abs(means[:, None] - [42.0, 128.0, 213.0]) / 10
    return {"logits": scores, **classify(scores, LETTERS)}


def picture(picture):
    return classify(brightness(picture), LETTERS)


def older(image):
    scores = tf.reduce_mean(image, (1, 2, 3))[:, None] * [0.0, 1.0]
    label = tf.argmax(scores, -1, output_type=tf.int64)
    return {"label": label, "probabilities": tf.nn.softmax(scores)}


def table(features):
    return classify(features, ("low", "middle", "high"))


def text(text):
    return {"text": tf.strings.upper(text), "bytes": tf.strings.join([text, b"\xff"])}


def pair(question, times):
    return {"answer": tf.strings.join([question, tf.strings.as_string(times)]), "half": times / 2}


def greet(name):
    return {"greeting": tf.strings.join(["Hello ", name, b"\x00"])}


def count(text):
    return {"words": tf.strings.split(text).values}


def story(text, temperature, seed):
    heat = tf.fill([tf.size(text)], temperature)
    return {"story": tf.strings.join([text, "\n", tf.strings.as_string(seed)]), "heat": heat}


def latent(latent):
    plane = tf.linspace(0.0, 255.0, 24)[None, None, :, None] * tf.ones((1, 16, 1, 3))
    return {"image": plane * tf.nn.sigmoid(latent)[:, None, None, :]}


def add(a, b):
    return {"sum": a + b}


def balance(observation):
    push = tf.cast(observation[:, 2] + observation[:, 3] > 0, tf.int64)
    return {"action": push, "value": observation[:, 2]}


def halve(x):
    return {"y": x / 2}


PICTURE = spec((None,), tf.string, "picture")
TOYS = {
    "letters": (
        {
            "serving_default": (letters, spec((None, 28, 28, 1), tf.float32, "image")),
            "picture": (picture, PICTURE),
        },
        {"class_names": list(LETTERS), "metrics": {"loss": float("nan")}},
    ),
    "older": (
        {"serving_default": (older, spec((None, 28, 28, 1), tf.float32, "image"))},
        {"class_names": ["dark", "bright"]},
    ),
    "table": (
        {"serving_default": (table, spec((None, 3), tf.float32, "features"))},
        {
            "class_names": ["low", "middle", "high"],
            "feature_names": ["width", "height", "<depth>"],
            "feature_ranges": [[0, 8], [2, 4.5], [-1, 1]],
        },
    ),
    "text": ({"serving_default": (text, spec((None,), tf.string, "text"))}, {}),
    "pair": (
        {
            "serving_default": (
                pair,
                spec((None,), tf.string, "question"),
                spec((None,), tf.int64, "times"),
            ),
            "greet": (greet, spec((), tf.string, "name")),
            "count": (count, spec((None,), tf.string, "text")),
        },
        {},
    ),
    "story": (
        {
            "serving_default": (
                story,
                spec((None,), tf.string, "text"),
                spec((), tf.float32, "temperature"),
                spec((), tf.int64, "seed"),
            )
        },
        {},
    ),
    "colours": ({"serving_default": (latent, spec((None, 3), tf.float32, "latent"))}, {}),
    "sum": (
        {
            "serving_default": (halve, spec((None, 2), tf.float32, "x")),
            "add": (add, spec((None,), tf.int64, "a"), spec((None,), tf.int64, "b")),
        },
        {},
    ),
    "cart": (
        {"serving_default": (balance, spec((None, 4), tf.float32, "observation"))},
        {"config": {"environment": "CartPole-v1"}},
    ),
    "foreign": ({"serving_default": (halve, spec((None, 2), tf.float32, "x"))}, None),
}


def save(folder, name):
    """Writes version 1 of a toy, with metadata and a warm-up request unless it has none."""
    signatures, metadata = TOYS[name]
    module = tf.Module()
    module.functions = {
        key: tf.function(function, input_signature=specs)
        for key, (function, *specs) in signatures.items()
    }
    version = folder / name / "1"
    tf.saved_model.save(module, str(version), module.functions)
    if metadata is not None:
        (version / METADATA).parent.mkdir()
        content = {"app": name, "config": {}, "source": "toys", **metadata}
        (version / METADATA).write_text(json.dumps(content), encoding="utf-8")
        write_warmup(version / WARMUP, signatures["serving_default"][1:])


def save_words(folder):
    """Writes version 1 of a model that cuts texts into words by an operation of tensorflow-text.

    It answers with their numbers of words, and with the number of texts that it was given together.
    """
    import tensorflow_text

    tokenizer = tensorflow_text.WhitespaceTokenizer()

    def words(text):
        counts = tokenizer.tokenize(text).row_lengths()
        return {"words": counts, "together": tf.ones_like(counts) * tf.size(counts, tf.int64)}

    module = tf.Module()
    module.tokenizer = tokenizer
    module.words = tf.function(words, input_signature=[spec((None,), tf.string, "text")])
    tf.saved_model.save(module, str(folder / "1"), {"serving_default": module.words})


def write_warmup(path, specs):
    request = predict_pb2.PredictRequest()
    for spec in specs:
        shape = [size or 1 for size in spec.shape]
        value = np.full(shape, b"caf\xc3\xa9" if spec.dtype == tf.string else 1)
        request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(value, spec.dtype))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
