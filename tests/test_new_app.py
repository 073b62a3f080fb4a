"""Adding an app is adding two files: proven by adding one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

NEW_APP = '''
"""Exclusive or by a network of one hidden layer."""

import keras
import numpy as np
from pydantic import PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from suite import App
from suite.cli import main
from suite.data import Examples, Split, supervised
from suite.export import classifier


@dataclass(frozen=True, kw_only=True)
class Config:
    """The training recipe.

    Args:
        epochs: Passes over the training split.
        batch_size: Rows per optimizer step.
        learning_rate: Adam's step size.
    """

    epochs: PositiveInt = 2
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 0.05


def load_data(config, run):
    bits = np.random.default_rng(run.seed).integers(0, 2, (200, 2))
    whole = Split(bits.astype("float32"), (bits[:, 0] ^ bits[:, 1]).astype("int32"))
    return supervised(
        Examples(whole, None, ("0", "1"), "embedded:xor"),
        batch_size=config.batch_size,
        validation_split=0.1,
        seed=run.seed,
        model_arguments=lambda train: {},
    )


def build_model(*, units: PositiveInt = 8) -> keras.Model:
    """Builds the network.

    Args:
        units: Units of the hidden layer.
    """
    bits = keras.Input((2,), name="bits")
    hidden = keras.layers.Dense(units, "tanh")(bits)
    return keras.Model(bits, keras.layers.Dense(2, name="logits")(hidden), name="xor")


def compile_model(model, config, steps):
    model.compile(
        keras.optimizers.Adam(config.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


app = App(
    name="xor",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    endpoints=lambda model: {"serve": classifier(model)},
)

if __name__ == "__main__":
    main(app)
'''


def test_two_new_files_add_an_app(tmp_path):
    for folder in ("apps", "suite", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "apps" / "xor.py").write_text(NEW_APP.lstrip())
    (tmp_path / "tests" / "apps" / "test_xor.py").write_text("def test_maths(): assert 1 ^ 1 == 0")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def python(*words):
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    trained = python("-m", "apps.xor", "--units", "6", "--quiet")
    assert trained.returncode == 0, trained.stderr
    assert "test_accuracy  1.0000" in trained.stdout
    assert "xor              Exclusive or by a network" in python("-m", "apps").stdout
    contract = python("-m", "pytest", "-q", "-n0", "tests/test_contract.py", "-k", "xor")
    assert contract.returncode == 0, contract.stdout
