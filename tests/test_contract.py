"""What every app promises, whichever it is. A new app is covered by being found."""

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import docstring_parser
import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import InputError, Run, train
from suite.app import app_names, load_app
from suite.export.saved_model import export
from suite.placement.strategy import strategy

ROOT = str(Path(__file__).parents[1])

pytestmark = pytest.mark.parametrize("name", app_names())


def documented(thing):
    """The names under `Args:` in a docstring."""
    return {p.arg_name for p in docstring_parser.parse(inspect.getdoc(thing)).params}


def small(config, **knobs):
    """The recipe with little in a step."""
    knobs |= {"batch_size": 8, "num_envs": 4, "steps_per_epoch": 10}
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{k: v for k, v in knobs.items() if k in names})


def tiny(app):
    """A recipe that does next to nothing, and data that is always there."""
    run = Run(data="embedded", quiet=True)
    config = small(app.config(), epochs=1)
    return config, run, app.data(config, run)


def test_builder_works_with_no_arguments(name):
    model = load_app(name).build()

    assert isinstance(model, keras.Model)
    assert model.inputs and not any(t.name.startswith("keras_tensor") for t in model.inputs)
    assert all(tensor.shape[0] is None for tensor in [*model.inputs, *model.outputs])


def test_builder_says_what_is_wrong_in_one_sentence(name):
    app = load_app(name)

    for knob in app.architecture_knobs():
        with pytest.raises(InputError, match=rf"^`{knob}` .* Received: <object .*>$"):
            app.build(**{knob: object()})


def test_every_knob_is_typed_documented_and_declared_once(name):
    app = load_app(name)
    recipe = {field.name for field in dataclasses.fields(app.config)}
    architecture = app.architecture_knobs()
    shared = {field.name for field in dataclasses.fields(Run)}

    assert recipe == documented(app.config)
    assert set(architecture) <= documented(app.build)
    assert not (recipe & set(architecture)) | (recipe & shared) | (set(architecture) & shared)
    assert all(knob.annotation is not knob.empty for knob in architecture.values())
    for knobs in app.recipes.values():
        assert set(knobs) <= recipe | set(architecture)


def test_config_is_frozen_and_knows_its_knobs(name):
    config = load_app(name).config

    with pytest.raises(dataclasses.FrozenInstanceError):
        config().epochs = 2
    with pytest.raises(InputError, match=r"^`epoch` is not known\. Received: 2$"):
        config(epoch=2)


def test_name_is_the_module_s(name):
    assert load_app(name).name == name


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """What the import of each app does, in a process that has done nothing else yet."""
    script = (
        "import contextlib, io, json, sys, threading\n"
        "import keras, numpy, tensorflow\n"
        "threads, found = threading.active_count(), {}\n"
        "for name in sys.argv[1:]:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as said:\n"
        "        __import__(f'apps.{name}')\n"
        "    started = threading.active_count() - threads\n"
        "    heavy = 'tensorflow_datasets' in sys.modules\n"
        "    found[name] = [said.getvalue(), started, heavy]\n"
        "print(json.dumps(found))\n"
    )
    folder = tmp_path_factory.mktemp("imported")
    done = subprocess.run(
        [sys.executable, "-c", script, *app_names()],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout)


def test_import_prints_nothing_and_starts_nothing(name, imported):
    assert imported[name] == ["", 0, False]


@pytest.mark.parametrize("placement", ["one_device", "mirrored"])
def test_fit_takes_two_steps(name, placement):
    app = load_app(name)
    config, _, data = tiny(app)
    with strategy(placement).scope():
        model = app.compile(app.build(**data.model_arguments), config, 2)
    before = [np.array(weights) for weights in model.get_weights()]

    history = model.fit(data.train(0), steps_per_epoch=2, verbose=0, shuffle=False)

    assert all(np.isfinite(values).all() for values in history.history.values())
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_keras_file_keeps_the_model(name):
    app = load_app(name)
    _, _, data = tiny(app)
    model = app.build(**data.model_arguments)
    inputs = app.example(model, data)

    model.save("model.keras")
    loaded = keras.models.load_model("model.keras", safe_mode=True)

    keras.tree.map_structure(np.testing.assert_array_equal, model(inputs), loaded(inputs))


