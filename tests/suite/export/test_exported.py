import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import train
from suite.app import networks_of
from suite.errors import InputError
from suite.export.endpoints import classifier
from suite.export.exported import ExportedModel, Exports
from suite.export.saved_model import write_saved_model
from tests.suite.small import QUIET, app, variant

MODELS = Exports(export_dir=Path("models"))
ONES = np.ones((2, 2), "float32")


def model(classes=3):
    inputs = keras.Input((2,), name="features")
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(inputs), name="dense")


def write(built=None, **metadata):
    built = built or model()
    endpoints = {"serve": classifier(next(iter(networks_of(built).values())))}
    return write_saved_model(Path("models/app"), built, endpoints, ONES, metadata)[0]


def test_inputs_that_an_export_refuses_are_a_sentence(monkeypatch):
    @tf.function(input_signature=[tf.TensorSpec((None,), name="numbers")])
    def serve(numbers):
        small = tf.reduce_all(numbers < 1)
        tf.debugging.Assert(small, ["numbers must be below 1", tf.shape(numbers)])
        tf.debugging.assert_none_equal(numbers, -1.0)
        return {"numbers": tf.identity(numbers)}

    tf.saved_model.save(tf.Module(), "model", signatures={"serve": serve})
    loaded = tf.saved_model.load("model")
    monkeypatch.setattr(ExportedModel, "signature", lambda self, name: loaded.signatures[name])
    exported = ExportedModel(Path("models/app/1"))

    assert exported.call(np.zeros(2, "float32"))["numbers"].tolist() == [0, 0]
    with pytest.raises(InputError, match=r"numbers must be below 1\. Received: 2"):
        exported.call(np.ones(2, "float32"))
    with pytest.raises(tf.errors.InvalidArgumentError):  # a bug, and no word of the export's
        exported.call(-np.ones(2, "float32"))


def test_newest_or_chosen_version_answers():
    first, second = model(), model()
    for network in (first, second):
        write(network)

    newest = MODELS.open("app").call(ONES)
    chosen = Exports(export_dir=Path("models"), version=1).open("app").call(ONES)

    np.testing.assert_allclose(newest["logits"], second(ONES), rtol=1e-5)
    np.testing.assert_allclose(chosen["logits"], first(ONES), rtol=1e-5)


def test_missing_version_is_refused():
    write()

    with pytest.raises(InputError, match=r"must be one of: 1\. Received: 7"):
        Exports(export_dir=Path("models"), version=7).open("app")


def test_no_version_is_refused_with_what_makes_one():
    with pytest.raises(InputError, match=r"python -m apps\.app makes one\. Received: none under"):
        MODELS.open("app")


def test_a_signature_is_called_by_its_name():
    network = model()
    endpoints = {"serve": classifier(network), "raw": network}
    write_saved_model(Path("models/app"), network, endpoints, ONES, {})

    raw = MODELS.open("app").call({"features": ONES}, "raw")

    assert raw.keys() == {"logits"}
    np.testing.assert_allclose(raw["logits"], network(ONES), rtol=1e-5)


def test_a_signature_that_is_not_there_is_no_damage():
    write()

    with pytest.raises(InputError, match=r"must be one of: serve, serving_default\. Received: pi"):
        MODELS.open("app").call(ONES, "picture")


def test_one_network_comes_back_as_a_model():
    network = model()
    write(network)

    built = MODELS.open("app").built()

    assert isinstance(built, keras.Model) and built.name == "dense"
    np.testing.assert_array_equal(built(ONES), network(ONES))


@pytest.mark.parametrize("names", [["second", "first"], ["only"], ["model", "other"]])
def test_named_networks_come_back_by_name(names):
    networks = {name: model() for name in names}
    write(networks)

    built = MODELS.open("app").built()

    assert set(built) == set(names)
    for name, network in networks.items():
        np.testing.assert_array_equal(built[name](ONES), network(ONES))


def build_networks(*, units: int = 4):
    """Two networks, of which the second reads the first.

    Args:
        units: Between them.
    """
    point, code = keras.Input((2,), name="point"), keras.Input((units,), name="code")
    encoder = keras.Model(point, keras.layers.Dense(units, name="code")(point), name="encoder")
    head = keras.Model(code, keras.layers.Dense(2, name="logits")(code), name="head")
    return {"encoder": encoder, "head": head}


def compile_networks(built, config, steps):
    encoder, head = built["encoder"], built["head"]
    whole = keras.Model(encoder.input, head(encoder.output))
    return app.compile(whole, config, steps)


def endpoints_of_networks(fitted):
    encoder, head = fitted.networks["encoder"], fitted.networks["head"]
    whole = keras.Model(encoder.input, head(encoder.output), name="whole")
    return {"serve": classifier(whole), "encode": encoder}


def test_named_networks_are_trained_exported_and_taken_up_again():
    app_of_networks = variant(
        app, build=build_networks, compile=compile_networks, endpoints=endpoints_of_networks
    )

    trained = train(app_of_networks, app_of_networks.recipe(units=3), QUIET)

    assert set(trained.networks) == {"encoder", "head"}
    built = Exports().open("small").built()
    for name, network in trained.networks.items():
        for a, b in zip(network.get_weights(), built[name].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    again = app_of_networks.compile(built, app_of_networks.config(), 1)
    logs = again.evaluate(trained.data.test, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(trained.metrics["test_loss"])
    code = Exports().open("small").call(np.ones((1, 2)), "encode")
    assert code["code"].shape == (1, 3)


def test_metadata_of_a_version_must_be_whole():
    path = write(app="app", config={}, source="s", metrics={"loss": 1.0})
    metadata = path / "assets.extra/metadata.json"
    exported = MODELS.open("app")
    assert exported.metadata()["source"] == "s"

    with pytest.raises(InputError, match="damaged"):
        exported.metadata("class_names")
    metadata.write_text(metadata.read_text().replace("loss", "lass"))
    with pytest.raises(InputError, match=r"metadata.json, damaged or missing"):
        MODELS.open("app")
    (path / "assets.extra/SHA256SUMS").unlink()
    exported = MODELS.open("app")
    assert exported.metadata()["metrics"] == {"lass": 1.0}
    for change in ({"metrics": {}}, {"source": None}, {"config": 1}):
        metadata.write_text(
            json.dumps({"app": "app", "config": {}, "source": "s", "metrics": {"a": 1}, **change})
        )
        with pytest.raises(InputError, match="must be whole"):
            exported.metadata()


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_metadata_of_another_form_is_refused(text):
    path = write()
    exported = MODELS.open("app")
    (path / "assets.extra/metadata.json").write_text(text)

    with pytest.raises(InputError, match="must be whole"):
        exported.metadata()


def test_damaged_version_is_refused():
    path = write()
    exported = MODELS.open("app")
    (path / "saved_model.pb").write_bytes(b"no model")
    (path / "assets.extra/model.keras").write_bytes(b"no model")

    for read in (lambda: exported.call(ONES), exported.built):
        with pytest.raises(InputError, match="must be whole"):
            read()
    with pytest.raises(InputError, match="damaged or missing"):
        MODELS.open("app")
    (path / "assets.extra/model.keras").unlink()
    with pytest.raises(InputError, match="must be whole"):
        exported.built()
