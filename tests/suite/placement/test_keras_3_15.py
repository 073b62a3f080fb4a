import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow import random

from apps.iris import app as iris
from suite import InputError, Run, train
from suite.app import app_names
from suite.placement.keras_3_15 import fit_on_replicas
from suite.placement.strategy import create_strategy
from suite.training.state import checkpoint_paths
from tests.forks import program, start_workers
from tests.suite.placement.steps import weights_after, write_weights

ROOT = Path(__file__).parents[3]
# One application for each kind of trainer; the others are tried in the long run.
TRAINERS = ("mnist_cnn", "binary_addition", "dcgan", "vae", "a2c")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
QUICK = ["--data", "embedded", "--filters", "4", "8", "--epochs", "2", "--deterministic"]
QUICK += ["--no-figures"]
# With these, two steps could run in one execution, both of training and of validation.
QUICK += ["--batch-size", "60", "--validation-split", "0.75", "--min-steps-per-epoch", "48"]


def run_workers(target, folder):
    """Runs two workers to their end, which must be a success."""
    for worker in start_workers(target, folder):
        assert worker.wait(300) == 0, (folder / "0.txt").read_text()


@pytest.fixture(scope="module")
def of_two_workers(tmp_path_factory, request):
    """The weights after some steps on two workers, of all apps whose tests are selected."""
    names = {test.callspec.params["name"] for test in request.session.items if uses_workers(test)}
    file = tmp_path_factory.mktemp("cluster") / "weights.npz"
    write = functools.partial(write_weights, file, sorted(names))
    run_workers(write, file.parent)
    return np.load(file)


def uses_workers(test):
    return "of_two_workers" in getattr(test, "fixturenames", ())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in TRAINERS else pytest.mark.full)
        for name in app_names()
    ],
)
def test_two_workers_and_two_devices_learn_what_one_device_learns(name, of_two_workers):
    one, two = (
        weights_after(name, create_strategy(strategy)) for strategy in ("one_device", "mirrored")
    )
    workers = [of_two_workers[f"{name}/{number}"] for number in range(len(one))]

    for other in (two, workers):
        for a, b in zip(one, other, strict=True):
            assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(a) + 1e-12


@pytest.mark.full  # Keras's version is bounded, so that it is not news on every day
def test_keras_still_needs_help(tmp_path):
    """The day this fails, `suite/placement/keras_3_15.py` can go."""
    workers = start_workers(fit_without_help, tmp_path)

    assert keras.version().startswith("3.")
    assert workers[0].wait(60) == 1
    assert "PerReplica" in (tmp_path / "0.txt").read_text()
    workers[1].kill()


def fit_without_help():
    placement = tf.distribute.MultiWorkerMirroredStrategy()
    with placement.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    model.fit(np.ones((8, 2)), np.ones(8), batch_size=4, verbose=0)


def test_keras_of_another_version_is_refused_on_several_replicas_and_taken_on_one(monkeypatch):
    monkeypatch.setattr(keras, "version", lambda: "3.99.0")
    recipe = iris.recipe(**iris.tiny)

    with pytest.raises(InputError, match=r"need Keras 3\.\d+: .* Received: 3\.99\.0"):
        train(iris, recipe, Run(data="embedded", strategy="mirrored"))
    assert not any(Path().iterdir())
    trained = train(iris, recipe, Run(data="embedded", quiet=True), until="fit")

    assert len(trained.history["loss"]) == 1


def test_help_is_for_replicas_alone():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    draw_seed = random.draw_seed

    with fit_on_replicas(create_strategy("one_device")):
        assert random.draw_seed is draw_seed
    with fit_on_replicas(create_strategy("mirrored")):
        assert random.draw_seed is not draw_seed
        loss = model.fit(np.ones((4, 1)), np.ones(4), verbose=0).history["loss"]

    assert random.draw_seed is draw_seed
    assert np.isfinite(loss).all()


def test_a_killed_worker_stops_the_cluster_and_a_resume_ends_as_if_nothing_had_been(tmp_path):
    run = ["--run-dir", "run", "--export-dir", "saved_models"]
    launcher = [sys.executable, "-m", "suite.cluster", "--workers", "2", "--", sys.executable]
    process = subprocess.Popen(
        [*launcher, "-m", "apps.mnist_cnn", *QUICK, *run],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "epoch 1/2" in line:
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    killed_at = time.monotonic()
    output, errors = process.communicate()

    assert process.returncode == 128 + signal.SIGKILL
    assert "worker 1 ended by SIGKILL: all were stopped" in errors
    assert "Traceback" not in output + errors
    assert time.monotonic() - killed_at < 30
    assert not any(Path(f"/proc/{child}").exists() for child in children)

    for flags in (["--run-dir", "run", "--resume"], ["--run-dir", "whole"]):
        run_workers(program("apps.mnist_cnn", *QUICK, *flags), tmp_path)
    resumed, whole = (
        [line.split(",") for line in (tmp_path / name / "log.csv").read_text().splitlines()]
        for name in ("run", "whole")
    )
    assert resumed == whole
    one, other = (
        tf.train.load_checkpoint(checkpoint_paths(tmp_path / name / "checkpoints")[-1])
        for name in ("run", "whole")
    )
    for name in one.get_variable_to_shape_map():
        assert np.all(one.get_tensor(name) == other.get_tensor(name)), name
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("run", "whole")]
    assert reports[0]["metrics"] == reports[1]["metrics"]
    assert reports[0]["replicas"] == 2
    exported = (path.name for path in Path("saved_models/mnist_cnn").iterdir())
    assert sorted(exported) == ["1", "2"]  # by the chiefs of the two trainings
