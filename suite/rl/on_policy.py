"""On-policy learning: from a rollout that the current policy has played."""

from typing import Any

import tensorflow as tf

from suite.app import Objective
from suite.rl.players import Player
from suite.rl.policies import distribution
from suite.rl.rollouts import Rollout, in_floatx


class OnPolicyPlayer(Player):
    """Plays a rollout in each step of `fit`, and learns from it once.

    A subclass defines the inputs and targets of a rollout in `examples`, and the loss in
    `compute_loss`; or `learn`, if an update is not one step of the optimizer. The model's outputs
    have a `policy`, in the form that `suite.rl.policies.distribution` takes.
    """

    def act(
        self, observations: tf.Tensor, seed: tf.Tensor | None, explore: bool = True
    ) -> tf.Tensor:
        policy = distribution(self(observations, training=False))
        return policy.sample(seed=seed) if explore else policy.mode()

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        (seeds,) = data
        return self.learn(self.collect(self.environments(seeds)))

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The loss of a rollout that the present policy has played, and that then stays."""
        (seeds,) = batch
        rollout = in_floatx(self.collect(self.environments(seeds)))
        return {"loss": Objective.of(self, self.examples(rollout))}

    def learn(self, rollout: Rollout) -> dict[str, tf.Tensor]:
        """Learns from a rollout, and returns the metrics."""
        return self.update(self.examples(rollout))

    def examples(self, rollout: Rollout) -> tuple[tf.Tensor, Any, tf.Tensor]:
        """Converts a rollout into `n` examples: inputs, targets and sample weights of the loss.

        Returns:
            Inputs `(n, *observation_shape)`, targets in the structure that `compute_loss` takes,
            and weights `(n,)`.
        """
        raise NotImplementedError


def advantages(
    rollout: Rollout, values: tf.Tensor, discount: float, gae_lambda: float
) -> tf.Tensor:
    """Generalized advantage estimates: how much better than expected each step was, `(time, envs)`.

    The return after the last step of a rollout, and after a step that cut off an episode, is
    estimated by the critic; after the end of an episode it is 0.

    Args:
        rollout: The steps.
        values: The critic's values of the rollout's observations, `(time + 1, envs)`.
        discount: Weight of the next step's return.
        gae_lambda: 1 uses all rewards up to the end of the rollout, 0 only that of the step.

    Reference:
        Schulman et al., 2015, High-Dimensional Continuous Control Using Generalized Advantage
        Estimation, https://arxiv.org/abs/1506.02438
    """
    continues = tf.cast(~rollout.terminated, values.dtype)
    same_episode = tf.cast(~(rollout.terminated | rollout.truncated), values.dtype)
    differences = rollout.rewards + discount * continues * values[1:] - values[:-1]

    def advantage(following: tf.Tensor, step: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        difference, same = step
        return difference + discount * gae_lambda * same * following

    return tf.scan(advantage, (differences, same_episode), tf.zeros_like(values[0]), reverse=True)


def flat(steps: tf.Tensor) -> tf.Tensor:
    """Reshapes steps `(time, envs, ...)` to `(time * envs, ...)`."""
    return tf.reshape(steps, [-1, *steps.shape[2:]])
