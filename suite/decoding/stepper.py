"""What decoding needs of a network: where it starts, and one step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

State = Any  # a structure of tensors


class Stepper(NamedTuple):
    """A network that predicts the next token, one token at a time.

    A state is a tuple, list or dict, of any depth, of tensors whose first axis is the rows, that
    is the sequences of a batch: keys and values, recurrent states, the memory of an encoder, its
    mask. A step leaves structure, shapes and types as they are. It returns the very tensors that
    it does not change, so that the search does not copy them.

    Args:
        start: Takes the network's inputs, such as the ids of a sentence, and returns the state
            before the first token. It makes room for all steps; `index` counts them from 0.
        step: Takes the last tokens `(rows,)`, int32, their position `index`, an int32 scalar, and
            the state. Returns the logits of the next tokens `(rows, vocabulary)` and the next
            state.
    """

    start: Callable[..., State]
    step: Callable[[tf.Tensor, tf.Tensor, State], tuple[tf.Tensor, State]]


class Decoded(NamedTuple):
    """Sequences that a stepper made.

    Args:
        ids: Tokens `(rows, length)`, int32, without those that the sequence began with. A row that
            has ended has its `END`, then `PADDING`; `length` is that of the longest row.
        scores: Log-probability of a row's tokens by the network, in nats, `END` included,
            `(rows,)`, float32.
    """

    ids: tf.Tensor
    scores: tf.Tensor
