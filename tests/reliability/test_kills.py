"""A training may be killed at any moment: once resumed, it ends as if nothing had happened."""

import itertools
import random
import signal

import pytest

from tests.reliability.runs import SmallRun, differences, disturb

KILLS = 5
# One after the other; a moment that does not come again lets the training end.
CHAINS = [
    ["a step", "a checkpoint", "a figure", "the export", "the report"],
    ["a checkpoint", "a step", "the export", "a figure", "the report"],
    ["a step", "a step", "a checkpoint", "the export", "the export"],
    ["a checkpoint", "a checkpoint", "a figure", "a figure", "the report"],
]


@pytest.mark.parametrize(
    "chain", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, len(CHAINS)))]
)
def test_killed_and_resumed_it_ends_with_the_same_bytes(
    name, chain, undisturbed, tmp_path, record_property
):
    record_property("tried", KILLS)
    chance = random.Random(f"{name} {chain}")
    moments = itertools.cycle(CHAINS[chain])
    kills, runs = 0, []
    while kills < KILLS:
        words = ["--resume"]
        if not runs or (runs[-1].run_dir / "report.json").exists():
            runs.append(SmallRun(name, tmp_path / f"killed-{len(runs)}"))
            words = []
        process = runs[-1].start(*words)
        disturb(runs[-1], process, next(moments), chance, signal.SIGKILL)
        assert process.returncode in (-signal.SIGKILL, 0), runs[-1].output
        kills += process.returncode == -signal.SIGKILL

    assert runs[-1].finish("--resume") == 0, runs[-1].output

    for run in runs:
        assert "Traceback" not in run.output
        assert differences(run, undisturbed(name)) == []
