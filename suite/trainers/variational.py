"""Variational autoencoders: their training, and the evaluation of their log likelihood.

Posterior, prior and likelihood are TensorFlow Probability's distributions. All bounds and
likelihoods are in nats per image.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from tensorflow_probability import distributions as tfd
from tensorflow_probability import math as tfm

from suite.layers.networks import ModelOfLosses
from suite.placement.replicas import seed_of_replica

# Every evaluation draws the same noise, so that models can be compared.
EVALUATION_SEED = 0
DECODED_AT_ONCE = 4000  # latents, to bound the memory of an evaluation
# A latent unit is active where the variance of its mean over the data is greater (Burda et al.).
ACTIVE_VARIANCE = 0.01
LIKELIHOODS = {"bernoulli": tfd.Bernoulli, "continuous_bernoulli": tfd.ContinuousBernoulli}
Likelihood = Literal["bernoulli", "continuous_bernoulli"]


class VariationalAutoencoder(ModelOfLosses):
    """Trains an encoder and a decoder to maximise a lower bound of the images' log evidence.

    `call` returns the bound `(batch,)`. Compile the model with the loss `negative_bound`.

    Args:
        encoder: Maps `image` `(batch, height, width, channels)`, values in 0..255, to a dict of
            `mean` and `log_variance` `(batch, latent_dim)`.
        decoder: Maps latents `(batch, latent_dim)` to a dict of `logits` in the shape of the
            images.
        likelihood: `bernoulli` draws black and white pixels from the grey values in every step, a
            pixel being white with the probability of its grey value; `continuous_bernoulli` uses
            the grey values themselves.
        num_samples: Samples of the posterior for each image.
        importance_weighted: Whether the samples are combined into one tighter bound, as in IWAE,
            instead of the average of their ELBOs.
        beta: Weight of the Kullback-Leibler divergence.
        beta_warmup: Number of steps in which that weight rises from zero to `beta`.
        free_bits: Nats of divergence, a mean over the batch, that each latent unit is charged at
            least: below them a smaller one gains nothing, which keeps units from collapsing to the
            prior. Not used if `importance_weighted`.
        seed: Seed of the noise.

    Reference:
        Kingma and Welling, 2013, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
        Burda, Grosse and Salakhutdinov, 2015, Importance Weighted Autoencoders,
        https://arxiv.org/abs/1509.00519
        Higgins et al., 2017, beta-VAE, https://openreview.net/forum?id=Sy2fzU9gl
        Kingma et al., 2016, Improving Variational Inference with Inverse Autoregressive Flow
        (free bits), https://arxiv.org/abs/1606.04934
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        *,
        likelihood: Likelihood = "bernoulli",
        num_samples: int = 1,
        importance_weighted: bool = False,
        beta: float = 1.0,
        beta_warmup: int = 0,
        free_bits: float = 0.0,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.likelihood = likelihood
        self.num_samples, self.importance_weighted = num_samples, importance_weighted
        self.beta, self.beta_warmup, self.free_bits = beta, beta_warmup, free_bits
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rate = keras.metrics.Mean("rate")
        self.distortion = keras.metrics.Mean("distortion")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        pixels = pixels_of(inputs, self.likelihood, seed_of_replica(self.seed_generator))
        posterior = self.posterior(pixels, training)
        latents = posterior.sample(self.num_samples, seed=seed_of_replica(self.seed_generator))
        reconstruction = self.log_likelihood(pixels, latents, training)
        divergence = tfd.kl_divergence(posterior, standard_normal())
        self.rate.update_state(tf.reduce_sum(divergence, axis=1))
        self.distortion.update_state(-tf.reduce_mean(reconstruction, axis=0))
        # Validation uses the final weight, so that epochs can be compared.
        beta = self._beta() if training else self.beta
        if self.importance_weighted:
            ratios = log_prior_over_posterior(posterior, latents)
            return log_mean_exp(reconstruction + beta * ratios)
        charged = tf.maximum(tf.reduce_mean(divergence, axis=0), self.free_bits)
        return tf.reduce_mean(reconstruction, axis=0) - beta * tf.reduce_sum(charged)

    def posterior(self, pixels: tf.Tensor, training: bool = False) -> tfd.Normal:
        """The posterior of the latents `(batch, latent_dim)` of pixels from `pixels_of`."""
        outputs = self.encoder(255 * pixels, training=training)
        return tfd.Normal(outputs["mean"], tf.exp(outputs["log_variance"] / 2))

    def log_likelihood(
        self, pixels: tf.Tensor, latents: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The log likelihood of pixels `(batch, ...)` given latents `(samples, batch, latent_dim)`.

        Returns:
            `(samples, batch)`.
        """
        samples = tf.shape(latents)[0]
        flat = tf.reshape(latents, [-1, latents.shape[-1]])
        logits = tf.cast(self.decoder(flat, training=training)["logits"], pixels.dtype)
        logits = tf.reshape(logits, tf.concat([[samples], tf.shape(pixels)], 0))
        log_probs = LIKELIHOODS[self.likelihood](logits=logits).log_prob(pixels)
        return tf.reduce_sum(log_probs, axis=[2, 3, 4])

    def _beta(self) -> tf.Tensor | float:
        if not self.beta_warmup:
            return self.beta
        steps = tf.cast(self.optimizer.iterations, keras.config.floatx())
        return self.beta * tf.minimum(steps / self.beta_warmup, 1)


def negative_bound(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """The loss of a `VariationalAutoencoder`: the negative of the bound that it returns."""
    return -y_pred


def standard_normal() -> tfd.Normal:
    """The prior distribution of every latent unit."""
    zero = tf.zeros((), keras.config.floatx())
    return tfd.Normal(zero, tf.ones_like(zero))


def pixels_of(images: tf.Tensor, likelihood: Likelihood, seed: tf.Tensor) -> tf.Tensor:
    """Converts grey values in 0..255 to pixels in 0..1 for the likelihood, of type `floatx`.

    Args:
        images: Grey values of any shape.
        likelihood: `bernoulli` draws 0 or 1 with the probability of the grey value;
            `continuous_bernoulli` scales the grey values to 0..1.
        seed: A pair of integers.
    """
    grey = tf.cast(images, keras.config.floatx()) / 255
    if likelihood != "bernoulli":
        return grey
    uniform = tf.random.stateless_uniform(tf.shape(grey), seed)
    return tf.cast(tf.cast(uniform, grey.dtype) < grey, grey.dtype)


def log_prior_over_posterior(posterior: tfd.Normal, latents: tf.Tensor) -> tf.Tensor:
    """Log of the prior density over the posterior density.

    Args:
        posterior: `(batch, latent_dim)`.
        latents: `(samples, batch, latent_dim)`.

    Returns:
        `(samples, batch)`.
    """
    ratios = standard_normal().log_prob(latents) - posterior.log_prob(latents)
    return tf.reduce_sum(ratios, axis=-1)


def log_mean_exp(values: tf.Tensor) -> tf.Tensor:
    """The log of the mean of the exponentials over the first axis, without overflow."""
    return tf.reduce_logsumexp(values, axis=0) - math.log(values.shape[0])


def estimate_evidence(
    posterior: tfd.Normal,
    log_likelihood: Callable[[tf.Tensor], tf.Tensor],
    num_samples: int,
    seed: tf.Tensor,
    at_once: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates the log evidence by importance sampling from the posterior.

    The expected value of the estimate is a lower bound that rises with the number of samples.

    Args:
        posterior: `(batch, latent_dim)`.
        log_likelihood: Maps latents `(samples, batch, latent_dim)` to `(samples, batch)`.
        num_samples: Samples for each element of the batch.
        seed: A pair of integers.
        at_once: Largest number of samples in memory at a time, by default all; the largest divisor
            of `num_samples` that is not greater is used.

    Returns:
        The log evidence and the mean log likelihood under the posterior, both `(batch,)`.
    """
    at_once = max(n for n in range(1, (at_once or num_samples) + 1) if num_samples % n == 0)

    def accumulate(
        sums: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        step_seed = tf.random.experimental.stateless_fold_in(seed, step)
        latents = posterior.sample(at_once, seed=step_seed)
        likelihoods = log_likelihood(latents)
        ratios = log_prior_over_posterior(posterior, latents)
        weights = tf.reduce_logsumexp(likelihoods + ratios, axis=0)
        total, likelihood = sums
        return tfm.log_add_exp(total, weights), likelihood + tf.reduce_sum(likelihoods, axis=0)

    zero = tf.zeros(posterior.batch_shape_tensor()[:1])
    steps = tf.range(num_samples // at_once)
    total, likelihood = tf.foldl(accumulate, steps, (zero - np.inf, zero), parallel_iterations=1)
    return total - tf.math.log(float(num_samples)), likelihood / num_samples


def evaluate_evidence(
    model: VariationalAutoencoder, images: np.ndarray, num_samples: int, batch_size: int = 100
) -> Mapping[str, float]:
    """Evaluates a model on images. `pixels_of` converts each image once, with a fixed seed.

    The metrics do not depend on the bound that the model was trained on.

    Args:
        model: The trained model.
        images: `(n, height, width, channels)`, grey values in 0..255.
        num_samples: Samples of the posterior for each image.
        batch_size: Images that are evaluated at a time.

    Returns:
        Means over the images, in nats: `nll`, the negative log likelihood by importance sampling;
        `elbo`; `rate`, the divergence of the posterior from the prior; and `distortion`, the
        negative log likelihood of the pixels given latents of the posterior. And `active_units`,
        the number of latent units that carry information.
    """
    seeds = tf.random.experimental.stateless_split(
        [EVALUATION_SEED, 0], len(images) // batch_size + 1
    )

    @tf.function(reduce_retracing=True)
    def evaluate_batch(batch: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        draw, noise = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        pixels = pixels_of(batch, model.likelihood, draw)
        posterior = model.posterior(pixels)
        log_evidence, log_likelihood = estimate_evidence(
            posterior,
            functools.partial(model.log_likelihood, pixels),
            num_samples,
            noise,
            at_once=max(1, DECODED_AT_ONCE // batch_size),
        )
        rate = tf.reduce_sum(tfd.kl_divergence(posterior, standard_normal()), axis=1)
        return log_evidence, rate, log_likelihood, posterior.mean()

    starts: Iterable[int] = range(0, len(images), batch_size)
    if (console := Console()).is_terminal:
        starts = track(starts, "evaluating", console=console, transient=True)
    parts: list[Any] = [
        evaluate_batch(images[start : start + batch_size], seed)
        for start, seed in zip(starts, seeds, strict=False)
    ]
    log_evidence, rate, log_likelihood, means = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return {
        "nll": -float(log_evidence.mean()),
        "elbo": float((log_likelihood - rate).mean()),
        "rate": float(rate.mean()),
        "distortion": -float(log_likelihood.mean()),
        "active_units": float((means.var(axis=0) > ACTIVE_VARIANCE).sum()),
    }
