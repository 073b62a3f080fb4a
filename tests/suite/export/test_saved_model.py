import json
import os
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from suite.errors import Unwritable
from suite.export import saved_model
from suite.export.endpoints import Endpoint, call, classifier, of_model
from suite.export.saved_model import try_endpoints, write_saved_model
from suite.export.versions import versions

FOLDER = Path("models/app")


def model(classes=3):
    inputs = keras.Input((2,), name="features")
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(inputs), name="dense")


def write(folder=FOLDER, network=None, **metadata):
    network = network or model()
    example = np.ones((4, 2), "float32")
    endpoints = {"serve": classifier(network)}
    return write_saved_model(folder, network, endpoints, example, metadata)


def answer_to_warm_up(version):
    """The outputs for the warm-up request of a version."""
    path = str(version / "assets.extra/tf_serving_warmup_requests")
    [record] = tf.data.TFRecordDataset(path).as_numpy_iterator()
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    loaded = tf.saved_model.load(str(version))
    signature = loaded.signatures[request.model_spec.signature_name]
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    outputs = signature(**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: value.numpy() for name, value in outputs.items()}


def text_by_table():
    """An endpoint that finds the numbers of words in a vocabulary, and the words of numbers."""
    words = ["cat", "dog", "猫"]
    keys = tf.lookup.KeyValueTensorInitializer(words, tf.range(3, dtype=tf.int64))
    index = tf.lookup.StaticHashTable(keys, default_value=-1)
    lookup = keras.layers.StringLookup(vocabulary=words, invert=True)
    weights = tf.Variable([[1.0], [2.0], [3.0]])

    def serve(text):
        number = index.lookup(text)
        known = tf.maximum(number, 0)
        return {
            "number": number,
            "score": tf.gather(weights, known)[:, 0],
            "again": lookup(known + 1),
        }

    spec = tf.TensorSpec((None,), tf.string, name="text")
    return Endpoint(serve, [spec], [index, lookup, weights])


def model_of_several_inputs():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    scale = keras.Input((1,), name="scale")
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(10, 4)(tokens))
    return keras.Model([tokens, scale], {"mean": mean * scale}, name="several")


