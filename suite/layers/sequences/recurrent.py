"""Recurrent layers on top of each other, whose states go in and come out."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import layers, ops

Cell = Literal["rnn", "lstm", "gru"]
LAYERS = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}

States = list[list[Any]]  # for each layer its states, (batch, units)


# `keras.layers.RNN` of several cells takes states, too, but never the fused kernels that `LSTM` and
# `GRU` have on a GPU.
@keras.saving.register_keras_serializable(package="suite")
class RecurrentStack(keras.layers.Layer):
    """Recurrent layers on top of each other.

    `layer(x, states, mask=None)` takes features `(batch, time, features)`, the states that each
    layer begins with, by default zeros, and a mask `(batch, time)` that is true where there is a
    token; states pass over the others unchanged. It returns the outputs of the last layer
    `(batch, time, units)` and the next states. So the states of an encoder start a decoder, those
    of a window of text start the next window, and a step of decoding is a sequence of one token.

    States are a list, for each layer, of a list of tensors `(batch, units)`: one for `rnn` and
    `gru`, and two, output and carry, for `lstm`.

    Args:
        cell: `rnn`, `lstm` or `gru`.
        units: Units of every layer, from the first on.
        dropout: The rate at which inputs of every layer but the first are dropped in training.
        recurrent_dropout: The rate at which the outputs that go into the next step are dropped, the
            same ones in all steps of a sequence.

    Reference:
        Hochreiter and Schmidhuber, 1997, Long Short-Term Memory; Gal and Ghahramani, 2015, A
        Theoretically Grounded Application of Dropout in Recurrent Neural Networks,
        https://arxiv.org/abs/1512.05287
    """

    def __init__(
        self,
        cell: Cell,
        units: Sequence[int],
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.supports_masking = True
        self.cell, self.units = cell, tuple(units)
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.recurrent = [
            LAYERS[cell](
                size,
                return_sequences=True,
                return_state=True,
                dropout=dropout if number else 0.0,
                recurrent_dropout=recurrent_dropout,
                name=f"{cell}_{number}",
                dtype=self.dtype_policy,
            )
            for number, size in enumerate(self.units)
        ]

    def build(self, x_shape: tuple[int | None, ...], states_shape: Any = None) -> None:
        for recurrent, size in zip(self.recurrent, self.units, strict=True):
            recurrent.build(x_shape)
            x_shape = (*x_shape[:-1], size)

    def call(
        self,
        x: Any,
        states: States | None = None,
        mask: Any = None,
        *,
        training: bool | None = None,
    ) -> tuple[Any, States]:
        following: States = []
        for number, recurrent in enumerate(self.recurrent):
            initial = None if states is None else list(states[number])
            x, *ends = recurrent(x, initial_state=initial, mask=mask, training=training)
            following.append(ends)
        return ops.copy(x), following  # without the mask that Keras's layer has put on it

    def compute_mask(self, *_: Any) -> None:
        """Masks are given where they are used, and not handed on."""

    def zero_states(self, rows: Any) -> States:
        """The states before the first token."""
        count = 2 if self.cell == "lstm" else 1
        return [
            [ops.zeros((rows, size), self.compute_dtype) for _ in range(count)]
            for size in self.units
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cell": self.cell,
            "units": self.units,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
        }
