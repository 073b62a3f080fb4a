import numpy as np
import pytest
import tensorflow as tf

from suite.data.text.tokenizers import END, PADDING, START
from suite.decoding.search import beam, decode, greedy
from suite.decoding.stepper import Stepper
from suite.errors import InputError
from tests.suite.decoding.steppers import all_sequences, chain, markov

LENGTH = 5
# After START, 4 is the more probable, but nothing probable follows it.
TRAP = np.full((8, 8), 1e-9)
TRAP[START, [4, 5]] = 0.6, 0.4
TRAP[4, [END, 6, 7]] = 0.34, 0.33, 0.33
TRAP[5, END] = TRAP[6, END] = TRAP[7, END] = 1.0


def tokens_of(row):
    return [int(token) for token in row if token != PADDING]


def test_beam_search_sees_what_greedy_search_misses():
    stepper = markov(TRAP)

    first = greedy(stepper, (), 1, LENGTH)
    better = beam(stepper, (), 1, LENGTH, beams=2)

    assert tokens_of(first.ids[0]) == [4, END]
    assert tokens_of(better.ids[0]) == [5, END]
    np.testing.assert_allclose(first.scores, np.log(0.6 * 0.34), rtol=1e-5)
    np.testing.assert_allclose(better.scores, np.log(0.4), rtol=1e-5)


def test_what_has_ended_leaves_its_place_to_another():
    chances = np.full((30, 30), 1e-9)
    chances[START, [END, 4, 5]] = 0.4, 0.35, 0.25
    chances[4, 10:] = 1 / 20  # leads nowhere
    chances[5, 6] = chances[6, END] = 1.0
    chances[10:, END] = 1.0

    best = beam(markov(chances), (), 1, LENGTH, beams=2, length_penalty=3.0)

    assert tokens_of(best.ids[0]) == [5, 6, END]
    np.testing.assert_allclose(best.scores, np.log(0.25), rtol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_best_of_all_sequences(seed, penalty):
    probabilities = chain(seed)
    stepper = markov(probabilities)

    wide = beam(stepper, (), 1, LENGTH, beams=3**LENGTH, length_penalty=penalty)
    ids, score = max(
        all_sequences(probabilities, LENGTH),
        key=lambda pair: pair[1] / ((5 + len(pair[0])) / 6) ** penalty,
    )

    assert tokens_of(wide.ids[0]) == ids
    np.testing.assert_allclose(wide.scores[0], score, rtol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_one_beam_is_the_greedy_search_and_more_are_no_worse(seed):
    stepper = markov(chain(seed, words=5))

    first = greedy(stepper, (), 2, 12)
    one = beam(stepper, (), 2, 12, beams=1, length_penalty=0.8)
    many = beam(stepper, (), 2, 12, beams=4)

    np.testing.assert_array_equal(one.ids, first.ids)
    np.testing.assert_allclose(one.scores, first.scores, rtol=1e-5)
    if END in first.ids[0]:
        assert many.scores[0] >= first.scores[0] - 1e-5


def test_a_length_penalty_prefers_longer_sequences():
    stay = np.full((5, 5), 1e-9)
    stay[START, [4, END]] = 0.6, 0.4
    stay[4, [4, END]] = 0.55, 0.45
    stepper = markov(stay)

    lengths = [
        beam(stepper, (), 1, 8, beams=6, length_penalty=penalty).ids.shape[1]
        for penalty in (0.0, 3.0)
    ]

    assert lengths[0] < lengths[1]


def counting(total):
    """Row `r` is 4, `r` times, then END; the state of every row says how often it was stepped."""

    def step(tokens, index, state):
        following = tf.where(state["row"] == index, END, 4)
        logits = tf.one_hot(following, 8, on_value=0.0, off_value=-5.0)
        return logits, {"row": state["row"], "steps": state["steps"] + 1}

    def start():
        return {"row": tf.range(total), "steps": tf.zeros((total,), tf.int32)}

    return Stepper(start, step)


@pytest.mark.parametrize("search", [greedy, lambda *a: beam(*a, beams=2)])
def test_rows_that_end_early_stay_as_they_are(search):
    stepper = counting(4)

    decoded = search(stepper, stepper.start(), 4, 20)

    assert [tokens_of(row) for row in decoded.ids] == [[4] * row + [END] for row in range(4)]
    assert decoded.ids.shape == (4, 4)
    per_token = -np.log(1 + 7 * np.exp(-5))
    np.testing.assert_allclose(decoded.scores, per_token * np.arange(1, 5), rtol=1e-4)


def test_the_loop_ends_with_the_last_row():
    steps = []

    def step(tokens, index, state):
        steps.append(int(index))
        return counting(3).step(tokens, index, state)

    stepper = Stepper(counting(3).start, step)

    greedy(stepper, stepper.start(), 3, 50)
    assert steps == [0, 1, 2]
    steps.clear()
    beam(stepper, dict(stepper.start().items()), 3, 50, beams=2)
    assert len(steps) < 50


def test_a_sequence_that_does_not_end_is_cut():
    endless = np.full((6, 6), 1e-9)
    endless[:, 4], endless[:, END] = 1.0, 1e-12
    stepper = markov(endless)

    for decoded in (greedy(stepper, (), 1, 7), beam(stepper, (), 1, 7, beams=2)):
        assert tokens_of(decoded.ids[0])[:6] == [4] * 6
        assert decoded.ids.shape == (1, 7)


def test_prompts_of_unequal_lengths_go_on_as_each_alone():
    stepper = markov(chain(3, words=5))
    prompt = np.array([[START, 5, 6, 7], [START, 8, 0, 0], [4, 0, 0, 0]], "int32")

    together = greedy(stepper, (), 3, 6, prompt=tf.constant(prompt))

    for row, given in enumerate(prompt):
        alone = greedy(stepper, (), 1, 6, prompt=tf.constant([tokens_of(given)]))
        assert tokens_of(together.ids[row]) == tokens_of(alone.ids[0])
        np.testing.assert_allclose(together.scores[row], alone.scores[0], rtol=1e-5)
        last = tokens_of(given)[-1]
        logits = np.log(chain(3, words=5))[last]
        assert together.ids[row, 0] == np.argmax(logits)


def test_tokens_that_never_come():
    likely = np.full((6, 6), 0.1)
    likely[:, PADDING], likely[:, START] = 0.3, 0.3
    stepper = markov(likely / likely.sum(axis=1, keepdims=True))

    assert not np.isin(greedy(stepper, (), 1, 4).ids, [PADDING, START]).any()
    ids = beam(stepper, (), 1, 4, beams=3, never=(PADDING, START, END, 3)).ids
    assert set(ids.numpy().ravel()) <= {4, 5}


def test_choosing_is_left_to_the_caller():
    stepper = markov(chain(0, words=4))

    decoded = decode(stepper, (), 2, 3, lambda logits, place: tf.stack([place[0] + 4, END]))

    assert decoded.ids.numpy().tolist() == [[4, 5, 6], [END, 0, 0]]


@pytest.mark.parametrize("knobs", [{"beams": 0}, {"beams": 2, "length_penalty": -0.1}])
def test_bad_knobs(knobs):
    with pytest.raises(InputError, match=f"`{list(knobs)[-1]}` must be at least"):
        beam(markov(chain(0)), (), 1, 3, **knobs)
