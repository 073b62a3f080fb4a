"""Latent variables learnt by variational inference: what to train on, and how good it became.

Posterior, prior and likelihood are TensorFlow Probability's distributions. All figures are in
nats per image.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from tensorflow_probability import distributions as tfd
from tensorflow_probability import math as tfm

from suite.placement.strategy import seed_of_replica

# The noise of an evaluation is the same for every model, so that models can be compared.
EVALUATION_SEED = 0
DECODED_AT_ONCE = 4000
# A latent unit is active where its mean varies over the data by more than this (Burda et al.).
ACTIVE_VARIANCE = 0.01
LIKELIHOODS = {"bernoulli": tfd.Bernoulli, "continuous_bernoulli": tfd.ContinuousBernoulli}
Likelihood = Literal["bernoulli", "continuous_bernoulli"]


class VariationalAutoencoder(keras.Model):
    """Trains an encoder and a decoder on a bound of the log evidence of the images.

    Called, it gives the reconstruction through the posterior's mean, as a plain functional model
    does. The loss needs samples of the posterior instead: it runs encoder and decoder itself, and
    TensorFlow drops the call whose result nobody reads from the training graph.

    Args:
        model: `image` to reconstruction, made of layers named `encoder`, from an image
            `(batch, height, width, channels)` of grey values in 0..255 to a dict of `mean` and
            `log_variance` `(batch, latent_dim)`, and `decoder`, from latents to a dict of
            `logits` in the shape of the image.
        likelihood: `bernoulli` draws every image anew as black or white each time it is seen, a
            pixel being white with the probability of its grey value; `continuous_bernoulli`
            takes the grey values as they are.
        num_samples: Samples of the posterior for each image.
        importance_weighted: Whether the samples make one tighter bound together, as in IWAE,
            instead of an average of ELBOs.
        beta: Weight of the Kullback-Leibler divergence.
        beta_warmup: Steps in which that weight rises from zero.
        free_bits: Nats of each latent unit that cost nothing, by which it is held open.
        seed: Of the noise.

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
        model: keras.Model,
        *,
        likelihood: Likelihood = "bernoulli",
        num_samples: int = 1,
        importance_weighted: bool = False,
        beta: float = 1.0,
        beta_warmup: int = 0,
        free_bits: float = 0.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(model.input, model.output, name=model.name)
        self.encoder, self.decoder = model.get_layer("encoder"), model.get_layer("decoder")
        self.likelihood = likelihood
        self.num_samples, self.importance_weighted = num_samples, importance_weighted
        self.beta, self.beta_warmup, self.free_bits = beta, beta_warmup, free_bits
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rate = keras.metrics.Mean("rate")
        self.distortion = keras.metrics.Mean("distortion")

    def compute_loss(
        self,
        x: tf.Tensor = None,
        y: tf.Tensor = None,
        y_pred: tf.Tensor = None,
        sample_weight: tf.Tensor = None,
        training: bool = True,
    ) -> tf.Tensor:
        seen = observed(x, self.likelihood, seed_of_replica(self.seed_generator))
        posterior = self.posterior(seen, training)
        latents = posterior.sample(self.num_samples, seed=seed_of_replica(self.seed_generator))
        reconstruction = self.log_likelihood(seen, latents, training)
        divergence = tfd.kl_divergence(posterior, standard_normal())
        self.rate.update_state(tf.reduce_sum(divergence, axis=1))
        self.distortion.update_state(-tf.reduce_mean(reconstruction, axis=0))
        # The bound that validation watches is that of the end.
        beta = self._beta() if training else self.beta
        if self.importance_weighted:
            bound = log_mean_exp(reconstruction + beta * log_ratios(posterior, latents))
        else:
            held_open = tf.maximum(tf.reduce_mean(divergence, axis=0), self.free_bits)
            bound = tf.reduce_mean(reconstruction, axis=0) - beta * tf.reduce_sum(held_open)
        # Through the compiled loss, so that Keras averages it and scales it across replicas.
        return super().compute_loss(x, bound, bound, sample_weight, training)

    def posterior(self, seen: tf.Tensor, training: bool = False) -> tfd.Normal:
        """What the encoder says of images as the likelihood sees them: `(batch, latent_dim)`."""
        said = self.encoder(255 * seen, training=training)
        return tfd.Normal(said["mean"], tf.exp(said["log_variance"] / 2))

    def log_likelihood(
        self, seen: tf.Tensor, latents: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Of images `(batch, ...)` under latents `(samples, batch, latent_dim)`.

        Returns:
            `(samples, batch)`.
        """
        samples = tf.shape(latents)[0]
        flat = tf.reshape(latents, [-1, latents.shape[-1]])
        logits = tf.cast(self.decoder(flat, training=training)["logits"], tf.float32)
        logits = tf.reshape(logits, tf.concat([[samples], tf.shape(seen)], 0))
        each = LIKELIHOODS[self.likelihood](logits=logits).log_prob(seen)
        return tf.reduce_sum(each, axis=[2, 3, 4])

    def _beta(self) -> tf.Tensor | float:
        if not self.beta_warmup:
            return self.beta
        steps = tf.cast(self.optimizer.iterations, tf.float32)
        return self.beta * tf.minimum(steps / self.beta_warmup, 1)


def negative(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """The loss to compile a `VariationalAutoencoder` with, whose bound is to rise."""
    return -y_pred


def standard_normal() -> tfd.Normal:
    """The prior of every latent unit."""
    return tfd.Normal(0.0, 1.0)


def observed(images: tf.Tensor, likelihood: Likelihood, seed: tf.Tensor) -> tf.Tensor:
    """Grey values in 0..255 as what the likelihood is of: 0 or 1, or shares in between.

    Args:
        images: Any shape.
        likelihood: As in `VariationalAutoencoder`.
        seed: A pair of integers.
    """
    shares = tf.cast(images, tf.float32) / 255
    if likelihood != "bernoulli":
        return shares
    return tf.cast(tf.random.stateless_uniform(tf.shape(shares), seed) < shares, tf.float32)


def log_ratios(posterior: tfd.Normal, latents: tf.Tensor) -> tf.Tensor:
    """Log of prior over posterior density at `(samples, batch, latent_dim)`: `(samples, batch)`."""
    each = standard_normal().log_prob(latents) - posterior.log_prob(latents)
    return tf.reduce_sum(each, axis=-1)


def log_mean_exp(values: tf.Tensor) -> tf.Tensor:
    """The log of the mean of exponentials over the first axis, without overflow."""
    return tf.reduce_logsumexp(values, axis=0) - tf.math.log(float(values.shape[0]))


def evidence(
    posterior: tfd.Normal,
    log_likelihood: Callable[[tf.Tensor], tf.Tensor],
    num_samples: int,
    seed: tf.Tensor,
    at_once: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Estimates the log evidence by importance sampling from the posterior.

    In expectation the estimate is a lower bound that rises with the number of samples.

    Args:
        posterior: `(batch, latent_dim)`.
        log_likelihood: Of latents `(samples, batch, latent_dim)`: `(samples, batch)`.
        num_samples: Samples for each element of the batch.
        seed: A pair of integers.
        at_once: Samples in memory at a time; by default all. Rounded down to a divisor of
            `num_samples`.

    Returns:
        The log evidence and the mean log likelihood under the posterior, both `(batch,)`.
    """
    at_once = max(n for n in range(1, (at_once or num_samples) + 1) if num_samples % n == 0)

    def more(sums: tuple[tf.Tensor, tf.Tensor], step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        own = tf.random.experimental.stateless_fold_in(seed, step)
        latents = posterior.sample(at_once, seed=own)
        found = log_likelihood(latents)
        weights = tf.reduce_logsumexp(found + log_ratios(posterior, latents), axis=0)
        total, likelihood = sums
        return tfm.log_add_exp(total, weights), likelihood + tf.reduce_sum(found, axis=0)

    zero = tf.zeros(posterior.batch_shape_tensor()[:1])
    steps = tf.range(num_samples // at_once)
    total, likelihood = tf.foldl(more, steps, (zero - np.inf, zero), parallel_iterations=1)
    return total - tf.math.log(float(num_samples)), likelihood / num_samples


def evaluate_evidence(
    model: VariationalAutoencoder, images: np.ndarray, num_samples: int, batch_size: int = 100
) -> Mapping[str, float]:
    """Judges a model on held-out images, each drawn once as black and white where it is Bernoulli.

    Args:
        model: What was trained; whatever bound it was trained on, it is judged by the same.
        images: `(n, height, width, channels)`, grey values in 0..255.
        num_samples: Samples of the posterior for each image.
        batch_size: Images at a time.

    Returns:
        `nll`, the importance-sampled negative log likelihood, `elbo`, `rate` and `distortion`,
        means over the images in nats, and `active_units`.
    """
    seeds = tf.random.experimental.stateless_split(
        [EVALUATION_SEED, 0], len(images) // batch_size + 1
    )

    @tf.function(reduce_retracing=True)
    def judged(batch: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        draw, noise = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        seen = observed(batch, model.likelihood, draw)
        posterior = model.posterior(seen)
        log_evidence, log_likelihood = evidence(
            posterior,
            functools.partial(model.log_likelihood, seen),
            num_samples,
            noise,
            at_once=max(1, DECODED_AT_ONCE // batch_size),
        )
        rate = tf.reduce_sum(tfd.kl_divergence(posterior, standard_normal()), axis=1)
        return log_evidence, rate, log_likelihood, posterior.mean()

    starts: Iterable[int] = range(0, len(images), batch_size)
    if (console := Console()).is_terminal:
        starts = track(starts, "evaluating", console=console, transient=True)
    found: list[Any] = [
        judged(images[start : start + batch_size], seed)
        for start, seed in zip(starts, seeds, strict=False)
    ]
    log_evidence, rate, log_likelihood, means = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    return {
        "nll": -float(log_evidence.mean()),
        "elbo": float((log_likelihood - rate).mean()),
        "rate": float(rate.mean()),
        "distortion": -float(log_likelihood.mean()),
        "active_units": float((means.var(axis=0) > ACTIVE_VARIANCE).sum()),
    }
