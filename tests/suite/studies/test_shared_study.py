import re
import time
import types
from pathlib import Path

import optuna
import pytest

from suite import InputError
from suite.studies.shared_study import NAME, Report, open_storage, open_study
from suite.studies.spaces import Choices, Range
from tests.forks import Fork, script

LINE = {"x": Range(low=-1.0, high=1.0, whole=False)}
PLACES = {
    **LINE,
    "units": Range(low=1, high=1000, whole=True),
    "activation": Choices({"relu": "relu", "tanh": "tanh"}),
}
# A search of 40 trials whose objective is x squared; `told` gets the numbers of those that are.
SEARCH = """
import time
from pathlib import Path
from suite.studies.shared_study import open_study
from suite.studies.spaces import Range

with open_study(
    "journal",
    lambda: Path("folder"),
    larger_is_better=False,
    spaces={"x": Range(low=-1.0, high=1.0, whole=False)},
    record={"app": "line"},
    first={"x": 0.5},
) as study:
    while asked := study.ask("random", 0, 40):
        time.sleep(0.02)
        study.tell(asked.number, asked.values["x"] ** 2, None)
        with open("told", "a") as file:
            print(asked.number, file=file)
"""


def opened(storage="journal", spaces=LINE, larger_is_better=False, first=None, **record):
    return open_study(
        str(storage),
        lambda: Path("folder"),
        larger_is_better=larger_is_better,
        spaces=spaces,
        record={"app": "line", **record},
        first=first or {},
    )


