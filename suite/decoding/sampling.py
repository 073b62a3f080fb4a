"""Draws sequences token by token, from the probabilities that a network predicts."""

import numpy as np
import tensorflow as tf

from suite.data.text.tokenizers import PADDING, START
from suite.decoding.search import decode
from suite.decoding.stepper import Decoded, State, Stepper
from suite.errors import InputError

HOTTEST = 100  # much hotter, tokens that never come would be as probable as all others


def sample(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    *,
    seed: int | tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    top_k: int | tf.Tensor | None = None,
    top_p: float | tf.Tensor | None = None,
    prompt: tf.Tensor | None = None,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Draws every token at random, the same ones for the same seed.

    Each knob is a number, or a tensor with one for each row, as a server's requests have them. A
    row depends on its seed only, and not on which others are in the batch.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, with room for the prompt and `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence after its prompt, `END` included.
        seed: A number for all rows, which then differ, or one for each, `(rows,)`.
        temperature: What logits are divided by, greater than 0, at most `HOTTEST`; below 1 the
            probable tokens become more probable, above 1 less.
        top_k: The number of most probable tokens that are drawn from.
        top_p: In (0, 1]. Tokens are drawn from the smallest set of most probable ones that have
            this probability together.
        prompt: As in `decode`.
        never: As in `decode`.

    Raises:
        InputError: A number is out of its range. In a tensor, it is an error of the graph.

    Reference:
        Holtzman et al., 2019, The Curious Case of Neural Text Degeneration (top-p),
        https://arxiv.org/abs/1904.09751; Fan, Lewis and Dauphin, 2018, Hierarchical Neural Story
        Generation (top-k), https://arxiv.org/abs/1805.04833
    """
    _check(
        (temperature > 0) & (temperature <= HOTTEST),
        f"`temperature` must be greater than 0, at most {HOTTEST}",
        temperature,
    )
    if top_k is not None:
        _check(top_k >= 1, "`top_k` must be at least 1", top_k)
    if top_p is not None:
        _check((top_p > 0) & (top_p <= 1), "`top_p` must be greater than 0, at most 1", top_p)
    numbers = _uniform(seed, rows, max_length)

    def draw(logits: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        place = tf.clip_by_value(place, 0, max_length - 1)  # beyond them in a row that has ended
        number = tf.gather(numbers, place, batch_dims=1)[:, None]
        logits = logits / _column(temperature, tf.float32)
        if top_k is None and top_p is None:
            return _inverse(tf.nn.softmax(logits), number)
        probabilities, tokens = cut(logits, top_k, top_p)
        return tf.gather(tokens, _inverse(probabilities, number), batch_dims=1)

    return decode(stepper, state, rows, max_length, draw, prompt=prompt, never=never)


def cut(
    logits: tf.Tensor, top_k: int | tf.Tensor | None, top_p: float | tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Probabilities of the most probable tokens, first by `top_k`, then by `top_p` of what is left.

    Of equally probable tokens, those with the smaller number come first.

    Args:
        logits: `(rows, vocabulary)`.
        top_k: As in `sample`.
        top_p: As in `sample`.

    Returns:
        Probabilities in falling order, 0 where cut, and their tokens, both `(rows, vocabulary)`.
    """
    logits, tokens = tf.math.top_k(logits, tf.shape(logits)[-1])
    if top_k is not None:
        kept = tf.range(tf.shape(logits)[-1]) < _column(top_k, tf.int32)
        logits = tf.where(kept, logits, -np.inf)
    probabilities = tf.nn.softmax(logits)
    if top_p is not None:
        before = tf.cumsum(probabilities, axis=-1, exclusive=True)
        probabilities = tf.where(before < _column(top_p, tf.float32), probabilities, 0.0)
    return probabilities, tokens


def _inverse(probabilities: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """The place where the sum of probabilities `(rows, n)` exceeds a part of it, `(rows,)`."""
    sums = tf.cumsum(probabilities, axis=-1)
    return tf.reduce_sum(tf.cast(sums <= number * sums[:, -1:], tf.int32), axis=-1)


def _uniform(seed: int | tf.Tensor, rows: int | tf.Tensor, count: int) -> tf.Tensor:
    """Numbers in [0, 1), `(rows, count)`: those of a row depend on its seed only."""
    seed = tf.cast(seed, tf.int32)
    if seed.shape.rank == 0:
        pairs = tf.stack([tf.fill((rows,), seed), tf.range(rows)], axis=1)
    else:
        pairs = tf.stack([seed, tf.zeros_like(seed)], axis=1)
    return tf.map_fn(
        lambda pair: tf.random.stateless_uniform((count,), pair),
        pairs,
        fn_output_signature=tf.TensorSpec((None,), tf.float32),
    )


def _column(knob: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """A knob `()` or `(rows,)` as a column beside `(rows, vocabulary)`."""
    return tf.reshape(tf.cast(knob, dtype), (-1, 1))


def _check(holds: bool | tf.Tensor, requirement: str, received: float | tf.Tensor) -> None:
    if tf.is_tensor(holds):
        tf.debugging.Assert(tf.reduce_all(holds), [requirement])
    elif not holds:
        raise InputError(requirement, received)
