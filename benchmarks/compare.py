"""How much longer do trials of `compare` take than bare trainings?

    python -m benchmarks.compare

Three widths, three activations and three seeds of `mnist_mlp` are trained one after the other, on
all cores, and the seconds of these trainings are added: from the call of `train` to the end of
`fit`, without the start of Python and the import of TensorFlow. Then `compare` runs the same
trainings side by side, and its whole process is timed. With two jobs it can take half of the sum.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cyclopts

from benchmarks.results import ROOT, publish
from benchmarks.turns import output_of

UNITS, ACTIVATIONS, SEEDS = ("64", "128", "256"), ("relu", "tanh", "sigmoid"), ("0", "1", "2")
command_line = cyclopts.App(help=__doc__)


@command_line.command
def bare(units: int, activation: str, seed: int, epochs: int, folder: Path) -> None:
    """Train once, and print the seconds."""
    from apps.mnist_mlp import app
    from suite import Run, train

    recipe = app.recipe(units=(units,), activation=activation, epochs=epochs)
    run = Run(seed=seed, run_dir=folder, quiet=True)
    started = time.perf_counter()
    train(app, recipe, run, until="fit")
    print(time.perf_counter() - started)


@command_line.default
def main(*, jobs: int = 2, epochs: int = 10) -> None:
    """Trains all combinations one after the other, then by `compare`.

    Args:
        jobs: Trials of `compare` that run side by side.
        epochs: Length of each training.
    """
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for number, knobs in enumerate(itertools.product(UNITS, ACTIVATIONS, SEEDS)):
            arguments = (*knobs, str(epochs), f"{folder}/{number}")
            seconds.append(output_of("benchmarks.compare", "bare", *arguments))
        command = [sys.executable, "-m", "apps.mnist_mlp", "compare", "--units", *UNITS]
        command += ["--activation", *ACTIVATIONS, "--seed", *SEEDS, "--epochs", str(epochs)]
        command += ["--jobs", str(jobs), "--run-dir", f"{folder}/compare"]
        started = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        compared = time.perf_counter() - started
    share = sum(seconds) / jobs
    publish(
        "compare",
        [{"trials": len(seconds), "bare_seconds": sum(seconds), "compare_seconds": compared}],
        jobs=jobs,
        epochs=epochs,
        ratio=compared / share,
    )


if __name__ == "__main__":
    command_line()
