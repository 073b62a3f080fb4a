"""Truncated backpropagation through time: windows that go on with the states of those before."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from suite.app import Objective
from suite.errors import InputError
from suite.layers.networks import NetworksModel


class Recurrence(NamedTuple):
    """A network that reads on from given states.

    Args:
        read: `read(ids, states, training)` reads ids `(batch, time)` and returns logits
            `(batch, time, tokens)` and the next states.
        start: `start(batch)` returns the states before a text, a structure of tensors
            `(batch, ...)`.
    """

    read: Callable[..., tuple[Any, Any]]
    start: Callable[[int], Any]


class TruncatedBackpropagation(NetworksModel):
    """Trains a recurrent network on windows, each of which begins with the states before it.

    The gradient ends at the beginning of a window; what the network remembers does not. Batches
    have inputs `{"ids": ..., "goes_on": ...}`: tokens `(batch, time)`, and whether a row goes on
    where it ended in the batch before, `(batch,)`. Outside of training the inputs are tokens alone,
    and every row begins anew.

    Args:
        network: Maps `ids` `(batch, time)` to logits.
        recurrence: The same network, with its states.
        batch_size: Rows of a batch.

    Raises:
        InputError: There are several replicas, none of which would know the states of the others.

    Reference:
        Williams and Peng, 1990, An Efficient Gradient-Based Algorithm for On-Line Training of
        Recurrent Network Trajectories, https://doi.org/10.1162/neco.1990.2.4.490
    """

    def __init__(self, network: keras.Model, recurrence: Recurrence, batch_size: int) -> None:
        super().__init__()
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise InputError("`carry` must be left out on several replicas", True)
        self.network, self.recurrence = network, recurrence
        states = recurrence.start(batch_size)
        self.carried = [
            self.add_weight(
                shape=tuple(state.shape),
                initializer="zeros",
                dtype=keras.backend.standardize_dtype(state.dtype),
                trainable=False,
                name=f"state_{number}",
            )
            for number, state in enumerate(keras.tree.flatten(states))
        ]
        self._pack = functools.partial(keras.tree.pack_sequence_as, states)
        self._ends: tuple[Any, ...] = ()
        self.built = True  # the network is

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Logits `(batch, time, tokens)`."""
        if not isinstance(inputs, Mapping):
            return self.network(inputs, training=training)
        kept = inputs["goes_on"][:, None]
        begins = [
            tf.where(kept, tf.convert_to_tensor(state), tf.zeros_like(state))
            for state in self.carried
        ]
        logits, ends = self.recurrence.read(inputs["ids"], self._pack(begins), training)
        self._ends = tuple(keras.tree.flatten(ends))
        return logits

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        logs = super().train_step(data)
        for state, end in zip(self.carried, self._ends, strict=True):
            state.assign(end)
        self._ends = ()  # tensors of the graph must not outlive it
        return logs

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The loss of windows that begin with the present states."""
        return {"loss": Objective.of(self, batch)}
