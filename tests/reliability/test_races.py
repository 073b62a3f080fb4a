"""Trainings, exports and a server that run at once do not disturb each other."""

import asyncio
import signal
import time

import pytest

from suite.export.exported import Exports
from suite.export.versions import versions
from suite.serve.batching import Limits
from suite.serve.models import Models
from tests.reliability.runs import SmallRun, differences


@pytest.mark.parametrize("again", [1, *(pytest.param(n, marks=pytest.mark.full) for n in (2, 3))])
def test_two_runs_in_one_folder(again, name, undisturbed, tmp_path):
    """One of them trains as if it were alone; the other one is refused."""
    one, other = (SmallRun(name, tmp_path / "shared") for _ in range(2))
    other.output_path = tmp_path / "other.txt"
    one.folder.mkdir()
    processes = [one.start(), other.start()]

    codes = sorted(process.wait() for process in processes)

    assert codes == [0, 2], one.output + other.output
    assert "--run-dir must" in one.output + other.output
    assert "Traceback" not in one.output + other.output
    assert versions(one.exports / name) == [1]
    assert differences(one, undisturbed(name)) == []


@pytest.mark.full
def test_resuming_what_is_still_running(name, undisturbed, tmp_path):
    run, other = (SmallRun(name, tmp_path / "shared") for _ in range(2))
    other.output_path = tmp_path / "other.txt"
    process = run.start()
    while not (run.run_dir / "run.json").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)  # so that it still runs when the other one starts

    code = other.finish("--resume")
    process.send_signal(signal.SIGCONT)

    assert code == 2 and "must not be in use by another run" in other.output
    assert process.wait() == 0
    assert differences(run, undisturbed(name)) == []


@pytest.mark.full
def test_two_exports_at_once_while_a_server_looks(name, undisturbed, tmp_path):
    """Both exports are there at the end, and the server never finds an incomplete version."""
    runs = [SmallRun(name, tmp_path / str(n)) for n in range(2)]
    for run in runs:
        run.exports = tmp_path / "exports"
    processes = [run.start() for run in runs]

    async def watch():
        models, numbers = Models(tmp_path / "exports", Limits()), set()
        while any(process.poll() is None for process in processes):
            await models.refresh()
            if name in models.names:
                numbers.add((await models.version(name)).number)
            await asyncio.sleep(0.001)
        await models.refresh()
        return numbers | {(await models.version(name)).number}, models

    numbers, models = asyncio.run(watch())

    assert [process.wait() for process in processes] == [0, 0]
    assert versions(tmp_path / "exports" / name) == [1, 2] and 2 in numbers
    assert not any(text for _, text in models.states(name).values())
    assert not list((tmp_path / "exports" / name).glob(".*"))
    for number in (1, 2):
        Exports(export_dir=tmp_path / "exports", version=number).open(name).built()
    assert differences(runs[0], undisturbed(name)) == []
