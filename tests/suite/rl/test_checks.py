import logging

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from suite import InputError
from suite.rl.checks import check_environment

pytestmark = pytest.mark.usefixtures("rings")


class Sound(gymnasium.Env):
    """A correct environment with episodes of five steps; every subclass makes one mistake."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def observation(self):
        return self.np_random.uniform(-1, 1, 2).astype("f4")

    def reward(self):
        return 0.5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation(), {}

    def step(self, action):
        self.steps += 1
        return self.observation(), self.reward(), self.steps == 5, False, {}


class SeesNaN(Sound):
    def observation(self):
        return np.array([0, np.nan], "f4")


class SeesNaNLater(Sound):
    def observation(self):
        return np.full(2, np.nan if getattr(self, "steps", 0) == 3 else 0, "f4")


class WrongShape(Sound):
    def observation(self):
        return np.zeros(3, "f4")


class NoReward(Sound):
    def reward(self):
        return None


class InfiniteReward(Sound):
    def reward(self):
        return float("inf")


class ManyRewards(Sound):
    def reward(self):
        return np.ones(2)


class OldStep(Sound):
    def step(self, action):
        return (*super().step(action)[:3], {})


class OldReset(Sound):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class NoSeed(Sound):
    def reset(self):
        return super().reset()


class RewardInAnArray(Sound):
    def reward(self):
        return np.array([0.5])


class WholeReward(Sound):
    def reward(self):
        return 1


class DoublePrecision(Sound):
    def observation(self):
        return super().observation().astype("f8")


class IgnoresSeed(Sound):
    def observation(self):
        return np.random.uniform(-1, 1, 2).astype("f4")


@pytest.fixture
def register():
    """Registers an environment in Gymnasium, and returns its name."""

    def register_toy(environment):
        gymnasium.register("Toy-v0", environment)
        return "Toy-v0"

    yield register_toy
    gymnasium.registry.pop("Toy-v0", None)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (SeesNaN, r"Toy-v0: an observation is NaN.*`reset\(\)`.* not within the observation space"),
        (SeesNaNLater, "Toy-v0: an observation is NaN or infinite"),
        (WrongShape, "has 3 numbers rather than 2.*not within the observation space"),
        (NoReward, r"no finite number: None.*The reward returned by `step\(\)` must be a float"),
        (InfiniteReward, "no finite number: inf.*The reward is an inf value"),
        (ManyRewards, "no finite number: array"),
        (OldStep, "expected 5, got 4.*old step API"),
        (OldReset, r"was not a tuple of the form `\(obs, info\)`"),
        (NoSeed, "unexpected keyword argument 'seed'.*can be passed a `seed`"),
    ],
)
def test_a_broken_rule_is_named(register, environment, message):
    with pytest.raises(InputError, match=f"must keep Gymnasium's rules. Received: .*{message}"):
        check_environment(register(environment))


@pytest.mark.parametrize("environment", [Sound, WholeReward])
def test_what_is_sound_is_taken_in_silence(register, environment, caplog):
    check_environment(register(environment))

    assert not caplog.records


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (RewardInAnArray, "Gymnasium warns of Toy-v0: The reward returned by"),
        (DoublePrecision, "dtype to be float32, actual type: float64"),
        (IgnoresSeed, "non-deterministic"),
    ],
)
def test_what_can_be_played_is_taken_with_a_warning(register, environment, message, caplog):
    with caplog.at_level(logging.WARNING):
        check_environment(register(environment))

    assert message in caplog.text and "\x1b" not in caplog.text


@pytest.mark.parametrize("name", ["EndlessRing-v0", "CliffWalking-v1"])
def test_episodes_must_end(name):
    with pytest.raises(InputError, match="within 10,000 steps, or be given `max_episode_steps`"):
        check_environment(name)

    check_environment(name, max_episode_steps=20)


@pytest.mark.parametrize("name", ["CartPole-v1", "Blackjack-v1", "EndingRing-v0", "Pendulum-v1"])
def test_episodes_that_end_are_fine(name, caplog):
    check_environment(name)

    assert not caplog.records


def test_constant_actions_find_what_chance_does_not(register):
    class Corner(Sound):
        def step(self, action):
            self.idle = getattr(self, "idle", 0) + 1 if action == 1 else 0
            observation, reward, *_ = super().step(action)
            return observation, reward, action == 0, False, {}

    with pytest.raises(InputError, match="must end its episodes"):
        check_environment(register(Corner))
