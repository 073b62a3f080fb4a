import csv
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from apps.binary_addition import ADDER, network
from apps.binary_addition import build_model as build_adder
from suite import InputError, Run
from suite.app import Objective, load_app
from suite.cli import run
from suite.metrics.certificates.automata import closing_loss
from suite.studies.gradient_check import (
    SMOOTH,
    TOLERANCE,
    check_gradients,
    compare,
    in_float64,
    objectives,
)


@pytest.fixture
def double():
    with in_float64():
        yield


def worst(derivatives):
    return max(derivative.error for derivative in derivatives)


def polynomial(variable):
    return tf.reduce_sum(variable.value**3 - 2 * variable.value)


@pytest.mark.usefixtures("double")
def test_right_gradients_agree_and_the_weights_are_back():
    weights = keras.Variable([[1.0, -0.5], [0.3, 2.0]], dtype="float64")

    derivatives = compare(Objective(lambda: polynomial(weights), [weights]), weights=3)

    assert worst(derivatives) < 1e-9
    assert [derivative.layer for derivative in derivatives].count("all layers") == 1
    np.testing.assert_array_equal(weights, [[1, -0.5], [0.3, 2]])


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("part", [1e-3, 1.0])
def test_a_gradient_that_is_wrong_in_part_is_seen(part):
    weights = keras.Variable(np.linspace(-1, 1, 100), dtype="float64")

    @tf.custom_gradient
    def wrong(values):
        def gradient(upstream):
            error = tf.concat([tf.constant([part], tf.float64), tf.zeros(99, tf.float64)], 0)
            return upstream * (3 * values**2 - 2 + error)

        return tf.reduce_sum(values**3 - 2 * values), gradient

    derivatives = compare(Objective(lambda: wrong(weights.value), [weights]), weights=0)

    assert worst(derivatives) > TOLERANCE
    assert all(derivative.doubt < SMOOTH for derivative in derivatives)


@pytest.mark.usefixtures("double")
def test_a_gradient_that_stops_is_seen():
    first, second = (keras.Variable(v, dtype="float64") for v in ([1.0, 2.0], [0.5, 0.1]))

    @tf.custom_gradient
    def stopped(values):
        return tf.identity(values), tf.zeros_like

    def loss():
        return tf.reduce_sum(stopped(first.value) ** 2 * second.value)

    derivatives = compare(Objective(loss, [first, second]))

    assert worst(derivatives) > 0.1


@pytest.mark.usefixtures("double")
def test_what_a_loss_keeps_from_its_gradient_is_held():
    first, second = (keras.Variable(v, dtype="float64") for v in ([1.0, 2.0], [0.5, 0.1]))
    original = tf.stop_gradient

    def loss():
        weight = keras.ops.stop_gradient(first.value * second.value)
        return tf.reduce_sum(weight * first.value**2 + tf.stop_gradient(first.value) * second.value)

    derivatives = compare(Objective(loss, [first, second]))

    assert worst(derivatives) < 1e-9
    assert tf.stop_gradient is original


@pytest.mark.usefixtures("double")
def test_units_that_stand_on_their_kinks_are_checked_beside_them():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    model.compile(loss="mse")
    images = np.zeros((4, 8, 8, 1))
    images[:, 2:4, 2:4] = 0.7

    derivatives = compare(Objective.of(model, (images, np.ones((4, 3)))), weights=4)

    assert worst(derivatives) <= TOLERANCE
    assert all(derivative.doubt < SMOOTH for derivative in derivatives)


@pytest.mark.usefixtures("double")
def test_a_loss_that_is_rounded_does_not_pass():
    weights = keras.Variable([1.0, 2.0], dtype="float64")

    def loss():
        return tf.cast(tf.cast(polynomial(weights), tf.float32), tf.float64)

    assert worst(compare(Objective(loss, [weights]))) > TOLERANCE


def test_weights_of_single_precision_are_refused():
    weights = keras.Variable([1.0, 2.0], dtype="float32", name="weights")

    with pytest.raises(InputError, match=r"must be float64.*weights: float32"):
        compare(Objective(lambda: polynomial(weights), [weights]))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru"])
def test_the_bounds_of_binary_addition(cell):
    """Their weight is 0 when a training begins, so that the check of its loss does not see them."""
    keras.utils.set_random_seed(0)
    model = build_adder(cell=cell, units=4)
    loss = Objective(lambda: closing_loss(network(model), ADDER, 2), model.trainable_variables)

    assert worst(compare(loss, weights=1)) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("iris", {"activation": "gelu"}),
        ("mnist_cnn", {"attack_epsilon": 0.1, "attack_steps": 2}),
        ("mnist_cnn", {"virtual_epsilon": 0.1}),
        ("mnist_cnn", {"label_smoothing": 0.1, "mixup": True}),
        ("resnet", {"normalization": "group", "stem": "whitening", "downsampling": "pooling"}),
        ("vae", {"likelihood": "continuous_bernoulli", "free_bits": 0.1, "beta_warmup": 0.5}),
        ("vae", {"objective": "iwae", "num_samples": 2}),
        ("dcgan", {"loss": "hinge", "label_smoothing": 0.0, "discriminator_steps": 2}),
        ("a2c", {"shared_torso": True, "normalize_advantages": True}),
        ("a2c", {"environment": "Pendulum-v1"}),
        (
            "binary_addition",
            {"cell": "gru", "dropout": 0.2, "bound_weight": 1.0, "bound_rounds": 1},
        ),
    ],
)
def test_variants(name, knobs):
    app = load_app(name)
    recipe = app.recipe(**{**app.tiny, **knobs})

    derivatives = check_gradients(
        app, recipe, app.data(recipe.config, Run(data="embedded")), weights=1
    )

    assert worst(derivatives) <= TOLERANCE
    assert keras.config.floatx() == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_a_step_without_objectives_is_refused():
    class Stepping(keras.Model):
        def train_step(self, data):
            return {}

    with pytest.raises(InputError, match=r"must have `objectives`\. Received: Stepping"):
        objectives(Stepping(), None)


def test_the_command_says_that_they_agree(capsys):
    assert run(load_app("iris"), ["gradients", "--check", "--units", "4"]) == 0

    printed = capsys.readouterr().out
    assert "derivatives" in printed and "agree" in printed and "all layers" in printed
    [path] = Path("runs/iris/gradients").glob("*/check.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert {"dense", "logits", "all layers"} <= {row["layer"].split("_")[0] for row in rows}
    assert all(float(row["error"]) <= TOLERANCE for row in rows)


def test_the_command_fails_if_they_differ(monkeypatch, capsys):
    monkeypatch.setattr("suite.studies.gradient_check.TOLERANCE", 0.0)

    with pytest.raises(SystemExit) as end:
        run(load_app("iris"), ["gradients", "--check"])

    assert end.value.code == 1 and "differ" in capsys.readouterr().out
