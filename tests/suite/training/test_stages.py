import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from suite import InputError, Run, train

ROOT = Path(__file__).parents[3]
QUICK = Run(data="embedded", quiet=True, seed=1)


@pytest.mark.parametrize(
    "how",
    [
        {"strategy": "mirrored"},
        {"precision": "mixed_bfloat16"},
        {"precision": "mixed_float16"},
        {"jit": True},
        {"strategy": "mirrored", "precision": "mixed_bfloat16"},
    ],
    ids=str,
)
def test_it_learns_however_it_is_run(how):
    trained = train(iris, iris.config(), dataclasses.replace(QUICK, **how))

    assert trained.report["metrics"]["test_accuracy"] >= 0.9
    assert trained.report["saved_model"]["reload_difference"] < 1e-3
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("how", "message"),
    [({"precision": "mixed_float16"}, "mixed_bfloat16 on several"), ({"jit": True}, "--jit must")],
    ids=str,
)
def test_what_replicas_cannot_do_is_refused(how, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(iris, run=dataclasses.replace(QUICK, strategy="mirrored", **how))

    assert list(tmp_path.iterdir()) == []


def test_two_replicas_learn_what_one_device_learns():
    """Equal losses and gradients: a loss scaled twice would show at once."""
    config = iris.config(epochs=1, batch_size=108, weight_decay=0)
    knobs = {"noise": 0.0}

    one, two = (
        train(iris, config, dataclasses.replace(QUICK, strategy=strategy), knobs)
        for strategy in ("one_device", "mirrored")
    )

    assert one.history["loss"] == pytest.approx(two.history["loss"], rel=1e-4)
    for a, b in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_deterministic_runs_give_the_same_bytes():
    script = """
import sys
from apps.mnist_cnn import app
from suite import Run, train
trained = train(
    app, app.config(epochs=1, batch_size=32),
    Run(data="embedded", quiet=True, deterministic=True, seed=7, run_dir=sys.argv[1]),
    {"filters": (4, 8), "dropout": 0.2},
)
print(sum(float(abs(w).sum()) for w in trained.model.get_weights()))
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", script, name],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in ("first", "second")
    ]

    assert said[0] == said[1]
    assert Path("first/log.csv").read_bytes() == Path("second/log.csv").read_bytes()


def test_monitored_metric_chooses_the_epoch():
    weights = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights.append(self.model.get_weights())

    @keras.saving.register_keras_serializable("tests")
    def negative_loss(labels, logits):
        return -keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    # The loss on the validation rows falls; its negative is best at the first epoch.
    def compile_negative(model, config, steps):
        compiled = iris.compile(model, config, steps)
        negative = keras.metrics.MeanMetricWrapper(negative_loss, name="negative")
        negative._direction = "down"  # what Keras asks where a name does not tell
        compiled.compile(optimizer=compiled.optimizer, loss=compiled.loss, metrics=[negative])
        return compiled

    app = dataclasses.replace(
        iris,
        compile=compile_negative,
        callbacks=lambda model, config, data, folder: [Note()],
        monitor="val_negative",
    )
    trained = train(app, iris.config(epochs=3), QUICK)

    found = trained.history["val_negative"]
    best = found.index(min(found))
    assert best < 2, "the best epoch must not be the last for this to test anything"
    for a, b in zip(weights[best], trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_builder_s_refusal_is_bad_input_and_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="at most 4 stages"):
        train(mnist_cnn, run=QUICK, architecture={"filters": (1, 2, 3, 4, 5)})

    assert list(tmp_path.iterdir()) == []


def test_a_run_s_folder_holds_everything(tmp_path):
    trained = train(
        iris, iris.config(epochs=1), dataclasses.replace(QUICK, run_dir=tmp_path / "run")
    )

    names = {path.name for path in trained.folder.iterdir()}
    assert names == {
        "run.json",
        "report.json",
        "REPORT.md",
        "log.csv",
        "figures",
        "checkpoints",
        "tensorboard",
    }
    report = json.loads((trained.folder / "report.json").read_text())
    assert report["data"]["train"] + report["data"]["validation"] + report["data"]["test"] == 150
    assert report["run"]["seed"] == 1
    for figure in (trained.folder / "figures").iterdir():
        assert f"(figures/{figure.name})" in (trained.folder / "REPORT.md").read_text()
