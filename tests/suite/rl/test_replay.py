import numpy as np
import pytest
import tensorflow as tf

from suite.rl.environments import Environments
from suite.rl.replay import ReplayBuffer, transition_buffer

FIELDS = {"picture": tf.TensorSpec((2, 2), "uint8"), "reward": tf.TensorSpec((), "float32")}


def filled(numbers, capacity=5):
    replay = ReplayBuffer(capacity, FIELDS)
    for batch in numbers:
        batch = np.asarray(batch)
        replay.add({"picture": batch[:, None, None] * np.ones((2, 2), "u1"), "reward": batch * 1.0})
    return replay


def rewards(replay):
    return sorted(replay.state()["arrays"]["reward"].tolist())


def test_the_oldest_make_room():
    assert rewards(filled([[0, 1, 2]])) == [0, 1, 2]
    assert rewards(filled([[0, 1, 2], [3, 4, 5]])) == [1, 2, 3, 4, 5]
    assert rewards(filled([[0], range(1, 13)])) == [8, 9, 10, 11, 12]
    assert rewards(filled([[0], range(1, 13), [13, 14]])) == [10, 11, 12, 13, 14]


def test_samples_are_whole_rows_drawn_by_the_seed():
    replay = filled([[0, 1, 2]])
    sample = tf.function(lambda seed: replay.sample(64, seed))

    one, again, other = (sample(tf.constant([0, seed])) for seed in (1, 1, 2))

    assert one["picture"].dtype == tf.uint8 and one["picture"].shape == (64, 2, 2)
    assert set(one["reward"].numpy()) == {0, 1, 2}
    np.testing.assert_array_equal(one["picture"][:, 1, 0], one["reward"])
    np.testing.assert_array_equal(one["reward"], again["reward"])
    assert (one["reward"] != other["reward"]).numpy().any()


def test_a_graph_sees_what_was_added_before():
    replay = filled([[0, 1]])

    @tf.function
    def add():
        replay.add({"picture": tf.zeros((3, 2, 2), tf.uint8), "reward": tf.zeros(3)})
        return replay.size()

    assert add() == 5 and len(replay) == 5


def test_a_million_transitions_are_not_copied():
    replay = ReplayBuffer(1_000_000, {"x": tf.TensorSpec((4,), "float32")})
    replay.add({"x": np.ones((1_000_000, 4), "f4")})

    array = replay.state()["arrays"]["x"]

    assert array.shape == (1_000_000, 4) and array.base is not None


@pytest.mark.parametrize("numbers", [[[0, 1, 2]], [[0, 1, 2], [3, 4, 5, 6]], [range(5)], []])
def test_it_goes_on_from_its_state(numbers):
    one, other = filled(numbers), filled([[9, 9]])

    other.restore(one.state())
    for replay in (one, other):
        replay.add({"picture": np.zeros((1, 2, 2), "u1"), "reward": np.array([7.0], "f4")})

    assert len(one) == len(other)
    for name in FIELDS:
        np.testing.assert_array_equal(*(r.state()["arrays"][name] for r in (one, other)))


@pytest.mark.parametrize(
    "state",
    [
        filled([range(7)], capacity=7).state(),
        filled([range(5), [5, 6]]).state() | {"next": 9},
        {"next": 2, "arrays": {"picture": np.zeros((2, 3, 3)), "reward": np.zeros(2)}},
        {"next": 2, "arrays": {"picture": np.zeros((2, 2, 2)), "reward": np.zeros(1)}},
        filled([range(4), range(2)], capacity=4).state(),
    ],
)
def test_the_state_of_another_is_refused(state):
    replay = filled([[1, 2]])

    with pytest.raises(ValueError, match="another"):
        replay.restore(state)
    assert rewards(replay) == [1, 2]


def test_transitions_have_the_shapes_of_the_environment():
    spaces = Environments("Pendulum-v1", 1).spaces

    fields = transition_buffer(10, spaces).fields

    assert fields["observations"].shape == fields["next_observations"].shape == (3,)
    assert fields["actions"].shape == (1,) and fields["actions"].dtype == tf.float32
