"""Asked to stop, a training saves its state; asked twice, it stops at once."""

import random
import signal
import time

import pytest

from tests.reliability.runs import SmallRun, differences, disturb


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)]
)
def test_asked_to_stop_it_saves_and_says_how_to_go_on(name, number, undisturbed, tmp_path):
    run = SmallRun(name, tmp_path / "stopped")
    process = run.start()

    disturb(run, process, "a checkpoint", random.Random(name), number)

    assert process.returncode == 128 + number, run.output
    assert "--resume" in run.output.splitlines()[-1]
    assert run.finish("--resume") == 0, run.output
    assert differences(run, undisturbed(name)) == []


def test_asked_twice_it_stops_at_once(tmp_path):
    run = SmallRun("mnist_cnn", tmp_path / "stopped")
    run.flags[run.flags.index("--epochs") + 1] = "1000"
    process = run.start()
    while not run.states and process.poll() is None:
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
