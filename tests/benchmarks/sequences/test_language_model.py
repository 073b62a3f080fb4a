"""Kneser-Ney smoothing in the benchmark of language models."""

import numpy as np
import pytest

from benchmarks.sequences.language_model import kneser_ney


@pytest.mark.parametrize("order", [2, 3, 5])
def test_probabilities_of_all_tokens_sum_to_one(order):
    train = np.random.default_rng(0).integers(0, 5, 300)
    for history in ([1, 2, 3, 4, 0], [4, 4, 4, 4, 4]):
        sums = [kneser_ney(train, np.array([*history, token]), 6, order)[-1] for token in range(6)]
        assert sum(sums) == pytest.approx(1)
        assert min(sums) > 0


def test_two_tokens_by_hand():
    # Pairs: ab 2, ba 1, bb 1, bc 1; the discount is 3 / (3 + 2 * 1).
    train = np.array([0, 1, 0, 1, 1, 2])
    discount = 0.6
    # Kinds of pairs that end in a, b, c: 1, 2, 1, with a discount of 2 / (2 + 2 * 1).
    unigrams = (np.array([1, 2, 1]) - 0.5) / 4 + 0.5 * 3 / 4 / 3
    expected = [
        max(count - discount, 0) / 3 + discount * 3 / 3 * unigram
        for count, unigram in zip([1, 1, 1], unigrams, strict=True)
    ]
    probabilities = [kneser_ney(train, np.array([1, token]), 3, 2)[0] for token in range(3)]
    np.testing.assert_allclose(probabilities, expected)


def test_repeated_text_is_predicted():
    train = np.tile([0, 1, 2, 3], 100)
    assert kneser_ney(train, train[:20], 4).min() > 0.9
