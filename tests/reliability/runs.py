"""Small trainings of any app, in processes of their own, to be disturbed."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from suite.app import load_app
from suite.export import versions

ROOT = Path(__file__).parents[2]
LONGEST = 300  # seconds
# An app that has one of these knobs becomes smaller by it; one found later may have none of them.
SMALL = {
    "epochs": [3],
    "batch_size": [32],
    "num_envs": [4],
    "steps_per_epoch": [10],
    "bound_weight": [0],
    "nll_samples": [1],
    "latent_dim": [16],
    "units": [8],
    "filters": [4, 8],
    "generator_filters": [8, 4],
    "discriminator_filters": [4, 8],
}


class SmallRun:
    """A training that can be started, killed and resumed.

    Args:
        name: The app's.
        folder: Gets `run/` and `exports/`.
        seed: Decides everything.
    """

    def __init__(self, name: str, folder: Path, seed: int = 7) -> None:
        self.name, self.folder = name, folder
        self.run_dir, self.exports = folder / "run", folder / "exports"
        app = load_app(name)
        knobs = {*vars(app.config()), *app.architecture_knobs()}
        self.words = ["--data", "embedded", "--deterministic", "--seed", str(seed)]
        for knob in knobs & SMALL.keys():
            self.words += [f"--{knob.replace('_', '-')}", *map(str, SMALL[knob])]

    def start(self, *words: str, **options: object) -> subprocess.Popen:
        """Starts a process that trains; its output goes to `output.txt`."""
        self.folder.mkdir(exist_ok=True)
        where = ["--run-dir", str(self.run_dir), "--export-dir", str(self.exports)]
        with (self.folder / "output.txt").open("a") as output:
            return subprocess.Popen(
                [sys.executable, "-m", f"apps.{self.name}", *self.words, *where, *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                **options,
            )

    def finish(self, *words: str, **options: object) -> int:
        """Trains in a process to the end, and returns its exit code."""
        return self.start(*words, **options).wait(LONGEST)

    @property
    def output(self) -> str:
        """All that its processes have printed."""
        return (self.folder / "output.txt").read_text()

    @property
    def states(self) -> set[Path]:
        """Files of the saved states."""
        return set((self.run_dir / "checkpoints").glob("*"))

    def outcome(self) -> dict[str, np.ndarray | bytes]:
        """Every number that the training has left behind, but seconds."""
        saved = self.exports / self.name / str(versions(self.exports / self.name)[-1])
        exported = _variables(str(saved / "variables" / "variables"))
        report = json.loads((self.run_dir / "report.json").read_text())
        return {
            **_variables(tf.train.latest_checkpoint(str(self.run_dir / "checkpoints"))),
            # Keras gives them no order.
            "export": b"".join(sorted(v.tobytes() for v in exported.values())),
            "log": (self.run_dir / "log.csv").read_bytes(),
            "metrics": json.dumps(report["metrics"]).encode(),
        }


def _variables(prefix: str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(prefix)
    # The graph of Python objects names them in an order that means nothing.
    names = reader.get_variable_to_shape_map().keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def differences(one: dict[str, np.ndarray | bytes], other: dict[str, np.ndarray | bytes]) -> list:
    """Names of what is not the same, bit by bit."""
    return sorted(
        {*one.keys() ^ other.keys()}
        | {name for name in one.keys() & other.keys() if not _same(one[name], other[name])}
    )


def _same(one: np.ndarray | bytes, other: np.ndarray | bytes) -> bool:
    if isinstance(one, bytes):
        return one == other
    return one.shape == other.shape and one.tobytes() == other.tobytes()


# What to wait for, and how long at most from then on, so that a signal comes in the middle of it.
MOMENTS: dict[str, tuple[Callable[[SmallRun], object], float]] = {
    "a step": (lambda run: (run.run_dir / "run.json").exists(), 5.0),
    "a checkpoint": (lambda run: frozenset(run.states), 0.03),
    "a figure": (lambda run: (run.run_dir / "figures").exists(), 1.0),
    "the export": (lambda run: list(run.exports.glob("*/.export-*")), 0.5),
    "the report": (lambda run: versions(run.exports / run.name), 0.03),
}


def disturb(
    run: SmallRun, process: subprocess.Popen, moment: str, chance: random.Random, number: int
) -> None:
    """Sends a signal at a random time while something is going on, and waits for the end."""
    about, longest = MOMENTS[moment]
    before = about(run) if moment != "a step" else False
    while process.poll() is None and about(run) == before:
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, longest))
    process.send_signal(number)
    process.wait(LONGEST)
