"""Worlds in which many agents play side by side, in the graph: simulated, or of Gymnasium.

Both worlds have the same three methods. `begin` starts new episodes, `observe` returns the numbers
of the observations, and `move` takes one step in every episode and begins the next one where one is
over.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from suite.rl.environments import Environments
from suite.rl.tabular.dynamics import Dynamics, Task


class Draws(NamedTuple):
    """The random numbers of a step, uniform between 0 and 1.

    Args:
        outcome: Decides which outcome an action has, `(agents,)`.
        start: Decides where the next episode begins, `(agents,)`.
        explores: Decides whether an agent explores, `(agents,)`.
        table: Decides which of two tables learns, `(agents,)`.
        actions: Random preferences of actions, `(agents, actions)`.
    """

    outcome: tf.Tensor
    start: tf.Tensor
    explores: tf.Tensor
    table: tf.Tensor
    actions: tf.Tensor


def draw(num_agents: int, num_actions: int, seed: tf.Tensor) -> Draws:
    """Draws the numbers of a step; `seed` is a pair of integers."""
    numbers = tf.random.stateless_uniform((4 + num_actions, num_agents), seed)
    outcome, start, explores, table = tf.unstack(numbers[:4])
    return Draws(outcome, start, explores, table, tf.transpose(numbers[4:]))


class Place(NamedTuple):
    """Where agents are.

    Args:
        state: The states of the environment, `(agents,)`, int32.
        steps_left: Steps left until their episodes are cut off, `(agents,)`, int32.
    """

    state: tf.Tensor
    steps_left: tf.Tensor


class Step(NamedTuple):
    """The results of a step.

    Args:
        observed: The numbers of the observations after the step, `(agents,)`, int32.
        rewards: `(agents,)`, of the type that Keras computes in.
        terminated: Whether the episode has ended, so that nothing follows, `(agents,)`, bool.
        over: Whether the episode has ended or was cut off, `(agents,)`, bool.
        valid: False for a step that only began an episode, `(agents,)`, bool.
        place: Where the agents are for the next step: in the next episode, if one is over.
    """

    observed: tf.Tensor
    rewards: tf.Tensor
    terminated: tf.Tensor
    over: tf.Tensor
    valid: tf.Tensor
    place: Place


class Simulation:
    """Episodes simulated from the dynamics, without an environment.

    Args:
        dynamics: What actions lead to.
        limit: Steps after which an episode is cut off.
        num_agents: Number of agents.
        dtype: Type of the rewards.
    """

    def __init__(self, dynamics: Dynamics, limit: int, num_agents: int, dtype: str) -> None:
        self.limit, self.num_agents = limit, num_agents
        self.num_actions, self.num_outcomes = dynamics.probability.shape[1:]
        size = dynamics.probability.shape[0] * self.num_actions
        sums = np.cumsum(dynamics.probability, axis=-1)[..., :-1]
        thresholds = np.where(sums < 1 - 1e-9, sums, 2.0)  # no probability: never drawn
        self._thresholds = tf.constant(thresholds.reshape(size, -1), tf.float32)
        self._following = tf.constant(dynamics.following.ravel())
        self._rewards = tf.constant(dynamics.reward.ravel(), dtype)
        self._terminated = tf.constant(dynamics.terminated.ravel())
        self._observed = tf.constant(dynamics.observed)
        starts = np.flatnonzero(dynamics.start)
        self._starts = tf.constant(starts, tf.int32)
        sums = np.cumsum(dynamics.start[starts])
        self._start_thresholds = tf.constant([*sums[:-1], 2.0], tf.float32)

    def begin(self, draws: Draws) -> Place:
        """The first states of new episodes."""
        return Place(self._started(draws), tf.fill([self.num_agents], self.limit))

    def observe(self, place: Place) -> tf.Tensor:
        """The numbers of the observations, `(agents,)`."""
        return tf.gather(self._observed, place.state)

    def move(self, place: Place, actions: tf.Tensor, draws: Draws) -> Step:
        """One step of every agent.

        Args:
            place: Where they are.
            actions: `(agents,)`, int32.
            draws: The random numbers of the step.
        """
        index = place.state * self.num_actions + actions
        passed = draws.outcome[:, None] >= tf.gather(self._thresholds, index)
        outcome = tf.reduce_sum(tf.cast(passed, tf.int32), axis=1)
        index = index * self.num_outcomes + outcome
        state, terminated = tf.gather(self._following, index), tf.gather(self._terminated, index)
        steps_left = place.steps_left - 1
        over = terminated | (steps_left == 0)
        return Step(
            observed=tf.gather(self._observed, state),
            rewards=tf.gather(self._rewards, index),
            terminated=terminated,
            over=over,
            valid=tf.ones_like(over),
            place=Place(
                tf.where(over, self._started(draws), state), tf.where(over, self.limit, steps_left)
            ),
        )

    def _started(self, draws: Draws) -> tf.Tensor:
        begun = tf.searchsorted(self._start_thresholds, draws.start, side="right")
        return tf.gather(self._starts, tf.reshape(begun, [self.num_agents]))


class Gameplay:
    """Episodes in copies of the environment, which the graph calls at every step.

    Args:
        environments: The copies; they cut episodes off themselves.
        task: What is known about the environment.
        dtype: Type of the rewards.
    """

    def __init__(self, environments: Environments, task: Task, dtype: str) -> None:
        self.environments, self.task, self.dtype = environments, task, dtype
        self.limit, self.num_agents = task.limit, environments.num_envs

    def begin(self, draws: Draws) -> Place:
        """The first states of new episodes."""

        def reset(number: np.ndarray) -> np.ndarray:
            return self.task.states_of(self.environments.reset(int(number * (2**31 - 1))))

        state = tf.numpy_function(reset, [draws.start[0]], tf.int32)
        state.set_shape([self.num_agents])
        return Place(state, tf.fill([self.num_agents], self.limit))

    def observe(self, place: Place) -> tf.Tensor:
        """The numbers of the observations, `(agents,)`."""
        return place.state

    def move(self, place: Place, actions: tf.Tensor, draws: Draws) -> Step:
        """One step of every agent; the step after the end of an episode begins the next one.

        Args:
            place: Where they are.
            actions: `(agents,)`, int32.
            draws: Not used: the environments draw for themselves.
        """

        def step(actions: np.ndarray) -> tuple[np.ndarray, ...]:
            observations, rewards, terminated, truncated, valid, *_ = self.environments.step(
                actions
            )
            return self.task.states_of(observations), rewards, terminated, truncated, valid

        types = [tf.int32, tf.float32, tf.bool, tf.bool, tf.bool]
        outputs = tf.numpy_function(step, [actions], types)
        for output in outputs:
            output.set_shape([self.num_agents])
        state, rewards, terminated, truncated, valid = outputs
        steps_left = tf.where(valid, tf.maximum(place.steps_left - 1, 1), self.limit)
        return Step(
            observed=state,
            rewards=tf.cast(rewards, self.dtype),
            terminated=terminated,
            over=terminated | truncated,
            valid=valid,
            place=Place(state, steps_left),
        )
