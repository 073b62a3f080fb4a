import numpy as np
import pytest

from suite.rl.sum_tree import SumTree


@pytest.mark.parametrize("size", [1, 2, 5, 8, 100])
def test_it_finds_what_a_running_sum_finds(size):
    random = np.random.default_rng(size)
    tree, priorities = SumTree(size), random.integers(0, 4, size)
    priorities[random.integers(size)] = 3
    tree.set(np.arange(size), priorities)

    sums = np.arange(priorities.sum())

    assert tree.total == priorities.sum()
    expected = np.searchsorted(np.cumsum(priorities), sums, side="right")
    np.testing.assert_array_equal(tree.find(sums), expected)


def test_the_last_of_equal_leaves_decides():
    tree = SumTree(3)

    tree.set(np.array([1, 1, 2]), np.array([5.0, 2.0, 1.0]))

    assert tree.leaves.tolist() == [0, 2, 1] and tree.total == 3


def test_rounding_never_finds_a_leaf_without_priority():
    tree = SumTree(6)
    tree.set(np.arange(6), np.array([0.1, 0.2, 0.0, 0.3, 0.0, 0.0]))

    leaves = tree.find(np.array([tree.total, 2 * tree.total, 0.0]))

    assert leaves.tolist() == [3, 3, 0]


def test_it_goes_on_from_its_leaves_to_the_same_sums():
    random = np.random.default_rng(0)
    one, other = SumTree(7), SumTree(7)
    for _ in range(20):
        one.set(random.integers(0, 5, 3), random.random(3))
    other.set(np.arange(7), np.ones(7))

    other.restore(one.leaves[:5])

    np.testing.assert_array_equal(one.leaves, other.leaves)
    assert one.total == other.total
