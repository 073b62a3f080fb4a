"""Adversarial training: a classifier that learns from the worst pictures near those of the data."""

from typing import Any

import keras
import tensorflow as tf

from suite.app import Objective
from suite.attacks.gradients import climb, default_step_size, random_point
from suite.placement.replicas import seed_of_replica


class AdversarialClassifier(keras.Model):
    """Trains a classifier on pictures that every step attacks with the weights of that step.

    The loss and the metrics of the training are those of the attacked pictures; those of validation
    and test are of the pictures as they are. The network itself is exported.

    Args:
        network: Maps `image` `(batch, height, width, channels)`, values in 0..255, to logits, its
            only output or the one named `logits`.
        epsilon: Largest change of a pixel, as a share of its range.
        steps: Steps of the attack.
        step_size: Length of such a step, as a share of the range; None for 2.5 times `epsilon`,
            divided by the number of steps.
        seed: Seed of the points at which the attacks begin.

    Reference:
        Madry et al., 2017, Towards Deep Learning Models Resistant to Adversarial Attacks,
        https://arxiv.org/abs/1706.06083
        Differs from the paper: the attack uses the running averages of batch normalisation.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        epsilon: float,
        steps: int,
        step_size: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(autocast=False)  # pixels stay what they are; the network casts
        self.network = network
        self.epsilon, self.steps = epsilon, steps
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
        start = random_point(images, self.epsilon, seed_of_replica(self.seed_generator))
        attacked = climb(
            self.network, images, labels, start, self.epsilon, self.step_size, self.steps
        )
        return attacked, labels, weights
