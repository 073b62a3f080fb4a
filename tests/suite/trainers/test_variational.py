import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite.placement.strategy import create_strategy
from suite.trainers.variational import (
    VariationalAutoencoder,
    estimate_evidence,
    evaluate_evidence,
    log_mean_exp,
    negative_bound,
    pixels_of,
    tfd,
)

SEED = tf.constant([1, 2])


def linear_gaussian():
    """Orthogonal factors, so that the posterior is diagonal: `(images, posterior, likelihood)`."""
    random = np.random.default_rng(0)
    factors = np.linalg.qr(random.normal(size=(6, 2)))[0] * [2.0, 0.7]
    noise_scale = 0.5
    images = random.normal(size=(5, 2)) @ factors.T + noise_scale * random.normal(size=(5, 6))
    variance = 1 / (1 + (factors**2).sum(axis=0) / noise_scale**2)
    means = images @ factors * variance / noise_scale**2
    factors, images = factors.astype("float32"), images.astype("float32")

    def log_likelihood(latents):
        decoded = tf.einsum("sbl,dl->sbd", latents, factors)
        return tf.reduce_sum(tfd.Normal(decoded, noise_scale).log_prob(images), axis=-1)

    def posterior(widened=1.0):
        deviation = np.broadcast_to(widened * np.sqrt(variance), means.shape)
        return tfd.Normal(means.astype("float32"), deviation.astype("float32"))

    covariance = factors @ factors.T + noise_scale**2 * np.eye(6)
    exponent = np.einsum("bi,ij,bj->b", images, np.linalg.inv(covariance), images)
    closed_form = -(exponent + np.linalg.slogdet(covariance)[1] + 6 * np.log(2 * np.pi)) / 2
    return posterior, log_likelihood, closed_form


def autoencoder(latent_dim=2, log_variance=None, **objective):
    """A small autoencoder for images of 4 x 4 pixels."""
    image, latent = keras.Input((4, 4, 1), name="image"), keras.Input((latent_dim,), name="latent")
    flat = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    fixed = (
        {}
        if log_variance is None
        else {
            "kernel_initializer": "zeros",
            "bias_initializer": keras.initializers.Constant(log_variance),
        }
    )
    posterior = {
        "mean": layers.Dense(latent_dim, dtype="float32")(layers.Dense(8, "tanh")(flat)),
        "log_variance": layers.Dense(latent_dim, dtype="float32", **fixed)(flat),
    }
    encoder = keras.Model(image, posterior, name="encoder")
    logits = layers.Reshape((4, 4, 1))(layers.Dense(16)(latent))
    decoder = keras.Model(latent, {"logits": logits}, name="decoder")
    model = VariationalAutoencoder(encoder, decoder, seed=0, **objective)
    model.compile(keras.optimizers.SGD(0.1), loss=negative_bound)
    return model


def some_images(count=8):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 1)).astype("float32")


def test_with_the_true_posterior_one_sample_gives_the_evidence():
    posterior, log_likelihood, closed_form = linear_gaussian()

    evidence, _ = estimate_evidence(posterior(), log_likelihood, 1, SEED)

    np.testing.assert_allclose(evidence, closed_form, atol=1e-3)


@pytest.mark.parametrize("at_once", [None, 300])
def test_with_another_posterior_many_samples_come_near_the_evidence(at_once):
    posterior, log_likelihood, closed_form = linear_gaussian()

    evidence, _ = estimate_evidence(posterior(widened=1.5), log_likelihood, 20_000, SEED, at_once)

    np.testing.assert_allclose(evidence, closed_form, atol=0.03)


def test_elbo_of_the_true_posterior_is_the_evidence():
    posterior, log_likelihood, closed_form = linear_gaussian()
    rate = tf.reduce_sum(tfd.kl_divergence(posterior(), tfd.Normal(0.0, 1.0)), axis=1)

    _, expected_log_likelihood = estimate_evidence(posterior(), log_likelihood, 50_000, SEED)

    np.testing.assert_allclose(expected_log_likelihood - rate, closed_form, atol=0.05)


def test_log_mean_exp_does_not_overflow():
    values = tf.constant([[-10_000.0, 10_000.0], [-10_000.0, 10_000.0 + np.log(3)]])

    np.testing.assert_allclose(log_mean_exp(values), [-10_000, 10_000 + np.log(2)])


def test_images_are_drawn_anew_with_the_probability_of_their_grey():
    images = np.full((20_000, 1, 1, 1), 51.0)

    first, second = (pixels_of(images, "bernoulli", [0, n]) for n in (1, 2))

    assert set(np.unique(first)) == {0, 1}
    assert np.mean(first) == pytest.approx(0.2, abs=0.01)
    assert (first != second).numpy().any()
    assert (pixels_of(images, "continuous_bernoulli", [0, 1]) == np.float32(0.2)).numpy().all()


