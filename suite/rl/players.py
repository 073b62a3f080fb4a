"""Keras models that play environments: the base of on-policy and off-policy learning.

A step of `fit` is one execution of a graph, which plays a rollout and learns from it. The graph
calls the environments through `tf.numpy_function`.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from suite.placement.replicas import seed_of_replica
from suite.rl.environments import Environments, naming_errors
from suite.rl.rollouts import Rollout, collect
from suite.rl.snapshot import Opaque

log = logging.getLogger(__name__)


@dataclasses.dataclass
class TrainingCost:
    """Steps and seconds of a training so far, without evaluations; `GreedyReturns` counts them.

    Args:
        env_steps: Steps of environments, over all replicas.
        seconds: Seconds since the first of these steps.
        env_steps_to_solve: `env_steps` when the task was first solved; 0 if it is not.
        seconds_to_solve: `seconds` when the task was first solved; 0 if it is not.
    """

    env_steps: int = 0
    seconds: float = 0.0
    env_steps_to_solve: int = 0
    seconds_to_solve: float = 0.0

    def metrics(self) -> dict[str, float]:
        """The metrics for the report; those of a solved task only if it is solved."""
        if not self.env_steps:
            return {}
        metrics = {
            "env_steps": self.env_steps,
            "env_steps_per_second": self.env_steps / self.seconds,
        }
        if self.env_steps_to_solve:
            metrics["seconds_to_solve"] = self.seconds_to_solve
            metrics["env_steps_to_solve"] = self.env_steps_to_solve
        return metrics


class Player(keras.Model):
    """Plays environments in each step of `fit`.

    A subclass defines the policy in `act`, and how to learn in `train_step`: see `OnPolicyPlayer`
    and `OffPolicyPlayer`. Every replica plays its own environments. Batches come from
    `suite.rl.episodes.load_episodes`; the first one decides how the episodes begin.
    `episode_return` and `episode_length` are means over the episodes that ended in an epoch, and 0
    if none did.

    Args:
        model: A functional model from `observation` `(batch, *observation_shape)` to a dict.
        make: `make(num_envs)` creates that number of environments.
        num_envs: Number of environments, over all replicas.
        rollout_length: Steps of each environment in a step of `fit`.
        seed: Decides the actions.
    """

    train_function: Any

    def __init__(
        self,
        model: keras.Model,
        make: Callable[[int], Environments],
        *,
        num_envs: int,
        rollout_length: int,
        seed: int | None = None,
    ) -> None:
        super().__init__(model.input, model.output, name=model.name)
        self.make, self.num_envs = make, num_envs
        self.rollout_length = rollout_length
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.played: list[Environments] = []  # of this process, one entry for each replica
        self.cost = TrainingCost()
        self.episode_return = keras.metrics.Mean("episode_return")
        self.episode_length = keras.metrics.Mean("episode_length")
        # Averages the losses of examples with their weights, and scales the mean across replicas,
        # as Keras does with a compiled loss.
        self.mean = _Mean(name="mean")
        self.supports_jit = False  # environments cannot be compiled

    def act(
        self, observations: tf.Tensor, seed: tf.Tensor | None, explore: bool = True
    ) -> tf.Tensor:
        """The policy, in the graph: actions `(envs, *action_shape)`.

        Args:
            observations: `(envs, *observation_shape)`.
            seed: A pair of integers for random actions; None if `explore` is False.
            explore: Whether to choose other actions than the best one, too.
        """
        raise NotImplementedError

    def environments(self, seeds: tf.Tensor) -> Environments:
        """The environments of this replica, which are created when its step is first traced.

        Args:
            seeds: A batch of `load_episodes`, which decides how the first episodes begin.
        """
        context = tf.distribute.get_replica_context()
        number = 0
        if context.num_replicas_in_sync > 1:
            number = int(tf.get_static_value(context.replica_id_in_sync_group))
            number %= len(context.strategy.extended.worker_devices)  # of those in this process
        num_envs = self.num_envs // context.num_replicas_in_sync
        while len(self.played) <= number:
            self.played.append(self.make(num_envs))
        if self.played[number].num_envs != num_envs:  # the number of replicas has changed
            self.played[number:] = [self.make(num_envs)]
        environments = self.played[number]
        tf.numpy_function(environments.begin, [seeds[0]], [])
        return environments

    def play(self, environments: Environments, seed: tf.Tensor) -> Rollout:
        """Plays a rollout with exploration, in the graph.

        Args:
            environments: The environments, in which episodes have begun.
            seed: A pair of integers.
        """
        act = functools.partial(self.act, explore=True)
        return collect(act, environments, self.rollout_length, seed)

    def collect(self, environments: Environments) -> Rollout:
        """Plays a rollout with exploration, and updates the metrics of episodes."""
        rollout = self.play(environments, seed_of_replica(self.seed_generator))
        ended = tf.cast(rollout.lengths > 0, tf.float32)
        self.episode_return.update_state(rollout.returns, ended)
        self.episode_length.update_state(rollout.lengths, ended)
        return rollout

    def update(self, examples: tuple[tf.Tensor, Any, tf.Tensor | None]) -> dict[str, tf.Tensor]:
        """One step of the optimizer on the loss of `compute_loss`; returns the metrics.

        Args:
            examples: Inputs, targets and sample weights.
        """
        return super().train_step(examples)

    def env_steps(self) -> int:
        """Steps of the environments of all processes, computed from those of this process."""
        played = sum(environments.num_envs for environments in self.played)
        steps = sum(environments.steps for environments in self.played)
        return steps * self.num_envs // played if played else 0

    def state(self) -> dict[str, Any]:
        """The state of this process, of the types of `suite.training.state.Resumable`."""
        environments = [[played.num_envs, _state_of(played)] for played in self.played]
        return {"cost": dataclasses.asdict(self.cost), "environments": environments}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state; if an environment cannot, begins new episodes with a warning."""
        self.cost = TrainingCost(**state["cost"])
        for number, (num_envs, saved) in enumerate(state["environments"]):
            if len(self.played) <= number or self.played[number].num_envs != num_envs:
                self.played[number:] = [self.make(min(num_envs, self.num_envs))]
            try:
                if saved is None:
                    raise Opaque("it could not be saved")
                self.played[number].restore(saved)
            except Exception as error:  # an environment may raise anything
                self.played[number] = self.make(self.played[number].num_envs)
                log.warning(
                    "New episodes begin: the saved state of the old ones cannot be used (%s).",
                    error,
                )

    def remember(self, trained: "Player") -> None:
        """Takes over what the training of another player has cost."""
        self.cost = trained.cost

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        self.train_function = self.naming_environments(self.train_function)

    def naming_environments(self, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A training function whose errors name the environment that failed, if one did."""

        def guarded(iterator: Any) -> Any:
            with naming_errors(self.played):
                return run(iterator)

        return guarded


def _state_of(environments: Environments) -> Any:
    try:
        return environments.state()
    except Opaque:
        return None


class _Mean(keras.losses.Loss):
    """The mean of losses that are known already."""

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return y_pred
