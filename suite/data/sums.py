"""Pairs of binary numbers and their sums, bit by bit, least significant first.

Made on the fly from the seed, a share of them with long carry chains, which random pairs hardly
ever have. All pairs of 8 bits are kept for the test: at least one number of a training pair is
longer.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from suite.data.examples import (
    LEAST_STEPS,
    Data,
    Shard,
    Split,
    batches,
    fingerprint,
    refuse_uneven_shards,
    streams,
)
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

TEST_BITS = 8
VALIDATION_BITS = 64
LONGEST_TRAINING_BITS = 62  # with the sum in an int64
# The pairs of the evaluation are the same for every seed, so that seeds can be compared.
EVALUATION_SEED = 0


def load_sums(run: "Run", batch_size: int, *, longest: int, chains: float) -> Data:
    """Trains on pairs of 9 bits and more, validates on 64, and tests on all pairs of 8 bits.

    Args:
        run: Says `data` and `seed`.
        batch_size: Pairs per step, over all replicas.
        longest: Bits of the longest numbers to train on.
        chains: Share of the training pairs in which one carry is passed on from bit to bit.

    Raises:
        InputError: Another source is asked for.
    """
    if run.data not in ("auto", "embedded", "synthetic"):
        raise InputError(
            f"--data must be auto: the pairs are made by the program. Received: {run.data}"
        )
    (seed,) = streams(run.seed, 1)
    validation = written(random_pairs(1000, VALIDATION_BITS), VALIDATION_BITS)
    every_number = range(2**TEST_BITS)
    test = written(((a, b) for a in every_number for b in every_number), TEST_BITS)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return training_batch(batch_size, longest, chains, tf.stack([step, seed]))

    def train(step: int, shard: Shard = Shard()) -> tf.data.Dataset:  # noqa: B008
        refuse_uneven_shards("batch_size", batch_size, shard)
        numbers = tf.data.Dataset.counter(step)
        made = shard.of(numbers.map(batch, tf.data.AUTOTUNE, deterministic=True))
        return made.prefetch(tf.data.AUTOTUNE)

    return Data(
        train=train,
        steps_per_epoch=LEAST_STEPS,
        examples_per_step=batch_size,
        validation=batches(validation),
        test=batches(test, 2**14),
        model_arguments={},
        description={
            "source": "synthetic:sums",
            "fingerprint": fingerprint(validation, test),
            "train": LEAST_STEPS * batch_size,
            "validation": validation.num_examples,
            "test": test.num_examples,
        },
    )


def training_batch(
    batch_size: int, longest: int, chains: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One batch of pairs and sums, of 9 to `longest` bits.

    Args:
        batch_size: Number of pairs.
        longest: Bits of the longest numbers, in 9..62.
        chains: Share of the pairs in which one carry is passed on from bit to bit.
        seed: A pair of integers; decides all.

    Returns:
        The bits `(batch, longest + 1, 2)` and those of the sums `(batch, longest + 1)`, float32.
    """

    def draw(number: int, width: int, largest: int, least: int = 0) -> tf.Tensor:
        own = tf.random.experimental.stateless_fold_in(seed, number)
        return tf.random.stateless_uniform([batch_size, width], own, least, largest + 1, tf.int64)

    position = tf.range(longest, dtype=tf.int64)
    a, b = draw(0, longest, 1), draw(1, longest, 1)
    # Both bits at the start of a chain are the carry; the unequal ones above it pass it on.
    start, carry = draw(2, 1, longest), draw(3, 1, 1)
    chained = tf.range(batch_size)[:, None] < round(chains * batch_size)
    a, b = (tf.where(chained & (position == start), carry, bits) for bits in (a, b))
    b = tf.where(chained & (position > start), 1 - a, b)
    length = draw(4, 1, longest, TEST_BITS + 1)
    inside = tf.cast(position < length, tf.int64)
    a, b = a * inside, b * inside
    short = tf.reduce_max((a + b)[:, TEST_BITS:], axis=1, keepdims=True) == 0
    a = tf.maximum(a, tf.cast(short & (position == length - 1), tf.int64))

    total = tf.reduce_sum(tf.bitwise.left_shift(a + b, position), axis=1, keepdims=True)
    sums = tf.bitwise.right_shift(total, tf.range(longest + 1, dtype=tf.int64)) % 2
    pairs = tf.pad(tf.stack([a, b], axis=-1), [[0, 0], [0, 1], [0, 0]])
    return tf.cast(pairs, tf.float32), tf.cast(sums, tf.float32)


def random_pairs(count: int, length: int) -> list[tuple[int, int]]:
    """The same pairs of numbers of `length` bits each time; through a quarter runs one carry.

    Of those the first is all ones plus one; the others spread their ones over both numbers.
    """
    random = np.random.default_rng([EVALUATION_SEED, length])
    ones = 2**length - 1

    def number() -> int:
        return int.from_bytes(random.bytes(length // 8 + 1), "little") & ones

    chains = [(a, (ones ^ a) | 1) for a in (number() | 1 for _ in range(count // 4 - 1))]
    return [(ones, 1), *chains, *((number(), number()) for _ in range(count - count // 4))]


def written(pairs: Iterable[tuple[int, int]], length: int) -> Split:
    """The bits of pairs `(n, length + 1, 2)` and of their sums `(n, length + 1)`."""
    rows = [[bits(number, length + 1) for number in (a, b, a + b)] for a, b in pairs]
    a, b, total = np.moveaxis(np.asarray(rows, np.float32), 1, 0)
    return Split(np.stack([a, b], axis=-1), total)


def carries(pairs: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Which bits of the sum a carry came into, `(n, time)`, of what `written` gives."""
    return (pairs.sum(axis=2) % 2 == 1) != (sums == 1)


def longest_run(marks: np.ndarray) -> np.ndarray:
    """The length of the longest run of True in each row, `(n,)`."""
    run = longest = np.zeros(len(marks), int)
    for column in marks.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    return longest


def bits(number: int, count: int) -> np.ndarray:
    """The lowest `count` bits of a number that is not negative, uint8."""
    raw = np.frombuffer(number.to_bytes(count // 8 + 1, "little"), np.uint8)
    return np.unpackbits(raw, bitorder="little", count=count)


def number(bits: np.ndarray) -> int:
    """The number that these bits make up."""
    return int.from_bytes(np.packbits(bits.astype(bool), bitorder="little").tobytes(), "little")
