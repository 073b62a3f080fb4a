import csv
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import InputError, Run
from suite.app import load_app
from suite.cli import run
from suite.studies.gradient_check import check_gradients
from suite.studies.gradients import Probe, measure_gradients, write_gradients
from suite.training.session import build

EMBEDDED = Run(data="embedded")


def measured(name, steps=1, package="apps", **knobs):
    app = load_app(name, package)
    where = EMBEDDED if package == "apps" else Run()
    return measure_gradients(app, app.recipe(**{**app.tiny, **knobs}), where, steps=steps)


def by_layer(result, name, step=0):
    [phase] = result.phases
    layers, sizes = result.sizes(phase)
    return dict(zip(layers, sizes[name][step], strict=True))


def test_sizes_of_the_first_step_are_those_computed_by_hand():
    app = load_app("iris")
    recipe = app.recipe(**app.tiny, noise=0.0, units=5)
    keras.utils.set_random_seed(0)
    data = app.data(recipe.config, EMBEDDED)
    model = build(app, recipe, data)
    rows, labels, *_ = next(iter(data.train(0)))
    whiten, dense, logits = (layer for layer in model.layers if layer.weights)
    with tf.GradientTape() as tape:
        hidden = tf.tanh(whiten(rows) @ dense.kernel + dense.bias)
        outputs = hidden @ logits.kernel + logits.bias
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)
        loss = tf.reduce_mean(losses)
    weights = [variable.value for variable in model.trainable_variables]
    *of_weights, of_hidden, of_outputs = tape.gradient(loss, [*weights, hidden, outputs])

    result = measure_gradients(app, recipe, EMBEDDED, steps=2)

    assert len({row.step for row in result.measurements}) == 2
    weights, activations, gradients = (
        list(by_layer(result, name).values())
        for name in ("weight_gradient", "activations", "activation_gradient")
    )
    norms = [float(tf.linalg.global_norm(of_weights[n : n + 2])) for n in (0, 2)]
    np.testing.assert_allclose(weights, norms, rtol=1e-4)
    squares = [float(tf.reduce_mean(values**2)) for values in (hidden, outputs)]
    np.testing.assert_allclose(activations, np.sqrt(squares), rtol=1e-4)
    norms = [float(tf.norm(values)) for values in (of_hidden, of_outputs)]
    np.testing.assert_allclose(gradients, norms, rtol=1e-4)


def test_a_probe_changes_nothing_of_the_training():
    app = load_app("mnist_cnn")
    recipe = app.recipe(**app.tiny)
    data = app.data(recipe.config, EMBEDDED)
    weights = []
    for probed in (False, True):
        keras.utils.set_random_seed(0)
        model = app.compile(build(app, recipe, data), recipe.config, 10)
        if probed:
            Probe(model)
        model.fit(data.train(0), steps_per_epoch=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_gradients_vanish_in_a_deep_network_of_sigmoids():
    shares = {}
    for activation in ("sigmoid", "relu"):
        result = measured("a2c", units=(16,) * 6, activation=activation, shared_torso=True)
        sizes = list(by_layer(result, "activation_gradient").values())
        first, *_, last = sizes[:6]
        shares[activation] = first / last

    assert shares["sigmoid"] < 0.01
    assert shares["relu"] > 0.1


def test_gradients_reach_further_down_in_a_residual_network_than_in_a_plain_one():
    knobs = {"blocks": (5,), "filters": 4, "normalization": "none"}
    growth = {}
    for residual in (False, True):
        sizes = by_layer(measured("resnet", residual=residual, **knobs), "activation_gradient")
        first, *_, last, _ = sizes.values()
        growth[residual] = first / last

    assert growth[True] > 3 * growth[False]


def test_of_networks_with_losses_of_their_own_each_is_measured():
    result = measured("dcgan", steps=2)

    assert {layer.partition("/")[0] for layer in by_layer(result, "weight_gradient")} == {
        "generator",
        "discriminator",
    }
    for name in ("weight_gradient", "activations", "activation_gradient"):
        assert all(value > 0 for value in by_layer(result, name, step=1).values())


def test_phases_have_figures_of_their_own():
    result = measured("two_phases", steps=2, package="tests.strangers")

    write_gradients(result, Path())

    assert len(result.phases) == 2
    assert {row.step for row in result.measurements if row.phase == result.phases[1]} == {3, 4}
    assert sorted(path.name for path in Path().iterdir()) == sorted(
        ["gradients.csv"]
        + [f"{name}_{phase}.png" for name in ("by_step", "over_depth") for phase in result.phases]
    )


def test_the_command_prints_a_line_for_each_layer(capsys):
    words = "gradients --steps 3 --units 4 --noise 0 --data embedded"
    assert run(load_app("iris"), words.split()) == 0, capsys.readouterr().err

    printed = capsys.readouterr().out
    assert "first and last of 3 steps" in printed and "logits" in printed
    [folder] = Path("runs/iris/gradients").iterdir()
    assert str(folder) in printed
    with (folder / "gradients.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "1", "2", "2", "3", "3"]
    assert all(float(row["weight_gradient"]) > 0 for row in rows)
    for name in ("by_step", "over_depth"):
        assert (folder / f"{name}.png").stat().st_size > 1000


def test_a_closed_form_has_no_gradients():
    app = load_app("closed_form", "tests.strangers")

    for refused in (measure_gradients, check_gradients):
        with pytest.raises(InputError, match="needs a training by steps of an optimizer"):
            refused(app, app.recipe(), None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--steps 0", "--steps must be 1 or more. Received: 0"),
        ("--unit 4", "--unit"),
        ("--units 0", "--units"),
    ],
)
def test_bad_input_gets_one_sentence(words, expected, capsys):
    assert run(load_app("iris"), ["gradients", *words.split()]) == 2

    captured = capsys.readouterr()
    assert expected.lower() in captured.err.lower()
    assert captured.err.count("\n") == 1 and captured.out == ""
