import numpy as np
import pytest
import tensorflow as tf

from suite import InputError, Run
from suite.data.sums import (
    carries,
    encode_pairs,
    from_bits,
    load_sums,
    longest_run,
    random_pairs,
    to_bits,
    training_batch,
)


def numbers(rows):
    return [from_bits(row) for row in np.asarray(rows)]


@pytest.mark.parametrize("longest", [9, 16, 62])
def test_training_sums_are_right_and_never_of_the_test(longest):
    pairs, sums = training_batch(2000, longest, 0.5, tf.constant([3, 4], tf.int64))

    a, b = numbers(pairs[..., 0]), numbers(pairs[..., 1])
    assert numbers(sums) == [x + y for x, y in zip(a, b, strict=True)]
    assert max(*a, *b) < 2**longest
    assert min(max(x, y) for x, y in zip(a, b, strict=True)) >= 256
    assert set(np.unique(pairs)) == set(np.unique(sums)) == {0, 1}


def test_chains_carry_on_for_longer_than_chance():
    def long_runs(chains):
        pairs, sums = training_batch(4000, 16, chains, tf.constant([0, 0], tf.int64))
        return (longest_run(carries(pairs.numpy(), sums.numpy())) >= 8).mean()

    assert long_runs(1.0) > 1.7 * long_runs(0.0)


def test_batches_follow_from_the_seed_and_the_step():
    def batch(seed, step):
        return next(iter(load_sums(Run(seed=seed), 8, longest=16, chains=0.5).train(step)))[0]

    np.testing.assert_array_equal(batch(1, 7), batch(1, 7))
    assert (batch(1, 7) != batch(1, 8)).numpy().any()
    assert (batch(1, 7) != batch(2, 7)).numpy().any()


def test_the_test_is_every_pair_of_8_bits():
    data = load_sums(Run(), 8, longest=16, chains=0.5)

    pairs = np.concatenate([p for p, _ in data.test.as_numpy_iterator()])
    tested = set(zip(numbers(pairs[..., 0]), numbers(pairs[..., 1]), strict=True))

    assert pairs.shape == (65_536, 9, 2)
    assert len(tested) == 65_536


def test_a_quarter_of_the_long_pairs_is_one_chain():
    pairs = random_pairs(100, 1024)
    split = encode_pairs(pairs, 1024)
    runs = longest_run(carries(split.inputs, split.targets))

    assert pairs[0] == (2**1024 - 1, 1)
    assert (runs[:25] == 1024).all() and (runs[25:] < 1024).all()
    assert len(set(pairs)) == 100
    assert all(a < 2**1024 and b < 2**1024 for a, b in pairs)
    assert numbers(split.targets) == [a + b for a, b in pairs]
    assert random_pairs(100, 1024) == pairs


def test_bits_and_back():
    for n in (0, 1, 255, 256, 2**100 + 17):
        assert from_bits(to_bits(n, 128)) == n
    np.testing.assert_array_equal(to_bits(6, 4), [0, 1, 1, 0])


def test_carries_by_hand():
    split = encode_pairs([(3, 1), (1, 2)], 2)

    np.testing.assert_array_equal(carries(split.inputs, split.targets), [[0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(longest_run(np.array([[1, 0, 1, 1], [0, 0, 0, 0]])), [2, 0])


def test_other_sources_are_refused():
    with pytest.raises(InputError, match="`data` must be auto"):
        load_sums(Run(data="tfds"), 8, longest=16, chains=0.5)
