"""Windows of a long text for language models: tokens, and the token after each as its target."""

import math

import numpy as np
import tensorflow as tf

from suite.data.examples import Examples
from suite.data.pipelines import Train, generated_batches, stream_seeds
from suite.data.text.tokenizers import PADDING
from suite.errors import InputError


def windows(ids: np.ndarray, length: int, overlap: int = 0) -> Examples:
    """Windows in which every token of a text but the first is the target once.

    Args:
        ids: The text, `(tokens,)`, int32.
        length: Targets of a window. In the last one, `PADDING` fills up what the text lacks.
        overlap: Tokens before the window that are read once more, with `PADDING` as their targets,
            so that a network knows what was before. The first window has none before it, and is
            padded.

    Returns:
        Inputs and targets, `(windows, overlap + length)`, int32.
    """
    starts = np.arange(0, max(len(ids) - 1, 0), length)
    places = np.maximum(starts - overlap, 0)[:, None] + np.arange(overlap + length)
    following = np.pad(ids, (0, overlap + length + 1), constant_values=PADDING)
    inside = (places >= starts[:, None]) & (places < starts[:, None] + length)
    return Examples(following[places], np.where(inside, following[places + 1], PADDING))


def shuffled_windows(ids: np.ndarray, length: int, batch_size: int, seed: int) -> tuple[Train, int]:
    """Windows in random order, which begin at other places in every pass.

    Args:
        ids: The text, `(tokens,)`, int32.
        length: Tokens of a window.
        batch_size: Windows in a batch, over all replicas.
        seed: Seed of order and places.

    Returns:
        `train(step, shard)`, a function of the step, whose batches are tokens and targets
        `(batch, length)`; and the number of steps of a pass, rounded up.

    Raises:
        InputError: The text is shorter than a window.
    """
    if len(ids) <= length:
        raise InputError(
            f"`context` must be less than the number of tokens of the training text, {len(ids):,}",
            length,
        )
    count = max(1, (len(ids) - length) // length)
    offsets = min(length, len(ids) - count * length)
    order_seed, offset_seed = stream_seeds(seed, 2)

    def starts(step: tf.Tensor) -> tf.Tensor:
        number = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        passes, place = tf.cast(number // count, tf.int32), number % count
        place = _shuffled(place, passes, order_seed, count)
        return place * length + _shuffled(tf.zeros_like(place), passes, offset_seed, offsets)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _cut(tokens, starts(step), length)

    tokens = tf.constant(ids, tf.int32)
    return generated_batches(batch), math.ceil(count / batch_size)


def consecutive_windows(
    ids: np.ndarray, length: int, batch_size: int, seed: int
) -> tuple[Train, int]:
    """Windows that go on where those of the step before ended, for truncated backpropagation.

    Each row of a batch reads a part of the text from its begin to its end, then begins again, at
    another place.

    Args:
        ids: The text, `(tokens,)`, int32.
        length: Tokens of a window.
        batch_size: Rows of a batch, and parts of the text.
        seed: Seed of the places at which a pass begins.

    Returns:
        `train(step, shard)`, a function of the step, whose batches are
        `({"ids": ..., "goes_on": ...}, targets)`: tokens and targets `(batch, length)`, and whether
        a row goes on, `(batch,)`, bool; and the number of steps of a pass.

    Raises:
        InputError: The parts of the text are shorter than a window.
    """
    part = (len(ids) - 1) // batch_size
    if part < length:
        raise InputError(
            f"`context` must be at most the {part:,} tokens of each of `batch_size` parts of the "
            "training text",
            length,
        )
    count = max(1, (part - length + 1) // length)
    offsets = min(length, part - count * length + 1)
    (offset_seed,) = stream_seeds(seed, 1)

    def batch(step: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        passes, place = tf.cast(step // count, tf.int32), step % count
        offset = _shuffled(tf.zeros([1], tf.int64), passes[None], offset_seed, offsets)
        rows = tf.range(batch_size, dtype=tf.int64)
        inputs, targets = _cut(tokens, rows * part + place * length + offset, length)
        return {"ids": inputs, "goes_on": tf.fill([batch_size], place > 0)}, targets

    tokens = tf.constant(ids, tf.int32)
    return generated_batches(batch), count


def _cut(tokens: tf.Tensor, starts: tf.Tensor, length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Windows from these places, and the tokens after each of theirs, `(batch, length)`."""
    both = tf.gather(tokens, starts[:, None] + tf.range(length + 1, dtype=tf.int64))
    both = tf.ensure_shape(both, (None, length + 1))
    return both[:, :-1], both[:, 1:]


def _shuffled(place: tf.Tensor, passes: tf.Tensor, seed: int, count: int) -> tf.Tensor:
    """Places `(n,)` below `count` in the random order of their passes `(n,)`."""
    zeros = tf.zeros_like(passes)
    # `tf.random.experimental.index_shuffle` takes one seed for all places.
    return tf.raw_ops.RandomIndexShuffle(
        index=place,
        seed=tf.stack([zeros, passes, zeros + seed], axis=1),
        max_index=tf.constant(count - 1, place.dtype),
    )
