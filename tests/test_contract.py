"""The contract that every app keeps. A new app is tested without a change here.

Every app is trained and exported once, and all tests share the result, those of the documents as
well. The strangers are applications that are not shipped; each of them needs something of the
contract that others do not.
"""

import base64
import contextlib
import dataclasses
import functools
import inspect
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import docstring_parser
import keras
import numpy as np
import pytest
import requests
import tensorflow as tf

from suite import InputError, Run, train
from suite.app import networks_of
from suite.cli.commands import command_line_of
from suite.export.endpoints import arguments, as_endpoint
from suite.studies.gradient_check import TOLERANCE, check_gradients
from suite.studies.gradients import measure_gradients
from suite.training.session import build
from suite.training.state import optimizers
from tests.forks import Fork, program
from tests.trainings import APPS, STRANGERS, load, tiny

MOST_PARAMETERS = 100_000
MOST_SECONDS = 5  # of `fit` on an idle machine
SLOWER = 6  # times, while other tests run on the machine
# The applications that stand for all that are compiled by the same function; one of them has
# auxiliary losses.
KINDS = ("mnist_cnn", "inception")
# The applications whose export is used as a layer of Keras, too: one takes numbers, one texts.
LAYERS = ("mnist_cnn", "translation")

pytestmark = [
    # The scope has all tests of an app follow one another, so that its training can be forgotten.
    pytest.mark.parametrize(
        "name",
        [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in APPS + STRANGERS],
        scope="module",
    )
]


@functools.cache
def chosen_of_its_kind(compile_model):
    """The app that stands for those that are compiled by a function: one of KINDS, or the last."""
    names = [*KINDS, *reversed([*APPS, *STRANGERS])]
    return next(name for name in names if load(name).compile is compile_model)


@pytest.fixture
def one_of_a_kind(name, request):
    """In the short run, skips an app that is compiled by the same function as another one."""
    chosen = chosen_of_its_kind(load(name).compile)
    if name not in (chosen, *KINDS) and request.config.getoption("-m") == "not full":
        pytest.skip(f"it is trained as {chosen} is")


def with_its_data(training):
    """The app of a training, which has loaded its data already."""
    return dataclasses.replace(training.app, data=lambda config, run: training.trained.data)


def documented(thing):
    """The names under `Args:` in a docstring."""
    return {p.arg_name for p in docstring_parser.parse(inspect.getdoc(thing)).params}


