import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation

from suite import InputError
from suite.rl.environments import Environments

pytestmark = pytest.mark.usefixtures("blinkers", "corridors", "rings")


def test_the_step_after_an_end_is_none():
    environments = Environments("Corridor-v0", 2)

    observations = [environments.reset(0)]
    rows = [environments.step(np.zeros((2, 2), "f4")) for _ in range(6)]
    observations += [row[0] for row in rows]

    _, rewards, terminated, _, valid, returns, lengths = (
        np.stack(column)[:, 0] for column in zip(*rows, strict=True)
    )
    assert np.stack(observations)[:, 0].argmax(axis=-1).tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert rewards.tolist() == [1, 2, 3, 0, 1, 2]
    assert terminated.tolist() == [False, False, True, False, False, False]
    assert valid.tolist() == [True, True, True, False, True, True]
    assert returns.tolist() == [0, 0, 6, 0, 0, 0]
    assert lengths.tolist() == [0, 0, 3, 0, 0, 0]


def test_actions_fill_the_bounds_and_stay_inside():
    environments = Environments("Corridor-v0", 1)
    environments.reset(0)

    for action in ([-1.0, 0.0], [0.5, 1.0], [7.0, -7.0]):
        environments.step(np.array([action], "f4"))

    received = environments._vector.envs[0].unwrapped.received
    np.testing.assert_allclose(received, [[0, 0], [7.5, 4], [10, -4]])
    assert environments.spaces.action_bounds == ((0.0, -4.0), (10.0, 4.0))


def test_observations_are_scaled_by_their_bounds_where_there_are_any():
    environments = Environments("CartPole-v1", 3)

    assert environments.spaces.observation_dim == 4 and environments.spaces.num_actions == 2
    assert environments.spaces.observation_scale == pytest.approx([1 / 4.8, 1, 1 / 0.41887903, 1])
    assert environments.reset(0).shape == (3, 4)
    assert environments.solved_at == 475


def test_the_same_seed_begins_alike():
    one, two = Environments("CartPole-v1", 3), Environments("CartPole-v1", 3)

    assert (one.reset(4) == two.reset(4)).all()
    assert (one.reset(4) != two.reset(5)).any()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_copies_may_be_played_in_other_ways(vectorization):
    environments = Environments("CartPole-v1", 2, vectorization)

    environments.reset(0)
    assert environments.step(np.zeros(2, "int64"))[1].tolist() == [1, 1]
    environments.close()


def test_a_restored_one_keeps_its_own_clock():
    one, other = Environments("CartPole-v1", 2), Environments("CartPole-v1", 2)
    one.reset(0)

    other.restore(one.state())

    assert not other.begun  # until its first step
    other.step(np.zeros(2, int))
    assert other.begun > one.begun


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v11", r"near it: CartPole-v1.*Received: CartPole-v11"),
        ("Nothing of the kind", r"one of Gymnasium's.*Received: Nothing of the kind"),
        ("no_such_module:Toy-v0", r"one that can be made.*no_such_module"),
    ],
)
def test_what_is_of_no_use_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        Environments(name, 1)


def test_numbers_without_bounds_stay_as_they_are():
    environments = Environments("Unbounded-v0", 1)
    environments.reset(0)

    environments.step(np.array([[-70.0]], "f4"))

    np.testing.assert_allclose(environments._vector.envs[0].unwrapped.received, [[-70]])


@pytest.mark.parametrize("name", ["EndlessRing-v0", "CartPole-v1"])
def test_episodes_may_be_cut_off(name):
    environments = Environments(name, 2, max_episode_steps=2)
    environments.reset(0)

    rows = [environments.step(np.zeros(2, "int32")) for _ in range(3)]

    assert [row[3].tolist() for row in rows] == [[False] * 2, [True] * 2, [False] * 2]
    assert environments.max_episode_steps == 2 and environments.steps == 6


