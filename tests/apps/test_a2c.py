import dataclasses
import functools
import os
import signal

import gymnasium
import keras
import numpy as np
import pytest
from gymnasium import spaces

from apps.a2c import app
from suite import Interrupted, Run, cli, train
from suite.rl.spaces import environment_actions

QUIET = Run(data="embedded", quiet=True)


def test_it_learns_to_balance_the_pole():
    recipe = app.recipe(epochs=6)

    trained = train(app, recipe, QUIET)

    metrics = trained.report["metrics"]
    assert metrics["eval_return_mean"] > 200
    assert metrics["env_steps"] == 6 * 25 * 128 * 8
    assert trained.history["episode_return"][0] < 50
    assert (trained.folder / "figures" / "episode.png").exists()


@pytest.mark.parametrize(
    "name",
    ["Pendulum-v1", "FrozenLake-v1", pytest.param("Acrobot-v1", marks=pytest.mark.full)],
)
def test_other_environments_are_played(name):
    recipe = app.recipe(
        units=(8,), epochs=1, environment=name, num_envs=4, rollout_length=4, steps_per_epoch=2
    )

    trained = train(app, recipe, QUIET, until="judge")

    assert np.isfinite(trained.metrics["eval_return_mean"])


class Toy(gymnasium.Env):
    """Episodes of five steps, rewarded by the share of numbers in the action that are 1."""

    def __init__(self, observation_space, action_space, reward=float):
        self.observation_space, self.action_space = observation_space, action_space
        self.reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        reward = self.reward(np.mean(np.asarray(action) == 1))
        return self.observation_space.sample(), reward, self.steps == 5, False, {}


@pytest.fixture
def toys():
    """Registers environments with all kinds of spaces and rewards in Gymnasium."""
    hand = spaces.Dict({"hand": spaces.Box(-1, 1, (6,)), "n": spaces.Discrete(3)})
    pair = spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,))))
    pixels = spaces.Box(0, 255, (4, 4, 3), np.uint8)
    half = spaces.Box(np.array([2, -np.inf], "f4"), np.array([np.inf, 1], "f4"))
    environments = {
        "Hand-v0": (hand, spaces.MultiDiscrete([3, 2]), lambda reward: np.array([reward])),
        "Pixels-v0": (pixels, half),
        "Pair-v0": (pair, spaces.Box(0, 3, (2,), np.int32), int),
        "Switches-v0": (spaces.MultiBinary(6), spaces.MultiBinary((2, 2))),
        "Places-v0": (spaces.MultiDiscrete([5, 5]), spaces.Discrete(3, start=-1)),
    }
    for name, arguments in environments.items():
        gymnasium.register(
            name,
            functools.partial(Toy, *arguments),
            disable_env_checker=True,
            nondeterministic=True,
        )
    yield
    for name in environments:
        gymnasium.registry.pop(name)


@pytest.mark.parametrize(
    ("name", "numbers"), [("Pixels-v0", 2), ("Pair-v0", 2), ("Switches-v0", 4), ("Places-v0", 1)]
)
def test_all_kinds_of_spaces_are_played(name, numbers, toys):
    recipe = app.recipe(
        units=(8,), epochs=1, environment=name, num_envs=4, rollout_length=4, steps_per_epoch=2
    )

    trained = train(app, recipe, QUIET)

    assert np.isfinite(trained.report["metrics"]["eval_return_mean"])
    observation = np.random.default_rng(0).normal(size=(50, trained.model.input_shape[-1]))
    action = keras.ops.convert_to_numpy(trained.model(observation)["action"])
    assert action.size == 50 * numbers
    space = gymnasium.make(name).action_space
    assert all(space.contains(value) for value in environment_actions(space, action))


def test_several_choices_are_learnt(toys):
    recipe = app.recipe(units=(8,),
        epochs=1, environment="Hand-v0", num_envs=16, steps_per_epoch=60, learning_rate=0.02,
        reward_scale=1.0,
    )  # fmt: skip

    trained = train(app, recipe, QUIET, until="judge")

    assert trained.metrics["eval_return_mean"] > 4.5  # of 5


def test_an_environment_without_end_is_played_where_it_is_cut_off():
    recipe = app.recipe(units=(8,),
        epochs=1, environment="CliffWalking-v1", num_envs=4, rollout_length=4, steps_per_epoch=2,
        max_episode_steps=20,
    )  # fmt: skip

    trained = train(app, recipe, QUIET, until="judge")

    assert -2000 <= trained.metrics["eval_return_mean"] <= -20


class SignalAfter(keras.callbacks.Callback):
    """Sends this process a signal after a step of the first epoch."""

    def __init__(self, step):
        super().__init__()
        self.after = step

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.after:
            self.after = None
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", [17, pytest.param(34, marks=pytest.mark.full)])
def test_a_resumed_training_goes_on_as_if_it_had_not_been_broken_off(step, tmp_path):
    def callbacks(fitted):
        return [*app.callbacks(fitted), signals]

    signals = SignalAfter(step)
    interrupted = dataclasses.replace(app, callbacks=callbacks)
    recipe = app.recipe(epochs=2, num_envs=8, steps_per_epoch=34)
    run = dataclasses.replace(QUIET, run_dir=tmp_path / "broken", figures=False)
    again = dataclasses.replace(run, resume=True)

    uninterrupted = train(
        app, recipe, dataclasses.replace(run, run_dir=tmp_path / "whole"), until="judge"
    )
    with pytest.raises(Interrupted):
        train(interrupted, recipe, run)
    resumed = train(interrupted, None, again, until="judge")

    for one, two in zip(
        uninterrupted.model.get_weights(), resumed.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    assert uninterrupted.history["val_return"] == resumed.history["val_return"]
    assert uninterrupted.metrics["env_steps"] == resumed.metrics["env_steps"]


def test_play_says_what_it_needs_or_draws(capsys):
    train(app, app.recipe(epochs=1, num_envs=4, steps_per_epoch=2), QUIET)

    code = cli.run(app, ["play", "--output", "pole.gif"])

    captured = capsys.readouterr()
    try:
        import pygame  # noqa: F401
    except ImportError:
        assert code == 2
        assert ".[render]" in captured.err and captured.err.count("\n") == 1
    else:
        assert code == 0 and "steps of CartPole-v1" in captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--environment", "CartPole-v11"], "near it: CartPole-v1"),
        (["--environment", "CliffWalking-v1"], "within 10,000 steps, or be given --max-episode-"),
        (["--num-envs", "0"], "--num-envs "),
        (["--rollout-length", "0"], "--rollout-length "),
        (["--discount", "1.1"], "discount"),
        (["--gae-lambda", "-1"], "--gae-lambda "),
        (["--data", "pole.csv"], "--environment says what is played"),
        (["--jit"], "--jit"),
        (["play"], "an exported model is needed"),
        (["play", "--output", "pole.txt"], "must end in"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
