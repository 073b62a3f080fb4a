import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite.layers.networks import identity_loss
from suite.layers.reversible import ReversibleDense
from suite.placement.strategy import create_strategy
from suite.trainers.autoencoder import Autoencoder, with_noise

SEED = tf.constant([1, 2])


def autoencoder(**options):
    """A small autoencoder of 4 values, with a code of 3 sigmoids."""
    keras.utils.set_random_seed(0)
    x, dense = keras.Input((4,), name="values"), ReversibleDense(3)
    code = layers.Activation("sigmoid")(dense(x))
    network = keras.Model(x, {"code": code, "output": dense(code, reverse=True)}, name="part")
    model = Autoencoder(network, seed=0, **options)
    model.compile(keras.optimizers.SGD(0.1), loss=identity_loss)
    return model


def some_values(count=8):
    """Values from 0 to 1, whose first half is the opposite of their second half."""
    halves = np.random.default_rng(0).uniform(size=(count, 2)).astype("f4")
    return np.concatenate([halves, 1 - halves], axis=1)


def code_of(model, values):
    return keras.ops.convert_to_numpy(model.network(values)["code"])


def penalty(model, values):
    """What training adds to the loss of each example, without noise."""
    return np.asarray(model(values, training=True)) - np.asarray(model(values))


@pytest.mark.parametrize("bounded", [True, False])
def test_the_loss_is_the_sum_over_the_features(bounded):
    values = some_values()
    model = autoencoder(bounded=bounded)
    output = keras.ops.convert_to_numpy(model.network(values)["output"]).astype(float)
    shares = 1 / (1 + np.exp(-output))
    expected = (values - output) ** 2
    if bounded:
        expected = -values * np.log(shares) - (1 - values) * np.log(1 - shares)

    losses = np.asarray(model(values))
    logs = model.evaluate(values, batch_size=8, verbose=0, return_dict=True)

    np.testing.assert_allclose(losses, expected.sum(axis=1), rtol=1e-4)
    assert logs["loss"] == pytest.approx(expected.sum(axis=1).mean(), rel=1e-4)
    errors = (values - (shares if bounded else output)) ** 2
    assert logs["squared_error"] == pytest.approx(errors.mean(), rel=1e-4)


def test_inputs_become_values_first():
    image = keras.Input((2, 2, 1), name="image")
    pixels = keras.Model(image, layers.Flatten()(layers.Rescaling(1 / 255)(image)))
    values = some_values()
    images = (255 * values).reshape(8, 2, 2, 1)

    losses = autoencoder(pixels=pixels)(images)

    np.testing.assert_allclose(losses, autoencoder()(values), rtol=1e-4)


def test_validation_is_without_noise_and_penalties():
    values = some_values()
    options = {"noise_level": 0.5, "sparsity_weight": 3.0, "contraction": 2.0}

    plain, other = (
        model.evaluate(values, batch_size=8, verbose=0)
        for model in (autoencoder(), autoencoder(**options))
    )

    np.testing.assert_allclose(plain, other, rtol=1e-6)


def test_the_divergence_is_of_mean_activities():
    model = autoencoder(sparsity_weight=2.0, sparsity_target=0.1)
    values = some_values()
    activity = code_of(model, values).astype(float).mean(axis=0)

    expected = 0.1 * np.log(0.1 / activity) + 0.9 * np.log(0.9 / (1 - activity))

    np.testing.assert_allclose(penalty(model, values), 2 * expected.sum(), rtol=1e-3)


def test_the_sum_of_activities_is_of_each_example():
    model = autoencoder(sparsity="l1", sparsity_weight=2.0)
    values = some_values()

    expected = 2 * np.abs(code_of(model, values)).sum(axis=1)

    np.testing.assert_allclose(penalty(model, values), expected, rtol=1e-4)


def test_the_mean_of_the_estimate_is_the_norm_of_the_derivative():
    model = autoencoder(contraction=1.0)
    values = np.repeat(some_values(1), 20_000, axis=0)
    kernel = model.network.get_weights()[0]
    [code] = code_of(model, values[:1])
    jacobian = (code * (1 - code)) * kernel

    estimates = penalty(model, values)

    assert estimates.std() > 0
    assert estimates.mean() == pytest.approx((jacobian**2).sum(), rel=0.05)


def test_contraction_makes_codes_change_less():
    values, norms = some_values(64), []
    for weight in (0.0, 30.0):
        model = autoencoder(contraction=weight)
        model.fit(values, batch_size=64, epochs=30, verbose=0)
        code, kernel = code_of(model, values), model.network.get_weights()[0]
        norms.append(((code * (1 - code)) ** 2 @ (kernel**2).sum(axis=0)).mean())

    assert norms[1] < norms[0] / 2


def test_noise_is_of_the_strength_that_is_asked_for():
    values = tf.fill((200, 500), 0.5)

    gaussian, masking, salt = (
        with_noise(values, noise, 0.3, SEED).numpy() for noise in ("gaussian", "masking", "salt")
    )

    assert gaussian.mean() == pytest.approx(0.5, abs=0.01)
    assert gaussian.std() == pytest.approx(0.3, abs=0.01)
    assert set(np.unique(masking)) == {0, 0.5}
    assert (masking == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert set(np.unique(salt)) == {0, 0.5, 1}
    assert (salt == 0).mean() == pytest.approx(0.15, abs=0.01)
    assert (salt == 1).mean() == pytest.approx(0.15, abs=0.01)


def test_every_step_draws_noise_anew():
    model, values = autoencoder(noise_level=0.5), some_values()

    one, other = (np.asarray(model(values, training=True)) for _ in range(2))

    assert (one != other).any()


def test_replicas_take_the_step_of_one_device():
    """Without noise, and with a penalty that is a mean over the examples."""
    weights = []
    for placement in ("one_device", "mirrored"):
        with create_strategy(placement).scope():
            model = autoencoder(sparsity="l1", sparsity_weight=0.5)
        model.fit(some_values(), batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.network.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "jit"), [("mixed_bfloat16", False), ("mixed_float16", False), ("float32", True)]
)
def test_it_learns_in_mixed_precision_and_compiled(precision, jit):
    keras.config.set_dtype_policy(precision)
    options = {"noise_level": 0.1, "sparsity_weight": 0.01, "contraction": 0.01}
    model = autoencoder(bounded=False, **options)
    model.compile(keras.optimizers.Adam(0.05), loss=identity_loss, jit_compile=jit)

    losses = model.fit(some_values(64), batch_size=16, epochs=20, verbose=0).history["loss"]

    assert losses[-1] < losses[0] / 2
