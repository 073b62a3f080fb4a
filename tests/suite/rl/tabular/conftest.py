import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from suite.rl.tabular.dynamics import from_table


@pytest.fixture
def fork():
    """Two states: stop for 1; or go on for nothing, to a state with 1.2 or 0.8 by a coin."""
    table = {
        0: {0: [(1.0, 0, 1.0, True)], 1: [(1.0, 1, 0.0, False)]},
        1: {0: [(0.5, 1, 1.2, True), (0.5, 1, 0.8, True)], 1: [(1.0, 0, 0.0, False)]},
    }
    return from_table(table, np.array([1.0, 0.0]), 2)


class Coin(gymnasium.Env):
    """Guess a coin that is shown: an episode of two steps, without a table."""

    observation_space = spaces.MultiDiscrete([2, 2])
    action_space = spaces.Discrete(2, start=3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._toss(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        reward = float(action - self.action_space.start == self.side)
        self.steps += 1
        return self._toss(), reward, self.steps == 2, False, {}

    def _toss(self):
        self.side = int(self.np_random.integers(2))
        return np.array([self.steps % 2, self.side])


class Liar(Coin):
    """Its table says that every action ends the episode, which is not so."""

    observation_space = spaces.Discrete(4)
    action_space = spaces.Discrete(2)
    initial_state_distrib = np.full(4, 0.25)

    def __init__(self):
        ends = {action: [(1.0, 0, 0.0, True)] for action in range(2)}
        self.P = dict.fromkeys(range(4), ends)

    def _toss(self):
        first, side = super()._toss()
        return int(2 * first + side)


@pytest.fixture
def coins():
    """Registers environments in Gymnasium that have no table, or a wrong one."""
    gymnasium.register("Coin-v0", Coin, max_episode_steps=5)
    gymnasium.register("Liar-v0", Liar, max_episode_steps=5)
    yield
    for name in ("Coin-v0", "Liar-v0"):
        gymnasium.registry.pop(name)
