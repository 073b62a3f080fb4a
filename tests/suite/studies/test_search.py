import re
import shlex
import sys
import time
import types
from pathlib import Path

import pytest

import suite.studies
from apps.iris import app as iris
from apps.mnist_mlp import app as mnist_mlp
from suite import Diverged, InputError, cli
from suite.errors import Unwritable
from suite.studies import search as searches
from suite.studies.search import Search, find_best
from suite.studies.trials import Outcome
from tests.forks import Fork, program
from tests.suite.small import app

SHORT = ["--epochs", "1", "--data", "embedded"]


@pytest.fixture
def recorded(monkeypatch):
    """The trials that a search runs; none is trained: the loss is the dropout, or an error."""
    trials = []

    def run_trials(asked, jobs, callbacks):
        for trial in asked:
            trials.append(trial)
            dropout = trial.knobs["dropout"]
            error = "it broke" if dropout > 0.4 else None
            objective = None if error else dropout
            yield trial, Outcome(objective=objective, history={}, seconds=0.1, error=error)

    monkeypatch.setattr(searches, "run_trials", run_trials)
    monkeypatch.setattr(searches, "train", lambda *_, **__: None)
    return trials


def find(searched=app, recipe=None, knobs=None, run=None, **how):
    return find_best(searched, Search(**how), recipe, knobs or {}, run or {})


# --- the loop -------------------------------------------------------------------------------


def test_the_best_of_all_trials_is_found(recorded):
    best_trial = find(trials=30, recipe="wide", knobs={"epochs": 1}, run={"seed": 3})

    assert len(recorded) == best_trial.trials == 30
    assert recorded[0].knobs == {"epochs": 1, "learning_rate": 0.02, "units": 8, "dropout": 0.2}
    assert {(trial.app, trial.recipe) for trial in recorded} == {("tests.suite.small", "wide")}
    assert all(trial.run == {"seed": 3} for trial in recorded)
    assert len({trial.folder for trial in recorded}) == 30
    best = min(recorded, key=lambda trial: trial.knobs["dropout"])
    assert best_trial.knobs == best.knobs
    assert best_trial.objective == best.knobs["dropout"] < 0.1
    assert recorded[best_trial.number] == best
    assert best_trial.stopped == sum(trial.knobs["dropout"] > 0.4 for trial in recorded) > 0
    assert {path.name for path in (best_trial.folder / "figures").iterdir()} == {
        "history.png",
        "importances.png",
    }


def test_a_search_goes_on_until_there_are_enough_trials(recorded):
    first = find(trials=8)

    assert find(trials=8, storage=first.storage) == first
    assert len(recorded) == 8
    more = find(trials=12, storage=first.storage)
    assert (len(recorded), more.trials, more.folder) == (12, 12, first.folder)
    assert find(trials=12).knobs == more.knobs  # as if it had not been stopped


def test_no_trial_begins_when_the_time_is_over(recorded, monkeypatch):
    seconds = iter(range(0, 1000, 25))
    clock = types.SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr(searches, "time", clock)

    assert find(minutes=2).trials == 4


def test_all_trials_that_fail_are_reported_soon(recorded):
    with pytest.raises(Diverged, match="the first 5 trials have all failed: it broke"):
        find(knob=("dropout=0.41..0.5",))
    assert len(recorded) == 5


def test_a_full_disk_ends_no_trial(recorded, monkeypatch):
    def full(asked, jobs, callbacks):
        yield next(asked), Outcome(None, {}, 0.1, "the disk is full", unwritable=True)

    with monkeypatch.context() as patch:
        patch.setattr(searches, "run_trials", full)
        with pytest.raises(Unwritable, match="the disk is full; with --storage") as error:
            find(trials=3)

    storage = re.search("--storage (.*) it", str(error.value)).group(1)
    assert find(trials=3, storage=storage).trials == 3 == len(recorded)


def test_a_search_without_a_result_says_why(recorded):
    with pytest.raises(Diverged, match="no trial has trained to its end: it broke; "):
        find(knob=("dropout=0.41..0.5",), trials=2)


# --- refusals -------------------------------------------------------------------------------


def test_optuna_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "suite.studies.shared_study", raising=False)
    monkeypatch.delattr(suite.studies, "shared_study", raising=False)

    with pytest.raises(InputError, match=re.escape("pip install '.[search]'")):
        find()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trials", "0"], "--trials should be greater than or equal to 1"),
        (["--minutes", "0"], "--minutes should be greater than 0"),
        (["--jobs", "0"], "--jobs should be greater than 0"),
        (["--sampler", "grid"], "--sampler"),
        (["--knob", "unit=16..256"], "--knob must name a knob, such as units"),
        (["--knob", "units=256..16"], "--knob must have the smaller end first"),
        (["--knob", "units=0..16"], "--units should be greater than or equal to 1"),
        (["--knob", "units="], "--knob must be name=low..high"),
        (["--units", "8", "--knob", "units"], "must not name what is set already: --units"),
        (["--storage", "."], "--storage must be a new file"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(flags, message, capsys):
    assert cli.run(iris, ["search", *SHORT, *flags]) == 2

    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert not Path("runs").exists()


def test_the_storage_of_another_app_is_refused(recorded, capsys):
    storage = find(trials=1).storage

    assert cli.run(iris, ["search", *SHORT, "--storage", storage]) == 2

    assert "--storage must be of a search of iris. Received" in capsys.readouterr().err


# --- trainings ------------------------------------------------------------------------------


def test_a_search_trains_and_ends_with_a_command(tmp_path, capsys):
    flags = ["--knob", "units=2..8", "activation=relu,tanh", "--trials", "2", "--train"]
    flags += ["--no-figures"]

    assert cli.run(iris, ["search", *SHORT, *flags]) == 0

    printed = capsys.readouterr().out
    [command] = re.findall(r"python -m apps.iris --.*", printed)
    assert "--epochs 1" in command and "--units " in command and "--activation " in command
    assert "test_accuracy" in printed
    [folder] = Path("runs/iris/search").iterdir()
    assert (folder / "figures" / "history.png").is_file()
    assert list(Path("saved_models/iris").iterdir())
    capsys.readouterr()
    assert cli.run(iris, [*shlex.split(command)[3:], "--quiet", "--no-figures"]) == 0


def test_a_typed_flag_holds_even_if_the_recipe_has_the_same_value(monkeypatch):
    received = []

    def find_best(app, search, recipe, knobs, run):
        received.append(knobs)
        raise InputError("no search here", "one")

    monkeypatch.setattr(cli.commands, "find_best", find_best)
    value = mnist_mlp.recipes["accurate"]["dropout"]

    cli.run(mnist_mlp, ["search", "--recipe", "accurate", "--dropout", str(value)])

    assert received == [{"dropout": value}]


@pytest.mark.full  # two programs import TensorFlow twice each
def test_a_search_that_is_killed_goes_on(tmp_path):
    words = ["search", *SHORT, "--trials", "4", "--storage", "kept"]
    output = tmp_path / "output.txt"
    process = Fork(program("apps.iris", *words), output, tmp_path)
    end = time.monotonic() + 120
    while not (outcomes := list(tmp_path.glob("runs/iris/search/*/*/outcome.json"))):
        assert process.poll() is None and time.monotonic() < end, output.read_text()
        time.sleep(0.05)
    process.kill()
    process.wait(60)
    kept = {path: path.stat().st_mtime_ns for path in outcomes}

    assert Fork(program("apps.iris", *words), output, tmp_path).wait(120) == 0, output.read_text()

    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(tmp_path.glob("runs/iris/search/*/*/outcome.json"))) == 4
