"""Pairs of binary numbers and their sums, bit by bit, least significant first.

Training pairs are computed from the seed, step by step. In a share of them all bits above a random
place pass on what comes in, a carry or none, so that long chains are less rare than in random
pairs. All pairs of 8-bit numbers belong to the test split, so at least one number of every training
pair is longer.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from suite.data.examples import Description, Examples, fingerprint
from suite.data.pipelines import Data, generated_batches, stream_seeds
from suite.data.sources import refuse_given_data

if TYPE_CHECKING:
    from suite.run import Run

STEPS_PER_EPOCH = 100
TEST_BITS = 8
VALIDATION_BITS = 64
LONGEST_TRAINING_BITS = 62  # the sum must fit into an int64
# Validation and test pairs do not depend on the seed of a run, so that runs can be compared.
EVALUATION_SEED = 0


def load_sums(run: "Run", batch_size: int, *, longest: int, chains: float) -> Data:
    """Trains on pairs of 9 bits and more, validates on 64, and tests on all pairs of 8 bits.

    Args:
        run: The run, for its `data` and `seed`.
        batch_size: Pairs per step, over all replicas.
        longest: Bits of the longest training numbers.
        chains: Share of the training pairs with one chain, of carries or of none.

    Raises:
        InputError: `run.data` names another source.
    """
    refuse_given_data(run, "the pairs are")
    (seed,) = stream_seeds(run.seed, 1)
    validation = encode_pairs(random_pairs(1000, VALIDATION_BITS), VALIDATION_BITS)
    every_number = range(2**TEST_BITS)
    test = encode_pairs(((a, b) for a in every_number for b in every_number), TEST_BITS)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return training_batch(batch_size, longest, chains, tf.stack([step, seed]))

    return Data(
        train=generated_batches(batch),
        steps_per_epoch=STEPS_PER_EPOCH,
        batch_size=batch_size,
        even_shards=True,
        splits={"validation": validation, "test": test},
        evaluation_batch_size=2**14,
        description=Description(
            source="synthetic:sums",
            fingerprint=fingerprint(validation, test),
            train=STEPS_PER_EPOCH * batch_size,
            validation=validation.num_examples,
            test=test.num_examples,
        ),
    )


def training_batch(
    batch_size: int, longest: int, chains: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws one batch of pairs of 9 to `longest` bits, and their sums.

    Args:
        batch_size: Number of pairs.
        longest: Bits of the longest numbers, in 9..62.
        chains: Share of the pairs with one chain, of carries or of none.
        seed: A pair of integers; the same pair gives the same batch.

    Returns:
        The bits of the pairs `(batch, longest + 1, 2)` and of the sums `(batch, longest + 1)`,
        float32.
    """

    def draw(stream: int, width: int, largest: int, smallest: int = 0) -> tf.Tensor:
        stream_seed = tf.random.experimental.stateless_fold_in(seed, stream)
        shape = [batch_size, width]
        return tf.random.stateless_uniform(shape, stream_seed, smallest, largest + 1, tf.int64)

    position = tf.range(longest, dtype=tf.int64)
    a, b = draw(0, longest, 1), draw(1, longest, 1)
    # Both bits at the start of a chain equal the carry; the bits above it differ, so that they pass
    # the carry on.
    start, carry = draw(2, 1, longest), draw(3, 1, 1)
    chained = tf.range(batch_size)[:, None] < round(chains * batch_size)
    a, b = (tf.where(chained & (position == start), carry, bits) for bits in (a, b))
    b = tf.where(chained & (position > start), 1 - a, b)
    length = draw(4, 1, longest, TEST_BITS + 1)
    used = tf.cast(position < length, tf.int64)
    a, b = a * used, b * used
    # Pairs in which both numbers have at most 8 bits belong to the test split.
    short = tf.reduce_max((a + b)[:, TEST_BITS:], axis=1, keepdims=True) == 0
    a = tf.maximum(a, tf.cast(short & (position == length - 1), tf.int64))

    total = tf.reduce_sum(tf.bitwise.left_shift(a + b, position), axis=1, keepdims=True)
    sums = tf.bitwise.right_shift(total, tf.range(longest + 1, dtype=tf.int64)) % 2
    pairs = tf.pad(tf.stack([a, b], axis=-1), [[0, 0], [0, 1], [0, 0]])
    return tf.cast(pairs, tf.float32), tf.cast(sums, tf.float32)


def random_pairs(count: int, length: int) -> list[tuple[int, int]]:
    """Pairs of numbers of `length` bits, the same in every call.

    In a quarter of them one carry runs through all bits. The first of these adds 1 to a number of
    ones alone; in the others every bit above the lowest is 1 in exactly one of the two numbers.

    Returns:
        `count` pairs of Python integers: the chains first, then pairs of uniformly random bits.
    """
    random = np.random.default_rng([EVALUATION_SEED, length])
    ones = 2**length - 1

    def random_number() -> int:
        return int.from_bytes(random.bytes(length // 8 + 1), "little") & ones

    chains = [(a, (ones ^ a) | 1) for a in (random_number() | 1 for _ in range(count // 4 - 1))]
    return [
        (ones, 1),
        *chains,
        *((random_number(), random_number()) for _ in range(count - count // 4)),
    ]


def encode_pairs(pairs: Iterable[tuple[int, int]], length: int) -> Examples:
    """Encodes pairs as bits `(n, length + 1, 2)`, and their sums as bits `(n, length + 1)`."""
    rows = [[to_bits(number, length + 1) for number in (a, b, a + b)] for a, b in pairs]
    a, b, total = np.moveaxis(np.asarray(rows, np.float32), 1, 0)
    return Examples(np.stack([a, b], axis=-1), total)


def carries(pairs: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Whether a carry is added to each bit, `(n, time)`.

    Args:
        pairs: Bits of the pairs, `(n, time, 2)`.
        sums: Bits of their sums, `(n, time)`.
    """
    return (pairs.sum(axis=2) % 2 == 1) != (sums == 1)


def longest_run(marks: np.ndarray) -> np.ndarray:
    """The length of the longest run of True in each row, `(n,)`."""
    run = longest = np.zeros(len(marks), int)
    for column in marks.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    return longest


def to_bits(number: int, count: int) -> np.ndarray:
    """The lowest `count` bits of a number of 0 or more, least significant first, uint8."""
    raw = np.frombuffer(number.to_bytes(count // 8 + 1, "little"), np.uint8)
    return np.unpackbits(raw, bitorder="little", count=count)


def from_bits(bits: np.ndarray) -> int:
    """The number with these bits, least significant first."""
    return int.from_bytes(np.packbits(bits.astype(bool), bitorder="little").tobytes(), "little")
