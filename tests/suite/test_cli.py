"""Bad input: one sentence, exit code 2, nothing written. Good input: the whole job."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from suite.cli import run
from suite.data import sources

ROOT = Path(__file__).parents[2]
APPS = {"iris": iris, "mnist_cnn": mnist_cnn}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(sources, "_reachable", lambda host: False)


def archive(name, **changes):
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 10
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(name, **(arrays | changes))


def bad_files():
    """One of each kind of file that is no data."""
    images = np.zeros((40, 28, 28), np.uint8)
    Path("empty.npz").touch()
    archive("whole.npz")
    Path("truncated.npz").write_bytes(Path("whole.npz").read_bytes()[:5000])
    np.savez("wrong.npz", a=images)
    archive("shape.npz", x_train=images[:, :20])
    archive("channels.npz", x_train=np.stack([images] * 3, axis=-1))
    archive("labels.npz", y_train=np.arange(40))
    archive("count.npz", y_train=np.arange(39) % 10)
    archive("scaled.npz", x_train=np.full((40, 28, 28), 0.5))
    archive("pickled.npz", x_train=np.asarray([object()] * 40))
    Path("one_class/a").mkdir(parents=True)
    for name in "ab":
        Path("no_image", name).mkdir(parents=True)
        Path("no_image", name, "text.png").write_text("text")
        Path("no_files", name).mkdir(parents=True)
    Path("missing.csv").write_text("length,width,species\n1,2,x\n3,y\n")
    Path("word.csv").write_text("length,width,species\n1,2,x\n3,four,y\n")
    Path("huge.csv").write_text("length,width,species\n1,2,x\n3,1e39,y\n")
    Path("headless.csv").write_text("1,2,x\n3,4,y\n")
    Path("one_class.csv").write_text("length,width,species\n1,2,x\n3,4,x\n")
    Path("a_file").touch()
    Path("no_run").mkdir()
    Path("iris_run").mkdir()
    record = {"app": "iris", "config": {}, "architecture": {}, "run": {}}
    Path("iris_run/run.json").write_text(json.dumps(record))
    Path("damaged_run").mkdir()
    Path("damaged_run/run.json").write_text("{")


BAD = [
    ("mnist_cnn", "--unknown 1", "--unknown"),
    ("mnist_cnn", "unknown", "must be one of: evaluate, predict; or none. Received: unknown"),
    ("mnist_cnn", "--epochs 1 evaluate", "evaluate must come first. Received: evaluate"),
    ("mnist_cnn", "--epochs 0", "--epochs should be greater than or equal to 1. Received: 0"),
    ("mnist_cnn", "--epochs many", "--epochs should be a valid integer"),
    (
        "mnist_cnn",
        "--batch-size -3",
        "--batch-size should be greater than or equal to 1. Received: -3",
    ),
    ("mnist_cnn", "--learning-rate nan", "--learning-rate should be"),
    ("mnist_cnn", "--learning-rate inf", "--learning-rate should be"),
    ("mnist_cnn", "--seed -1", "--seed should be greater than or equal to 0"),
    ("mnist_cnn", "--seed 99999999999999", "--seed should be less than 4294967296"),
    ("iris", "--batch-size 99999999999999999999999", "--batch-size should be less than"),
    ("iris", "--units 99999999999", "--units should be less than or equal to 65536"),
    ("iris", "--recipe fast", "--recipe"),
    ("iris", "--data embedded --folds 1", "--folds must be 0, or from 2 to the 50 rows"),
    ("iris", "--data embedded --folds 1000", "Received: 1000"),
    ("iris", "--data ~nosuch/x.csv", "the home of a user. Received: ~nosuch/x.csv"),
    ("iris", "--data " + "n" * 300, "or the path of a file or folder"),
    ("iris", "--data huge.csv", "column width, must be a number. Received: '1e39'"),
    ("mnist_cnn", "--recipe best", 'Choose from: "fast", "accurate"'),
    ("mnist_cnn", "--dropout 1", "--dropout should be less than 1. Received: 1"),
    ("mnist_cnn", "--filters 8 0", "--filters should be greater than or equal to 1. Received: 0"),
    ("mnist_cnn", "--data embedded --filters 1 2 3 4 5", "at most 4 stages"),
    ("mnist_cnn", "--activation no", 'Invalid value "no" for --activation. Choose from: "relu", '),
    ("mnist_cnn", "--strategy anything", "'multi_worker' or 'tpu'. Received: anything"),
    ("iris", "--data `batch_size`", "or folder. Received: `batch_size`"),
    ("mnist_cnn", "--data nowhere", "of a file or folder. Received: nowhere"),
    ("mnist_cnn", "--data tfds", "or a network to download it. Received: neither"),
    ("mnist_cnn", "--data empty.npz", "Received: empty.npz, which cannot be read"),
    ("mnist_cnn", "--data truncated.npz", "Received: truncated.npz, which cannot be read"),
    ("mnist_cnn", "--data pickled.npz", "Received: pickled.npz, which cannot be read"),
    ("mnist_cnn", "--data wrong.npz", "must hold x_train, y_train, x_test, y_test"),
    ("mnist_cnn", "--data shape.npz", "Received: (40, 20, 28, 1)"),
    ("mnist_cnn", "--data channels.npz", "Received: (40, 28, 28, 3)"),
    ("mnist_cnn", "--data labels.npz", "must be in 0..9. Received: 0..39"),
    ("mnist_cnn", "--data count.npz", "must be 40 integers, one for each image"),
    ("mnist_cnn", "--data scaled.npz", "grey values in 0..255. Received: 0.5..0.5"),
    ("mnist_cnn", "--data one_class", "two class folders or more. Received: a"),
    ("mnist_cnn", "--data no_image", "text.png, not a readable image"),
    ("mnist_cnn", "--data no_files", "must hold image files. Received: none"),
    ("iris", "--data missing.csv", "row 3, must have 3 columns"),
    ("iris", "--data word.csv", "row 3, column width, must be a number. Received: 'four'"),
    ("iris", "--data headless.csv", "must begin with a header"),
    ("iris", "--data one_class.csv", "two classes or more"),
    ("iris", "--data no_run", "must be a CSV file here. Received: no_run, a folder"),
    ("iris", "--data embedded --export-dir a_file", "--export-dir must be a folder"),
    ("iris", "--data embedded --export-dir /proc/models", "--export-dir"),
    ("iris", "--data embedded --run-dir a_file", "--run-dir must be a folder"),
    ("mnist_cnn", "--run-dir iris_run", "which holds a run already; add --resume"),
    ("mnist_cnn", "--resume", "needs a run of mnist_cnn. Received: none under runs/mnist_cnn"),
    ("mnist_cnn", "--resume --run-dir no_run", "Received: no_run, without run.json"),
    ("mnist_cnn", "--resume --run-dir damaged_run", "is damaged"),
    ("iris", "--resume --run-dir run[4]", "do without any of {}[]*?. Received: run[4]"),
    ("mnist_cnn", "--resume --run-dir iris_run", "Received: iris_run, a run of iris"),
    ("mnist_cnn", "evaluate", "none under saved_models/mnist_cnn"),
    ("mnist_cnn", "predict digit.png", "python -m apps.mnist_cnn makes one"),
    ("mnist_cnn", "predict", "one image file or more. Received: none"),
    ("iris", "predict 1 2 3 4", "none under saved_models/iris"),
    ("iris", "predict 1 2 3 4 --version 0", "--version should be greater than 0"),
    ("iris", "predict 1e300 1 1 1", "Received: 1e+300"),
    ("iris", "predict 1 2 3 x", 'unable to convert "x" into float'),
]


@pytest.mark.parametrize(("name", "words", "expected"), BAD, ids=lambda v: str(v)[:40])
def test_bad_input_gets_one_sentence(name, words, expected, tmp_path, capsys):
    bad_files()
    before = sorted(tmp_path.rglob("*"))

    exit_code = run(APPS[name], words.split())

    captured = capsys.readouterr()
    assert exit_code == 2
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_unknown_app_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "apps", "mnist"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "iris, mnist_cnn" in done.stderr
    assert "Received: mnist" in done.stderr
    assert done.stderr.count("\n") == 1


def test_divergence_is_said_with_the_step(capsys):
    words = "--data embedded --learning-rate 10 --weight-decay 1000 --epochs 1 --batch-size 8"

    exit_code = run(iris, words.split())

    assert exit_code == 1
    assert re.search(
        r"the loss became (nan|inf) in epoch 1, between its steps", capsys.readouterr().err
    )


@pytest.mark.parametrize("name", APPS)
def test_help_shows_every_knob_once(name, capsys):
    assert run(APPS[name], ["--help"]) == 0

    out = capsys.readouterr().out
    for flag in ("--epochs", "--seed", "--resume", "--precision", "--export-dir", "--activation"):
        assert len(re.findall(rf"^│ {flag}\b", out, re.M)) == 1, flag
    assert "[default: 0.03]" in out or "[default: 0.005]" in out


def test_iris_from_training_to_prediction(capsys):
    assert run(iris, ["--data", "embedded"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"test_accuracy +(0\.9|1\.0)", out)
    assert "python -m apps.iris predict 5.1 3.5 1.4 0.2" in out

    assert run(iris, ["predict", "5.1", "3.5", "1.4", "0.2"]) == 0
    assert re.fullmatch(r"setosa \(9\d\.\d%\)\n", capsys.readouterr().out)

    assert run(iris, ["predict", "1", "2", "3"]) == 2
    assert "needs 4 numbers (sepal_length, " in capsys.readouterr().err

    assert run(iris, ["evaluate", "--data", "embedded"]) == 0
    lines = capsys.readouterr().out.split("At export")
    values = [re.search(r"test_loss +(\S+)", part).group(1) for part in lines]
    assert values[0] == values[1]

    Path("trees.csv").write_text("height,width,kind\n" + "1,2,oak\n3,4,elm\n" * 20)
    assert run(iris, ["evaluate", "--data", "trees.csv"]) == 2
    assert "`class_names` of --data must be ['setosa', " in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_after_the_last_epoch_it_says_how_to_go_on(number, capsys):
    stopped = dataclasses.replace(iris, evaluate=lambda *_: os.kill(os.getpid(), number))
    words = ["--epochs", "1", "--data", "embedded", "--run-dir", "here", "--export-dir", "exports"]

    assert run(stopped, words) == 128 + number
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "stopped; go on with python -m apps.iris --resume --run-dir here"

    assert run(iris, ["--resume", "--run-dir", "here"]) == 0
    out = capsys.readouterr().out
    assert "here is trained to its end already" in out
    assert "predict 5.1 3.5 1.4 0.2 --export-dir exports\n" in out


def test_recipe_sets_knobs_and_flags_override_it(capsys):
    words = "--recipe accurate --filters 4 8 --epochs 1 --data embedded --quiet --run-dir here"

    assert run(mnist_cnn, words.split()) == 0

    report = json.loads(Path("here/report.json").read_text())
    assert report["architecture"]["filters"] == [4, 8]
    assert report["config"]["epochs"] == 1
    accurate = mnist_cnn.recipes["accurate"]
    assert report["architecture"]["dropout"] == accurate["dropout"]
    config, architecture = mnist_cnn.recipe("accurate")
    assert config.epochs == accurate["epochs"]
    assert architecture["filters"] == accurate["filters"]


def test_digits_from_training_to_prediction(capsys):
    words = "--data embedded --epochs 2 --filters 8 16 --quiet"
    assert run(mnist_cnn, words.split()) == 0
    capsys.readouterr()
    from suite.data.pictures import load_digits
    from suite.run import Run

    examples = load_digits(Run(data="embedded")).train
    one = next(i for i, label in enumerate(examples.labels) if label == 0)
    dark_on_light = PIL.Image.fromarray(255 - examples.inputs[one, ..., 0]).resize((301, 280))
    dark_on_light.save("zero.png")

    assert run(mnist_cnn, ["predict", "zero.png", "zero.png"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"zero\.png: 0 \(\d+\.\d%\)", lines[0])
