"""Is anything lost when a worker of a cluster is killed?

    python -m benchmarks.worker_kills

Two workers train a small `apps.mnist_cnn` on the embedded digits. Each time, a random one is
killed at a random moment; the cluster must stop, the same command with `--resume` go on, and every
number of the last saved state be that of a training that nobody disturbed, bit by bit.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import tensorflow as tf

from benchmarks.results import publish
from suite.training.state import checkpoint_paths

EPOCHS = 6
QUICK = ["--data", "embedded", "--filters", "4", "8", "--epochs", str(EPOCHS), "--deterministic"]


def training(folder: Path, *flags: str) -> list[str]:
    """The command line that trains on two workers in a folder.

    Args:
        folder: Gets `run/` and `exports/`.
        flags: More flags of the application.
    """
    cluster = [sys.executable, "-m", "suite.cluster", "--workers", "2", "--"]
    app = [sys.executable, "-m", "apps.mnist_cnn", *QUICK]
    return [
        *cluster,
        *app,
        "--run-dir",
        f"{folder}/run",
        "--export-dir",
        f"{folder}/exports",
        *flags,
    ]


def state(folder: Path) -> dict[str, Any]:
    """Every value of the last saved state, by its name in the checkpoint."""
    reader = tf.train.load_checkpoint(checkpoint_paths(folder / "run" / "checkpoints")[-1])
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def kill_and_resume(
    folder: Path, chance: random.Random, expected: dict[str, Any]
) -> dict[str, Any]:
    """Kills one worker of a training, resumes it, and compares the last states.

    Args:
        folder: Of this training alone.
        chance: Chooses the worker and the moment.
        expected: The last state of a training that nobody disturbed.

    Returns:
        The row of this kill in the published table.
    """
    victim, epoch, delay = chance.randrange(2), chance.randrange(EPOCHS - 1), chance.random()
    process = subprocess.Popen(
        training(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    last_line = f"epoch {epoch}/{EPOCHS}" if epoch else "mnist_cnn on"
    for line in process.stdout:
        if last_line in line:
            break
    time.sleep(delay)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    subprocess.run(["kill", "-KILL", workers[victim]], check=True)
    killed_at = time.monotonic()
    process.communicate()
    seconds = time.monotonic() - killed_at
    remaining = sum(Path("/proc", worker).exists() for worker in workers)
    resumed = subprocess.run(
        training(folder, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    values = state(folder)
    return {
        "killed": f"worker {victim}",
        "after_epoch": epoch,
        "exit_code": process.returncode,
        "seconds_to_stop": seconds,
        "processes_left": remaining,
        "exit_code_of_resume": resumed.returncode,
        "numbers_that_differ": sum(
            int(np.sum(np.asarray(values[name] != value))) for name, value in expected.items()
        ),
    }


def main(*, kills: int = 5, seed: int = 0) -> None:
    """Kills workers, one in each training.

    Args:
        kills: Number of trainings.
        seed: Decides which worker is killed, and when.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder, "whole")
        subprocess.run(training(undisturbed), check=True, stdout=subprocess.DEVNULL)
        expected = state(undisturbed)
        rows = [kill_and_resume(Path(folder, str(n)), chance, expected) for n in range(kills)]
    publish("worker_kills", [{"kill": n, **row} for n, row in enumerate(rows)])


if __name__ == "__main__":
    cyclopts.run(main)
