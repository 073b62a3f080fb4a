"""A replay buffer of transitions, to learn from each of them more than once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from suite.rl.spaces import Spaces


class ReplayBuffer:
    """The newest transitions, in a ring buffer of NumPy arrays, one array for each field.

    The arrays are no variables of TensorFlow, keep the type of the field, such as `uint8`, and take
    memory only as they fill.

    Args:
        capacity: Number of transitions; new ones replace the oldest.
        fields: Shape and type of one row of each field, by name.
    """

    def __init__(self, capacity: int, fields: Mapping[str, tf.TensorSpec]) -> None:
        self.capacity, self.fields = capacity, dict(fields)
        self._arrays = {
            name: np.zeros((capacity, *spec.shape), spec.dtype.as_numpy_dtype)
            for name, spec in fields.items()
        }
        self._next = self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Stores rows `(n, ...)`, in the graph, and returns the new number of rows."""
        size = tf.numpy_function(self._add, [rows[name] for name in self.fields], tf.int64)
        size.set_shape(())
        return size

    def size(self) -> tf.Tensor:
        """The number of stored rows, in the graph."""
        size = tf.numpy_function(lambda: np.int64(self._size), [], tf.int64)
        size.set_shape(())
        return size

    def sample(self, batch_size: int, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Random rows `(batch_size, ...)`, uniform and with replacement, in the graph.

        Args:
            batch_size: Number of rows.
            seed: A pair of integers.
        """
        rows = tf.random.stateless_uniform([batch_size], seed, 0, self.size(), dtype=tf.int64)
        types = [spec.dtype for spec in self.fields.values()]
        tensors = tf.numpy_function(
            lambda rows: [array[rows] for array in self._arrays.values()], [rows], types
        )
        for tensor, spec in zip(tensors, self.fields.values(), strict=True):
            tensor.set_shape((batch_size, *spec.shape))
        return dict(zip(self.fields, tensors, strict=True))

    def state(self) -> dict[str, Any]:
        """The stored rows, as views of the arrays, which are not copied."""
        return {
            "next": self._next,
            "arrays": {name: array[: self._size] for name, array in self._arrays.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replaces the stored rows by those of a state.

        Raises:
            ValueError: The state is of a replay with other fields, or another capacity.
        """
        arrays = {name: np.asarray(state["arrays"][name]) for name in self._arrays}
        sizes = {len(array) for array in arrays.values()}
        shapes_fit = all(
            array.shape[1:] == tuple(self.fields[name].shape) for name, array in arrays.items()
        )
        size, following = max(sizes), int(state["next"])
        full = size == self.capacity
        if len(sizes) > 1 or not shapes_fit or size > self.capacity:
            raise ValueError("the state of another replay")
        if not (0 <= following < self.capacity if full else following == size):
            raise ValueError("the state of a replay of another capacity")
        for name, array in arrays.items():
            self._arrays[name][:size] = array
        self._next, self._size = following, size

    def _add(self, *columns: np.ndarray) -> np.int64:
        number = len(columns[0])
        rows = (self._next + np.arange(number)[-self.capacity :]) % self.capacity
        for array, column in zip(self._arrays.values(), columns, strict=True):
            array[rows] = column[-self.capacity :]
        self._next = (self._next + number) % self.capacity
        self._size = min(self._size + number, self.capacity)
        return np.int64(self._size)


def transition_buffer(capacity: int, spaces: Spaces) -> ReplayBuffer:
    """A replay with the fields of `suite.rl.rollouts.transitions`.

    Args:
        capacity: Number of transitions.
        spaces: The spaces of the environments.
    """
    observation = tf.TensorSpec(spaces.observation_shape, spaces.observation_dtype)
    return ReplayBuffer(
        capacity,
        {
            "observations": observation,
            "actions": tf.TensorSpec(spaces.action_shape, spaces.action_dtype),
            "rewards": tf.TensorSpec((), tf.float32),
            "terminated": tf.TensorSpec((), tf.bool),
            "next_observations": observation,
        },
    )
