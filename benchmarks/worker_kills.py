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
from suite.training.state import states

EPOCHS = 6
QUICK = ["--data", "embedded", "--filters", "4", "8", "--epochs", str(EPOCHS), "--deterministic"]


def training(folder: Path, *words: str) -> list[str]:
    """The words that train on two workers."""
    own = [sys.executable, "-m", "suite.cluster", "--workers", "2", "--"]
    app = [sys.executable, "-m", "apps.mnist_cnn", *QUICK]
    return [*own, *app, "--run-dir", f"{folder}/run", "--export-dir", f"{folder}/exports", *words]


def state(folder: Path) -> dict[str, Any]:
    """All that the last saved state holds."""
    reader = tf.train.load_checkpoint(states(folder / "run" / "checkpoints")[-1])
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def disturbed(folder: Path, chance: random.Random, whole: dict[str, Any]) -> dict[str, Any]:
    """One kill, and what came of it."""
    victim, epoch, delay = chance.randrange(2), chance.randrange(EPOCHS - 1), chance.random()
    begun = subprocess.Popen(
        training(folder), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    begins = f"epoch {epoch}/{EPOCHS}" if epoch else "mnist_cnn on"
    for line in begun.stdout:
        if begins in line:
            break
    time.sleep(delay)
    workers = Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split()
    subprocess.run(["kill", "-KILL", workers[victim]], check=True)
    killed_at = time.monotonic()
    begun.communicate()
    seconds = time.monotonic() - killed_at
    left = sum(Path("/proc", worker).exists() for worker in workers)
    again = subprocess.run(
        training(folder, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    found = state(folder)
    return {
        "killed": f"worker {victim}",
        "after_epoch": epoch,
        "exit_code": begun.returncode,
        "seconds_to_stop": seconds,
        "processes_left": left,
        "exit_code_of_resume": again.returncode,
        "numbers_that_differ": sum(
            int(np.sum(np.asarray(found[name] != value))) for name, value in whole.items()
        ),
    }


def main(*, kills: int = 5, seed: int = 0) -> None:
    """Kills workers.

    Args:
        kills: How many, each in a training of its own.
        seed: Decides whom, and when.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        quiet = Path(folder, "whole")
        subprocess.run(training(quiet), check=True, stdout=subprocess.DEVNULL)
        whole = state(quiet)
        rows = [disturbed(Path(folder, str(n)), chance, whole) for n in range(kills)]
    publish("worker_kills", [{"kill": n, **row} for n, row in enumerate(rows)])


if __name__ == "__main__":
    cyclopts.run(main)
