"""Learning from a rollout once, by the policy that played it."""

from typing import Any

import tensorflow as tf

from suite.rl.players import Player
from suite.rl.policies import distribution
from suite.rl.rollouts import Rollout


class OnPolicyPlayer(Player):
    """Plays a rollout in each step of `fit`, learns from it, and forgets it.

    A subclass says in `examples` what there is to learn from a rollout, and in `compute_loss` how;
    or in `learn`, if that is not one step of the optimizer. The model's outputs have a `policy`,
    which `suite.rl.policies.distribution` understands.
    """

    def act(
        self, observations: tf.Tensor, seed: tf.Tensor | None, explore: bool = True
    ) -> tf.Tensor:
        policy = distribution(self(observations, training=False))
        return policy.sample(seed=seed) if explore else policy.mode()

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        (seeds,) = data
        return self.learn(self.collect(self.environments(seeds)))

    def learn(self, rollout: Rollout) -> dict[str, tf.Tensor]:
        """Learns from a rollout: the metrics."""
        return self.update(self.examples(rollout))

    def examples(self, rollout: Rollout) -> tuple[tf.Tensor, Any, tf.Tensor]:
        """Observations `(n, *observation_shape)`, what the loss needs beside them, and weights."""
        raise NotImplementedError


def advantages(
    rollout: Rollout, values: tf.Tensor, discount: float, gae_lambda: float
) -> tf.Tensor:
    """How much better each step went than was expected, `(time, envs)`.

    What follows the last step of a rollout, or one after which an episode was cut off, is worth
    what the critic says; after an end nothing follows.

    Args:
        rollout: What happened.
        values: What the critic says of its observations, `(time + 1, envs)`.
        discount: Weight of the next step's return.
        gae_lambda: 1 sums the rewards up to the end of the rollout, 0 looks one step ahead.

    Reference:
        Schulman et al., 2015, High-Dimensional Continuous Control Using Generalized Advantage
        Estimation, https://arxiv.org/abs/1506.02438
    """
    goes_on = tf.cast(~rollout.terminated, tf.float32)
    same_episode = tf.cast(~(rollout.terminated | rollout.truncated), tf.float32)
    surprises = rollout.rewards + discount * goes_on * values[1:] - values[:-1]

    def earlier(later: tf.Tensor, step: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        surprise, same = step
        return surprise + discount * gae_lambda * same * later

    return tf.scan(earlier, (surprises, same_episode), tf.zeros_like(values[0]), reverse=True)


def flat(steps: tf.Tensor) -> tf.Tensor:
    """Steps `(time, envs, ...)` as `(time * envs, ...)`."""
    return tf.reshape(steps, [-1, *steps.shape[2:]])
