import types

import keras
import numpy as np
import pytest
from keras import layers

from apps.mnist_mlp import Config, app, build_model, compile_model
from suite import InputError, Run, cli, train
from suite.app import Fitted

QUIET = Run(data="embedded", quiet=True, figures=False)


def dense(model):
    return [layer for layer in model.layers if isinstance(layer, layers.Dense)]


def test_without_units_it_is_softmax_regression():
    model = build_model(units=())

    assert [layer.units for layer in dense(model)] == [10]
    assert model.count_params() == 28 * 28 * 10 + 10
    image = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).astype("float32")
    kernel, bias = dense(model)[0].get_weights()
    np.testing.assert_allclose(model(image), image.reshape(2, -1) / 255 @ kernel + bias, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "units"),
    [
        ("--units", ()),
        ("--units --epochs 3", ()),
        ("--recipe softmax", ()),
        ("--recipe softmax --units 5", (5,)),
        ("--recipe three_layers", (512, 512, 512)),
        ("--units 7 8", (7, 8)),
    ],
)
def test_units_as_they_are_typed(words, units, monkeypatch):
    recipes = []

    def fake(app, recipe, run):
        recipes.append(recipe)
        return types.SimpleNamespace(report={})

    monkeypatch.setattr(cli.commands, "train", fake)

    assert cli.run(app, words.split()) == 0
    assert tuple(recipes[0].architecture["units"]) == units


def test_an_empty_string_is_no_number_of_units(capsys):
    assert cli.run(app, ["--units", ""]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--units" in error


def test_penalties_are_in_the_loss():
    model = build_model(units=(5,), l1=0.1, l2=0.01)
    weights = np.concatenate([layer.get_weights()[0].ravel() for layer in dense(model)])

    expected = 0.1 * np.abs(weights).sum() + 0.01 * (weights**2).sum()

    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)
    assert not build_model(units=(5,)).losses


def test_the_largest_norm_holds_after_a_step():
    model = build_model(units=(5,), max_norm=0.5)
    compile_model(model, Config(optimizer="sgd"), 10)

    model.train_on_batch(np.full((4, 28, 28, 1), 200.0), np.arange(4))

    for layer in dense(model):
        norms = np.linalg.norm(layer.get_weights()[0], axis=0)
        assert norms.max() <= 0.5 + 1e-5


def test_levers_of_the_network():
    model = build_model(
        units=(400, 300),
        activation="tanh",
        initializer="normal",
        initial_std=0.2,
        normalization="batch",
        noise=0.1,
        input_dropout=0.2,
        dropout=0.5,
    )

    kernels = [layer.get_weights()[0] for layer in dense(model)]
    rates = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
    assert [kernel.std() for kernel in kernels] == pytest.approx([0.2] * 3, rel=0.05)
    assert rates == [0.2, 0.5, 0.5]
    assert sum(isinstance(layer, layers.BatchNormalization) for layer in model.layers) == 2
    assert sum(isinstance(layer, layers.GaussianNoise) for layer in model.layers) == 1
    plain = [type(layer).__name__ for layer in build_model(units=(4,)).layers]
    assert plain == ["InputLayer", "Rescaling", "Flatten", "Dense", "Activation", "Dense"]


def test_layers_of_one_shape_begin_with_other_weights():
    for initializer in ("normal", "he_normal"):
        first, second = dense(build_model(units=(784, 784), initializer=initializer))[:2]

        assert (first.get_weights()[0] != second.get_weights()[0]).any()


def test_layers_normalise_each_picture():
    model = build_model(units=(50,), normalization="layer")
    before = next(x for x in model.layers if isinstance(x, layers.Activation)).input
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype("float32")

    values = np.asarray(keras.Model(model.input, before)(images))

    np.testing.assert_allclose(values.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=1), 1, atol=1e-2)


def test_pictures_are_not_distorted():
    data = app.data(Config(batch_size=5), QUIET)
    images, _ = next(iter(data.train(0)))
    train_images = data.splits["train"].inputs.reshape(-1, 28 * 28)

    for image in np.asarray(images).reshape(5, -1):
        assert (train_images == image).all(axis=1).any()


def test_softmax_regression_by_lbfgs():
    recipe = app.recipe("softmax_lbfgs", lbfgs_iterations=40)

    trained = train(app, recipe, QUIET, until="judge")

    assert not trained.history
    elsewhere = Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=recipe.config,
        folder=trained.folder,
        learnt_from=False,
    )
    assert app.evaluate(elsewhere)["train_accuracy"] is None
    assert trained.metrics["train_accuracy"] > 0.99
    assert trained.metrics["test_accuracy"] > 0.9


@pytest.mark.parametrize(
    "knobs",
    [
        {"dropout": 0.2},
        {"input_dropout": 0.2},
        {"noise": 0.1},
        {"normalization": "batch"},
        {"max_norm": 2.0},
    ],
)
def test_lbfgs_needs_a_function_of_the_weights(knobs):
    with pytest.raises(InputError, match="`lbfgs_iterations` must be 0 for a network with dropout"):
        compile_model(build_model(units=(4,), **knobs), Config(lbfgs_iterations=5), 0)


@pytest.mark.parametrize(
    "knobs", [{"attack_epsilon": 0.1}, {"mixup": True}, {"patience": 3}, {"rotation": 5.0}], ids=str
)
def test_lbfgs_refuses_what_epochs_are_for(knobs):
    [knob] = knobs
    with pytest.raises(InputError, match=f"`{knob}` must be left out with `lbfgs_iterations`"):
        compile_model(build_model(units=()), Config(lbfgs_iterations=5, **knobs), 0)


def test_random_labels_are_learnt_by_heart_and_tell_nothing():
    """A few pictures, of which a small network learns any labels."""
    knobs = {"units": (512,), "epochs": 20, "min_steps_per_epoch": 20}
    recipe = app.recipe("random_labels", batch_size=50, learning_rate=0.01, **knobs)

    trained = train(app, recipe, QUIET, until="judge")

    assert trained.metrics["train_accuracy"] > 0.7
    assert trained.metrics["test_accuracy"] < 0.3


def test_weights_of_the_first_layer_are_drawn(tmp_path):
    run = Run(data="embedded", quiet=True, run_dir=tmp_path / "run")

    train(app, app.recipe(**app.tiny), run, until="judge")

    names = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"filters", "confusion_matrix", "learning_curves", "worst_mistakes"} <= names
