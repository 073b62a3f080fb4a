"""Every combination is a trial, seeds make one line, and the best line alone is tested."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from apps.iris import app as iris
from apps.logistic_regression import app as logistic_regression
from apps.mnist_cnn import app as mnist_cnn
from suite import InputError
from suite.cli import run
from suite.errors import Diverged, Interrupted
from suite.studies import compare as study
from suite.studies.compare import checked_values, command, compare, spelled
from suite.studies.trials import Outcome
from tests.forks import Fork, program
from tests.suite.small import app as small
from tests.suite.small import variant

WORDS = "compare --epochs 1 --units 2 5 --seed 0 1"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder with a comparison of the small application, and what was printed."""
    folder, out = tmp_path_factory.mktemp("compared"), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert run(small, f"{WORDS} --jobs 2 --test --run-dir here".split()) == 0
    return folder / "here", out.getvalue()


@pytest.fixture
def here(compared):
    """A copy of that comparison in the current folder."""
    return Path(shutil.copytree(compared[0], "here"))


def fake_trials(monkeypatch, outcome_of):
    """Replaces trainings by `outcome_of(knobs, run)`, the last trial first; returns the trials."""
    ran = []

    def run_trials(trials, jobs):
        ran[:] = trials
        for trial in reversed(ran):
            yield trial, outcome_of(trial.knobs, trial.run)

    monkeypatch.setattr(study, "run_trials", run_trials)
    return ran


def ended(objective, error=None, **fields):
    history = {"val_loss": [] if objective is None else [9.0, objective]}
    return Outcome(objective, history, 2.0, error, **fields)


def test_a_table_a_picture_and_the_command_that_repeats_it(compared):
    folder, out = compared
    outcomes = [
        json.loads(file.read_text()) for file in sorted(folder.glob("trials/*/outcome.json"))
    ]
    assert [outcome["trial"]["knobs"] for outcome in outcomes] == [
        {"epochs": 1, "units": units} for units in (2, 2, 5, 5)
    ]
    assert [outcome["trial"]["run"] for outcome in outcomes] == [{"seed": 0}, {"seed": 1}] * 2

    rows = list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))
    assert [row["units"] for row in rows] == ["2", "5"]
    for row, pair in zip(rows, (outcomes[:2], outcomes[2:]), strict=True):
        losses = [outcome["objective"] for outcome in pair]
        assert float(row["val_loss_mean"]) == pytest.approx(np.mean(losses))
        assert float(row["val_loss_std"]) == pytest.approx(np.std(losses, ddof=1))
    [best] = [row for row in rows if row["best"] == "True"]
    assert best == min(rows, key=lambda row: float(row["val_loss_mean"]))

    text = (folder / "COMPARISON.md").read_text()
    assert "    python -m apps.small compare --epochs 1 --units 2 5 --seed 0 1\n" in text
    assert "In all: epochs=1." in text and "seeds 0, 1" in text
    assert text.count("**best**") == 1
    assert (folder / "learning_curves.png").stat().st_size > 10_000
    assert "4 trials in here\n" in out and "4/4  units=" in out
    assert re.search(rf"^best +units={best['units']}$", out, re.M)


def test_the_test_split_is_seen_by_the_best_line_alone(compared):
    folder, out = compared
    tested = json.loads((folder / "test.json").read_text())

    judged = {path.parent.name for path in folder.glob("trials/*/figures")}
    assert judged == ({"1", "2"} if tested["line"] == {"units": 2} else {"3", "4"})
    mean = np.mean([metrics["test_loss"] for metrics in tested["metrics"]])
    assert f"test_loss_mean  {mean:.4f}".split() == next(
        line.split() for line in out.splitlines() if line.startswith("test_loss_mean")
    )


def test_metrics_that_some_seeds_lack_are_means_over_the_others(tmp_path):
    metrics = [{"test_loss": 1.0}, {"test_loss": 2.0, "seconds": 4.0}, {"test_loss": 3.0}]
    metrics[2]["seconds"] = None
    content = {"line": {"units": 2}, "metrics": metrics}
    (tmp_path / "test.json").write_text(json.dumps(content))

    tested = study._tested(types.SimpleNamespace(values={"units": 2}), tmp_path)

    assert tested == {
        "test_loss_mean": 2.0,
        "test_loss_std": 1.0,
        "seconds_mean": 4.0,
        "seconds_std": None,
    }