def test_loss_is_rate_and_distortion():
    model = autoencoder(beta=3.0)

    logs = model.evaluate(some_images(), batch_size=8, verbose=0, return_dict=True)

    assert logs["loss"] == pytest.approx(logs["distortion"] + 3 * logs["rate"], rel=1e-5)


def test_called_it_gives_the_bound_of_each_image():
    images = some_images()
    model = autoencoder()
    loss, *_ = model.evaluate(images, batch_size=8, verbose=0)
    again = autoencoder()
    again.set_weights(model.get_weights())

    bound = again.predict(images, batch_size=8, verbose=0)

    assert bound.shape == (8,)
    assert loss == pytest.approx(-bound.mean(), rel=1e-5)


@pytest.mark.parametrize(("step", "share"), [(0, 0), (5, 0.5), (20, 1)])
def test_warm_up_begins_without_the_divergence(step, share):
    model = autoencoder(beta=2.0, beta_warmup=10)
    model.optimizer.iterations.assign(step)

    trained = model.train_on_batch(some_images(), return_dict=True)
    watched = model.test_on_batch(some_images(), return_dict=True)

    for logs, beta in ((trained, 2 * share), (watched, 2)):
        assert logs["loss"] == pytest.approx(logs["distortion"] + beta * logs["rate"], rel=1e-5)
        model.reset_metrics()


def test_free_bits_are_those_of_each_unit():
    images = some_images()
    model = autoencoder(latent_dim=3)
    posterior = model.posterior(tf.constant(images) / 255)
    of_units = np.mean(tfd.kl_divergence(posterior, tfd.Normal(0.0, 1.0)), axis=0)
    threshold = float(np.median(of_units))
    held_open = np.maximum(of_units, threshold).sum()
    # With this likelihood the grey values stay as they are, and so do the divergences.
    model.likelihood, model.free_bits = "continuous_bernoulli", threshold

    logs = model.evaluate(images, batch_size=8, verbose=0, return_dict=True)

    assert held_open > of_units.sum()
    assert logs["loss"] == pytest.approx(logs["distortion"] + held_open, rel=1e-4)


def test_more_samples_tighten_the_importance_weighted_bound():
    images = np.repeat(some_images(), 50, axis=0)
    losses = {}
    for num_samples in (1, 20):
        keras.utils.set_random_seed(0)
        model = autoencoder(num_samples=num_samples, importance_weighted=True)
        losses[num_samples] = model.evaluate(images, batch_size=400, verbose=0)[0]
    keras.utils.set_random_seed(0)
    elbo = autoencoder().evaluate(images, batch_size=400, verbose=0)[0]

    assert losses[1] == pytest.approx(elbo, abs=0.2)
    assert losses[20] < losses[1] - 0.3


def test_replicas_take_the_step_of_one_device():
    """Without noise: grey values stay as they are, and latents hardly vary."""
    weights = []
    for placement in ("one_device", "mirrored"):
        keras.utils.set_random_seed(0)
        with create_strategy(placement).scope():
            model = autoencoder(likelihood="continuous_bernoulli", log_variance=-30.0)
        model.fit(some_images(), batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "jit"), [("mixed_bfloat16", False), ("mixed_float16", False), ("float32", True)]
)
def test_it_learns_in_mixed_precision_and_compiled(precision, jit):
    keras.config.set_dtype_policy(precision)
    model = autoencoder()
    model.compile(keras.optimizers.Adam(0.05), loss=negative_bound, jit_compile=jit)

    losses = model.fit(some_images(), epochs=20, verbose=0).history["loss"]

    assert losses[-1] < losses[0] - 1


def test_evaluation_is_the_same_each_time_and_its_figures_belong_together():
    model = autoencoder()
    images = 255 * np.round(some_images(25) / 255)
    varied = np.var(model.posterior(tf.round(images / 255)).mean(), axis=0)
    metrics, repeated = (evaluate_evidence(model, images, 50, batch_size=10) for _ in range(2))
    of_one_sample = evaluate_evidence(model, images, 1, batch_size=10)

    assert metrics == repeated
    assert metrics["elbo"] == pytest.approx(-metrics["rate"] - metrics["distortion"], rel=1e-5)
    assert metrics["nll"] < -metrics["elbo"]
    assert metrics["nll"] < of_one_sample["nll"]
    assert metrics["active_units"] == (varied > 0.01).sum()
