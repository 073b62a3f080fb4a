"""Bad input gets one sentence and exit code 2, and writes nothing; good input runs to the end."""

import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest

from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from suite import InputError
from suite.app import app_names
from suite.cli import columns, commands, run
from suite.data import sources
from suite.training import record
from tests.suite.small import app as small
from tests.suite.small import variant

ROOT = Path(__file__).parents[3]
APPS = {"iris": iris, "mnist_cnn": mnist_cnn, "small": small}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(sources, "_reachable", lambda host: False)


def archive(name, **changes):
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.arange(40) % 10
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(name, **(arrays | changes))


def run_words(app, words):
    return run(app, words.split())


def record_of(name):
    return {"app": name, "config": {}, "architecture": {}, "run": {}}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """A folder with files and folders that are no data, one for each mistake."""
    folder = tmp_path_factory.mktemp("bad_files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_bad_files()
    return folder


def write_bad_files():
    images = np.zeros((40, 28, 28), np.uint8)
    Path("empty.npz").touch()
    archive("whole.npz")
    Path("truncated.npz").write_bytes(Path("whole.npz").read_bytes()[:5000])
    np.savez("wrong.npz", a=images)
    archive("shape.npz", x_train=images[:, :20])
    archive("channels.npz", x_train=np.stack([images] * 3, axis=-1))
    archive("count.npz", y_train=np.arange(39) % 10)
    archive("pickled.npz", x_train=np.asarray([object()] * 40))
    Path("one_class/a").mkdir(parents=True)
    for name in "ab":
        Path("no_image", name).mkdir(parents=True)
        Path("no_image", name, "text.png").write_text("text")
        Path("no_files", name).mkdir(parents=True)
    Path("missing.csv").write_text("length,width,species\n1,2,x\n3,y\n")
    Path("word.csv").write_text("length,width,species\n1,2,x\n3,four,y\n")
    Path("huge.csv").write_text("length,width,species\n1,2,x\n3,1e39,y\n")
    Path("headless.csv").write_text("1.5,4,x\n3,4,y\n5,6,x\n")
    Path("one_class.csv").write_text("length,width,species\n1,2,x\n3,4,x\n")
    PIL.Image.fromarray(images[0]).save("digit.png")
    Path("a_file").touch()
    Path("no_run").mkdir()
    Path("iris_run").mkdir()
    Path("iris_run/run.json").write_text(json.dumps(record_of("iris")))
    Path("early_run").mkdir()
    early = record.with_checksum({**record_of("small"), "format": 1})
    Path("early_run/run.json").write_text(json.dumps(early))
    Path("damaged_run").mkdir()
    Path("damaged_run/run.json").write_text("{")


BAD = [
    ("mnist_cnn", "--unknown 1", "--unknown"),
    (
        "mnist_cnn",
        "unknown",
        "predict, cross-validate, search, compare, gradients; or none. Received: unk",
    ),
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
    (
        "iris",
        "cross-validate --data embedded --folds 1",
        "--folds must be from 2 to the 50 rows of the smallest class. Received: 1",
    ),
    ("iris", "cross-validate --data embedded --folds 1000", "Received: 1000"),
    ("small", "--learning-rate 0.1 0.2", "--learning-rate takes one value. Received: 0.2"),
    ("small", "--epochs 1 --units 3 4 --seed 1", "--units takes one value. Received: 4"),
    ("small", "--recipe narrow", 'Choose from: "wide"'),
    ("small", "--save-minutes 0", "--save-minutes should be greater than 0. Received: 0"),
    ("small", "--in-memory maybe", "--in-memory"),
    ("small", "--min-per-class 0", "--min-per-class should be greater than or equal to 1"),
    ("small", "--resume --run-dir early_run", "of this version of the suite. Received: early_run"),
    ("small", "--no-epochs", "--no-epochs"),
    ("small", "--arrays 3", "--arrays"),
    ("iris", "--data ~nosuch/x.csv", "the home folder of a user. Received: ~nosuch/x.csv"),
    ("iris", "--data " + "n" * 300, "or the path of a file or folder"),
    ("iris", "--data huge.csv", "column width, must be a number from -1e15 to 1e15"),
    ("mnist_cnn", "--recipe best", 'Choose from: "fast", "accurate"'),
    ("mnist_cnn", "--channels 2", "--channels should be 1 or 3. Received: 2"),
    ("mnist_cnn", "--dropout 1", "--dropout should be less than 1. Received: 1"),
    ("mnist_cnn", "--filters 8 0", "--filters should be greater than or equal to 1. Received: 0"),
    ("mnist_cnn", "--data embedded --filters 1 2 3 4 5", "at most 4 stages"),
    ("mnist_cnn", "--activation no", 'Invalid value "no" for --activation. Choose from: "relu", '),
    ("mnist_cnn", "--strategy anything", "'multi_worker' or 'tpu'. Received: anything"),
    ("iris", "--data `batch_size`", "or folder. Received: `batch_size`"),
    ("mnist_cnn", "--data nowhere", "of a file or folder. Received: nowhere"),
    ("mnist_cnn", "--data tfds", "that can be downloaded"),
    ("mnist_cnn", "--data empty.npz", "Received: empty.npz, which cannot be read"),
    ("mnist_cnn", "--data truncated.npz", "Received: truncated.npz, which cannot be read"),
    ("mnist_cnn", "--data pickled.npz", "Received: pickled.npz, which cannot be read"),
    ("mnist_cnn", "--data wrong.npz", "must hold x_train, or x"),
    (
        "mnist_cnn",
        "--data shape.npz",
        "the same shape in all splits. Received: (28, 28, 1)",
    ),
    ("mnist_cnn", "--data channels.npz", "(28, 28, 3) in train"),
    ("mnist_cnn", "--data count.npz", "must be 40 integers or names, one for each picture"),
    ("mnist_cnn", "--data one_class", "two class folders or more, or pictures alone"),
    ("mnist_cnn", "--data no_image", "text.png, not a readable image"),
    ("mnist_cnn", "--data no_files", "must hold image files. Received: none"),
    ("iris", "--data missing.csv", "row 3, must have 3 columns"),
    ("iris", "--data word.csv", "row 3, column width, must be a number from"),
    ("iris", "--data headless.csv", "must begin with a header"),
    ("iris", "--data one_class.csv", "two classes or more"),
    ("iris", "--data no_run", "must be a CSV file here. Received: no_run, a folder"),
    ("iris", "--data embedded --export-dir a_file", "--export-dir must be a folder"),
    ("iris", "--data embedded --export-dir /proc/models", "--export-dir"),
    ("iris", "--data embedded --run-dir a_file", "--run-dir must be a folder"),
    ("mnist_cnn", "--run-dir iris_run", "with --resume the run in it goes on. Received: iris_run"),
    ("mnist_cnn", "--resume", "needs a run of mnist_cnn. Received: none under runs/mnist_cnn"),
    ("mnist_cnn", "--resume --run-dir no_run", "Received: no_run, without run.json"),
    ("mnist_cnn", "--resume --run-dir damaged_run", "is damaged"),
    ("iris", "--resume --run-dir run[4]", "Received: run[4], with [ ]"),
    ("mnist_cnn", "--resume --run-dir iris_run", "Received: iris_run, a run of iris"),
    ("mnist_cnn", "evaluate", "none under saved_models/mnist_cnn"),
    ("mnist_cnn", "predict digit.png", "python -m apps.mnist_cnn makes one"),
    ("mnist_cnn", "predict", "one image file or more. Received: none"),
    ("iris", "predict 1 2 3 4", "none under saved_models/iris"),
    ("iris", "predict 1 2 3 4 --version 0", "--version should be greater than 0"),
]


@pytest.mark.parametrize(("name", "words", "expected"), BAD, ids=lambda v: str(v)[:40])
def test_bad_input_gets_one_sentence(name, words, expected, bad_files, monkeypatch, capsys):
    monkeypatch.chdir(bad_files)
    before = sorted(bad_files.rglob("*"))

    exit_code = run(APPS[name], words.split())

    captured = capsys.readouterr()
    assert exit_code == 2
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert sorted(bad_files.rglob("*")) == before


def test_unknown_app_is_refused():
    process = subprocess.run(
        [sys.executable, "-m", "apps", "mnist"], cwd=ROOT, capture_output=True, text=True
    )

    assert process.returncode == 2
    assert f"is one of: {', '.join(app_names())}." in process.stderr
    assert "Received: mnist" in process.stderr
    assert process.stderr.count("\n") == 1


def test_divergence_is_said_with_the_step(capsys):
    words = "--data embedded --learning-rate 10 --weight-decay 1000 --epochs 1 --batch-size 8"

    exit_code = run(iris, words.split())

    assert exit_code == 1
    assert re.search(
        r"the loss became (nan|inf) in epoch 1, between its steps", capsys.readouterr().err
    )


@pytest.mark.parametrize("name", ["iris", "mnist_cnn"])
def test_help_shows_every_knob_once(name, capsys):
    assert run(APPS[name], ["--help"]) == 0

    out = capsys.readouterr().out
    shared = ("--seed", "--resume", "--precision", "--export-dir", "--save-minutes", "--figures")
    for flag in ("--epochs", "--activation", *shared):
        assert len(re.findall(rf"^│ {flag}\b", out, re.M)) == 1, flag
    assert "[default: 0.03]" in out or "[default: 0.005]" in out
    assert "--arrays" not in out
    assert APPS[name].data_layouts[:30] in " ".join(out.split())


def test_iris_from_training_to_prediction(capsys):
    assert run(iris, ["--data", "embedded"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"test_accuracy +(0\.9|1\.0)", out)
    assert "python -m apps.iris predict 5.1 3.5 1.4 0.2" in out
    [report] = Path("runs/iris").glob("*/report.json")
    [(low, high), *others] = json.loads(report.read_text())["feature_ranges"]
    assert 4.2 < low < 4.7 and 7.4 < high < 8 and len(others) == 3

    assert run(iris, ["predict", "5.1", "3.5", "1.4", "0.2"]) == 0
    assert re.fullmatch(r"setosa \((9\d|100)\.\d%\)\n", capsys.readouterr().out)

    assert run(iris, ["predict", "1", "2", "3"]) == 2
    assert "a row must have 4 values (sepal_length, " in capsys.readouterr().err
    assert run(iris, ["predict", "-1", "2", "3", "x"]) == 2
    assert "petal_width must be a number. Received: 'x'" in capsys.readouterr().err

    assert run(iris, ["evaluate", "--data", "embedded"]) == 0
    lines = capsys.readouterr().out.split("At export")
    values = [re.search(r"test_loss +(\S+)", part).group(1) for part in lines]
    assert values[0] == values[1]

    Path("trees.csv").write_text("height,width,kind\n" + "1,2,oak\n3,4,elm\n" * 20)
    assert run(iris, ["evaluate", "--data", "trees.csv"]) == 2
    message = capsys.readouterr().err
    assert "trees.csv must have the columns sepal_length, " in message
    assert "Received: height, width" in message


def test_evaluate_prepares_a_table_as_the_export_does(capsys):
    rows = [f"{'mf'[n % 2]},{20 + n},{'no' if n % 2 else 'yes'}" for n in range(40)]
    Path("people.csv").write_text("\n".join(["sex,age,lives", *rows, "m,,rare"]))
    words = "--data people.csv --epochs 1 --quiet --missing fill --min-per-class 3"
    assert run_words(iris, words) == 0
    capsys.readouterr()

    assert run(iris, ["evaluate"]) == 0
    again, at_export = capsys.readouterr().out.split("At export")
    values = [re.search(r"test_loss +(\S+)", part).group(1) for part in (again, at_export)]
    assert values[0] == values[1]
    assert re.search(r"test examples +8 of 40", again)

    assert run(iris, ["predict", "f", "NA"]) == 0
    assert re.match(r"(yes|no) \(", capsys.readouterr().out)

    # Its ages have another mean, and it lacks a category: the export's count.
    Path("men.csv").write_text("age,sex,lives\n" + "90,m,yes\n,m,no\n" * 10)
    assert run_words(iris, "evaluate --data men.csv") == 0
    assert "4 of 20" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_after_the_last_epoch_it_says_how_to_go_on(number, capsys):
    stopped = variant(small, evaluate=lambda fitted: os.kill(os.getpid(), number))
    words = ["--epochs", "1", "--run-dir", "here", "--export-dir", "my exports"]

    assert run(stopped, words) == 128 + number
    message = capsys.readouterr().err.splitlines()[-1]
    assert message == "stopped; go on with python -m apps.small --resume --run-dir here"

    again = variant(small, try_next="predict 1 2")
    assert run(again, ["--resume", "--run-dir", "here"]) == 0
    out = capsys.readouterr().out
    assert "here is already trained to its end" in out
    assert "python -m apps.small predict 1 2 --export-dir 'my exports'\n" in out

    by_report = variant(small, try_next=lambda report: f"predict {report['config']['epochs']}")
    assert run(by_report, ["--resume", "--run-dir", "here"]) == 0
    assert "python -m apps.small predict 1 --export-dir" in capsys.readouterr().out


def test_recipe_sets_knobs_and_flags_override_it():
    words = "--recipe wide --learning-rate 0.1 --epochs 1 --quiet --run-dir here"

    assert run(small, words.split()) == 0

    report = json.loads(Path("here/report.json").read_text())
    assert report["architecture"] == {"units": 8, "dropout": 0.2}
    assert report["config"] == {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}


def test_a_recipe_of_stages_is_parsed_as_it_is_written(monkeypatch):
    recipes = []

    def note(app, recipe, run):
        recipes.append(recipe)
        return types.SimpleNamespace(report={})

    monkeypatch.setattr(commands, "train", note)

    assert run_words(mnist_cnn, "--recipe accurate --epochs 1 --data embedded --quiet") == 0

    [recipe] = recipes
    accurate = mnist_cnn.recipe("accurate", epochs=1)
    assert recipe.config == accurate.config
    assert recipe.architecture == accurate.architecture
    assert accurate.given <= recipe.given


def test_a_flag_that_was_typed_counts_on_resume_at_its_default_too(capsys):
    assert run_words(small, "--recipe wide --seed 3 --epochs 1 --quiet --run-dir here") == 0

    for words, message in (
        ("--learning-rate 0.05", "--learning-rate must stay as it was when a run is resumed: 0.02"),
        ("--units 4", "--units must stay as it was when a run is resumed: 8. Received: 4"),
        ("--seed 0", "--seed must stay as it was when a run is resumed: 3. Received: 0"),
    ):
        assert run(small, ["--resume", "--run-dir", "here", *words.split()]) == 2
        assert message in capsys.readouterr().err
    again = (
        "--resume --run-dir here --quiet --no-figures --recipe wide --dropout 0.2 --batch-size 8"
    )
    assert run_words(small, again) == 0, capsys.readouterr().err


def test_a_finished_run_is_prolonged(capsys):
    assert run_words(small, "--epochs 1 --run-dir here --no-figures") == 0
    assert not Path("here/figures").exists()
    capsys.readouterr()

    assert run_words(small, "--resume --run-dir here --epochs 3") == 0

    out = capsys.readouterr().out
    assert "The run is prolonged to 3 epochs, and so is its schedule of learning rates." in out
    assert re.findall(r"^epoch (\d)/3", out, re.M) == ["2", "3"]
    assert len(Path("here/log.csv").read_text().splitlines()) == 4
    assert json.loads(Path("here/report.json").read_text())["config"]["epochs"] == 3


def broken_build(*, units: int = 4):
    raise ValueError("a bug")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ValueError, match="a bug") as fault:
        run(variant(small, build=broken_build), ["--quiet"])

    assert fault.traceback[-1].name == "broken_build"


def refusing_build(*, units: int = 4):
    raise InputError("`units` must fit", units)


def test_bad_input_shows_its_traceback_on_request(monkeypatch, capsys):
    refusing = variant(small, build=refusing_build)
    assert run(refusing, ["--quiet", "--units", "5"]) == 2
    assert capsys.readouterr().err == "--units must fit. Received: 5\n"

    monkeypatch.setenv("SUITE_DEBUG", "1")
    with pytest.raises(InputError) as caught:
        run(refusing, ["--quiet"])
    assert caught.traceback[-1].name == "refusing_build"
    with pytest.raises(InputError, match=r"`epochs` should be greater than or equal to 1"):
        run(small, ["--epochs", "0"])


def test_no_answer_from_elsewhere_is_no_full_disk():
    def evaluate(fitted):
        raise ConnectionError("no answer")

    with pytest.raises(ConnectionError) as fault:
        run(variant(small, evaluate=evaluate), ["--quiet", "--run-dir", "here"])

    [note] = fault.value.__notes__
    assert note == (
        "The training is done and its state saved; "
        "go on with python -m apps.small --resume --run-dir here"
    )


def test_a_full_disk_is_said_with_how_to_go_on(capsys):
    def figures(fitted):
        raise OSError(28, "No space left on device")

    assert run(variant(small, figures=figures), ["--quiet", "--run-dir", "here"]) == 1
    assert capsys.readouterr().err == (
        "[Errno 28] No space left on device; once it can be written, "
        "go on with python -m apps.small --resume --run-dir here\n"
    )


def test_named_networks_and_phases_are_evaluated_again(capsys):
    def build(*, units: int = 4):
        model = small.build(units=units)
        hidden = keras.Model(model.input, model.get_layer("hidden").output, name="hidden")
        return {"small": model, "hidden": hidden}

    networks = variant(
        small,
        build=build,
        compile=lambda built, *rest: small.compile(built["small"], *rest),
    )
    assert run(networks, ["--epochs", "1", "--quiet"]) == 0
    capsys.readouterr()

    assert run(networks, ["evaluate"]) == 0

    again, at_export = capsys.readouterr().out.split("At export")
    values = [re.search(r"test_loss +(\S+)", part).group(1) for part in (again, at_export)]
    assert values[0] == values[1]


def test_cross_validation_says_mean_and_spread(capsys):
    assert run_words(small, "cross-validate --folds 2 --data embedded") == 0

    out = capsys.readouterr().out
    assert re.search(r"^cv_accuracy_mean +[01]\.\d{4}$", out, re.M)
    assert re.search(r"^cv_accuracy_std +0\.\d{4}$", out, re.M)
    assert "fold 2 of 2" in out and not Path("runs").exists()


def test_tables_and_what_is_not_available_are_printed():
    values = {
        "test_loss": 0.25,
        "test_nrmse": 1.7e-5,
        "by_class": {"a": 1.0, "b": None},
        "other_by_class": {"a": 0.5},
        "source": "here",
    }

    assert columns(values).splitlines() == [
        "test_loss       0.2500",
        "test_nrmse      1.7e-05",
        "by_class",
        "  a             1.0000",
        "  b             -",
        "other_by_class",
        "  a             0.5000",
        "source          here",
    ]


def test_digits_from_training_to_prediction(capsys):
    words = "--data embedded --epochs 2 --filters 8 16 32 --no-figures"
    assert run(mnist_cnn, words.split()) == 0
    assert float(re.search(r"test_accuracy +(\S+)", capsys.readouterr().out)[1]) > 0.9
    [report] = Path("runs/mnist_cnn").glob("*/report.json")
    assert json.loads(report.read_text())["data"]["comparable"] is False
    from sklearn.datasets import load_digits

    digits = load_digits()
    zero = digits.images[list(digits.target).index(0)] / digits.images.max() * 255
    dark_on_light = PIL.Image.fromarray((255 - zero).astype("uint8")).resize((301, 280))
    dark_on_light.save("zero.png")

    assert run(mnist_cnn, ["predict", "zero.png", "zero.png"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"zero\.png: 0 \(\d+\.\d%\)", lines[0])
