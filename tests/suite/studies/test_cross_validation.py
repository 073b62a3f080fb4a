import dataclasses

import keras
import numpy as np
import pytest

from apps.binary_addition import app as binary_addition
from apps.iris import app as iris
from apps.mnist_mlp import app as mnist_mlp
from suite import InputError, Run
from suite.app import Phase
from suite.data import Examples, Source
from suite.errors import Diverged
from suite.studies.cross_validation import cross_validate
from suite.trainers.averages import AverageWeights
from tests.suite.small import app, points, variant, with_callbacks

EMBEDDED = Run(data="embedded", quiet=True)
TWO = Source(name="two", train=Examples(*points(40)), class_names=("below", "above"))


def test_every_example_is_tested_once_and_never_trained_on_then():
    sizes, tested = [], []

    def evaluate(fitted):
        splits = fitted.data.splits
        sizes.append([splits[name].num_examples for name in ("train", "test")])
        test = {tuple(row) for row in splits["test"].inputs}
        assert not test & {tuple(row) for row in splits["train"].inputs}
        tested.extend(test)
        return {"test_size": float(len(test))}

    result = cross_validate(
        variant(app, evaluate=evaluate), app.recipe(epochs=1), Run(arrays=TWO), folds=4, repeats=2
    )

    assert sizes == [[30, 10]] * 8
    assert sorted(tested) == sorted(2 * [tuple(row) for row in points(40)[0]])
    assert result == {"cv_size_mean": 10.0, "cv_size_std": 0.0}


def test_rows_of_a_group_stay_in_one_fold():
    groups = np.arange(40) // 4
    folds = []

    def evaluate(fitted):
        splits = fitted.data.splits
        folds.append(
            [set(splits[n].inputs[:, 0].tolist()) for n in ("train", "validation", "test")]
        )
        return {"test_loss": 0.0}

    source = dataclasses.replace(TWO, groups=groups)
    cross_validate(
        variant(app, evaluate=evaluate),
        app.recipe(epochs=1),
        Run(arrays=source),
        folds=3,
        repeats=2,
    )

    rows = points(40)[0][:, 0]
    assert len(folds) == 6
    for train, _, test in folds:
        for group in range(10):
            members = set(rows[groups == group].tolist())
            assert members <= train or members <= test


def test_random_states_of_the_caller_are_restored():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)

    cross_validate(app, app.recipe(epochs=1), Run(arrays=TWO), folds=2)

    assert np.random.random() == expected


def test_iris_is_told_apart_on_every_fold():
    result = cross_validate(iris, iris.recipe(epochs=2), EMBEDDED, folds=3)

    assert result["cv_accuracy_mean"] > 0.92
    assert 0 <= result["cv_accuracy_std"] < 0.1
    assert {"cv_loss_mean", "cv_loss_std"} < result.keys()


@pytest.mark.full
def test_iris_is_told_apart_as_is_written():
    assert cross_validate(iris, iris.recipe(), EMBEDDED)["cv_accuracy_mean"] > 0.96


def test_labels_cannot_be_seen_by_the_model_that_is_judged_by_them():
    source = iris.data(iris.config(), EMBEDDED).source
    shuffled = np.random.default_rng(0).permutation(source.train.targets)
    arrays = dataclasses.replace(source, train=Examples(source.train.inputs, shuffled))

    result = cross_validate(iris, iris.recipe(epochs=1), Run(arrays=arrays), folds=5)

    assert result["cv_accuracy_mean"] < 0.55


def test_folds_are_trained_anew_each():
    """The models of the same fold are the same, whichever fold came before."""
    weights = []

    def evaluate(fitted):
        weights.append(fitted.model.get_weights())
        return {"test_loss": 0.0}

    judged = variant(app, evaluate=evaluate)
    for _ in range(2):
        cross_validate(judged, app.recipe(epochs=1), Run(arrays=TWO), folds=2)

    for a, b, other in zip(weights[0], weights[2], weights[1], strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != other).any()


def test_the_average_of_the_weights_is_what_is_judged():
    weights = []

    def evaluate(fitted):
        weights.append(fitted.model.get_weights())
        return {"test_loss": 0.0}

    for callbacks in (lambda _: [], lambda _: [AverageWeights(0.9)]):
        with_callbacks = variant(app, evaluate=evaluate, callbacks=callbacks)
        cross_validate(with_callbacks, app.recipe(epochs=1), Run(arrays=TWO), folds=2)

    last, averaged = weights[0], weights[2]
    assert any((one != other).any() for one, other in zip(last, averaged, strict=True))


def test_a_training_that_stops_by_validation_is_refused():
    with pytest.raises(InputError, match="`patience` must be left out"):
        cross_validate(mnist_mlp, mnist_mlp.recipe(patience=3), EMBEDDED)


