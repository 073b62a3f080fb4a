import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from tests.suite.rl.walkers import Blinker


class Corridor(gymnasium.Env):
    """Episodes of three steps, whose observations and rewards are the number of the step."""

    observation_space = spaces.Discrete(4, start=1)
    action_space = spaces.Box(np.array([0.0, -4.0], "f4"), np.array([10.0, 4.0], "f4"))

    def __init__(self, fails=False, cut_off=False, render_mode=None):
        self.fails, self.cut_off, self.render_mode = fails, cut_off, render_mode
        self.received = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = 0
        return 1, {}

    def step(self, action):
        if self.fails and self.number == 2:
            raise ValueError("the lamp went out")
        self.received.append(action)
        self.number += 1
        over = self.number == 3
        return self.number + 1, float(self.number), over and not self.cut_off, over, {}


class Unbounded(Corridor):
    action_space = spaces.Box(-np.inf, np.inf, (1,))


class Ring(gymnasium.Env):
    """Two places, between which action 1 moves, for a reward of 1; action 0 stays, for none.

    Args:
        ends_after: The steps of an episode, or None for an episode without end.
    """

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def __init__(self, ends_after=None):
        self.ends_after = ends_after

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = int(self.np_random.integers(2)), 0
        return self.place, {}

    def step(self, action):
        self.steps += 1
        self.place = (self.place + int(action)) % 2
        return self.place, float(action), self.steps == self.ends_after, False, {}


@pytest.fixture
def rings():
    """Registers rings in Gymnasium whose episodes are cut off, end, or never end."""
    gymnasium.register("Ring-v0", Ring, max_episode_steps=3)
    gymnasium.register("EndingRing-v0", Ring, kwargs={"ends_after": 3})
    gymnasium.register("EndlessRing-v0", Ring)
    yield
    for name in ("Ring-v0", "EndingRing-v0", "EndlessRing-v0"):
        gymnasium.registry.pop(name)


@pytest.fixture
def blinkers():
    """Registers pictures in Gymnasium, with lives."""
    gymnasium.register("Blinker-v0", Blinker, max_episode_steps=6)
    yield
    gymnasium.registry.pop("Blinker-v0")


@pytest.fixture
def corridors():
    """Registers environments in Gymnasium whose returns are known."""
    gymnasium.register("Corridor-v0", Corridor)
    gymnasium.register("Broken-v0", Corridor, kwargs={"fails": True})
    gymnasium.register("Unbounded-v0", Unbounded)
    yield
    for name in ("Corridor-v0", "Broken-v0", "Unbounded-v0"):
        gymnasium.registry.pop(name)
