"""The stages of `train`, and what each of them writes."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from apps.iris import app as iris
from apps.mnist_cnn import app as mnist_cnn
from suite import Diverged, InputError, Run, train
from suite.app import Phase
from suite.data import Examples, Source
from suite.errors import InputFailed
from tests.forks import Fork, script
from tests.suite.small import QUIET, app, assert_equal_weights, files, points, variant

ROOT = Path(__file__).parents[3]
EMBEDDED = Run(data="embedded", quiet=True, seed=1)


def refuse(*arguments):
    raise AssertionError("not to be called")


def python(source, *arguments):
    """Runs a script in a process of its own, and returns the process."""
    return subprocess.run(
        [sys.executable, "-c", source, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


# --- the four stages --------------------------------------------------------------------------


def test_open_builds_and_writes_nothing(tmp_path):
    unused = variant(app, evaluate=refuse, figures=refuse, callbacks=refuse)

    opened = train(unused, run=QUIET, until="open")

    assert files(tmp_path) == []
    assert opened.model.count_params() == app.build().count_params()
    assert (opened.history, opened.metrics, opened.report, opened.saved_model) == ({}, {}, {}, None)


def test_fit_trains_and_looks_at_nothing_else():
    unused = variant(
        app, evaluate=refuse, findings=refuse, figures=refuse, endpoints=refuse, example=refuse
    )

    fitted = train(unused, run=QUIET, until="fit")

    assert {path.name for path in fitted.folder.iterdir()} == {
        "run.json", "log.csv", "checkpoints", "tensorboard",
    }  # fmt: skip
    assert not Path("saved_models").exists()
    assert len(fitted.history["loss"]) == 2 and fitted.metrics == {}


def test_what_is_fitted_does_not_depend_on_the_test_split():
    inputs, targets = points()
    for_training, other = (inputs[:40], targets[:40]), (inputs[40:] * 100, 1 - targets[40:])

    one, two = (
        train(app, run=QUIET, until="fit", data={"train": for_training, "test": test})
        for test in ((inputs[40:], targets[40:]), other)
    )

    assert one.history == two.history
    assert_equal_weights(one.model, two.model)


def test_judge_evaluates_and_draws_and_exports_nothing():
    unused = variant(app, endpoints=refuse, example=refuse)

    judged = train(unused, run=QUIET, until="judge")

    assert judged.metrics.keys() == {"test_loss", "test_accuracy"}
    assert (judged.folder / "figures" / "learning_curves.png").exists()
    assert not (judged.folder / "report.json").exists()
    assert not Path("saved_models").exists()
    assert (judged.report, judged.saved_model) == ({}, None)


def test_publish_comes_last_and_a_stopped_run_can_be_published_later():
    fitted = train(app, run=QUIET, until="fit")
    published = train(app, run=Run(resume=True, run_dir=fitted.folder, quiet=True))

    assert_equal_weights(fitted.model, published.model)
    assert published.report["metrics"] == published.metrics
    assert published.saved_model == Path("saved_models/small/1")


def test_what_exports_nothing_needs_no_folder_for_exports(tmp_path):
    (tmp_path / "exports").write_text("a file")
    run = dataclasses.replace(EMBEDDED, export_dir=tmp_path / "exports")

    with pytest.raises(InputError, match="`export_dir` must be"):
        train(iris, iris.recipe(epochs=1), run)
    assert train(iris, iris.recipe(epochs=1), run, until="fit").history


def test_a_run_s_folder_holds_everything(tmp_path):
    trained = train(
        iris, iris.recipe(epochs=1), dataclasses.replace(EMBEDDED, run_dir=tmp_path / "run")
    )

    assert {path.name for path in trained.folder.iterdir()} == {
        "run.json", "report.json", "REPORT.md", "log.csv", "figures", "checkpoints", "tensorboard",
    }  # fmt: skip
    report = json.loads((trained.folder / "report.json").read_text())
    assert report["data"]["train"] + report["data"]["validation"] + report["data"]["test"] == 150
    assert report["run"]["seed"] == 1
    for figure in (trained.folder / "figures").iterdir():
        assert f"(figures/{figure.name})" in (trained.folder / "REPORT.md").read_text()


def test_figures_can_be_left_out():
    undrawn = variant(app, figures=refuse)

    trained = train(undrawn, run=dataclasses.replace(QUIET, figures=False))

    assert not (trained.folder / "figures").exists()
    assert trained.report["metrics"] and "![" not in (trained.folder / "REPORT.md").read_text()


# --- arguments --------------------------------------------------------------------------------


def test_a_recipe_may_be_named():
    trained = train(app, "wide", QUIET, until="fit")

    assert trained.model.get_layer("hidden").units == 8
    assert json.loads((trained.folder / "run.json").read_text())["config"]["learning_rate"] == 0.02


def test_examples_callbacks_and_an_optimizer_of_the_caller_s():
    class Count(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1

    count, sgd = Count(), keras.optimizers.SGD(0.5, momentum=0.9)

    trained = train(app, run=QUIET, data=points(100), callbacks=[count], optimizer=sgd)

    description = trained.report["data"]
    assert description["source"] == "arrays"
    assert description["train"] + description["validation"] + description["test"] == 100
    assert count.epochs == 2
    assert isinstance(trained.model.optimizer, keras.optimizers.SGD)
    assert trained.model.optimizer.momentum == 0.9
    assert trained.model.optimizer is not sgd and not sgd.built


def test_a_run_on_arrays_is_resumed_with_the_same_arrays_only():
    run = dataclasses.replace(QUIET, run_dir=Path("here"))
    first = train(app, run=run, data=points(50), until="fit")
    again = Run(resume=True, run_dir=Path("here"), quiet=True)

    assert_equal_weights(train(app, run=again, data=points(50), until="fit").model, first.model)
    with pytest.raises(InputError, match="`resume` needs the examples that here began with"):
        train(app, run=again, data=points(51))


@pytest.mark.parametrize(
    "data",
    [
        Source(name="mine", train=Examples(*points())),
        {"train": points(30), "validation": points(20), "test": points(10)},
    ],
    ids=["source", "splits"],
)
def test_examples_may_be_split_already(data):
    opened = train(app, run=QUIET, data=data, until="open")

    sizes = [opened.data.splits[name].num_examples for name in ("train", "validation", "test")]
    assert sizes == ([38, 10, 12] if isinstance(data, Source) else [30, 20, 10])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([app],), "`app` must be an application, such as apps.mnist_cnn.app. Received: an object"),
        ((app, Run()), "`recipe` must be app.recipe(...), or the name of a recipe. Received: an"),
        ((app, app.config()), "`recipe` must be app.recipe(...), or the name of a recipe."),
        ((app, "narrow"), "`recipe` must be one of: wide. Received: narrow"),
        ((app, None, app.recipe()), "`run` must be a suite.Run. Received: an object of Recipe"),
    ],
)
def test_arguments_of_other_types_are_refused_in_one_sentence(arguments, message, tmp_path):
    with pytest.raises(InputError) as caught:
        train(*arguments)

    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "end"}, "`until` must be one of: open, fit, judge, publish. Received: end"),
        ({"callbacks": keras.callbacks.TerminateOnNaN()}, "`callbacks` must be a list of callb"),
        ({"callbacks": ["early"]}, "`callbacks` must be a list of callbacks. Received: an object"),
        ({"optimizer": 0.1}, "`optimizer` must be a Keras optimizer. Received: an object of float"),
        ({"optimizer": "adom"}, "`optimizer` must be a Keras optimizer. Received: adom"),
        ({"optimizer": keras.optimizers.SGD(use_ema=True)}, "`optimizer` must be without `use_ema"),
        ({"data": (np.float32(1), np.float32(2))}, "`data` must be arrays of examples. Received"),
        ({"data": points()[0]}, "`data` must be (inputs, targets), or such pairs by `train`"),
        ({"data": {"train": points(), "tests": points()}}, "`data` must be (inputs, targets)"),
        ({"data": (points()[0], points(9)[1])}, "`data` must have as many targets as inputs. R"),
    ],
)
def test_options_of_other_types_are_refused_in_one_sentence(options, message, tmp_path):
    with pytest.raises(InputError) as caught:
        train(app, run=QUIET, **options)

    assert str(caught.value).startswith(message) and len(str(caught.value)) < 200
    assert files(tmp_path) == []


def test_arrays_in_the_wrong_place_are_not_printed():
    with pytest.raises(InputError) as caught:
        Run(data=points())

    assert str(caught.value) == "`data` should be a valid string. Received: an object of tuple"


def test_builder_s_refusal_is_bad_input_and_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="at most 4 stages"):
        train(mnist_cnn, mnist_cnn.recipe(filters=(1, 2, 3, 4, 5)), EMBEDDED)

    assert files(tmp_path) == []


# --- faults -----------------------------------------------------------------------------------


def of_no_name(fitted):
    return {"predict": fitted.networks["small"]}


def of_no_dictionary(fitted):
    from suite.export.endpoints import Endpoint

    model = fitted.networks["small"]
    return {"serve": Endpoint(lambda point: model(point), [tf.TensorSpec((None, 2), name="point")])}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"endpoints": of_no_name}, "the first endpoint must be called serve. Received: predict"),
        ({"endpoints": of_no_dictionary}, "the endpoint serve must return tensors by name"),
        ({"example": lambda fitted: {"points": points()[0]}}, "must be named point. Received: p"),
    ],
)
def test_an_export_that_cannot_be_shows_before_the_training(broken, message, tmp_path):
    with pytest.raises(ValueError, match=message) as fault:
        train(variant(app, callbacks=refuse, **broken), run=QUIET)

    assert not isinstance(fault.value, InputError)
    assert files(tmp_path) == []


def test_a_fault_after_the_training_keeps_its_traceback_and_says_how_to_go_on():
    def evaluate(fitted):
        raise ConnectionError("no answer")

    broken = variant(app, evaluate=evaluate)
    run = dataclasses.replace(QUIET, run_dir=Path("my run"))

    with pytest.raises(ConnectionError, match="no answer") as fault:
        train(broken, run=run)

    assert fault.traceback[-1].name == "evaluate"
    assert fault.value.__notes__ == [
        "The training is done and its state saved; "
        "go on with python -m apps.small --resume --run-dir 'my run'"
    ]
    assert train(app, run=Run(resume=True, run_dir=Path("my run"), quiet=True)).saved_model


def test_an_environment_that_fails_after_the_training_says_how_to_go_on():
    def evaluate(fitted):
        raise InputFailed("`environment` must end its episodes", "it does not")

    run = dataclasses.replace(QUIET, run_dir=Path("here"))

    with pytest.raises(InputFailed, match=r"it does not; .* saved: go on with .*--run-dir here$"):
        train(variant(app, evaluate=evaluate), run=run)


def test_a_source_of_the_caller_is_passed_again_to_go_on():
    source = Source(name="mine", train=Examples(*points()), class_names=("below", "above"))
    run = dataclasses.replace(QUIET, run_dir=Path("here"))

    def evaluate(fitted):
        raise ConnectionError("no answer")

    with pytest.raises(ConnectionError) as fault:
        train(variant(app, evaluate=evaluate), run=run, data=source)

    [note] = fault.value.__notes__
    assert note.endswith('go on with the same call and Run(resume=True, run_dir="here")')


@pytest.mark.parametrize("given", [None, "new", "there"])
def test_a_run_that_is_refused_before_its_first_state_leaves_nothing(given, tmp_path):
    def begin(fitted):
        raise InputError("`weights` must be of this shape", "others")

    phases = [Phase(name="fit", epochs=1, begin=begin)]
    Path("there").mkdir()
    run = dataclasses.replace(QUIET, run_dir=given and Path(given))

    with pytest.raises(InputError, match="of this shape"):
        train(variant(app, phases=lambda config: phases), run=run)

    assert files(tmp_path) == [Path("there")]


def test_a_run_that_is_refused_after_its_first_state_stays():
    def begin(fitted):
        raise InputError("`rate` must be smaller", 2)

    phases = [Phase(name="fit", epochs=1), Phase(name="calibrate", begin=begin)]
    run = dataclasses.replace(QUIET, run_dir=Path("here"))

    with pytest.raises(InputError, match="must be smaller"):
        train(variant(app, phases=lambda config: phases), run=run)

    assert Path("here/run.json").exists() and list(Path("here/checkpoints").iterdir())


def test_a_loss_that_is_no_number_ends_the_training():
    with pytest.raises(Diverged, match="the loss became"):
        train(app, run=QUIET, data=(points()[0] * np.nan, points()[1]))


# --- the process around it --------------------------------------------------------------------


def states_of_the_process():
    return [
        random.random(),
        np.random.random(),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
        keras.config.dtype_policy().name,
    ]


def test_the_process_is_left_as_it_was():
    keras.utils.set_random_seed(5)
    undisturbed = states_of_the_process()
    keras.utils.set_random_seed(5)

    train(
        app,
        run=dataclasses.replace(QUIET, seed=9, deterministic=True, precision="mixed_bfloat16"),
        until="fit",
    )

    assert states_of_the_process() == undisturbed
    assert not config.is_op_determinism_enabled()


def test_keras_s_settings_take_no_part_and_are_restored():
    keras.config.set_floatx("float64")
    keras.config.set_image_data_format("channels_first")
    try:
        trained = train(app, run=QUIET, until="fit")

        assert {weights.dtype.name for weights in trained.model.get_weights()} == {"float32"}
        assert keras.config.floatx() == "float64"
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")


def test_a_version_that_was_trained_on_other_data_is_not_replaced_silently(caplog):
    train(app, app.recipe(epochs=1), QUIET, data=points())
    assert "trained on" not in caplog.text

    train(app, app.recipe(epochs=1), QUIET)

    assert f"Version 1 of saved_models/{app.name} was trained on arrays" in caplog.text


def test_the_process_is_left_as_it_was_by_a_training_that_fails():
    np.random.seed(5)
    undisturbed = np.random.random()
    np.random.seed(5)

    with pytest.raises(AssertionError):
        train(
            variant(app, callbacks=refuse),
            run=dataclasses.replace(QUIET, precision="mixed_float16"),
        )

    assert np.random.random() == undisturbed
    assert keras.config.dtype_policy().name == "float32"


def test_progress_is_shown_in_a_script_without_logging(tmp_path):
    source = """
