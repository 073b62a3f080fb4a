import itertools

import numpy as np
import pytest
import tensorflow as tf

from suite.data.text.tokenizers import PADDING
from suite.decoding.sampling import cut, sample
from suite.decoding.stepper import Stepper
from suite.errors import InputError
from tests.suite.decoding.steppers import chain, markov

DRAWS = 20_000
CHAIN = chain(1, words=5, spread=1.0)


def draws(length, **knobs):
    """Ids `(DRAWS, length)`, drawn in a graph."""
    return tf.function(lambda: sample(markov(CHAIN), (), DRAWS, length, seed=3, **knobs).ids)()


def frequencies(**knobs):
    """How often each token comes first."""
    ids = draws(1, **knobs)
    return np.bincount(np.ravel(ids), minlength=len(CHAIN)) / DRAWS


def close(observed, expected):
    """Within five standard errors."""
    error = np.sqrt(expected * (1 - expected) / DRAWS)
    np.testing.assert_array_less(np.abs(observed - expected), 5 * error + 1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_probabilities(temperature):
    expected = CHAIN[1] ** (1 / temperature)
    expected[:2] = 0

    close(frequencies(temperature=temperature), expected / expected.sum())


def test_a_chain_goes_on_by_its_probabilities():
    ids = draws(2).numpy()
    after = ids[ids[:, 0] == 5, 1]
    expected = CHAIN[5]
    observed = np.bincount(after, minlength=len(CHAIN)) / len(after)

    error = np.sqrt(expected * (1 - expected) / len(after))
    np.testing.assert_array_less(np.abs(observed - expected), 5 * error + 1e-9)


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_top_k_draws_from_so_many(top_k):
    expected = np.where(CHAIN[1] >= np.sort(CHAIN[1])[-top_k], CHAIN[1], 0)

    close(frequencies(top_k=top_k), expected / expected.sum())


def test_what_top_k_cuts_stays_cut_however_low_the_temperature():
    logits = np.array([[-0.5, -0.8, -1.2, -3.0]], np.float32) / np.float32(1e-10)

    probabilities, _ = cut(tf.constant(logits), 2, None)

    assert probabilities.numpy().tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
def test_top_p_draws_from_as_few_as_have_so_much(top_p):
    order = np.argsort(-CHAIN[1])
    count = 1 + np.searchsorted(np.cumsum(CHAIN[1][order]), top_p)
    expected = np.zeros(len(CHAIN))
    expected[order[:count]] = CHAIN[1][order[:count]]

    close(frequencies(top_p=top_p), expected / expected.sum())


def test_what_is_cut():
    logits = tf.math.log([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]])

    probabilities, tokens = cut(logits, 2, None)
    np.testing.assert_array_equal(tokens, [[1, 3, 2, 0], [0, 1, 2, 3]])
    np.testing.assert_allclose(probabilities, [[4 / 7, 3 / 7, 0, 0], [0.5, 0.5, 0, 0]], rtol=1e-5)

    probabilities, _ = cut(logits, None, tf.constant([0.69, 0.2]))
    np.testing.assert_allclose(probabilities, [[0.4, 0.3, 0, 0], [0.25, 0, 0, 0]], rtol=1e-5)

    probabilities, _ = cut(logits, tf.constant([3, 1]), tf.constant(0.5))
    np.testing.assert_allclose(probabilities, [[4 / 9, 3 / 9, 0, 0], [1, 0, 0, 0]], rtol=1e-5)


def test_a_low_temperature_is_the_greedy_search():
    best = np.argmax(np.where(np.arange(len(CHAIN)) > 1, CHAIN[1], 0))
    ids = sample(markov(CHAIN), (), 50, 1, seed=0, temperature=1e-4).ids

    assert (ids.numpy() == best).all()


def test_the_same_seed_gives_the_same_text_and_another_another():
    stepper = markov(CHAIN)
    first, again, other = (sample(stepper, (), 4, 30, seed=seed).ids for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first.numpy() != other.numpy()).any()
    assert len({tuple(row) for row in first.numpy()}) == 4


def test_a_row_depends_on_its_seed_and_knobs_alone():
    stepper = markov(CHAIN)
    seeds = tf.constant([7, 8, 7])
    knobs = {
        "temperature": tf.constant([1.0, 0.5, 1.0]),
        "top_k": tf.constant([5, 3, 5]),
        "top_p": tf.constant([0.9, 0.8, 0.9]),
    }

    rows = sample(stepper, (), 3, 20, seed=seeds, **knobs).ids.numpy()
    alone = [
        sample(
            stepper, (), 1, 20, seed=seeds[row : row + 1], **{k: v[row] for k, v in knobs.items()}
        ).ids.numpy()[0]
        for row in range(3)
    ]

    np.testing.assert_array_equal(rows[0], rows[2])
    for row in range(3):
        np.testing.assert_array_equal(rows[row, : len(alone[row])], alone[row])
        assert (rows[row, len(alone[row]) :] == PADDING).all()


def test_scores_are_those_of_the_network_whatever_the_temperature():
    drawn = sample(markov(CHAIN), (), 5, 6, seed=0, temperature=3.0)

    for ids, score in zip(drawn.ids.numpy(), drawn.scores.numpy(), strict=True):
        path = [1, *ids[ids != PADDING]]
        pairs = itertools.pairwise(path)
        np.testing.assert_allclose(score, sum(np.log(CHAIN[a, b]) for a, b in pairs), rtol=1e-4)


@pytest.mark.parametrize(
    "knob",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 1e9},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
    ],
)
def test_bad_knobs(knob):
    [(name, value)] = knob.items()
    stepper = markov(CHAIN)
    with pytest.raises(InputError, match=f"`{name}` must be"):
        sample(stepper, (), 2, 3, seed=0, **knob)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must be"):
        sample(stepper, (), 2, 3, seed=0, **{name: tf.constant([value, value])})


def test_no_state_is_needed_beside_what_a_step_returns():
    def step(tokens, index, state):
        return tf.one_hot(state % 3 + 4, 8) * 50, state + 1

    ids = sample(Stepper(lambda: tf.constant([0, 1]), step), tf.constant([0, 1]), 2, 4, seed=0).ids

    np.testing.assert_array_equal(ids, [[4, 5, 6, 4], [5, 6, 4, 5]])