CASES = {
    "one array": (model, lambda m: m, np.ones((3, 2), "float32")),
    "int32": (
        lambda: keras.Model(
            t := keras.Input((None,), dtype="int32", name="tokens"),
            keras.layers.Embedding(9, 2, name="vectors")(t),
        ),
        lambda m: m,
        np.array([[1, 2], [3, 4]]),
    ),
    "several inputs": (
        model_of_several_inputs,
        lambda m: m,
        {"tokens": np.array([[1, 2, 3], [4, 5, 6]]), "scale": np.array([[1.0], [2.0]])},
    ),
    "text and tables": (
        model,
        lambda m: text_by_table(),
        np.array(["dog", "猫", "cow"], object),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_any_input_is_exported_warmed_up_and_read_back(case):
    build, endpoint, example = CASES[case]
    network = build()
    endpoints = {"serve": endpoint(network)}
    try_endpoints(endpoints, example)

    version, difference = write_saved_model(FOLDER, {"network": network}, endpoints, example, {})

    assert difference < 1e-6
    answer = call(tf.saved_model.load(str(version)).signatures["serve"], example)
    first = answer_to_warm_up(version)
    assert first.keys() == answer.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, answer[name][:1])


def test_tables_and_texts_answer_right_after_a_reload():
    version, _ = write_saved_model(
        FOLDER, {"network": model()}, {"serve": text_by_table()}, np.array(["cat"], object), {}
    )

    answer = call(tf.saved_model.load(str(version)).signatures["serve"], ["猫", "cow", "dog"])

    assert answer["number"].tolist() == [2, -1, 1]
    assert answer["score"].tolist() == [3.0, 1.0, 2.0]
    assert [text.decode() for text in answer["again"]] == ["猫", "cat", "dog"]


def test_a_difference_is_noticed():
    network = model()
    endpoint = of_model(network)
    calls = []

    def serve(features):
        calls.append(features)
        return {"logits": endpoint.function(features)["logits"] + len(calls)}

    _, difference = write_saved_model(
        FOLDER,
        {"network": network},
        {"serve": Endpoint(serve, endpoint.inputs, [network])},
        np.ones((2, 2)),
        {},
    )

    assert difference >= 1


def test_a_number_that_is_none_after_reloading_is_noticed(monkeypatch):
    network = model()
    outputs = {"first": network.output, "second": 2 * network.output}
    both = keras.Model(network.input, outputs)

    def reloaded(signature, example):
        answers = both.predict(example, verbose=0)
        return {**answers, "second": np.full_like(answers["second"], np.nan)}

    monkeypatch.setattr(saved_model, "call", reloaded)
    _, difference = write_saved_model(FOLDER, network, {"serve": both}, np.ones((2, 2)), {})

    assert difference == np.inf


def test_a_disk_that_is_full_before_the_export_is_said(monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)

    with pytest.raises(Unwritable, match=r"models/app cannot be written: No space left on device;"):
        write()


def test_every_endpoint_is_a_signature():
    network = model()
    endpoints = {"serve": classifier(network), "text": text_by_table()}

    version, _ = write_saved_model(FOLDER, network, endpoints, np.ones((1, 2)), {})

    signatures = tf.saved_model.load(str(version)).signatures
    assert set(signatures) == {"serve", "serving_default", "text"}
    assert call(signatures["text"], ["dog"])["number"] == [1]


@pytest.mark.parametrize(
    ("endpoints", "example", "message"),
    [
        ({}, None, "must be called serve. Received: none"),
        ({"predict": model}, np.ones((1, 2)), "must be called serve. Received: predict"),
        ({"serve": model}, {"image": np.ones((1, 2))}, "must be named features. Received: image"),
        ({"serve": model}, np.ones((1, 3)), None),
    ],
)
def test_endpoints_that_do_not_fit_the_example_are_refused(endpoints, example, message):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        try_endpoints({name: build() for name, build in endpoints.items()}, example)


def test_an_endpoint_that_needs_autograph_is_refused_as_its_export_would_be():
    def serve(features):
        return {"score": features if tf.reduce_sum(features) > 0 else -features}

    endpoint = Endpoint(serve, [tf.TensorSpec((None, 2), name="features")])

    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        try_endpoints({"serve": endpoint}, np.ones((1, 2)))


def test_versions_count_up_and_leave_nothing_beside():
    paths = [write()[0] for _ in range(2)]

    assert [path.name for path in paths] == ["1", "2"]
    assert versions(FOLDER) == [1, 2]
    assert sorted(p.name for p in FOLDER.iterdir()) == ["1", "2"]


def test_failed_export_leaves_nothing(monkeypatch):
    monkeypatch.setattr(keras.Model, "save", lambda *a: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        write()

    assert list(FOLDER.iterdir()) == []


def test_full_disk_is_said(monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)

    with pytest.raises(Unwritable, match=r"models/app cannot be written: No space left on device;"):
        write()

    assert list(FOLDER.iterdir()) == []


def test_what_a_killed_export_left_is_cleared_away():
    old, new = Path("models/app/.export-old"), Path("models/app/.export-new")
    for aside in (old, new):
        (aside / "version").mkdir(parents=True)
    os.utime(old, (0, 0))

    write()

    assert sorted(path.name for path in FOLDER.iterdir()) == [".export-new", "1"]


def test_versions_written_at_once_all_arrive():
    network = model()
    threads = [threading.Thread(target=write, args=(FOLDER, network)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert versions(FOLDER) == [1, 2, 3]


def test_what_only_looks_like_a_version_is_in_nobody_s_way():
    FOLDER.mkdir(parents=True)
    Path("models/app/1").touch()
    Path("models/app/02").mkdir()
    Path("models/app", "9" * 19).mkdir()

    path, _ = write()

    assert path.name == "2" and versions(FOLDER) == [2]


def test_metadata_is_plain_json():
    path, _ = write(class_names=["a", "ü"])

    text = (path / "assets.extra/metadata.json").read_text(encoding="utf-8")
    assert json.loads(text)["class_names"][1] == "ü"
