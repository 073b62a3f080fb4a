import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from suite import InputError
from suite.rl.tabular.dynamics import LIMIT, blackjack, directions, open_task, reachable, way


@pytest.mark.parametrize(
    ("name", "states", "actions", "limit", "layout"),
    [
        ("FrozenLake-v1", 16, 4, 100, (4, 4)),
        ("FrozenLake8x8NotSlippery-v1", 64, 4, 200, (8, 8)),
        ("CliffWalking-v1", 48, 4, LIMIT, (4, 12)),
        ("Taxi-v4", 500, 6, 200, (5, 5, 5, 4)),
        ("Blackjack-v1", 704, 2, LIMIT, (32, 11, 2)),
    ],
)
def test_gymnasium_s_environments_are_read(name, states, actions, limit, layout):
    task = open_task(name)

    assert (task.num_states, task.num_actions, task.limit) == (states, actions, limit)
    assert task.layout == layout
    dynamics = task.dynamics
    np.testing.assert_allclose(dynamics.probability.sum(axis=-1), 1)
    assert dynamics.start.sum() == pytest.approx(1)
    assert dynamics.observed.max() < states


def test_a_limit_can_be_set():
    assert open_task("FrozenLake-v1", 7).limit == 7


def test_a_longer_limit_leaves_the_table_as_it_is():
    task = open_task("Taxi-v4", 300)  # registered with 200

    assert task.limit == 300 and task.dynamics is not None


def test_observations_are_counted_the_last_component_first():
    task = open_task("Blackjack-v1")
    space = gymnasium.make("Blackjack-v1").observation_space
    vectors = [gymnasium.spaces.flatten(space, hand) for hand in [(0, 0, 1), (20, 10, 1)]]

    assert task.states_of(np.array(vectors)).tolist() == [1, (20 * 11 + 10) * 2 + 1]


def test_an_environment_without_a_table_can_only_be_played(coins):
    task = open_task("Coin-v0")

    assert task.dynamics is None
    assert (task.num_states, task.num_actions, task.limit) == (4, 2, 5)
    assert reachable(task).all() and directions(task) is None


def test_a_table_that_is_not_true_is_not_used(coins, caplog):
    assert open_task("Liar-v0").dynamics is None
    assert "Liar-v0 does not do what its table `P` says" in caplog.text


class Elsewhere(FrozenLakeEnv):
    """Begins in a field that its table does not begin in."""

    def reset(self, **knobs):
        _, info = super().reset(**knobs)
        self.s = 14
        return self.s, info


class Impatient(FrozenLakeEnv):
    """Cuts an episode off when the agent has moved three times, of which the table says nothing."""

    def reset(self, **knobs):
        self.moves = 0
        return super().reset(**knobs)

    def step(self, action):
        self.moves += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.moves == 3, info


@pytest.mark.parametrize("environment", [Elsewhere, Impatient])
def test_a_table_that_is_not_the_whole_truth_is_not_used(environment, caplog):
    gymnasium.register("Other-v0", environment, max_episode_steps=50)
    task = open_task("Other-v0")
    gymnasium.registry.pop("Other-v0")

    assert task.dynamics is None
    assert "Other-v0 does not do what its table `P` says" in caplog.text


def test_attributes_of_known_names_may_be_anything(coins, caplog):
    class Strange(gymnasium.Env):
        observation_space, action_space = spaces.Discrete(4), spaces.Discrete(2)
        shape, decode, P = 5, str.split, np.ones((4, 2, 4))
        initial_state_distrib = np.full(4, 0.25)

    gymnasium.register("Strange-v0", Strange, max_episode_steps=5)
    task = open_task("Strange-v0")
    gymnasium.registry.pop("Strange-v0")

    assert task.dynamics is None and task.layout == (1, 4)
    assert "Strange-v0 does not do what its table `P` says" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPole-v1", "`environment` must have observations that can be counted"),
        ("FrozenLake-v2", "`environment` must be one of Gymnasium's; near it: FrozenLake"),
    ],
)
def test_other_environments_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        open_task(name)


@pytest.mark.parametrize(("natural", "sab"), [(False, True), (True, False), (False, False)])
def test_the_rules_of_blackjack_are_those_of_gymnasium(natural, sab):
    """The mean reward of sticking and of hitting once, then sticking, against played hands."""
    dynamics = blackjack(natural=natural, sab=sab)
    np.testing.assert_allclose(dynamics.probability.sum(axis=-1), 1)
    stick = (dynamics.probability * dynamics.reward).sum(axis=-1)[:, 0]
    environment = gymnasium.make("Blackjack-v1", natural=natural, sab=sab).unwrapped
    environment.reset(seed=0)

    rewards = []
    for _ in range(20_000):
        environment.reset()
        rewards.append(environment.step(0)[1])

    deviation = np.std(rewards) / np.sqrt(len(rewards))
    assert dynamics.start @ stick == pytest.approx(np.mean(rewards), abs=4 * deviation)


def test_hands_of_blackjack_by_hand():
    dynamics = blackjack(natural=False, sab=True)

    def state(total, dealer, ace):
        return (total * 11 + dealer) * 2 + ace

    # 20 against a six: a hit is bust but for an ace.
    here = state(20, 6, 0)
    reward = (dynamics.probability * dynamics.reward)[here, 1].sum()
    assert reward == pytest.approx(-12 / 13)
    # An ace that counts 11 turns to 1: 18 and a five are 13.
    here, chances = state(18, 6, 1), np.zeros(714)
    np.add.at(chances, dynamics.following[here, 1], dynamics.probability[here, 1])
    assert chances[state(13, 6, 0)] == pytest.approx(1 / 13)
    assert chances[state(18, 6, 0)] == pytest.approx(4 / 13)
    # A natural, one of 4 * 2 in 169, wins against all but another one.
    assert dynamics.start[704:].sum() == pytest.approx(8 / 169)
    assert (dynamics.reward[704:, 0] >= 0).all()


def test_only_places_where_an_agent_acts_are_reachable():
    lake, cliff = reachable(open_task("FrozenLake-v1")), reachable(open_task("CliffWalking-v1"))

    assert np.flatnonzero(~lake).tolist() == [5, 7, 11, 12, 15]  # holes and the goal
    assert np.flatnonzero(~cliff).tolist() == list(range(37, 48))  # the cliff and the goal


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FrozenLake-v1", [[0, -1], [1, 0], [0, 1], [-1, 0]]),
        ("CliffWalking-v1", [[-1, 0], [0, 1], [1, 0], [0, -1]]),
        ("Taxi-v4", [[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0], [0, 0]]),
    ],
)
def test_directions_of_actions_are_seen_from_the_dynamics(name, expected):
    assert directions(open_task(name)).tolist() == expected


def test_the_way_of_actions():
    task = open_task("CliffWalking-v1")
    actions = np.ones((1, 48), int)  # to the right
    actions[0, 36] = 0
    actions[0, 35] = 2

    places = way(task, actions).tolist()

    assert places == [[3, 0], *([2, column] for column in range(12)), [3, 11]]
    with pytest.raises(ValueError, match="chance"):
        way(open_task("FrozenLake-v1"), np.zeros((1, 16), int))