import logging
from suite import Run, train
from tests.suite.small import app
train(app, run=Run())
assert not logging.getLogger("suite").handlers
train(app, run=Run(quiet=True, run_dir="quiet"))
"""
    code = Fork(script(source), tmp_path / "output.txt", tmp_path).wait(60)

    lines = (tmp_path / "output.txt").read_text().splitlines()
    assert code == 0, lines
    assert sum(line.startswith(("epoch 1/2  ", "epoch 2/2  ")) for line in lines) == 2
    assert sum(line.startswith("small on embedded:points: ") for line in lines) == 1


# --- flags ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        {"precision": "mixed_bfloat16"},
        {"precision": "mixed_float16"},
        {"jit": True},
        {"strategy": "mirrored", "precision": "mixed_bfloat16"},
    ],
    ids=str,
)
def test_it_learns_however_it_is_run(flags):
    trained = train(iris, run=dataclasses.replace(EMBEDDED, figures=False, **flags))

    assert trained.report["metrics"]["test_accuracy"] >= 0.9
    assert trained.report["saved_model"]["reload_difference"] < 1e-3
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("flags", "message"),
    [({"precision": "mixed_float16"}, "mixed_bfloat16 on several"), ({"jit": True}, "`jit` must")],
    ids=str,
)
def test_what_replicas_cannot_do_is_refused(flags, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(iris, run=dataclasses.replace(EMBEDDED, strategy="mirrored", **flags))

    assert files(tmp_path) == []


@pytest.mark.full
def test_deterministic_runs_give_the_same_bytes():
    source = """
import sys
from apps.mnist_cnn import app
from suite import Run, train
trained = train(
    app, app.recipe(epochs=1, batch_size=32, min_steps_per_epoch=20, filters=(4, 8), dropout=0.2),
    Run(data="embedded", quiet=True, deterministic=True, seed=7, run_dir=sys.argv[1]),
    until="fit",
)
print(sum(float(abs(w).sum()) for w in trained.model.get_weights()))
"""
    first, second = (python(source, name) for name in ("first", "second"))

    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert Path("first/log.csv").read_bytes() == Path("second/log.csv").read_bytes()