def values_of(count, sampler="tpe", storage="journal", seed=0):
    """The values that a search tries, in two processes one after the other."""
    tried = []
    for most in (count // 2, count):
        with opened(storage, PLACES) as study:
            while asked := study.ask(sampler, seed, most):
                tried.append(dict(asked.values))
                study.tell(asked.number, asked.values["x"] ** 2, None)
    return tried


# --- asking and telling ---------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "evolution", "random"])
def test_samplers_stay_in_the_spaces_and_repeat_themselves(sampler):
    tried = values_of(24, sampler)

    assert len(tried) == 24
    for values in tried:
        assert -1 <= values["x"] <= 1
        assert values["units"] in range(1, 1001)
        assert values["activation"] in ("relu", "tanh")
    assert len({values["x"] for values in tried}) > 12
    assert values_of(24, sampler, "again") == tried
    assert values_of(24, sampler, "other", seed=1) != tried


@pytest.mark.parametrize("sampler", ["tpe", "evolution"])
def test_samplers_learn(sampler):
    late = [abs(values["x"]) for values in values_of(60, sampler)[40:]]

    assert sum(late) / len(late) < 0.35  # by chance it is a half


def test_the_first_trial_is_the_recipe_as_it_is():
    first = {"x": 0.25, "activation": "tanh"}
    with opened(spaces=PLACES, first=first) as study:
        asked = study.ask("random", 0, 5)
        assert study.ask("random", 0, 5).values["x"] != 0.25

    assert asked.number == 0
    assert (asked.values["x"], asked.values["activation"]) == (0.25, "tanh")
    with opened(spaces=PLACES, first=first) as study:  # joining does not begin again
        assert study.ask("random", 0, 5).values["x"] == 0.25  # the one that was left
        assert study.ask("random", 0, 5).number == 1
        assert study.ask("random", 0, 5).number == 2


def test_the_best_is_what_trained_to_its_end():
    with opened(larger_is_better=True) as study:
        assert study.best() is None
        for objective, error in ((0.5, None), (0.7, None), (None, "broken"), (float("nan"), None)):
            study.tell(study.ask("random", 0, 4).number, objective, error)

    assert study.ask("random", 0, 4) is None
    assert study.best().number == 1
    assert [trial.number for trial in study.ended()] == [0, 1, 2, 3]
    assert [trial.number for trial in study.finished()] == [0, 1]
    assert study.ended()[2].user_attrs["error"] == "broken"


def test_importances_are_shares_of_the_knobs():
    values_of(40, "random")

    shares = opened(spaces=PLACES).importances()

    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "x"


def test_one_objective_says_nothing_about_importances():
    with opened() as study:
        for _ in range(3):
            study.tell(study.ask("random", 0, 3).number, 1.0, None)

    assert study.importances() == {}


# --- reports --------------------------------------------------------------------------------


def train(study, losses, number=None):
    """Reports an objective for every epoch, as a training does; returns the epochs trained."""
    number = study.ask("random", 0, 100).number if number is None else number
    report = Report("journal", number, "val_loss")
    report.set_params({"epochs": len(losses)})
    report.set_model(types.SimpleNamespace(stop_training=False))
    for epoch, loss in enumerate(losses):
        report.on_epoch_end(epoch, {"loss": 0.0, "val_loss": loss})
        if report.model.stop_training:
            break
    return study.tell(number, losses[epoch], None), epoch + 1


def test_a_hopeless_trial_is_stopped():
    with opened() as study:
        for _ in range(4):
            trial, epochs = train(study, [3.0, 2.0, 1.0])
            assert (trial.state.name, epochs) == ("COMPLETE", 3)
        assert train(study, [9.0, 9.0, 9.0])[1] == 3  # fewer than five are no measure

        trial, epochs = train(study, [9.0, 2.5, 0.1])
        assert (trial.state.name, trial.value, epochs) == ("PRUNED", 2.5, 2)
        assert train(study, [9.0, 1.9, 1.2])[1] == 3
        assert train(study, [1.0, 1.0, 9.0])[0].value == 9.0  # it has trained to its end

    assert [trial.number for trial in study.ended() if trial.state.name == "PRUNED"] == [5]


def test_an_epoch_is_reported_once():
    with opened() as study:
        number = study.ask("random", 0, 1).number
        for losses in ([3.0, 2.0], [8.0, 8.0, 1.0]):
            report = Report("journal", number, "val_loss")
            report.set_params({"epochs": 4})
            for epoch, loss in enumerate(losses):
                report.on_epoch_end(epoch, {"val_loss": loss})
            report.on_epoch_end(3, {"loss": 1.0})  # of a phase without the objective

    assert study.study.trials[0].intermediate_values == {0: 3.0, 1: 2.0, 2: 1.0}


def test_a_hopeless_trial_stays_so_in_later_phases():
    with opened() as study:
        for _ in range(5):
            train(study, [1.0, 1.0, 1.0])
        report = Report("journal", study.ask("random", 0, 100).number, "val_loss")
        report.set_params({"epochs": 4})
        model = types.SimpleNamespace(stop_training=False)
        report.set_model(model)
        for epoch in range(2):
            report.on_epoch_end(epoch, {"val_loss": 5.0})
        assert model.stop_training
        model.stop_training = False  # as `fit` does
        report.on_epoch_end(2, {"val_loss": 0.5})

    assert model.stop_training


# --- kills and company ----------------------------------------------------------------------


def told(folder):
    path = folder / "told"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def finished(folder):
    [study] = [optuna.load_study(study_name=NAME, storage=open_storage(str(folder / "journal")))]
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    return study.trials


def test_a_search_that_is_killed_five_times_loses_nothing(tmp_path):
    for kill in range(5):
        process = Fork(script(SEARCH), tmp_path / "output.txt", tmp_path)
        end = time.monotonic() + 60
        while len(told(tmp_path)) < 6 * (kill + 1):
            assert process.poll() is None and time.monotonic() < end, output(tmp_path)
            time.sleep(0.005)
        process.kill()
        process.wait(60)

    assert Fork(script(SEARCH), tmp_path / "output.txt", tmp_path).wait(60) == 0, output(tmp_path)
    trials = finished(tmp_path)
    assert [trial.number for trial in trials] == list(range(40))
    assert len(told(tmp_path)) == len(set(told(tmp_path)))  # none was run again once it was told
    assert trials[0].params == {"x": 0.5}


def test_processes_join_a_search(tmp_path):
    processes = [Fork(script(SEARCH), tmp_path / "output.txt", tmp_path) for _ in range(3)]

    assert [process.wait(60) for process in processes] == [0, 0, 0], output(tmp_path)
    trials = finished(tmp_path)
    assert sorted(told(tmp_path)) == list(range(40))
    assert len({trial.params["x"] for trial in trials}) == 40
    assert len({trial.user_attrs["process"] for trial in trials}) > 1


def output(folder):
    return (folder / "output.txt").read_text()


def test_a_trial_of_a_process_that_lives_is_left_alone():
    with opened() as one, opened() as other:
        assert one.ask("random", 0, 2).number == 0
        assert other.ask("random", 0, 2).number == 1
        assert other.ask("random", 0, 2) is None
    with opened() as heir:
        assert {heir.ask("random", 0, 2).number for _ in range(2)} == {0, 1}


def test_half_a_line_of_a_killed_process_is_removed():
    with opened() as study:
        study.tell(study.ask("random", 0, 9).number, 1.0, None)
    with Path("journal").open("ab") as journal:
        journal.write(b'{"op_code":6,"wor')

    with opened() as study:
        study.tell(study.ask("random", 0, 9).number, 0.5, None)

    assert [trial.value for trial in opened().finished()] == [1.0, 0.5]


def test_a_database_keeps_a_search():
    for most in (2, 4):
        with opened("sqlite:///search.db") as study:
            while asked := study.ask("random", 0, most):
                study.tell(asked.number, asked.values["x"], None)

    assert len(study.finished()) == 4


# --- refusals -------------------------------------------------------------------------------


def test_the_storage_of_another_search_is_refused():
    opened(spaces=LINE, recipe="fast", run={"seed": 1})

    for record, message in (
        ({"app": "plane"}, "`storage` must be of a search of plane. Received: journal, of line"),
        ({"recipe": None}, '`recipe` must stay as in `storage`: "fast". Received: null'),
        ({"run": {"seed": 2}}, "`seed` must stay as in `storage`: 1. Received: 2"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            opened(**{"recipe": "fast", "run": {"seed": 1}, **record})


def test_the_storage_of_another_program_is_refused():
    optuna.create_study(storage="sqlite:///other.db", study_name="theirs")

    with pytest.raises(InputError, match="must hold a search of this suite"):
        opened("sqlite:///other.db")


@pytest.mark.parametrize("content", ["notes", "notes\n", '{"a": 1}\n', "[]\n", "1\n", "\x00\n"])
def test_a_file_that_no_search_wrote_is_refused(content):
    Path("notes.txt").write_text(content)

    with pytest.raises(InputError, match="must be a new file, one that a search wrote") as caught:
        opened("notes.txt")

    assert str(caught.value).startswith("`storage` ")
    assert Path("notes.txt").read_text() == content


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        (".", "must be a new file"),
        ("/proc/journal", "must be writable"),
        ("no://where", "must be a file, or the URL of a database that can be opened"),
        ("sqlite:////proc/search.db", "must be a file, or the URL of a database"),
    ],
)
def test_a_place_that_keeps_nothing_is_refused(storage, message):
    with pytest.raises(InputError, match=f"`storage` {message}"):
        opened(storage)