def test_phases_take_part():
    calls = []

    class Called(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            calls.append("callback")

    def scaled(networks):
        calls.append("features")
        point = keras.Input((2,))
        return keras.Model(point, keras.layers.Rescaling(2.0)(point))

    phases = [
        Phase(name="closed form", begin=lambda fitted: calls.append("begin")),
        Phase(name="fit", epochs=1, callbacks=lambda _: [Called()]),
        Phase(name="again", epochs=1),
        Phase(name="on features", epochs=1, features=scaled),
    ]
    in_phases = variant(app, phases=lambda config: phases)

    result = cross_validate(in_phases, app.recipe(), Run(arrays=TWO), folds=2)

    assert calls == ["begin", "callback", "features"] * 2
    assert np.isfinite(result["cv_loss_mean"])


def test_a_metric_that_a_fold_lacks_is_that_of_the_others():
    values = iter([None, 0.25, 0.75])

    result = cross_validate(
        variant(app, evaluate=lambda fitted: {"test_auc": next(values), "test_loss": 1.0}),
        app.recipe(epochs=1),
        Run(arrays=TWO),
        folds=3,
    )

    assert (result["cv_auc_mean"], result["cv_auc_std"]) == (0.5, 0.25)
    assert result["cv_loss_mean"] == 1.0


def test_a_fold_that_diverges_is_no_result():
    with pytest.raises(Diverged, match="the loss became"):
        unstable = {"learning_rate": 10.0, "weight_decay": 1000.0, "epochs": 3, "batch_size": 8}
        cross_validate(iris, iris.recipe(**unstable), EMBEDDED, folds=2)


@pytest.mark.parametrize("knobs", [{"keep_best": True}, {"phases": True}], ids=str)
def test_the_fold_that_is_tested_on_decides_nothing(knobs):
    """It is no validation split where the best epoch is kept, or a phase may be calibrated."""
    if "phases" in knobs:
        later = [Phase(name="fit", epochs=1), Phase(name="calibrate", begin=lambda fitted: None)]
        knobs = {"phases": lambda config: later}
    held_out = []  # first coordinates of validation and test, fold by fold

    def evaluate(fitted):
        inputs = (fitted.data.splits[name].in_memory().inputs for name in ("validation", "test"))
        held_out.append([set(rows[:, 0].tolist()) for rows in inputs])
        return {"test_loss": 0.0}

    cross_validate(
        variant(app, evaluate=evaluate, **knobs), app.recipe(epochs=1), Run(arrays=TWO), folds=2
    )

    assert len(held_out) == 2 and not any(validation & test for validation, test in held_out)


def test_the_best_epoch_is_tested_where_it_is_kept():
    qualities, weights, tested = [2.0, 3.0, 1.0], [], []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert "val_loss" in logs
            logs["quality"] = qualities[epoch]
            weights.append(self.model.get_weights())

    def evaluate(fitted):
        tested.append(fitted.model.get_weights())
        return {"test_loss": 0.0}

    keeping = variant(
        with_callbacks(app, Note()),
        objective="quality",
        objective_mode="max",
        keep_best=True,
        evaluate=evaluate,
    )

    cross_validate(keeping, app.recipe(epochs=3), Run(arrays=TWO), folds=2)

    for best, fold in zip(weights[1::3], tested, strict=True):
        for a, b in zip(best, fold, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_class_without_examples_does_not_count():
    inputs, labels = points(40)
    source = dataclasses.replace(
        TWO, train=Examples(inputs, 2 * labels), class_names=("below", "between", "above")
    )

    def build(*, units: int = 3):
        point = keras.Input((2,), name="point")
        return keras.Model(point, keras.layers.Dense(units)(point))

    of_three = variant(app, build=build)

    result = cross_validate(of_three, of_three.recipe(epochs=1), Run(arrays=source), folds=2)

    assert np.isfinite(result["cv_loss_mean"])


@pytest.mark.parametrize(("folds", "most"), [(1, 18), (19, 18), (1000, 18)])
def test_folds_that_cannot_be_are_refused(folds, most):
    labels = (np.arange(40) >= most).astype("int32")
    source = dataclasses.replace(TWO, train=Examples(points(40)[0], labels))

    with pytest.raises(InputError) as caught:
        cross_validate(app, app.recipe(), Run(arrays=source), folds=folds)

    assert str(caught.value) == (
        f"`folds` must be from 2 to the {most} rows of the smallest class. Received: {folds}"
    )


def test_targets_that_are_no_classes_are_folded_at_random():
    regression = variant(
        app,
        build=lambda: keras.Model(x := keras.Input((2,), name="point"), keras.layers.Dense(1)(x)),
        compile=lambda model, config, steps: model.compile("adam", "mse") or model,
    )
    targets = points(40)[0].sum(axis=1, keepdims=True)
    source = Source(name="sums", train=Examples(points(40)[0], targets))

    result = cross_validate(regression, regression.recipe(), Run(arrays=source), folds=4)

    assert result.keys() == {"cv_loss_mean", "cv_loss_std"}


def test_what_makes_its_examples_is_refused():
    with pytest.raises(InputError, match=r"not one that makes them. Received: binary_add"):
        cross_validate(binary_addition, binary_addition.recipe(), EMBEDDED, folds=2)
