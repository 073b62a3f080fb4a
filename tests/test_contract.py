"""What every app promises, whichever it is. A new app is covered by being found.

Each one is trained and exported once; all assertions look at that. The strangers are applications
that are not shipped, one for each thing that the contract must be wide enough for.
"""

import contextlib
import dataclasses
import inspect
import json
import shutil
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import docstring_parser
import keras
import numpy as np
import pytest
import requests
import tensorflow as tf

from suite import InputError, Run, train
from suite.app import app_names, load_app, networks_of
from suite.export.endpoints import arguments, as_endpoint
from suite.training.session import build

ROOT = Path(__file__).parents[1]
MOST_PARAMETERS = 100_000
MOST_SECONDS = 5  # of `fit`, where nothing else runs
SLOWER = 6  # times, while other tests run beside it

APPS = app_names()
STRANGERS = app_names("tests.strangers")
pytestmark = [
    pytest.mark.parametrize(
        "name", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in APPS + STRANGERS]
    )
]


def load(name):
    return load_app(name, "apps" if name in APPS else "tests.strangers")


def documented(thing):
    """The names under `Args:` in a docstring."""
    return {p.arg_name for p in docstring_parser.parse(inspect.getdoc(thing)).params}


class Killed(Exception):
    """Ends a training without a farewell."""


class Kill(keras.callbacks.Callback):
    """Kills the training in the first step after its first saved state."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            raise Killed


def tiny(app, **knobs):
    if "epochs" in vars(app.config()):
        knobs.setdefault("epochs", 2)
    return app.recipe(**{**app.tiny, **knobs})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By an app's name: what its one tiny training has left, in the normal way."""
    trainings = {}

    def make(name):
        if name not in trainings:
            folder = tmp_path_factory.mktemp(name)
            app = load(name)
            run = Run(
                data="embedded" if name in APPS else "auto",
                quiet=True,
                deterministic=True,
                seed=7,
                run_dir=folder / "run",
                export_dir=folder / "exports",
            )
            trained = train(app, tiny(app), run)
            trainings[name] = types.SimpleNamespace(app=app, run=run, trained=trained)
        return trainings[name]

    return make


@pytest.fixture
def embedded(monkeypatch, tmp_path):
    """No prepared data: what is always there is taken."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def reloading():
    """A process that reloads exports: one for all apps of a worker."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("reload.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    yield process
    process.communicate()


