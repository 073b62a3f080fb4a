"""Builders are layers and `keras.ops` alone: they run on Keras's other backends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from suite.app import app_names

ROOT = Path(__file__).parents[1]

# In a process of its own, since Keras has one backend for life. Prints what it found, app by app.
CHECK = """
import json
import keras
import numpy as np
from suite import Run
from suite.app import app_names, load_app

found = {}
for name in app_names():
    app = load_app(name)
    model = app.build()
    inputs = [np.zeros((2, *(size or 3 for size in x.shape[1:])), x.dtype) for x in model.inputs]
    outputs = keras.tree.flatten(model(*inputs))
    found[name] = {"calls": [keras.ops.convert_to_numpy(each).tolist() for each in outputs]}
    data = app.data(app.config(), Run(data="embedded", quiet=True))
    model = app.build(**data.model_arguments)
    if type(app.compile(model, app.config(), 10)) is type(model):  # else its step is TensorFlow's
        inputs, labels = (each[:32] for each in next(data.test.as_numpy_iterator())[:2])
        before = [np.array(keras.ops.convert_to_numpy(each)) for each in model.trainable_weights]
        loss = float(model.train_on_batch(inputs, labels)[0])
        moved = [
            bool(np.any(keras.ops.convert_to_numpy(new) != old))
            for new, old in zip(model.trainable_weights, before, strict=True)
        ]
        found[name] |= {"loss": loss, "moved": moved}
print(json.dumps({"backend": keras.backend.backend(), "found": found}))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_builders_run_and_learn(backend):
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])

    assert said["backend"] == backend
    assert sorted(said["found"]) == app_names()
    for found in said["found"].values():
        assert all(np.isfinite(values).all() for values in found["calls"])
    learnt = {name: each for name, each in said["found"].items() if "loss" in each}
    assert {"binary_addition", "iris", "mnist_cnn"} <= learnt.keys()
    for found in learnt.values():
        assert np.isfinite(found["loss"]) and all(found["moved"])
