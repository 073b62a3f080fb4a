"""Trials are processes that share the cores, run once, go on when killed, and fail alone."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
import sys
import threading
import time
import types
from pathlib import Path

import keras
import pytest

from apps.iris import app as iris
from apps.mnist_mlp import app as mnist_mlp
from suite import InputError, Run, train
from suite.errors import InputFailed, Interrupted
from suite.studies.trials import (
    Trial,
    judge_trial,
    module_of,
    objective_mode,
    objective_of,
    read_outcome,
    run_trials,
)
from suite.training.state import TrainingState
from tests.suite.small import app as small
from tests.suite.small import variant


def trials(**changes):
    """Trials of the small application, one for each value of a knob that is listed."""
    [(name, values)] = changes.items()
    knobs = [{"epochs": 2, name: value} for value in values]
    return [
        Trial(app="tests.suite.small", knobs=knob, folder=Path("trials", str(number)))
        for number, knob in enumerate(knobs)
    ]


def outcomes(*args, **kwargs):
    with contextlib.closing(run_trials(*args, **kwargs)) as ends:
        return {trial.folder.name: outcome for trial, outcome in ends}


class NoteProcess(keras.callbacks.Callback):
    """Writes what its process may use."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        cores = sorted(os.sched_getaffinity(0))
        note = {"pid": os.getpid(), "cores": cores, "word": os.environ.get("A_WORD")}
        (self.folder / "note.json").write_text(json.dumps(note))


def note_process(trial):
    return [NoteProcess(trial.folder)]


class KillFirst(keras.callbacks.Callback):
    """Ends the process in the second epoch, the first time."""

    def __init__(self, folder):
        super().__init__()
        self.mark = folder / "killed"

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def kill_first(trial):
    return [KillFirst(trial.folder)]


def fail(trial):
    raise RuntimeError("a\nbug") if trial.folder.name == "1" else InputError("`it` must be")


def break_down(trial):
    raise InputFailed("`it` must stay", "gone")


class SlowEpochs(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        time.sleep(0.3)


def slow_epochs(trial):
    return [SlowEpochs()]


def test_trials_are_processes_of_their_own_and_train_as_alone(monkeypatch):
    monkeypatch.setenv("A_WORD", "word")
    ran = outcomes(trials(units=[2, 5, 3]), 2, note_process)

    assert sorted(ran) == ["0", "1", "2"]
    notes = [json.loads(Path(f"trials/{n}/note.json").read_text()) for n in ran]
    assert len({note["pid"] for note in notes} - {os.getpid()}) == 3
    assert {note["word"] for note in notes} == {"word"}
    if len(os.sched_getaffinity(0)) > 1:
        first, second, third = (set(note["cores"]) for note in notes)
        assert not first & second and third in (first, second)
    alone = train(small, small.recipe(units=5, epochs=2), Run(quiet=True), until="fit")
    assert ran["1"].history["val_loss"] == pytest.approx(alone.history["val_loss"], rel=1e-4)
    assert ran["1"].objective == ran["1"].history["val_loss"][-1]
    assert ran["1"].error is None and ran["1"].seconds > 0
    assert not list(Path("trials").glob("*.txt"))  # nothing was printed
    assert not Path("saved_models").exists()


def test_what_has_an_outcome_is_not_run_again_and_may_decide_what_follows():
    first = outcomes(trials(units=[2, 3]), 1)
    seen = []

    def one_by_one():
        for trial in trials(units=[2, 3, 4]):
            seen.append(sorted(path.parent.name for path in Path("trials").glob("*/outcome.json")))
            yield trial

    written = Path("trials/0/outcome.json").stat().st_mtime_ns
    again = outcomes(one_by_one(), 1)

    assert Path("trials/0/outcome.json").stat().st_mtime_ns == written
    assert {name: again[name] for name in first} == first
    assert seen == [["0", "1"]] * 3
    assert read_outcome(Path("trials/2")) == again["2"]


def test_a_killed_trial_is_an_outcome_and_goes_on_from_its_saved_state():
    ran = outcomes(trials(units=[2]), 1, kill_first)
    assert ran["0"].error == "its process ended by SIGKILL" and ran["0"].objective is None
    saved = Path("trials/0/log.csv").read_text()
    assert saved.count("\n") == 2

    ran = outcomes(trials(units=[2]), 1, kill_first)

    assert ran["0"].error is None and len(ran["0"].history["loss"]) == 2
    assert Path("trials/0/log.csv").read_text().startswith(saved)
    alone = train(small, small.recipe(units=2, epochs=2), Run(quiet=True), until="fit")
    assert ran["0"].objective == pytest.approx(alone.history["val_loss"][-1], rel=1e-4)


def test_a_training_without_epochs_is_judged_on_the_validation_split():
    """A cubic is learnt by a polynomial of degree 3, not by one of degree 1."""
    ran = outcomes(
        [
            Trial(
                app="apps.regression",
                knobs={"dataset": "cubic", "degree": degree},
                folder=Path(f"trials/{degree}"),
            )
            for degree in (1, 3)
        ],
        2,
    )

    for outcome in ran.values():
        assert outcome.error is None
        assert [outcome.objective] == outcome.history["val_rmse"]
    assert ran["3"].objective == pytest.approx(0.5, abs=0.05)  # the noise's
    assert ran["1"].objective > 2 * ran["3"].objective


def test_what_is_not_compiled_is_judged_by_its_own_metrics():
    """Hebb's rule forgets patterns that are alike, which the pseudo-inverse tells apart."""
    ran = outcomes(
        [
            Trial(
                app="apps.hopfield",
                knobs={"rule": rule, "num_units": 50, "patterns": 20},
                folder=Path(f"trials/{rule}"),
            )
            for rule in ("hebb", "pseudo_inverse")
        ],
        2,
    )

    for outcome in ran.values():
        assert outcome.error is None
        assert [outcome.objective] == outcome.history["val_recalled"]
    assert ran["hebb"].objective < ran["pseudo_inverse"].objective


def test_failures_stay_their_own():
    """A divergence is kept; bad input and bugs are tried again."""
    unstable = Trial(
        app="apps.iris",
        knobs={"learning_rate": 10.0, "weight_decay": 1000.0, "epochs": 3, "batch_size": 8},
        run={"data": "embedded"},
        folder=Path("trials/unstable"),
    )
    diverged = outcomes([unstable], 1)["unstable"]
    assert re.match("the loss became (nan|inf) in epoch", diverged.error)
    assert not diverged.refused and read_outcome(unstable.folder) == diverged

    ran = outcomes(trials(units=[2, 3]), 2, fail)

    assert ran["0"].error == "`it` must be" and ran["0"].refused
    assert ran["1"].error == "RuntimeError: a bug" and not ran["1"].refused
    assert "in fail" in Path("trials/1.txt").read_text()
    assert not Path("trials/0").exists() and not Path("trials/0.txt").exists()
    assert [outcome.error for outcome in outcomes(trials(units=[2, 3]), 2).values()] == [None, None]


def test_what_fails_in_a_training_is_not_refused_before_it():
    ran = outcomes(trials(units=[2]), 1, break_down)

    assert ran["0"].error == "`it` must stay. Received: gone" and not ran["0"].refused
    assert read_outcome(Path("trials/0")) is None


def test_a_signal_stops_all_with_their_states_saved():
    forever = [dataclasses.replace(t, knobs={"epochs": 1000}) for t in trials(units=[0, 1])]
    logs = [Path("trials", name, "log.csv") for name in "01"]

    def stop():
        while not all(log.exists() for log in logs):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted) as stopped:
        outcomes(forever, 2, slow_epochs)

    assert stopped.value.signal_number == signal.SIGTERM
    time.sleep(0.5)
    lines = [log.read_text().count("\n") for log in logs]
    time.sleep(1)
    assert [log.read_text().count("\n") for log in logs] == lines
    # The state of an epoch is saved before its row is written.
    epochs = [len(TrainingState(log.parent / "checkpoints").find().rows) + 1 for log in logs]
    shorter = [dataclasses.replace(t, knobs={"epochs": 1001}) for t in forever]
    with contextlib.closing(run_trials(shorter, 2, functools.partial(stop_soon, epochs))) as ends:
        lengths = {t.folder.name: len(outcome.history["loss"]) for t, outcome in ends}
    assert [lengths[name] for name in "01"] == epochs


class StopAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch + 1 >= self.epoch


def stop_soon(epochs, trial):
    return [StopAt(epochs[int(trial.folder.name)])]


def test_the_test_split_is_for_judging_alone():
    [trial] = trials(units=[2])
    outcomes([trial], 1)

    metrics = judge_trial(trial)

    alone = train(small, small.recipe(units=2, epochs=2), Run(quiet=True), until="judge")
    assert metrics == pytest.approx(alone.metrics, rel=1e-4)
    assert (trial.folder / "figures/learning_curves.png").exists()
    with pytest.raises(InputError, match="trials/9 must be"):
        judge_trial(dataclasses.replace(trial, knobs={"units": -1}, folder=Path("trials/9")))


def test_the_objective_is_of_the_epoch_that_is_kept():
    history = {"val_loss": [3.0, 1.0, 2.0], "val_accuracy": [0.5, None, 0.4]}
    config = small.config(epochs=2)
    best = variant(keep_best=True)

    assert objective_of(small, config, history, 3) == 2
    assert objective_of(best, config, history, 3) == 1
    assert objective_of(best, config, history, 1) == 2  # the best of the last phase
    assert objective_of(variant(best, objective="val_accuracy"), config, history, 3) == 0.5
    assert objective_of(variant(objective="val_return"), config, history, 3) is None
    patient = mnist_mlp.config(epochs=2, patience=1)
    assert objective_of(mnist_mlp, patient, {"val_accuracy": [0.9, 0.8]}, 2) == 0.9


def test_better_is_known_or_asked_for():
    assert objective_mode(small) == "min"
    assert objective_mode(iris) == "max"
    assert objective_mode(variant(objective="val_return", objective_mode="max")) == "max"
    with pytest.raises(InputError, match="Received: val_return"):
        objective_mode(variant(objective="val_return"))


def test_a_trial_needs_the_module_of_its_application():
    assert module_of(small) == "tests.suite.small"
    assert module_of(iris) == "apps.iris"
    with pytest.raises(InputError, match="Received: nameless"):
        module_of(variant(name="nameless"))


def test_a_script_or_a_notebook_may_have_the_application(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__spec__=None, app=iris))

    assert module_of(iris) == "apps.iris"


def test_a_damaged_outcome_is_said():
    Path("outcome.json").write_text("{")

    with pytest.raises(InputError, match="must be whole"):
        read_outcome(Path())
