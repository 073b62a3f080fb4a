import json
import os
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from suite.errors import InputError
from suite.export.saved_model import Export, classifier, export
from suite.export.versions import versions


def model(classes=3):
    inputs = keras.Input((2,), name="features")
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(inputs))


def write(folder, network=None, **metadata):
    network = network or model()
    example = np.ones((4, 2), "float32")
    return export(folder, network, {"serve": classifier(network)}, example, metadata)


def test_classifier_adds_probabilities_and_label():
    network = model()
    inputs = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")

    served = classifier(network)(inputs)

    logits = np.asarray(network(inputs))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(served["logits"], logits, rtol=1e-6)
    np.testing.assert_allclose(
        served["probabilities"], exponentials / exponentials.sum(1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_array_equal(served["label"], logits.argmax(axis=1))


def test_versions_count_up_and_leave_nothing_beside():
    folder = Path("models/app")

    paths = [write(folder)[0] for _ in range(2)]

    assert [path.name for path in paths] == ["1", "2"]
    assert versions(folder) == [1, 2]
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def test_only_numbered_folders_are_versions():
    folder = Path("models/app")
    for name in ("7", "²", "x"):
        (folder / name).mkdir(parents=True)
    (folder / "9").write_text("a file")

    assert versions(folder) == [7]


def test_failed_export_leaves_nothing(monkeypatch):
    monkeypatch.setattr(keras.Model, "save", lambda *a: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        write(Path("models/app"))

    assert list(Path("models/app").iterdir()) == []


def test_what_a_killed_export_left_is_cleared_away():
    old, new = Path("models/app/.export-old"), Path("models/app/.export-new")
    for aside in (old, new):
        (aside / "version").mkdir(parents=True)
    os.utime(old, (0, 0))

    write(Path("models/app"))

    assert sorted(path.name for path in Path("models/app").iterdir()) == [".export-new", "1"]


def test_versions_written_at_once_all_arrive():
    folder = Path("models/app")
    network = model()
    threads = [threading.Thread(target=write, args=(folder, network)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert versions(folder) == [1, 2, 3]


def test_newest_or_chosen_version_answers():
    first, second = model(), model()
    for network in (first, second):
        write(Path("models/app"), network)
    inputs = np.ones((2, 2), "float32")

    newest = Export(export_dir=Path("models")).call("app", inputs)
    chosen = Export(export_dir=Path("models"), version=1).call("app", inputs)

    np.testing.assert_allclose(newest["logits"], second(inputs), rtol=1e-5)
    np.testing.assert_allclose(chosen["logits"], first(inputs), rtol=1e-5)


def test_missing_version_is_refused():
    write(Path("models/app"))

    with pytest.raises(InputError, match=r"must be one of: 1\. Received: 7"):
        Export(export_dir=Path("models"), version=7).folder("app")


def test_what_only_looks_like_a_version_is_none_and_in_nobody_s_way():
    Path("models/app").mkdir(parents=True)
    Path("models/app/1").touch()
    Path("models/app/02").mkdir()
    Path("models/app", "9" * 19).mkdir()

    path, _ = write(Path("models/app"))

    assert path.name == "2" and versions(Path("models/app")) == [2]


def test_what_is_said_of_a_version_must_be_whole():
    path, _ = write(Path("models/app"), app="app", config={}, source="s", metrics={"loss": 1.0})
    exported, metadata = Export(export_dir=Path("models")), path / "assets.extra/metadata.json"
    assert exported.metadata("app")["source"] == "s"

    with pytest.raises(InputError, match="damaged"):
        exported.metadata("app", "class_names")
    metadata.write_text(metadata.read_text().replace("loss", "lass"))
    with pytest.raises(InputError, match=r"metadata.json, damaged or missing"):
        exported.metadata("app")
    (path / "assets.extra/SHA256SUMS").unlink()
    assert exported.metadata("app")["metrics"] == {"lass": 1.0}
    for said in ({"metrics": {}}, {"source": None}, {"config": 1}):
        metadata.write_text(
            json.dumps({"app": "app", "config": {}, "source": "s", "metrics": {"a": 1}, **said})
        )
        with pytest.raises(InputError, match="must be whole"):
            exported.metadata("app")


def test_damaged_version_is_refused():
    path, _ = write(Path("models/app"))
    (path / "saved_model.pb").write_bytes(b"no model")
    (path / "assets.extra/model.keras").write_bytes(b"no model")
    exported = Export(export_dir=Path("models"))

    with pytest.raises(InputError, match="must be whole"):
        exported.call("app", np.ones((1, 2)))
    with pytest.raises(InputError, match="must be whole"):
        exported.keras_model("app")
    for text in ("", "[]", "{}"):
        (path / "assets.extra/metadata.json").write_text(text)
        with pytest.raises(InputError, match="must be whole"):
            exported.metadata("app")


def test_metadata_is_plain_json():
    path, _ = write(Path("models/app"), class_names=["a", "ü"])

    assert json.loads((path / "assets.extra/metadata.json").read_text())["class_names"][1] == "ü"
