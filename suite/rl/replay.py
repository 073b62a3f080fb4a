"""A replay of the newest steps, to learn from each of them more than once."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from suite.rl.rollouts import Rollout
from suite.rl.spaces import Spaces


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which transitions a replay samples, and how many rewards each of them adds up.

    Args:
        n_step: Most rewards that a transition adds up; fewer at the end of an episode.
        discount: Weight of the next step's return, in [0, 1].
        priority_exponent: 0 samples every transition with the same probability; 1 in proportion to
            its priority; between them, to its priority to the power of this number.
        importance_exponent: 1 corrects the loss completely for the probabilities by `weights`; 0
            not at all. A function is called with the number of updates so far, in the graph, like
            a schedule of Keras.

    Raises:
        InputError: A value is out of range.

    Reference:
        Schaul et al., 2015, Prioritized Experience Replay, https://arxiv.org/abs/1511.05952
        Sutton, 1988, Learning to Predict by the Methods of Temporal Differences,
        https://doi.org/10.1007/BF00115009
    """

    n_step: int = 1
    discount: float = 0.99
    priority_exponent: float = 0.0
    importance_exponent: float | Callable[[tf.Tensor], tf.Tensor] = 0.4


class Replay:
    """The newest steps of environments that are played side by side, in rings of NumPy arrays.

    Every observation is stored once, whether it is the beginning or the end of a transition; of an
    observation that stacks frames, only the newest frame. Arrays keep the type of their field, such
    as `uint8`, and take memory only as they fill.

    Args:
        capacity: Number of steps over all environments; new ones replace the oldest.
        num_envs: Number of environments.
        spaces: The spaces of the environments.
        sampling: Which transitions are sampled.
    """

    def __init__(
        self, capacity: int, num_envs: int, spaces: Spaces, sampling: Sampling = Sampling()
    ) -> None: ...

    def add(self, rollout: Rollout) -> tf.Tensor:
        """Stores the steps of a rollout, in the graph, and returns the new `size`."""
        ...

    def size(self) -> tf.Tensor:
        """The number of transitions that can be sampled, in the graph."""
        ...

    def sample(
        self, batch_size: int, seed: tf.Tensor, importance_exponent: tf.Tensor | float = 0.4
    ) -> dict[str, tf.Tensor]:
        """Random transitions, with replacement, in the graph.

        Args:
            batch_size: Number of transitions.
            seed: A pair of integers.
            importance_exponent: See `Sampling`.

        Returns:
            By name, the fields of transitions of up to `n_step` steps:
            `observations` `(batch, *observation_shape)`, in which the first action was taken;
            `actions` `(batch, *action_shape)`, these first actions;
            `rewards` `(batch,)` float32, the discounted sum of the rewards;
            `next_observations`, after the last of the steps;
            `terminated` `(batch,)` bool, whether the episode ended with it;
            `discount` `(batch,)` float32, the weight of the return that follows: the discount to
            the power of the number of steps, and 0 after the end of an episode, so that the target
            is `rewards + discount * value of next_observations`;
            `weights` `(batch,)` float32, the weights of the losses, at most 1, all 1 if the
            sampling is uniform;
            `rows` `(batch,)` int64, which `prioritize` takes.
        """
        ...

    def prioritize(self, rows: tf.Tensor, priorities: tf.Tensor) -> tf.Operation:
        """Sets the priorities of sampled transitions, in the graph; new ones get the largest.

        Args:
            rows: `rows` of a sample.
            priorities: `(batch,)`, such as the absolute errors of the values.
        """
        ...

    def state(self) -> dict[str, Any]:
        """The stored steps, as views of the arrays, which are not copied."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replaces the stored steps by those of a state.

        Raises:
            ValueError: The state is of a replay with other fields, or another capacity.
        """
        ...


def check_replay_size(replay_size: int, batch_size: int, num_envs: int, spaces: Spaces) -> None:
    """Checks that a replay has room for a batch, and fits into the memory of the machine.

    Args:
        replay_size: The capacity of the replay, over all replicas.
        batch_size: Transitions of an update.
        num_envs: Number of environments, over all replicas.
        spaces: The spaces of the environments.

    Raises:
        InputError: `replay_size` is less than a batch, or more than memory can hold.
    """
    ...
