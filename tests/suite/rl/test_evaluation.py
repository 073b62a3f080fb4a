import gymnasium
import numpy as np
import pytest

from suite import InputError
from suite.rl.environments import Environments
from suite.rl.episodes import EPISODES, TEST_SEED, VALIDATION_SEED
from suite.rl.evaluation import (
    GreedyReturns,
    metrics_of,
    render_episode,
    returns_of,
    state_restorer,
)
from tests.suite.rl.walkers import ticks, walker

pytestmark = pytest.mark.usefixtures("blinkers", "corridors", "rings")


@pytest.mark.parametrize("solved_at", [5, 7, None])
def test_what_it_took_is_counted(solved_at):
    model = walker()
    callback = GreedyReturns(Environments("Corridor-v0", 3), solved_at, seed=0)

    history = model.fit(
        ticks(), steps_per_epoch=4, epochs=2, shuffle=False, verbose=0, callbacks=[callback]
    )

    logs = history.history
    assert logs["val_return"] == [6, 6]
    assert logs["val_return_std"] == [0, 0]
    cost = model.cost.metrics()
    assert cost["env_steps"] == 80  # 2 epochs of 4 updates of 5 steps in 2 environments
    assert cost["env_steps_per_second"] == pytest.approx(80 / model.cost.seconds)
    assert cost.get("env_steps_to_solve") == (40 if solved_at == 5 else None)


def test_nothing_is_reported_of_what_was_not_trained():
    assert walker().cost.metrics() == {}


@pytest.mark.parametrize(("solved_at", "solved"), [(5, 1), (7, 0), (None, None)])
def test_whether_the_test_episodes_solve_the_task_is_reported(solved_at, solved):
    environments = Environments("Corridor-v0", 3)
    environments.solved_at = solved_at

    metrics = metrics_of(lambda observations: np.zeros((3, 2)), environments, walker())

    assert metrics.get("solved") == solved
    assert metrics["eval_return_mean"] == 6


def test_a_hundred_episodes_are_not_those_of_the_validation():
    assert EPISODES == 100
    assert TEST_SEED != VALIDATION_SEED


def test_each_environment_plays_one_episode():
    returns = returns_of(
        lambda observations: np.zeros((3, 2)), Environments("Corridor-v0", 3), seed=0
    )

    assert returns.tolist() == [6, 6, 6]


class Remembering(gymnasium.Env):
    """Rewards a step by the number of steps since it was made, which a reset does not forget."""

    observation_space, action_space = gymnasium.spaces.Box(0, 1), gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.steps = 0

    def reset(self, **knobs):
        super().reset(**knobs)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), float(self.steps), True, False, {}


def test_an_evaluation_depends_on_nothing_that_was_evaluated_before():
    gymnasium.register("Remembering-v0", Remembering, max_episode_steps=3)
    environments = Environments("Remembering-v0", 2)
    gymnasium.registry.pop("Remembering-v0")
    begin_anew = state_restorer(environments)

    def returns():
        return returns_of(lambda observations: np.zeros(2, int), environments, seed=0).tolist()

    first, second = returns(), returns()
    begin_anew()

    assert first == returns() != second


def test_an_episode_that_is_as_long_as_it_may_be_counts():
    environments = Environments("EndlessRing-v0", 2, max_episode_steps=4)

    assert returns_of(lambda observations: np.ones(2), environments, seed=0).tolist() == [4, 4]


def test_an_environment_that_fails_in_an_evaluation_is_named():
    environments = Environments("Broken-v0", 2)

    with pytest.raises(InputError, match="Received: Broken-v0: ValueError: the lamp went out"):
        returns_of(lambda observations: np.zeros((2, 2)), environments, seed=0)


def test_an_environment_that_cannot_begin_is_named(monkeypatch):
    environments = Environments("Corridor-v0", 2)
    monkeypatch.setattr(environments._vector, "reset", lambda seed: (np.full((2, 1), np.nan), {}))

    with pytest.raises(InputError, match=r"Received: Corridor-v0: "):
        returns_of(lambda observations: np.zeros((2, 2)), environments, seed=0)


def test_an_episode_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("suite.rl.evaluation.LONGEST_EPISODE", 20)

    with pytest.raises(InputError, match="must end its episodes within 20 steps"):
        returns_of(lambda observations: np.zeros(2), Environments("CliffWalking-v1", 2), seed=0)


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(InputError, match=r"one that can be drawn\. Received: Broken-v0"):
        render_episode("Broken-v0", lambda observations: np.zeros((1, 2)), seed=0)


def test_pictures_are_played_in_their_shape_and_drawn_large():
    seen = []

    def act(observations):
        seen.append(observations)
        return np.array([len(seen) % 2])

    frames, total = render_episode("Blinker-v0", act, seed=0, flatten=False, frame_stack=2)

    assert {(picture.shape, picture.dtype.name) for picture in seen} == {((1, 4, 4, 2), "uint8")}
    assert frames.shape == (6, 160, 160, 3) and total == 25
    assert frames.dtype == np.uint8 and frames[:, 0, 0, 0].tolist() == [0, 255, 0, 255, 0, 255]