def test_resumed_it_runs_only_what_is_missing_and_tests_no_second_time(here, capsys):
    written = {path: path.stat().st_mtime_ns for path in here.glob("trials/*/outcome.json")}
    missing = here / "trials" / "2" / "outcome.json"
    before = json.loads(missing.read_text())
    shutil.rmtree(missing.parent)
    tested = json.loads((here / "test.json").read_text())
    tested["metrics"] = [{"test_loss": 77.0}]
    (here / "test.json").write_text(json.dumps(tested))

    assert run(small, ["compare", "--resume", "--run-dir", "here", "--test"]) == 0

    assert json.loads(missing.read_text())["history"]["loss"] == pytest.approx(
        before["history"]["loss"], rel=1e-4
    )
    for path, time_ns in written.items():
        assert path == missing or path.stat().st_mtime_ns == time_ns
    assert "test_loss_mean  77.0000" in capsys.readouterr().out
    tested["line"] = {"units": 7}
    (here / "test.json").write_text(json.dumps(tested))
    assert run(small, ["compare", "--resume", "--run-dir", "here", "--test"]) == 2
    assert "must be left out: another line than the best one" in capsys.readouterr().err


def test_stopped_it_says_how_to_go_on(capsys):
    def stop():
        while not list(Path("my runs").glob("trials/*/log.csv")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    listed = {"epochs": [500], "units": [2, 3]}
    with pytest.raises(Interrupted) as stopped:
        compare(small, listed, jobs=2, test=True, run_dir=Path("my runs"))

    assert str(stopped.value) == (
        "stopped with 0 of 2 trials done; go on with python -m apps.small compare --resume "
        "--jobs 2 --test --run-dir 'my runs'"
    )
    assert not list(Path("my runs").glob("trials/*/outcome.json"))


def test_killed_it_leaves_no_process_and_goes_on_from_the_saved_states(capsys):
    words = "--data embedded --units 2 3 --epochs 6 --jobs 2 --run-dir here"
    killed = Fork(program("apps.iris", "compare", *words.split()), Path("out.txt"), Path.cwd())
    logs = [Path(f"here/trials/{number}/log.csv") for number in (1, 2)]
    while not all(log.exists() for log in logs):
        assert killed.poll() is None, Path("out.txt").read_text()
        time.sleep(0.02)
    killed.kill()
    killed.wait(60)
    half = [log.read_text() for log in logs]

    assert run(iris, ["compare", "--resume", "--run-dir", "here", "--jobs", "2"]) == 0

    for log, rows in zip(logs, half, strict=True):
        assert log.read_text().startswith(rows) and log.read_text().count("\n") == 7
    assert "2/2" in capsys.readouterr().out


def test_lines_with_failures_have_the_reason_and_are_not_the_best(monkeypatch):
    ends = {
        (2, 0): ended(0.9),
        (2, 1): ended(0.7),
        (3, 0): ended(0.1),
        (3, 1): ended(None, "the loss became nan | in epoch 1"),
        (4, 0): ended(None, "it | broke", refused=True),
        (4, 1): ended(None, "it | broke"),
    }
    fake_trials(monkeypatch, lambda knobs, run: ends[knobs["units"], run["seed"]])

    result = compare(small, {"units": [2, 3, 4], "seed": [0, 1]})

    assert result.best.values == {"units": 2}
    assert result.best.mean == pytest.approx(0.8)
    two, three, four = result.table.splitlines()[2:]
    assert "0.8 ± 0.1414" in two and "**best**" in two
    assert "2, 1 failed" in three and "0.1 " in three and r"nan \| in epoch 1" in three
    assert "2, 2 failed" in four and four.count("broke") == 1
    assert result.metrics == {} and result.folder.parent == Path("runs/small/compare")


def test_more_may_be_better(monkeypatch):
    fake_trials(monkeypatch, lambda knobs, run: ended(knobs["units"] / 10))

    assert compare(small, {"units": [3, 2]}).best.values == {"units": 2}
    accurate = variant(objective="val_accuracy")
    assert compare(accurate, {"units": [2, 3]}).best.values == {"units": 3}
    assert compare(small, {"seed": [0, 1], "units": [2]}).best.label == "all seeds"


def test_recipes_are_compared(monkeypatch):
    ran = fake_trials(monkeypatch, lambda knobs, run: ended(1.0))

    compare(small, {"recipe": ["wide", "none"], "epochs": ["2"]})

    assert [(trial.recipe, trial.knobs) for trial in ran] == [
        ("wide", {"epochs": 2}),
        (None, {"epochs": 2}),
    ]


def test_what_all_trials_are_refused_for_is_bad_input(monkeypatch, capsys):
    refused = ended(None, "`data` must be nice. Received: nowhere", refused=True)
    fake_trials(monkeypatch, lambda knobs, run: refused)

    assert run(small, f"{WORDS} --run-dir here".split()) == 2

    assert "--data must be nice. Received: nowhere" in capsys.readouterr().err
    assert not Path("here").exists()


def test_without_a_trained_line_there_is_a_table_but_no_success(monkeypatch, capsys):
    fake_trials(monkeypatch, lambda knobs, run: ended(None, "the loss became nan"))
    with pytest.raises(Diverged, match="no trial has trained to its end: the loss became nan"):
        compare(small, {"units": [2, 3]}, run_dir=Path("here"))
    assert "the loss became nan" in Path("here/COMPARISON.md").read_text()

    fake_trials(monkeypatch, lambda knobs, run: ended(None))
    with pytest.raises(InputError, match="val_loss, in none"):
        compare(small, {"units": [2, 3]})


def test_none_is_no_value_or_the_empty_list():
    values = checked_values(
        logistic_regression, {"leave_out": ["none", "mean_radius"], "label": ["none", "diagnosis"]}
    )

    assert values["leave_out"] == [(), ("mean_radius",)] and values["label"] == [None, "diagnosis"]


def test_texts_are_read_as_on_a_command_line_and_spelled_again():
    texts = {
        "filters": ["16,32", "8"],
        "batch_norm": ["true", "no"],
        "channels": ["1", "3"],
        "learning_rate": ["1e-3", "0.5"],
        "data_dir": ["none"],
    }
    known = {name: values for name, values in texts.items() if name in study.knob_types(mnist_cnn)}

    values = checked_values(mnist_cnn, known)

    assert values["filters"] == [(16, 32), (8,)]
    assert values["learning_rate"] == [0.001, 0.5]
    assert checked_values(mnist_cnn, json.loads(json.dumps(values, default=str))) == values
    assert [spelled(value) for value in ((16, 32), 0.001, 1 / 3, 10.0, True, None, ())] == [
        "16,32",
        "0.001",
        repr(1 / 3),
        "10",
        "true",
        "none",
        "none",
    ]
    assert command(mnist_cnn, {"value_range": [(-1.0, 1.0), None]}).endswith(
        "compare --value-range=-1,1 --value-range=none"
    )
    assert command(mnist_cnn, {"batch_size": [8], "data": ["my file"]}) == (
        "python -m apps.mnist_cnn compare --batch-size 8 --data 'my file'"
    )


BAD = [
    ("compare", "two values or more to compare, such as --seed 0 1 2. Received: none"),
    ("compare --units 2", "two values or more to compare, such as --seed 0 1 2. Received: units=2"),
    ("compare --unit 2 3", "Unknown option: --unit. Did you mean --units?"),
    ("compare --units 2 x", "--units should be a valid integer"),
    ("compare --units 2 0", "--units should be greater than or equal to 1. Received: 0"),
    ("compare --units 2 2", "--units must list every value once. Received: 2"),
    ("compare --units", "--units"),
    ("compare --recipe wide narrow", "--recipe"),
    ("compare --units 2 3 --jobs 0", "--jobs must be from 1 to 64. Received: 0"),
    ("compare --units 2 3 --run-dir a_file", "--run-dir must be a folder"),
    ("compare --units 2 3 --run-dir here", "--run-dir must be a new or empty folder"),
    ("compare --resume", "--resume needs a comparison of small. Received: none under runs/small"),
    ("compare --resume --run-dir empty", "Received: empty, without compare.json"),
    ("compare --resume --run-dir damaged", "whose compare.json is damaged"),
    ("compare --resume --run-dir other", "Received: other, one of iris"),
    (
        "compare --resume --run-dir here --units 2 6",
        "--units must stay as it was when a comparison is resumed: 2 5. Received: 2 6",
    ),
    (
        "compare --units "
        + " ".join(map(str, range(1, 200)))
        + " --epochs "
        + " ".join(map(str, range(1, 200))),
        "10,000 trials at most. Received: 39601",
    ),
]


@pytest.mark.parametrize(("words", "expected"), BAD, ids=lambda text: text[:40])
def test_bad_input_gets_one_sentence(words, expected, here, tmp_path, capsys):
    Path("a_file").touch()
    for name, text in (
        ("empty", None),
        ("damaged", "{"),
        ("other", '{"app": "iris", "listed": {}}'),
    ):
        Path(name).mkdir()
        if text:
            Path(name, "compare.json").write_text(text)
    before = sorted(tmp_path.rglob("*"))

    assert run(small, words.split()) == 2

    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_wrong_with_an_item_is_said():
    with pytest.raises(InputError, match=r"`filters` should be a valid integer"):
        checked_values(mnist_cnn, {"filters": ["8,x"]})


def test_an_unknown_knob_is_answered_with_near_ones():
    with pytest.raises(InputError, match=r"one of: learning_rate. Received: learning_rat"):
        compare(small, {"learning_rat": [0.1, 0.2]})


def test_one_folder_has_one_comparison_at_a_time(here):
    with study.claimed(here), pytest.raises(InputError, match="in use by another comparison"):
        compare(small, {}, run_dir=here, resume=True)