@pytest.mark.parametrize("reward", [1, np.array([1.0]), np.float32(1), True])
def test_a_reward_may_be_any_single_number(reward, monkeypatch):
    environments = Environments("EndlessRing-v0", 2)
    environments.reset(0)
    place = type(environments._vector.envs[0].unwrapped)
    monkeypatch.setattr(place, "step", lambda self, action: (0, reward, False, False, {}))

    assert environments.step(np.zeros(2, "int32"))[1].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["Pendulum-v1", "EndlessRing-v0"])
def test_a_reward_that_is_no_number_is_noticed(name, monkeypatch):
    environments = Environments(name, 2)
    environments.reset(0)
    observation = environments._vector.envs[0].observation_space.sample()
    monkeypatch.setattr(
        type(environments._vector.envs[0].unwrapped),
        "step",
        lambda self, action: (observation, float("nan"), False, False, {}),
    )

    with pytest.raises(ValueError, match="is NaN or infinite"):
        environments.step(np.zeros((2, *environments.spaces.action_shape), "int32"))
    assert "is NaN" in environments.error


def test_stacks_are_those_of_gymnasium():
    environments = Environments("CartPole-v1", 1, "sync", frame_stack=3)
    peer = FrameStackObservation(gymnasium.make("CartPole-v1"), 3)

    stacked, expected = environments.reset(7), peer.reset(seed=7)[0]
    for _ in range(40):
        np.testing.assert_array_equal(stacked[0], expected.ravel())
        stacked, _, _, _, [valid], _, _ = environments.step(np.ones(1, "int32"))
        expected = peer.step(1)[0] if valid else peer.reset()[0]

    assert environments.spaces.observation_shape == (12,)
    assert len(environments.spaces.observation_scale) == 12


def test_clipped_rewards_are_signs_but_returns_stay():
    environments = Environments("Blinker-v0", 2, clip_rewards=True)
    environments.reset(0)

    rows = [environments.step(np.zeros(2, "int32")) for _ in range(6)]

    assert {reward for row in rows for reward in row[1]} == {1}
    assert rows[-1][5].tolist() == [30, 30]


def test_an_episode_may_end_with_a_life():
    environments = Environments("Blinker-v0", 2, end_with_life=True, frame_stack=2)
    environments.reset(0)

    rows = [environments.step(np.array([action, 0])) for action in (0, 1, 0, 0, 1, 1, 1, 0, 1)]

    _, _, terminated, _, valid, returns, _ = (
        np.stack(column)[:, 0] for column in zip(*rows, strict=True)
    )
    # The step after the loss is no transition, but is played: that is how the last life goes.
    assert terminated.tolist() == [False, True, False, False, True, True, False, False, True]
    assert valid.tolist() == [True, True, False, True, True, False, False, True, True]
    assert returns.tolist() == [0, 10, 0, 0, 10, 0, 0, 0, 10]


def test_lives_do_not_matter_otherwise():
    environments = Environments("Blinker-v0", 1)
    environments.reset(0)

    rows = [environments.step(np.ones(1, "int32")) for _ in range(3)]

    assert [row[2].tolist() for row in rows] == [[False], [False], [True]]


def test_stacks_go_on_from_their_state():
    one, other = (Environments("Blinker-v0", 2, flatten=False, frame_stack=3) for _ in range(2))
    one.reset(0)
    one.step(np.array([1, 0]))

    other.restore(one.state())

    for action in (0, 1, 1, 0):
        steps = [copy.step(np.array([action, 1])) for copy in (one, other)]
        np.testing.assert_array_equal(steps[0][0], steps[1][0])


def test_actions_within_the_bounds_stay():
    environments = Environments("Corridor-v0", 1)
    environments.reset(0)

    environments.step(np.array([[7.0, -3.0]], "f4"), within=True)

    np.testing.assert_allclose(environments._vector.envs[0].unwrapped.received, [[7, -3]])
