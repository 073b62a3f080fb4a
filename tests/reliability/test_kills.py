"""A training may be killed at any moment: once resumed, it ends as if nothing had happened."""

import random
import signal

import pytest

from tests.reliability.runs import SmallRun, differences, disturb

# Moments at which a training is killed, one after the other.
CHAINS = [
    ["a step", "a checkpoint"],
    ["a step", "a checkpoint", "a figure", "the export", "the report"],
    ["a checkpoint", "a step", "the export", "a figure", "the report"],
    ["a step", "a step", "a checkpoint", "the export", "the export"],
    ["a checkpoint", "a checkpoint", "a figure", "a figure", "the report"],
]
AFTER_TRAINING = ["a figure", "the export", "the report"]


def kill_at(name, moments, folder):
    """Kills a training at these moments, and resumes it; of the runs only the last is unfinished.

    A moment that no longer comes lets a training end; the next one begins in a new folder.
    """
    chance = random.Random(f"{name} {moments}")
    kills, runs = 0, []
    while kills < len(moments):
        flags = ["--resume"]
        if not runs or (runs[-1].run_dir / "report.json").exists():
            runs.append(SmallRun(name, folder / f"killed-{len(runs)}"))
            flags = []
        process = runs[-1].start(*flags)
        disturb(runs[-1], process, moments[kills], chance, signal.SIGKILL)
        assert process.returncode in (-signal.SIGKILL, 0), runs[-1].output
        kills += process.returncode == -signal.SIGKILL
    return runs


def assert_nothing_was_lost(runs, undisturbed):
    assert runs[-1].finish("--resume") == 0, runs[-1].output
    for run in runs:
        assert "Traceback" not in run.output
        assert differences(run, undisturbed) == []


@pytest.mark.parametrize(
    "chain", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, len(CHAINS)))]
)
def test_killed_and_resumed_it_ends_with_the_same_bytes(
    trainer, chain, undisturbed, tmp_path, record_property
):
    record_property("tried", len(CHAINS[chain]))

    runs = kill_at(trainer, CHAINS[chain], tmp_path)

    assert_nothing_was_lost(runs, undisturbed(trainer))


def test_killed_after_the_training_it_judges_and_exports_anew(
    name, undisturbed, tmp_path, record_property
):
    record_property("tried", len(AFTER_TRAINING))

    runs = kill_at(name, AFTER_TRAINING, tmp_path)

    assert_nothing_was_lost(runs, undisturbed(name))