class Serving:
    """A server over a folder of exports, which may come in while it runs."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = [free_port(), free_port()]

    def start(self):
        rest, rpc = map(str, self.ports)
        words = ["suite.serve", str(self.folder), "--port", rest, "--grpc-port", rpc]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL
        )

    def add(self, version, name):
        target = self.folder / name / version.name
        if not target.exists():
            shutil.copytree(version, self.folder / f".{name}")
            target.parent.mkdir()
            (self.folder / f".{name}").rename(target)
        if not hasattr(self, "process"):
            self.start()
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                status = requests.get(self.url(name), timeout=10).json()
                if "AVAILABLE" in json.dumps(status):
                    return
            time.sleep(0.3)
        raise AssertionError(f"{name} is not served")

    def url(self, name):
        return f"http://127.0.0.1:{self.ports[0]}/v1/models/{name}"

    def by_rest(self, name, inputs):
        values = {
            key: value.astype(str).tolist() if value.dtype.kind in "OSU" else value.tolist()
            for key, value in inputs.items()
        }
        answer = requests.post(f"{self.url(name)}:predict", json={"inputs": values}, timeout=60)
        assert answer.ok, answer.text
        outputs = answer.json()["outputs"]
        if isinstance(outputs, dict):
            return outputs
        signature = requests.get(f"{self.url(name)}/metadata", timeout=60).json()["metadata"]
        [output] = signature["signature_def"]["signature_def"]["serving_default"]["outputs"]
        return {output: outputs}

    def by_grpc(self, name, inputs):
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[1]}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(request, timeout=60)
        return {key: tf.make_ndarray(value) for key, value in answer.outputs.items()}


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """A server: one for all apps of a worker, and started with the first of them."""
    served = Serving(tmp_path_factory.mktemp("served"))
    yield served
    if hasattr(served, "process"):
        served.process.terminate()
        served.process.wait()


def test_builder_works_with_no_arguments(name):
    built = load(name).build()

    for network in networks_of(built).values():
        assert isinstance(network, keras.Model)
        names = [tensor.name for tensor in network.inputs]
        assert names and not any(n.startswith("keras_tensor") for n in names)
        assert all(tensor.shape[0] is None for tensor in [*network.inputs, *network.outputs])


def test_builder_says_what_is_wrong_in_one_sentence(name):
    app = load(name)

    for knob in app.architecture_knobs():
        with pytest.raises(InputError, match=rf"^`{knob}` .* Received: <object .*>$"):
            app.build(**{knob: object()})


def test_every_knob_is_typed_documented_and_declared_once(name):
    app = load(name)
    recipe = {field.name for field in dataclasses.fields(app.config)}
    architecture = app.architecture_knobs()
    shared = {field.name for field in dataclasses.fields(Run)}

    assert recipe == documented(app.config)
    assert set(architecture) <= documented(app.build)
    assert not (recipe & set(architecture)) | (recipe & shared) | (set(architecture) & shared)
    assert all(knob.annotation is not knob.empty for knob in architecture.values())
    for knobs in [*app.recipes.values(), app.tiny]:
        assert set(knobs) <= recipe | set(architecture)


def test_config_is_frozen_and_knows_its_knobs(name):
    config = load(name).config

    with pytest.raises(dataclasses.FrozenInstanceError):
        config().epochs = 2
    with pytest.raises(InputError, match=r"^`epoch` is not known\. Received: 2$"):
        config(epoch=2)


def test_name_is_the_module_s(name):
    assert load(name).name == name


def test_training_is_tiny(name, made):
    report = made(name).trained.report

    assert report["parameters"] <= MOST_PARAMETERS
    assert report["seconds"]["fit"] <= MOST_SECONDS * SLOWER


def test_report_tells_it_all(name, made):
    trained = made(name).trained
    app = made(name).app

    report = json.loads((trained.folder / "report.json").read_text(encoding="utf-8"))
    assert report["app"] == name
    assert set(report["config"]) == {field.name for field in dataclasses.fields(app.config)}
    assert report["data"]["source"].partition(":")[0] in ("embedded", "synthetic", "gymnasium")
    assert len(report["data"]["fingerprint"]) == 64
    assert report["parameters"] == sum(n.count_params() for n in trained.networks.values())
    assert {"import", "data", "fit", "evaluate", "export", "total"} <= set(report["seconds"])
    assert {"keras", "tensorflow", "python"} <= set(report["versions"])
    assert report["metrics"] and finite(report["metrics"])
    if trained.history:
        assert (trained.folder / "figures" / "learning_curves.png").stat().st_size > 1000
    assert f"# {name}" in (trained.folder / "REPORT.md").read_text(encoding="utf-8")
    assert trained.saved_model.name == "1"


def finite(metrics):
    """Whether all numbers are; what is not available is None."""
    return all(
        value is None or (finite(value) if isinstance(value, dict) else np.isfinite(value))
        for value in metrics.values()
    )


def test_objective_is_among_the_logs(name, made):
    app, history = made(name).app, made(name).trained.history

    assert not history or app.objective in history


def test_loss_falls_on_a_few_examples(name, made, embedded):
    app, trained = made(name).app, made(name).trained
    if "loss" not in trained.history or "train" not in trained.data.splits:
        pytest.skip("it has no loss of fixed examples")
    recipe = tiny(app)
    keras.utils.set_random_seed(3)
    built = build(app, recipe, trained.data)
    phase = app.phases(recipe.config)[-1]
    model = (phase.compile or app.compile)(built, recipe.config, 1000)
    batch = next(iter(trained.data.train(0)))
    same = tf.data.Dataset.from_tensors(batch).repeat()

    losses = model.fit(same, steps_per_epoch=10, epochs=5, verbose=0, shuffle=False).history["loss"]

    assert losses[-1] < losses[0]


def test_killed_and_resumed_it_ends_with_the_same_bytes(name, made, embedded, tmp_path):
    app, run, undisturbed = made(name).app, made(name).run, made(name).trained
    if len(undisturbed.history.get(app.objective, [])) < 2:
        pytest.skip("it has no second epoch in which to be killed")
    run = dataclasses.replace(run, run_dir=tmp_path / "run", export_dir=tmp_path / "exports")

    with pytest.raises(Killed):
        train(app, tiny(app), run, callbacks=[Kill()])
    resumed = train(app, tiny(app), dataclasses.replace(run, resume=True))

    for one, other in zip(undisturbed.networks.values(), resumed.networks.values(), strict=True):
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    logs = [t.folder / "log.csv" for t in (undisturbed, resumed)]
    assert logs[0].read_bytes() == logs[1].read_bytes()
    assert without_times(undisturbed.metrics) == without_times(resumed.metrics)


def without_times(metrics):
    return {name: value for name, value in metrics.items() if "second" not in name}


def test_two_replicas_train_it(name, made, embedded, tmp_path):
    app, run = made(name).app, made(name).run
    run = dataclasses.replace(
        run, strategy="mirrored", run_dir=tmp_path / "run", deterministic=False
    )

    trained = train(
        app, tiny(app, **({"epochs": 1} if "epochs" in app.tiny else {})), run, until="judge"
    )

    assert finite(trained.metrics)


def test_export_answers_alike_in_a_process_without_the_project(name, made, reloading, tmp_path):
    trained, app = made(name).trained, made(name).app
    fitted = fitted_of(name, made)
    endpoints = app.endpoints(fitted)
    given, expected = {}, {}
    for key, endpoint in endpoints.items():
        endpoint = as_endpoint(endpoint)
        inputs = example(endpoint, app.example(fitted) if key == "serve" else None)
        if inputs is None:
            continue
        given |= {f"{key}/{n}": value for n, value in inputs.items()}
        for count in (1, 3, 64):
            batch = {n: value[:count] for n, value in inputs.items()}
            outputs = endpoint.function(*arguments(endpoint.inputs, batch).values())
            for n, value in outputs.items():
                expected[f"{key}/{n}/{count}"] = np.asarray(value)
                if key == "serve" and len(inputs) == 1:
                    expected[f"layer/{n}/{count}"] = np.asarray(value)
    np.savez(tmp_path / "inputs.npz", **given)

    words = (trained.saved_model, tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    print(*words, file=reloading.stdin, flush=True)
    assert reloading.stdout.readline() == "done\n"
    outputs = np.load(tmp_path / "outputs.npz", allow_pickle=True)

    assert trained.report["saved_model"]["reload_difference"] < 1e-4
    assert set(outputs.files) == set(expected)
    for key, value in expected.items():
        if value.dtype.hasobject:
            np.testing.assert_array_equal(outputs[key], value)
        else:
            np.testing.assert_allclose(outputs[key], value, rtol=1e-4, atol=1e-4)


def fitted_of(name, made):
    from suite.app import Fitted

    trained = made(name).trained
    return Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=tiny(made(name).app).config,
        folder=trained.folder,
    )


def example(endpoint, inputs):
    """64 examples for an endpoint, by the names of its inputs; None for one that takes no batch."""
    specs = endpoint.inputs
    if any(not spec.shape.rank or spec.shape[0] is not None for spec in specs):
        return None
    if inputs is None:
        if any(spec.dtype == tf.string for spec in specs):
            return None
        inputs = {
            spec.name: np.ones([1, *(size or 3 for size in spec.shape[1:])]) for spec in specs
        }
    if not isinstance(inputs, dict):
        inputs = {specs[0].name: inputs}
    types_ = {spec.name: spec.dtype.as_numpy_dtype for spec in specs}
    return {
        key: np.resize(np.asarray(value), (64, *np.shape(value)[1:])).astype(types_[key])
        for key, value in inputs.items()
    }


def test_served_it_answers_what_a_user_has_in_hand(name, made, serving):
    app, trained = made(name).app, made(name).trained
    fitted = fitted_of(name, made)
    serve = as_endpoint(app.endpoints(fitted)["serve"])
    inputs = {key: value[:3] for key, value in example(serve, app.example(fitted)).items()}
    expected = serve.function(*arguments(serve.inputs, inputs).values())
    serving.add(trained.saved_model, name)

    for outputs in (serving.by_rest(name, inputs), serving.by_grpc(name, inputs)):
        assert outputs.keys() == expected.keys()
        for key, value in expected.items():
            same_values(np.asarray(outputs[key]), np.asarray(value))


def same_values(outputs, expected):
    if expected.dtype.hasobject:
        texts = [v.decode() if isinstance(v, bytes) else v for v in outputs.ravel()]
        assert texts == [v.decode() for v in expected.ravel()]
    else:
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_warm_up_request_can_be_replayed(name, made):
    from tensorflow_serving.apis import prediction_log_pb2

    version = made(name).trained.saved_model
    path = str(version / "assets.extra" / "tf_serving_warmup_requests")
    [record] = tf.data.TFRecordDataset(path).as_numpy_iterator()
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    signature = tf.saved_model.load(str(version)).signatures[request.model_spec.signature_name]
    inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}

    assert signature(**inputs)


def test_same_seed_same_batches_and_weights_and_another_seed_others(name, embedded):
    app = load(name)

    def beginning(seed):
        keras.utils.set_random_seed(seed)
        recipe = tiny(app)
        data = app.data(recipe.config, Run(data="embedded" if name in APPS else "auto", seed=seed))
        batch = keras.tree.flatten(next(iter(data.train(3))))
        networks = networks_of(build(app, recipe, data)).values()
        weights = [array for network in networks for array in network.get_weights()]
        return [np.asarray(part) for part in batch], weights

    for first, again, other in zip(beginning(1), beginning(1), beginning(2), strict=True):
        assert all((a == b).all() for a, b in zip(first, again, strict=True))
        assert any(a.shape != b.shape or (a != b).any() for a, b in zip(first, other, strict=True))
