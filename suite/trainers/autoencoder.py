"""Autoencoders: their training, on noisy copies of the inputs and with penalties of the code."""

from typing import Literal

import keras
import tensorflow as tf

from suite.layers.networks import ModelOfLosses
from suite.placement.replicas import seed_of_replica

Noise = Literal["gaussian", "masking", "salt"]
Sparsity = Literal["kl", "l1"]
SMALLEST_ACTIVITY = 1e-6  # of a unit, whose logarithm is taken


class Autoencoder(ModelOfLosses):
    """Trains a network to reconstruct its inputs, whole or a layer of it.

    `call` returns the loss of every example, `(batch,)`: in training that of the reconstruction of
    a noisy copy, and the penalties; otherwise that of the reconstruction of the input as it is. So
    validation losses of different penalties and noises can be compared. Compile the model with the
    loss `suite.layers.networks.identity_loss`.

    Args:
        network: Functional, maps values `(batch, features)` to a dict of `code` `(batch, units)`
            and `output` `(batch, features)`.
        pixels: Functional, maps the inputs of the training to those values; None if they are the
            values already.
        bounded: Whether values lie between 0 and 1. Then `output` are logits, and the loss is the
            cross-entropy; otherwise they are the values, and it is the squared error. Both are
            summed over the features.
        noise: `gaussian` adds normal numbers; `masking` sets values to 0; `salt` sets them to 0 or
            1, each half of the time.
        noise_level: For `gaussian` the standard deviation; for `masking` and `salt` the share of
            the values that are replaced. At 0 there is no noise.
        sparsity: `kl`: the Kullback-Leibler divergence of two Bernoulli distributions, from
            `sparsity_target` to a unit's mean activity over the batch, summed over the units; `l1`:
            the sum of the absolute activities.
        sparsity_weight: Weight of that penalty.
        sparsity_target: Mean activity that `kl` asks of a unit.
        contraction: Weight of the squared Frobenius norm of the code's derivative by the values.
        seed: Seed of the noise.

    Reference:
        Vincent et al., 2010, Stacked Denoising Autoencoders: Learning Useful Representations in a
        Deep Network with a Local Denoising Criterion,
        https://jmlr.org/papers/v11/vincent10a.html
        Ng, 2011, Sparse Autoencoder (the divergence),
        https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf
        Rifai et al., 2011, Contractive Auto-Encoders: Explicit Invariance During Feature
        Extraction, https://icml.cc/2011/papers/455_icmlpaper.pdf
        Differs from the papers: the squared norm of the derivative is estimated from one random
        direction of the code for each example, without bias, so that a code may have several
        layers; every replica takes the mean activity over its part of the batch.
    """

    def __init__(
        self,
        network: keras.Model,
        pixels: keras.Model | None = None,
        *,
        bounded: bool = True,
        noise: Noise = "masking",
        noise_level: float = 0.0,
        sparsity: Sparsity = "kl",
        sparsity_weight: float = 0.0,
        sparsity_target: float = 0.05,
        contraction: float = 0.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(name=network.name)
        self.network, self.pixels, self.bounded = network, pixels, bounded
        self.noise, self.noise_level = noise, noise_level
        self.sparsity, self.sparsity_weight = sparsity, sparsity_weight
        self.sparsity_target, self.contraction = sparsity_target, contraction
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.squared_error = keras.metrics.Mean("squared_error")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        values = inputs if self.pixels is None else self.pixels(inputs)
        values = tf.cast(values, keras.config.floatx())
        if not training:
            return self.reconstruction_loss(values, self.network(values, training=False)["output"])
        noisy = values
        if self.noise_level:
            noisy = with_noise(
                values, self.noise, self.noise_level, seed_of_replica(self.seed_generator)
            )
        code, output, change = self._outputs(noisy)
        loss = self.reconstruction_loss(values, output)
        if self.sparsity_weight:
            loss += self.sparsity_weight * self.activity_penalty(code)
        if self.contraction:
            loss += self.contraction * change
        return loss

    def reconstruction_loss(self, values: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """The loss of the network's `output` for values `(batch, features)`, `(batch,)`."""
        output = tf.cast(output, values.dtype)
        reconstruction = tf.sigmoid(output) if self.bounded else output
        squares = tf.square(values - reconstruction)
        self.squared_error.update_state(tf.reduce_mean(squares, axis=1))
        if not self.bounded:
            return tf.reduce_sum(squares, axis=1)
        entropies = tf.nn.sigmoid_cross_entropy_with_logits(labels=values, logits=output)
        return tf.reduce_sum(entropies, axis=1)

    def activity_penalty(self, code: tf.Tensor) -> tf.Tensor:
        """The penalty of a code `(batch, units)`: `()` by `kl`, `(batch,)` by `l1`."""
        if self.sparsity == "l1":
            return tf.reduce_sum(tf.abs(code), axis=1)
        activity = tf.clip_by_value(
            tf.reduce_mean(code, axis=0), SMALLEST_ACTIVITY, 1 - SMALLEST_ACTIVITY
        )
        target = self.sparsity_target
        return tf.reduce_sum(
            target * tf.math.log(target / activity)
            + (1 - target) * tf.math.log((1 - target) / (1 - activity))
        )

    def _outputs(self, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | float]:
        """Code and output in training, and the squared norm of the code's derivative, `(batch,)`.

        The norm is 0 where nothing asks for it. For a matrix J and a vector u of independent
        numbers of mean 0 and variance 1, the mean of the squared length of the product of u and J
        is the squared Frobenius norm of J.
        """
        if not self.contraction:
            outputs = self.network(values, training=True)
            return tf.cast(outputs["code"], values.dtype), outputs["output"], 0.0
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = self.network(values, training=True)
            code = tf.cast(outputs["code"], values.dtype)
            direction = tf.random.stateless_normal(
                tf.shape(code), seed_of_replica(self.seed_generator), dtype=values.dtype
            )
            product = tf.reduce_sum(code * direction)
        derivative = tape.gradient(product, values)
        return code, outputs["output"], tf.reduce_sum(tf.square(derivative), axis=1)


def with_noise(values: tf.Tensor, noise: Noise, level: float, seed: tf.Tensor) -> tf.Tensor:
    """A noisy copy of values.

    Args:
        values: Values `(batch, features)`.
        noise: As in `Autoencoder`.
        level: As `noise_level` in `Autoencoder`.
        seed: A pair of integers.
    """
    shape = tf.shape(values)
    if noise == "gaussian":
        return values + level * tf.random.stateless_normal(shape, seed, dtype=values.dtype)
    uniform = tf.random.stateless_uniform(shape, seed, dtype=values.dtype)
    others = tf.zeros_like(values)
    if noise == "salt":
        # Of the values that are replaced, `uniform` is below half the level for half of them.
        others = tf.cast(uniform < level / 2, values.dtype)
    return tf.where(uniform < level, others, values)
