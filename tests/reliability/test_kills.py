"""A training may be killed at any moment: once resumed, it ends as if nothing had happened."""

import random
import signal

import pytest

from tests.reliability.runs import SmallRun, differences, disturb

# Of one training after the other; together every moment, in different company.
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
    record_property("tried", len(CHAINS[chain]))
    chance = random.Random(f"{name} {chain}")
    run = SmallRun(name, tmp_path / "killed")
    words = []
    for moment in CHAINS[chain]:
        process = run.start(*words)
        disturb(run, process, moment, chance, signal.SIGKILL)
        assert process.returncode in (-signal.SIGKILL, 0), run.output
        words = ["--resume"]

    assert run.finish("--resume") == 0, run.output

    assert "Traceback" not in run.output
    assert differences(run, undisturbed(name)) == []
