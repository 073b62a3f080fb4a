"""Small trainings of any app, in processes of their own, which tests kill or stop."""

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from suite.app import load_app
from suite.export.versions import versions
from suite.training.state import PROGRESS, checkpoint_paths
from tests.forks import Fork, program

TIMEOUT = 300  # seconds
EPOCHS = 3
CLOCKS = ("second", "begun")  # in the names of values that differ from run to run


class SmallRun:
    """The `tiny` training of an app, of several epochs, that can be started, killed and resumed.

    Args:
        name: The app's.
        folder: Gets `run/` and `exports/`.
        seed: Seed of the run.
    """

    def __init__(self, name: str, folder: Path, seed: int = 7) -> None:
        self.name, self.folder = name, folder
        self.run_dir, self.exports = folder / "run", folder / "exports"
        self.output_path = folder / "output.txt"
        self.flags = ["--data", "embedded", "--deterministic", "--seed", str(seed)]
        for knob, value in {**load_app(name).tiny, "epochs": EPOCHS}.items():
            self.flags += _typed(knob.replace("_", "-"), value)

    def start(self, *flags: str, setup: Callable[[], object] | None = None) -> Fork:
        """Starts a process that trains.

        Args:
            flags: More flags of the application.
            setup: Is called in the process first.
        """
        self.folder.mkdir(exist_ok=True)
        folders = ["--run-dir", str(self.run_dir), "--export-dir", str(self.exports)]
        training = program(f"apps.{self.name}", *self.flags, *folders, *flags)
        return Fork(training, self.output_path, setup=setup)

    def finish(self, *flags: str, setup: Callable[[], object] | None = None) -> int:
        """Trains in a process to the end, and returns its exit code."""
        return wait_for(self.start(*flags, setup=setup))

    @property
    def output(self) -> str:
        """All that its processes have printed."""
        return self.output_path.read_text()

    @property
    def states(self) -> set[Path]:
        """Files of the saved states."""
        return set((self.run_dir / "checkpoints").glob("*"))

    def outcome(self) -> dict[str, bytes]:
        """The bytes of all results of the training by name, without values that a clock decides."""
        version = self.exports / self.name / str(versions(self.exports / self.name)[-1])
        exported = _variables(str(version / "variables" / "variables"))
        state = _variables(checkpoint_paths(self.run_dir / "checkpoints")[-1])
        report = json.loads((self.run_dir / "report.json").read_text())
        return {
            **state,
            # Progress, and the states of callbacks and models.
            PROGRESS: _timeless(json.loads(state[PROGRESS])),
            # Keras does not order the variables, so their sorted bytes are compared.
            "export": b"".join(sorted(exported.values())),
            "log": (self.run_dir / "log.csv").read_bytes(),
            "metrics": _timeless(report["metrics"]),
            "data": _timeless(report["data"]),
        }


def _typed(flag: str, value: Any) -> list[str]:
    """The flag of a knob and its values, as on the command line."""
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]


def _timeless(content: Any) -> bytes:
    """The content as JSON, without the values that a clock decides."""
    return json.dumps(_without_clocks(content), sort_keys=True).encode()


def _without_clocks(content: Any) -> Any:
    if isinstance(content, dict):
        return {
            name: _without_clocks(part)
            for name, part in content.items()
            if not any(word in name for word in CLOCKS)
        }
    return [_without_clocks(part) for part in content] if isinstance(content, list) else content


def _variables(prefix: str) -> dict[str, bytes]:
    reader = tf.train.load_checkpoint(prefix)
    # The graph of Python objects names them in an order that means nothing.
    names = reader.get_variable_to_shape_map().keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    tensors = {name: reader.get_tensor(name) for name in names}
    return {
        name: tensor if isinstance(tensor, bytes) else np.asarray(tensor).tobytes()
        for name, tensor in tensors.items()
    }


def differences(one: SmallRun, other: SmallRun) -> list[str]:
    """Names of the results in which two trainings differ by at least one bit."""
    a, b = one.outcome(), other.outcome()
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


# For every moment: a value that changes when it begins, and the seconds to wait at most from then
# on, so that a signal comes in the middle of it.
MOMENTS: dict[str, tuple[Callable[[SmallRun], object], float]] = {
    "a step": (lambda run: set((run.run_dir / "tensorboard").rglob("events*")), 3.0),
    "a checkpoint": (lambda run: run.states, 0.03),
    "a figure": (lambda run: _times(run.run_dir / "figures"), 0.5),
    "the export": (lambda run: set(run.exports.glob("*/.export-*")), 0.5),
    "the report": (lambda run: versions(run.exports / run.name), 0.03),
}


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def disturb(run: SmallRun, process: Fork, moment: str, chance: random.Random, number: int) -> None:
    """Sends a signal in the middle of a moment, and waits for the end of the process.

    Args:
        run: The training.
        process: Its process.
        moment: One of `MOMENTS`.
        chance: Chooses the time after the beginning of the moment.
        number: The signal.
    """
    value_of, longest = MOMENTS[moment]
    before = value_of(run)
    while process.poll() is None and value_of(run) == before:
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, longest))
    process.send_signal(number)
    wait_for(process)


def wait_for(process: Fork) -> int:
    """Waits for a process, and returns its exit code; a process that hangs is killed."""
    try:
        return process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