@pytest.fixture(scope="session")
def reloading():
    """A process that reloads exports, for all apps of a test process."""
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
    """A server of a folder of exports, to which tests add exports while it runs."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = [free_port(), free_port()]

    def start(self):
        rest, rpc = map(str, self.ports)
        server = program("suite.serve", str(self.folder), "--port", rest, "--grpc-port", rpc)
        self.process = Fork(server, self.folder.with_name("output.txt"))

    def add(self, version, name):
        target = self.folder / name / version.name
        if not target.exists():
            shutil.copytree(version, self.folder / f".{name}")
            target.parent.mkdir()
            (self.folder / f".{name}").rename(target)
        if not hasattr(self, "process"):
            self.start()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                status = requests.get(self.url(name), timeout=10).json()
                if "AVAILABLE" in json.dumps(status):
                    return
            time.sleep(0.05)
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


@pytest.fixture(scope="session")
def serving(tmp_path_factory):
    """A server for all apps of a test process, started with the first export."""
    served = Serving(tmp_path_factory.mktemp("served"))
    yield served
    if hasattr(served, "process"):
        served.process.send_signal(signal.SIGTERM)
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


def test_every_recipe_builds_where_no_layer_has_a_name_yet(name):
    """Keras numbers the names that it gives, and other tests have used the first ones up."""
    app = load(name)

    for recipe in [None, *app.recipes]:
        keras.utils.clear_session(free_memory=False)  # which takes seconds
        with contextlib.suppress(InputError):  # the recipe is for larger examples than the default
            app.build(**app.recipe(recipe).architecture)


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


def test_every_flag_of_a_command_means_one_thing(name):
    command_line = command_line_of(load(name))
    commands = [command_line[word] for word in command_line if not word.startswith("-")]

    for command in [command_line, *commands]:
        arguments = command.assemble_argument_collection()
        flags = [flag for one in arguments for flag in one.names if flag.startswith("--")]
        assert len(flags) == len({*flags}), command.name


def test_config_is_frozen_and_knows_its_knobs(name):
    config = load(name).config

    with pytest.raises(dataclasses.FrozenInstanceError):
        config().epochs = 2
    with pytest.raises(InputError, match=r"^`epoch` is not known\. Received: 2$"):
        config(epoch=2)


def test_name_is_the_module_s(name):
    assert load(name).name == name


def test_training_is_tiny(name, training):
    report = training(name).trained.report

    assert report["parameters"] <= MOST_PARAMETERS
    assert report["seconds"]["fit"] <= MOST_SECONDS * SLOWER


def test_report_tells_it_all(name, training):
    trained = training(name).trained
    app = training(name).app

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
    """Whether all numbers are finite; a metric that is not available is None."""
    return all(
        value is None or (finite(value) if isinstance(value, dict) else np.isfinite(value))
        for value in metrics.values()
    )


def test_objective_is_among_the_logs(name, training):
    app, history = training(name).app, training(name).trained.history

    assert not history or app.objective in history


def test_loss_falls_on_a_few_examples(name, training):
    """The model is trained from new weights once more, with the steps that were traced before."""
    app, trained = training(name).app, training(name).trained
    model = trained.model
    if "loss" not in trained.history or "train" not in trained.data.splits:
        pytest.skip("it has no loss of fixed examples")
    keras.utils.set_random_seed(3)
    fresh = networks_of(build(app, tiny(app), trained.data))
    weights = {key: network.get_weights() for key, network in trained.networks.items()}
    batches = trained.data.train(0).take(1).cache().repeat()

    for key, network in trained.networks.items():
        network.set_weights(fresh[key].get_weights())
    for variable in (v for o in optimizers(model) for v in o.variables):
        if variable.name != "learning_rate":
            variable.assign(keras.ops.zeros_like(variable))
    steps = max(10, model.steps_per_execution)
    history = model.fit(batches, steps_per_epoch=steps, epochs=5, verbose=0, shuffle=False).history

    for key, network in trained.networks.items():
        network.set_weights(weights[key])
    assert history["loss"][-1] < history["loss"][0]


def test_gradients_are_those_of_central_differences(name, training):
    app, data = training(name).app, training(name).trained.data
    if not training(name).trained.history:
        pytest.skip("it does not train by gradients")

    derivatives = check_gradients(app, tiny(app), data, weights=1)

    assert [d for d in derivatives if not d.error <= TOLERANCE] == []


@pytest.mark.usefixtures("one_of_a_kind")
def test_gradients_can_be_measured(name, training):
    app, run = with_its_data(training(name)), training(name).run
    if not training(name).trained.history:
        pytest.skip("it does not train by gradients")

    result = measure_gradients(app, tiny(app), run, steps=2)

    for phase in result.phases:
        layers, sizes = result.sizes(phase)
        assert layers and finite({f"{n}": float(values.sum()) for n, values in sizes.items()})
        assert (sizes["weight_gradient"].sum(axis=0) > 0).all()


@pytest.mark.usefixtures("one_of_a_kind")
def test_resumed_where_a_kill_left_it_it_ends_with_the_same_bytes(name, training, tmp_path):
    app, run, undisturbed = training(name).app, training(name).run, training(name).trained
    if not training(name).after_one_epoch.exists():
        pytest.skip("it has no second epoch in which to be killed")
    shutil.copytree(training(name).after_one_epoch, tmp_path / "run")
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 2  # a heading and an epoch
    run = dataclasses.replace(run, run_dir=tmp_path / "run", figures=False, resume=True)

    resumed = train(app, tiny(app), run, until="judge")

    for one, other in zip(undisturbed.networks.values(), resumed.networks.values(), strict=True):
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    logs = [t.folder / "log.csv" for t in (undisturbed, resumed)]
    assert logs[0].read_bytes() == logs[1].read_bytes()
    assert without_times(undisturbed.metrics) == without_times(resumed.metrics)


def without_times(metrics):
    return {name: value for name, value in metrics.items() if "second" not in name}


@pytest.mark.usefixtures("one_of_a_kind")
def test_two_replicas_train_it_in_mixed_precision(name, training, tmp_path):
    app, run = with_its_data(training(name)), training(name).run
    run = dataclasses.replace(
        run,
        strategy="mirrored",
        precision="mixed_bfloat16",
        run_dir=tmp_path / "run",
        deterministic=False,
        figures=False,
    )

    trained = train(
        app, tiny(app, **({"epochs": 1} if "epochs" in app.tiny else {})), run, until="judge"
    )

    assert finite(trained.metrics)


def test_export_answers_alike_in_a_process_without_the_project(name, training, reloading, tmp_path):
    trained, app = training(name).trained, training(name).app
    fitted = fitted_of(name, training)
    endpoints = app.endpoints(fitted)
    arrays, expected = {}, {}
    for key, endpoint in endpoints.items():
        endpoint = as_endpoint(endpoint)
        inputs = example(endpoint, app.example(fitted) if key == "serve" else None)
        if inputs is None:
            continue
        arrays |= {f"{key}/{n}": value for n, value in inputs.items()}
        function = endpoint.as_graph()
        for count in (1, 3, 64):
            batch = {n: value[:count] for n, value in inputs.items()}
            outputs = function(*arguments(endpoint.inputs, batch).values())
            for n, value in outputs.items():
                expected[f"{key}/{n}/{count}"] = np.asarray(value)
                if key == "serve" and name in LAYERS:
                    expected[f"layer/{n}/{count}"] = np.asarray(value)
    np.savez(tmp_path / "inputs.npz", **arrays)

    files = (trained.saved_model, tmp_path / "inputs.npz", tmp_path / "outputs.npz")
    print(*files, int(name in LAYERS), file=reloading.stdin, flush=True)
    assert reloading.stdout.readline() == "done\n"
    outputs = np.load(tmp_path / "outputs.npz", allow_pickle=True)

    assert trained.report["saved_model"]["reload_difference"] < 1e-4
    assert set(outputs.files) == set(expected)
    for key, value in expected.items():
        same_values(outputs[key], value)


@pytest.mark.usefixtures("one_of_a_kind")
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_tensorflow_lite_decides_alike(name, training):
    app, trained = training(name).app, training(name).trained
    fitted = fitted_of(name, training)
    serve = as_endpoint(app.endpoints(fitted)["serve"])
    if any(spec.dtype == tf.string for spec in serve.inputs):
        pytest.skip("TensorFlow Lite has no tables of words")
    inputs = {key: value[:1] for key, value in example(serve, app.example(fitted)).items()}
    expected = serve.function(*arguments(serve.inputs, inputs).values())
    decisions = expected.keys() & {"label", "action"}
    if not decisions:
        pytest.skip("it decides nothing")

    folder = str(trained.saved_model)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serve"])
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    outputs = interpreter.get_signature_runner("serve")(**inputs)

    for key in decisions:
        np.testing.assert_allclose(outputs[key], expected[key], rtol=1e-4)


def fitted_of(name, training):
    from suite.app import Fitted

    trained = training(name).trained
    return Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=tiny(training(name).app).config,
        folder=trained.folder,
    )


def example(endpoint, inputs):
    """64 examples for an endpoint, by the names of its inputs; None for one that takes no batch."""
    specs = endpoint.inputs
    if any(not spec.shape.rank or spec.shape[0] is not None for spec in specs):
        return None
    if inputs is None and [spec.name for spec in specs] == ["picture"]:
        inputs = drawings()
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


def drawings():
    """Three files with strokes on paper, of different sizes."""
    sheets = [np.full((30, 40 + 7 * number, 3), 230, np.uint8) for number in range(3)]
    for number, sheet in enumerate(sheets):
        sheet[6:24, 12 + 5 * number : 16 + 5 * number] = 20
    return np.array([tf.io.encode_png(sheet).numpy() for sheet in sheets], object)


def test_served_it_answers_what_a_user_has_in_hand(name, training, serving):
    app, trained = training(name).app, training(name).trained
    fitted = fitted_of(name, training)
    serve = as_endpoint(app.endpoints(fitted)["serve"])
    inputs = {key: value[:3] for key, value in example(serve, app.example(fitted)).items()}
    expected = serve.function(*arguments(serve.inputs, inputs).values())
    serving.add(trained.saved_model, name)

    for outputs in (serving.by_rest(name, inputs), serving.by_grpc(name, inputs)):
        assert outputs.keys() == expected.keys()
        for key, value in expected.items():
            same_values(np.asarray(outputs[key]), np.asarray(value))


def test_what_can_be_seen_is_explained_by_an_endpoint(name, training):
    app = training(name).app
    endpoints = app.endpoints(fitted_of(name, training))

    assert "explain" in endpoints or "see" not in app.studies
    if "explain" in endpoints:
        outputs = as_endpoint(endpoints["explain"]).function(tf.constant(drawings()))
        assert outputs["heat_map"].shape.rank == 3
        assert len(outputs["label"]) == len(drawings())


def test_served_it_reads_pictures(name, training, serving):
    app, trained = training(name).app, training(name).trained
    endpoints = app.endpoints(fitted_of(name, training))
    if "picture" not in endpoints:
        pytest.skip("it takes no pictures")
    files = drawings()
    expected = endpoints["picture"].function(tf.constant(files))
    serving.add(trained.saved_model, name)

    for number, content in enumerate(files):
        answer = requests.post(
            f"{serving.url(name)}:predict",
            data=content,
            headers={"Content-Type": "image/png"},
            timeout=60,
        )
        assert answer.ok, answer.text
        [outputs] = answer.json()["predictions"]
        if not isinstance(outputs, dict) or outputs.keys() == {"b64"}:
            outputs = {next(iter(expected)): outputs}
        assert outputs.keys() == expected.keys()
        for key, value in expected.items():
            same_values(np.asarray([outputs[key]]), np.asarray(value)[number : number + 1])


def same_values(outputs, expected):
    if not expected.dtype.hasobject:
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)
        return
    for output, value in zip(outputs.ravel(), expected.ravel(), strict=True):
        if isinstance(output, dict):
            output = base64.b64decode(output["b64"])
        if value.startswith(b"\x89PNG"):  # what lies between two values may be rounded to either
            pixels = [tf.io.decode_png(file).numpy().astype(int) for file in (output, value)]
            np.testing.assert_allclose(*pixels, atol=1)
        else:
            assert tf.compat.as_bytes(output) == value


def test_there_is_one_request_to_warm_up_with(name, training):
    """Servers replay it before they call a version available, which other tests wait for."""
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path = training(name).trained.saved_model / "assets.extra" / "tf_serving_warmup_requests"
    [record] = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()

    assert PredictionLog.FromString(record).WhichOneof("log_type") == "predict_log"


def test_same_seed_same_batches_and_weights_and_another_seed_others(name):
    app = load(name)

    def first_batch_and_weights(seed):
        keras.utils.set_random_seed(seed)
        recipe = tiny(app)
        data = app.data(recipe.config, Run(data="embedded" if name in APPS else "auto", seed=seed))
        batch = keras.tree.flatten(next(iter(data.train(3))))
        networks = networks_of(build(app, recipe, data)).values()
        weights = [array for network in networks for array in network.get_weights()]
        return [np.asarray(part) for part in batch], weights

    one, same, another = (first_batch_and_weights(seed) for seed in (1, 1, 2))
    for first, again, other in zip(one, same, another, strict=True):
        assert all((a == b).all() for a, b in zip(first, again, strict=True))
        assert any(a.shape != b.shape or (a != b).any() for a, b in zip(first, other, strict=True))