def test_export_answers_alike_in_a_fresh_process_without_the_project(name, tmp_path):
    app = load_app(name)
    _, _, data = tiny(app)
    model = app.build(**data.model_arguments)
    inputs = app.example(model, data)
    inputs = np.resize(inputs, (64, *inputs.shape[1:])).astype("float32")
    endpoint = app.endpoints(model)["serve"]
    version, difference = export(tmp_path / name, model, app.endpoints(model), inputs, {})
    expected = {key: np.asarray(value) for key, value in endpoint(inputs).items()}
    np.savez("inputs.npz", inputs=inputs)

    script = """
import sys
sys.modules["apps"] = sys.modules["suite"] = None  # not importable here
import keras, numpy as np, tensorflow as tf
version, output = sys.argv[1:]
inputs = np.load("inputs.npz")["inputs"]
serve = tf.saved_model.load(version).signatures["serving_default"]
[argument] = serve.structured_input_signature[1]
layer = keras.layers.TFSMLayer(version, call_endpoint="serving_default")
found = {}
for n in (1, 3, 64):
    for key, value in serve(**{argument: tf.constant(inputs[:n])}).items():
        found[f"{key}_{n}"] = value
        found[f"layer_{key}_{n}"] = layer(tf.constant(inputs[:n]))[key]
np.savez(output, **found)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(version), "outputs.npz"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = np.load("outputs.npz")

    assert difference < 1e-4
    assert len(found) == 6 * len(expected)
    for key, value in expected.items():
        for n in (1, 3, 64):
            np.testing.assert_allclose(found[f"{key}_{n}"], value[:n], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found[f"layer_{key}_{n}"], value[:n], rtol=1e-4, atol=1e-5)


def test_train_does_it_all_and_writes_it_down(name, tmp_path):
    app = load_app(name)
    config, run, data = tiny(app)

    trained = train(app, config, run)

    report = json.loads((trained.folder / "report.json").read_text())
    assert report["app"] == name
    assert set(report["config"]) == {field.name for field in dataclasses.fields(app.config)}
    assert report["data"]["source"].partition(":")[0] in ("embedded", "synthetic", "gymnasium")
    assert len(report["data"]["fingerprint"]) == 64
    assert report["parameters"] == app.build(**data.model_arguments).count_params()
    assert {"import", "data", "fit", "evaluate", "export", "total"} <= set(report["seconds"])
    assert {"keras", "tensorflow", "python"} <= set(report["versions"])
    assert report["metrics"] and all(np.isfinite(v) for v in report["metrics"].values())
    assert (trained.folder / "figures" / "learning_curves.png").stat().st_size > 1000
    assert f"# {name}" in (trained.folder / "REPORT.md").read_text()
    assert trained.saved_model.name == "1"
    assert (trained.saved_model / "assets.extra" / "tf_serving_warmup_requests").exists()


def test_warm_up_request_can_be_replayed(name, tmp_path):
    from tensorflow_serving.apis import prediction_log_pb2

    app = load_app(name)
    _, _, data = tiny(app)
    model = app.build(**data.model_arguments)
    inputs = app.example(model, data)
    version, _ = export(tmp_path / name, model, app.endpoints(model), inputs, {})

    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    [record] = tf.data.TFRecordDataset(path).as_numpy_iterator()
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    signature = tf.saved_model.load(str(version)).signatures[request.model_spec.signature_name]
    arguments = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}

    assert signature(**arguments)


def test_same_seed_same_batches_and_weights_and_another_seed_others(name):
    app = load_app(name)
    config = small(app.config())

    def beginning(seed):
        keras.utils.set_random_seed(seed)
        data = app.data(config, Run(data="embedded", seed=seed))
        batch = [np.asarray(part) for part in next(iter(data.train(3)))]
        return batch, app.build(**data.model_arguments).get_weights()

    for first, again, other in zip(beginning(1), beginning(1), beginning(2), strict=True):
        assert all((a == b).all() for a, b in zip(first, again, strict=True))
        assert any((a != b).any() for a, b in zip(first, other, strict=True))
