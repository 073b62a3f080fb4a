"""The most probable sequence: greedily, or by beam search."""

from collections.abc import Callable

import tensorflow as tf

from suite.data.text.tokenizers import END, PADDING, START
from suite.decoding.stepper import Decoded, State, Stepper
from suite.errors import InputError

NEVER = -1e9  # instead of minus infinity, of which differences would not be numbers
Choose = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def greedy(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    *,
    prompt: tf.Tensor | None = None,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Takes the most probable token in every step.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, with room for the prompt and `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence, `END` included. A longer one is cut there.
        prompt: As in `decode`.
        never: As in `decode`.
    """

    def most_probable(logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    return decode(
        stepper, state, rows, max_length, most_probable, prompt=prompt, never=never
    )


def beam(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    *,
    beams: int,
    length_penalty: float = 0.0,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Follows the best sequences side by side, and returns the best of every row.

    Sequences are compared by their log-probability over `((5 + tokens) / 6) ** length_penalty`.
    One that has ended stays among the best until better ones push it out. The search ends when no
    sequence that goes on can become better than the best that has ended. If none has ended within
    `max_length`, the best of those that are cut there is returned.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, one row for each sequence, with room for
            `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence, `END` included.
        beams: Number of sequences that are followed in each row; one is the greedy search.
        length_penalty: 0 prefers short sequences, as log-probabilities do; larger ones long ones.
        never: As in `decode`.

    Raises:
        InputError: `beams` is below 1, or `length_penalty` below 0.

    Reference:
        Wu et al., 2016, Google's Neural Machine Translation System (the length penalty),
        https://arxiv.org/abs/1609.08144
    """
    raise NotImplementedError


def decode(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    choose: Choose,
    *,
    prompt: tf.Tensor | None = None,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Lets a function choose every token, until all rows have ended.

    No row depends on which others are in the batch.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, with room for the prompt and `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence after its prompt, `END` included.
        choose: Takes logits `(rows, vocabulary)`, float32, and the number of tokens that each row
            has so far `(rows,)`, negative within a prompt. Returns tokens `(rows,)`, int32.
        prompt: Tokens that the rows begin with `(rows, time)`, at least one in each, `PADDING`
            behind them; by default `START`. They are read, but neither returned nor scored.
        never: Tokens that are not chosen.
    """
    raise NotImplementedError
