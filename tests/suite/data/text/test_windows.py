"""Windows of a text: every token is a target once, and batches are a function of the step."""

import numpy as np
import pytest

from suite.data.pipelines import Shard
from suite.data.text.tokenizers import PADDING
from suite.data.text.windows import consecutive_windows, shuffled_windows, windows
from suite.errors import InputError

IDS = np.arange(4, 104, dtype=np.int32)


@pytest.mark.parametrize("length", [1, 7, 33, 99, 200])
@pytest.mark.parametrize("overlap", [0, 5])
def test_every_token_but_the_first_is_a_target_once(length, overlap):
    inputs, targets = windows(IDS, length, overlap)
    assert inputs.shape == targets.shape == (-(-99 // length), overlap + length)
    assert targets[targets != PADDING].tolist() == IDS[1:].tolist()
    judged = targets != PADDING
    assert (targets[judged] == inputs[judged] + 1).all()


def test_tokens_before_a_window_are_read_but_not_judged():
    inputs, targets = windows(IDS[:9], 4, 2)
    assert inputs.tolist() == [[4, 5, 6, 7, 8, 9], [6, 7, 8, 9, 10, 11]]
    assert targets.tolist() == [[5, 6, 7, 8, 0, 0], [0, 0, 9, 10, 11, 12]]


def test_a_pass_has_every_window_once():
    train, steps = shuffled_windows(IDS, 9, 5, seed=1)
    assert steps == 2
    inputs, targets = (
        np.concatenate(parts) for parts in zip(*train(0).take(2).as_numpy_iterator(), strict=True)
    )
    assert (targets == inputs + 1).all()
    starts = np.sort(inputs[:, 0])
    assert np.diff(starts).tolist() == [9] * 9
    later = np.concatenate([x for x, _ in train(2).take(2).as_numpy_iterator()])
    assert np.sort(later[:, 0]).tolist() != starts.tolist()


@pytest.mark.parametrize("cut", [shuffled_windows, consecutive_windows])
def test_batches_are_a_function_of_the_step_and_of_the_seed(cut):
    def inputs(batch):
        return batch[0]["ids"] if isinstance(batch[0], dict) else batch[0]

    train, _ = cut(IDS, 6, 4, seed=3)
    first = [inputs(batch) for batch in train(0).take(5).as_numpy_iterator()]
    second = [inputs(batch) for batch in train(3).take(2).as_numpy_iterator()]
    np.testing.assert_array_equal(first[3:], second)
    parts = [inputs(next(train(3, Shard(number, 2)).as_numpy_iterator())) for number in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), first[3])
    others = [cut(IDS, 6, 4, seed=seed)[0] for seed in range(4, 12)]
    others = [inputs(next(train(0).as_numpy_iterator())) for train in others]
    assert any((other != first[0]).any() for other in others)


def test_rows_go_on_where_they_ended():
    train, steps = consecutive_windows(IDS, 5, 3, seed=2)
    batches = list(train(0).take(2 * steps).as_numpy_iterator())
    for step, (inputs, targets) in enumerate(batches):
        goes_on = step % steps > 0
        assert inputs["goes_on"].tolist() == [goes_on] * 3
        assert (targets == inputs["ids"] + 1).all()
        if goes_on:
            before = batches[step - 1][1]
            assert inputs["ids"][:, 0].tolist() == before[:, -1].tolist()
    assert np.diff(batches[0][0]["ids"][:, 0]).tolist() == [33, 33]


@pytest.mark.parametrize("count", [10, 11, 19, 20, 21])
@pytest.mark.parametrize("cut", [shuffled_windows, consecutive_windows])
def test_shortest_texts(cut, count):
    train, steps = cut(IDS[:count], 9, 1, seed=0)
    for inputs, targets in train(0).take(2 * steps + 3).as_numpy_iterator():
        ids = inputs["ids"] if isinstance(inputs, dict) else inputs
        assert ids.min() >= 4
        assert (targets == ids + 1).all()
        assert targets.max() < 4 + count


@pytest.mark.parametrize("cut", [shuffled_windows, consecutive_windows])
def test_text_shorter_than_a_window(cut):
    with pytest.raises(InputError, match="`context` must be"):
        cut(IDS[:9], 9, 1, seed=0)
