"""Virtual adversarial training: a classifier whose answers shall not change near the pictures."""

from typing import Any

import keras
import tensorflow as tf

from suite.attacks.gradients import RANGE, logits_of
from suite.placement.replicas import seed_of_replica

PROBE = 0.1  # length of the random change at which the direction of the attack is measured


class VirtualAdversarial(keras.Model):
    """Trains a classifier to answer alike after the change that would change its answer most.

    The loss is that of the pictures as they are, plus the Kullback-Leibler divergence KL(p || q) of
    their probabilities p from those of the changed pictures, q; no gradient goes through p. The
    change needs no label. The metrics are of the pictures as they are, and the network itself is
    exported.

    Args:
        network: Maps `image` `(batch, height, width, channels)`, values in 0..255, to logits.
        epsilon: Length of a change, the square root of the sum of its squares, where pixels go from
            0 to 1.
        weight: Weight of the divergence in the loss.
        seed: Seed of the points at which the attacks begin.

    Reference:
        Miyato, Maeda, Koyama, Nakae and Ishii, 2015, Distributional Smoothing with Virtual
        Adversarial Training, https://arxiv.org/abs/1507.00677
        Differs from the paper: the attack uses the running averages of batch normalisation, and
        its moments in the step are those of the pictures as they are and as attacked together.
    """

    def __init__(
        self, network: keras.Model, *, epsilon: float, weight: float = 1.0, seed: int | None = None
    ) -> None:
        super().__init__(autocast=False)  # pixels stay what they are; the network casts
        self.network, self.epsilon, self.weight = network, epsilon, weight
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True  # the network is

    def call(self, inputs: tf.Tensor, training: bool = False) -> Any:
        """The logits of the pictures as they are; in training, the divergence becomes a loss."""
        if not training:
            return self.network(inputs, training=False)
        images = tf.cast(inputs, tf.float32)
        both = tf.concat([images, images + self.change(images)], axis=0)
        logits, of_changed = tf.split(self.network(both, training=True), 2)
        distances = divergence(tf.stop_gradient(logits), of_changed)
        self.add_loss(self.weight * tf.reduce_mean(distances))
        return logits

    def change(self, images: tf.Tensor) -> tf.Tensor:
        """The changes of pictures that change the answers most, by one step of the power method.

        Args:
            images: `(batch, height, width, channels)`, values in 0..255, float32.

        Returns:
            The changes, in grey values, of the shape of the pictures and with an L2 norm of
            `255 * epsilon`, without a gradient.
        """
        answers = logits_of(self.network, images)
        noise = tf.random.stateless_normal(tf.shape(images), seed_of_replica(self.seed_generator))
        probe = RANGE * PROBE * unit_length(noise)
        with tf.GradientTape() as tape:
            tape.watch(probe)
            # Only the direction counts, and half precision does not round the gradient to zero.
            distances = divergence(answers, logits_of(self.network, images + probe))
            total = RANGE * tf.reduce_sum(distances)
        direction = unit_length(tape.gradient(total, probe))
        return tf.stop_gradient(RANGE * self.epsilon * direction)


def divergence(logits: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """The Kullback-Leibler divergence of answers from other answers, `(batch,)`, both as logits."""
    log_p, log_q = (tf.nn.log_softmax(tf.cast(x, keras.config.floatx())) for x in (logits, others))
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


def unit_length(changes: tf.Tensor) -> tf.Tensor:
    """Changes `(batch, height, width, channels)`, scaled so that each has a length of 1."""
    axes = [1, 2, 3]
    # First by the largest value: the squares of a very small gradient would be zero.
    scaled = changes / (tf.reduce_max(tf.abs(changes), axis=axes, keepdims=True) + 1e-30)
    return tf.math.l2_normalize(scaled, axis=axes)
