import gymnasium
import numpy as np
import pytest
from gymnasium import spaces


class Corridor(gymnasium.Env):
    """Three steps long. What is seen is the step; each step is rewarded by its number."""

    observation_space = spaces.Discrete(4, start=1)
    action_space = spaces.Box(np.array([0.0, -4.0], "f4"), np.array([10.0, 4.0], "f4"))

    def __init__(self, fails=False, cut_off=False, render_mode=None):
        self.fails, self.cut_off, self.render_mode = fails, cut_off, render_mode
        self.asked = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = 0
        return 1, {}

    def step(self, action):
        if self.fails and self.number == 2:
            raise ValueError("the lamp went out")
        self.asked.append(action)
        self.number += 1
        over = self.number == 3
        return self.number + 1, float(self.number), over and not self.cut_off, over, {}


class Unbounded(Corridor):
    action_space = spaces.Box(-np.inf, np.inf, (1,))


@pytest.fixture
def corridors():
    """Lets Gymnasium know of environments that can be worked out by hand."""
    gymnasium.register("Corridor-v0", Corridor)
    gymnasium.register("Broken-v0", Corridor, kwargs={"fails": True})
    gymnasium.register("Unbounded-v0", Unbounded)
    yield
    for name in ("Corridor-v0", "Broken-v0", "Unbounded-v0"):
        gymnasium.registry.pop(name)
