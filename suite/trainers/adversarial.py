"""Adversarial training: a classifier that learns from the worst pictures near those of the data."""

from typing import Any

import keras
import tensorflow as tf

from suite.app import Objective
from suite.attacks.gradients import climb, default_step_size, random_point
from suite.placement.replicas import seed_of_replica


class AdversarialClassifier(keras.Model):
    """Trains a classifier on pictures that every step attacks with the weights of that step.

    The loss and the metrics of the training are those after the attacks; those of validation and
    test are of the pictures as they are. The network itself is exported.

    Args:
        network: Maps `image` `(batch, height, width, channels)`, values in 0..255, to logits, its
            only output or the one named `logits`.
        epsilon: Largest change of a pixel, as a share of its range.
        steps: Steps of the attack.
        share: Share of the pictures of a batch that are attacked, in (0, 1]; the others stay as
            they are.
        step_size: Length of such a step, as a share of the range; None for 2.5 times `epsilon`,
            divided by the number of steps.
        seed: Seed of the points at which the attacks begin.

    Reference:
        Madry et al., 2017, Towards Deep Learning Models Resistant to Adversarial Attacks,
        https://arxiv.org/abs/1706.06083
        Goodfellow, Shlens and Szegedy, 2014, Explaining and Harnessing Adversarial Examples (one
        step, and a share of a half), https://arxiv.org/abs/1412.6572
        Differs from the paper: the attack uses the running averages of batch normalisation.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        epsilon: float,
        steps: int,
        share: float = 1.0,
        step_size: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(autocast=False)  # pixels stay what they are; the network casts
        self.network = network
        self.epsilon, self.steps, self.share = epsilon, steps, share
        self.step_size = default_step_size(epsilon, steps) if step_size is None else step_size
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True  # the network is

    def call(self, inputs: tf.Tensor, training: bool = False) -> Any:
        return self.network(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        return super().train_step(self._attacked(data))

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The loss on pictures that were attacked with the present weights, and then stay."""
        return {"loss": Objective.of(self, self._attacked(batch))}

    def _attacked(self, data: Any) -> tuple[tf.Tensor, Any, Any]:
        """The examples with attacked pictures."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        images = tf.cast(images, tf.float32)
        # Batches are shuffled: the first ones are as good as any.
        size = tf.cast(tf.shape(images)[0], tf.float32)
        count = tf.cast(tf.math.ceil(self.share * size), tf.int32)
        chosen, others = images[:count], images[count:]
        start = random_point(chosen, self.epsilon, seed_of_replica(self.seed_generator))
        attacked = climb(
            self.network, chosen, labels[:count], start, self.epsilon, self.step_size, self.steps
        )
        return tf.concat([attacked, others], axis=0), labels, weights
