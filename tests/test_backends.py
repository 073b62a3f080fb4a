"""Builders use layers and `keras.ops` alone, so they run on the other backends of Keras."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from suite.app import app_names

ROOT = Path(__file__).parents[1]

# In a process of its own, since Keras has one backend for life. Prints the results app by app.
CHECK = """
import contextlib
import json
import keras
import numpy as np
from suite import Run
from suite.app import app_names, load_app, networks_of

# They have no training step of TensorFlow.
LEARNING = ("binary_addition", "iris", "mnist_cnn")
results = {}
for name in sorted(app_names(), key=lambda name: name not in LEARNING):
    app = load_app(name)
    recipe = app.recipe(**app.tiny)
    learns = name in LEARNING  # Of the others no weights are made, which would take JAX a minute.
    with contextlib.nullcontext() if learns else keras.StatelessScope(initialize_variables=False):
        networks = networks_of(app.build(**recipe.architecture))  # calls all layers with symbols
    results[name] = {"outputs": [list(o.shape) for n in networks.values() for o in n.outputs]}
    if not learns:
        continue
    calls = []
    for network in networks.values():
        inputs = [
            np.zeros((2, *(size or 3 for size in x.shape[1:])), x.dtype) for x in network.inputs
        ]
        outputs = network(keras.tree.pack_sequence_as(network.input, inputs))
        calls += [keras.ops.convert_to_numpy(x).tolist() for x in keras.tree.flatten(outputs)]
    results[name] |= {"calls": calls}
    data = app.data(recipe.config, Run(data="embedded", quiet=True))
    built = app.build(**{**data.model_arguments, **recipe.architecture})
    model = app.compile(built, recipe.config, 10)
    inputs, labels = (x[:32] for x in next(data.test.as_numpy_iterator())[:2])
    before = [np.array(keras.ops.convert_to_numpy(x)) for x in model.trainable_weights]
    loss = float(model.train_on_batch(inputs, labels)[0])
    moved = [
        bool(np.any(keras.ops.convert_to_numpy(new) != old))
        for new, old in zip(model.trainable_weights, before, strict=True)
    ]
    results[name] |= {"loss": loss, "moved": moved}
print(json.dumps({"backend": keras.backend.backend(), "results": results}))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_builders_run_and_learn(backend):
    pytest.importorskip(backend)
    process = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    printed = json.loads(process.stdout.splitlines()[-1])

    assert printed["backend"] == backend
    assert sorted(printed["results"]) == app_names()
    assert all(result["outputs"] for result in printed["results"].values())
    learnt = [result for result in printed["results"].values() if "loss" in result]
    assert len(learnt) == 3
    for result in learnt:
        assert result["calls"] and all(np.isfinite(values).all() for values in result["calls"])
        assert np.isfinite(result["loss"]) and all(result["moved"])
