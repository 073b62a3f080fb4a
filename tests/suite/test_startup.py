import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from suite import InputError
from suite.startup import refuse_other_backend

ROOT = Path(__file__).parents[2]


def python(*arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, encoding="utf-8"
    )


def configure(folder, **settings):
    (folder / "keras.json").write_text(json.dumps(settings), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("variable", [True, False])
def test_another_backend_is_refused_before_it_is_imported(variable, tmp_path):
    home = configure(tmp_path, backend="tensorflow" if variable else "none_such")
    environment = {"KERAS_HOME": home} | ({"KERAS_BACKEND": "none_such"} if variable else {})
    source = "KERAS_BACKEND" if variable else tmp_path / "keras.json"

    process = python("-m", "apps.iris", **environment)

    assert process.returncode == 2
    assert process.stderr == (
        "Keras's backend must be tensorflow for an application; builders run on any. "
        f"Received: none_such, from {source}\n"
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"backend": "tensorflow"}'])
def test_what_keras_takes_for_tensorflow_passes(content, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    (tmp_path / "keras.json").write_text(content, encoding="utf-8")

    refuse_other_backend()

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(InputError, match="Received: jax"):
        refuse_other_backend()


def test_what_keras_is_configured_to_does_not_change_an_application(tmp_path):
    home = configure(tmp_path, floatx="float64", image_data_format="channels_first")
    script = (
        "from suite import Run\n"
        "from suite.cli import run\n"
        "from apps import binary_addition, mnist_cnn\n"
        "flags = ['--data', 'embedded', '--filters', '4', '--epochs', '1', '--quiet']\n"
        "flags += ['--batch-size', '8', '--min-steps-per-epoch', '10', '--no-figures']\n"
        "assert run(mnist_cnn.app, flags) == 0\n"
        "app = binary_addition.app\n"
        "config = app.config(bound_weight=0.0)\n"
        "model = app.compile(app.build(), config, 2)\n"
        "model.fit(app.data(config, Run()).train(0), steps_per_epoch=2, verbose=0)\n"
    )

    process = python("-c", script, KERAS_HOME=home)

    assert process.returncode == 0, process.stderr


def test_only_programs_quieten_tensorflow_and_even_they_say_why_they_end(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, os.environ['TF_CPP_MIN_LOG_LEVEL'].encode())\nos.abort()\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    level = "import apps, os; print(os.environ.get('TF_CPP_MIN_LOG_LEVEL'))"

    imported = subprocess.run(
        [sys.executable, "-c", level],
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
    )
    run = subprocess.run(
        [sys.executable, "-m", "apps.iris"],
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
    )

    assert imported.stdout == "None\n"
    assert run.returncode < 0
    assert run.stderr.startswith("3")
