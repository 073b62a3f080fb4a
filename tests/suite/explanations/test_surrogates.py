import numpy as np
import pytest

from suite.explanations.surrogates import lime


def test_the_weights_of_a_linear_answer_are_its_own():
    weights = np.linspace(-2, 2, 10)

    answer = lime(lambda coalitions: coalitions @ weights + 5, 10)

    np.testing.assert_allclose(answer, weights, atol=0.05)


def test_coalitions_near_the_whole_input_count_most():
    """The answer depends on the first player only where most of the others are present."""

    def value(coalitions):
        return (coalitions[:, 0] & (coalitions[:, 1:].sum(axis=1) >= 10)).astype(float)

    first, *others = lime(value, 20, num_samples=4000)

    share = (np.random.default_rng(1).random((4000, 19)) < 0.5).sum(axis=1) >= 10
    assert first > share.mean()
    assert first > 3 * max(others)


def test_the_same_seed_gives_the_same_weights():
    def value(coalitions):
        return (coalitions.sum(axis=1) > 6).astype(float)

    np.testing.assert_array_equal(lime(value, 12, seed=3), lime(value, 12, seed=3))
    assert lime(value, 12, seed=3) != pytest.approx(lime(value, 12, seed=4))
