import dataclasses
import importlib.util
import os
import signal
from pathlib import Path

import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from apps.dqn import Config, app, build_model, compile_model
from suite import Interrupted, Run, cli, train

QUIET = Run(data="embedded", quiet=True)
RAINBOW = app.recipes["rainbow"]
SMALL = {
    "epochs": 1, "num_envs": 4, "rollout_length": 4, "steps_per_epoch": 4, "updates": 2,
    "batch_size": 8, "replay_size": 200, "warm_up": 20, "validation_episodes": 5, "units": (8,),
}  # fmt: skip
# Others are those of the contract, of the whole Rainbow, and of the export of a distribution.
OTHER_KNOBS = [
    {"double": False, "n_step": 1},
    {"target_rate": 1.0, "target_period": 1},  # without a target network
    {"replay_size": 128},  # the smallest: little but what is fresh
]


def arrays(outputs):
    return {name: keras.ops.convert_to_numpy(output) for name, output in outputs.items()}


# --- the network ----------------------------------------------------------------------------


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
def test_values_of_actions_and_the_best_one(dueling, noisy):
    model = build_model((5,), num_actions=3, units=(8, 8), dueling=dueling, noisy=noisy)

    outputs = arrays(model(np.random.default_rng(0).normal(size=(50, 5))))

    assert outputs["value"].shape == (50, 3)
    assert outputs["action"].tolist() == outputs["value"].argmax(axis=1).tolist()
    assert sum("noisy" in layer.name for layer in model.layers) == (2 + dueling) * noisy


def test_a_distribution_has_the_values_as_means():
    model = build_model(num_actions=3, distributional=True, atoms=5, value_range=(-1, 3))

    outputs = arrays(model(np.random.default_rng(0).normal(size=(4, 4))))

    assert outputs["logits"].shape == (4, 3, 5)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(outputs["logits"]))
    np.testing.assert_allclose(outputs["value"], probabilities @ [-1, 0, 1, 2, 3], rtol=1e-5)


def test_advantages_have_no_mean():
    model = build_model(num_actions=3, units=(8,), dueling=True)
    state = keras.Model(model.input, model.get_layer("state").output)
    x = np.random.default_rng(0).normal(size=(4, 4))

    value = arrays(model(x))["value"]

    np.testing.assert_allclose(value.mean(axis=1, keepdims=True), state(x), atol=1e-6)


def test_the_network_for_atari_is_that_of_the_paper():
    model = build_model((84, 84, 4), (1 / 255,), num_actions=18, units=(512,))

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.output.shape[1:] for layer in layers] == [(20, 20, 32), (9, 9, 64), (7, 7, 64)]
    assert model.count_params() == (
        8 * 8 * 4 * 32 + 32 + 4 * 4 * 32 * 64 + 64 + 3 * 3 * 64 * 64 + 64
        + 7 * 7 * 64 * 512 + 512 + 512 * 18 + 18
    )  # fmt: skip


def test_the_smaller_network_for_atari_is_that_of_its_paper():
    model = build_model((84, 84, 4), (1 / 255,), convolutions="efficient", units=(256,))

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.output.shape[1:] for layer in layers] == [(16, 16, 32), (3, 3, 64)]
    assert model.count_params() == (
        5 * 5 * 4 * 32 + 32 + 5 * 5 * 32 * 64 + 64 + 3 * 3 * 64 * 256 + 256 + 256 * 2 + 2
    )


def test_small_pictures_have_small_convolutions():
    model = build_model((10, 10, 6), num_actions=6, units=(128,))

    [layer] = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert layer.output.shape == (None, 8, 8, 16)


def test_observations_are_scaled_by_the_model():
    plain = build_model((2,), units=(4,))
    scaled = build_model((2,), (0.5, 10.0), units=(4,))
    scaled.set_weights(plain.get_weights())

    one, other = plain(np.array([[1.0, 20.0]])), scaled(np.array([[2.0, 2.0]]))

    np.testing.assert_allclose(one["value"], other["value"], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation_scale": (1.0, 2.0)}, "1 or 4 values"),
        ({"value_range": (1.0, 1.0)}, "a smaller and a larger number"),
        ({"convolutions": "minatar"}, "at least 3 x 3 pixels. Received: minatar, with"),
        ({"observation_shape": (20, 84, 1), "convolutions": "atari"}, "at least 36 x 36"),
        ({"observation_shape": (24, 84, 1), "convolutions": "efficient"}, "at least 25 x 25"),
        ({"atoms": 1}, "`atoms` "),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_model(**arguments)


# --- the maths ------------------------------------------------------------------------------


def player(**knobs):
    """A learner of two actions whose network and target network have weights that are known.

    In the network the values of an observation `x` are `x` and `-x`, in the target network 2 and 7.
    """
    model = build_model((1,), num_actions=2, units=())
    model.set_weights([np.float32([[1, -1]]), np.zeros(2)])
    config = Config(**{name: SMALL[name] for name in SMALL if name != "units"} | knobs)
    learner = compile_model(model, config, 100)
    learner.target.network.set_weights([np.zeros((1, 2)), np.float32([2, 7])])
    return learner


def batch(**fields):
    """Three transitions, after the last of which nothing follows."""
    return {
        "observations": tf.constant([[1.0], [2.0], [3.0]]),
        "actions": tf.constant([0, 1, 0]),
        "rewards": tf.constant([10.0, 20.0, 30.0]),
        "next_observations": tf.constant([[5.0], [-5.0], [5.0]]),
        "terminated": tf.constant([False, False, True]),
        "discount": tf.constant([0.9, 0.5, 0.0]),
        "weights": tf.constant([1.0, 0.5, 0.25]),
        "rows": tf.constant([0, 1, 2], tf.int64),
    } | fields


@pytest.mark.parametrize(("double", "following"), [(False, [7, 7]), (True, [2, 7])])
def test_targets_are_rewards_and_what_the_target_network_says_of_the_rest(double, following):
    learner = player(double=double, reward_scale=0.1)

    _, targets, weights = learner.examples(batch())

    wanted = [1 + 0.9 * following[0], 2 + 0.5 * following[1], 3]
    np.testing.assert_allclose(targets["return"], wanted, rtol=1e-6)
    assert weights is None


def test_errors_are_priorities_and_large_ones_count_by_their_size():
    learner = player(double=False, reward_scale=0.1, prioritized=True)
    x, targets, weights = learner.examples(batch())
    outputs = learner(x)

    errors = np.abs([1 + 6.3 - 1, 2 + 3.5 + 2, 3 - 3])
    np.testing.assert_allclose(learner.priorities(targets, outputs), errors, atol=1e-5)
    loss = learner.compute_loss(x, targets, outputs, weights)
    huber = np.where(errors < 1, errors**2 / 2, errors - 0.5)
    np.testing.assert_allclose(loss, np.mean(huber * [1, 0.5, 0.25]), rtol=1e-5)
    near = {**targets, "return": tf.constant([1.5, -2.0, 3.0])}
    np.testing.assert_allclose(learner.compute_loss(x, near, outputs), 0.5**2 / 2 / 3, rtol=1e-5)


def test_distributions_move_by_the_rewards_and_shrink_by_the_discount():
    model = build_model(
        (1,), num_actions=2, units=(), distributional=True, atoms=3, value_range=(0, 2)
    )
    learner = compile_model(model, Config(double=False, reward_scale=1.0), 100)
    model.set_weights([np.zeros((1, 6)), np.zeros(6)])
    best, other = [0.5, 0.5, 1e-12], [1.0, 1e-12, 1e-12]
    learner.target.network.set_weights([np.zeros((1, 6)), np.log(best + other)])
    fields = {"rewards": tf.constant([1.0, 0.25, 2.0]), "discount": tf.constant([1.0, 0.5, 0.0])}

    x, targets, _ = learner.examples(batch(**fields))

    wanted = [[0, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 1]]
    np.testing.assert_allclose(targets["probabilities"], wanted, atol=1e-6)
    # Of the three returns, which are equally likely to the network, two or one are possible.
    divergences = np.log([3 / 2, 3 / 2, 3])
    outputs = learner(x)
    np.testing.assert_allclose(learner.priorities(targets, outputs), divergences, rtol=1e-5)
    loss = learner.compute_loss(x, targets, outputs)
    np.testing.assert_allclose(loss, divergences.mean(), rtol=1e-5)


def test_epsilon_falls_and_then_stays():
    learner = player(initial_epsilon=0.8, epsilon=0.2, exploration=0.5)  # 200 updates in all

    assert [round(float(learner.epsilon(step)), 6) for step in (0, 50, 100, 200)] == [
        0.8, 0.5, 0.2, 0.2,
    ]  # fmt: skip


def test_random_actions_are_as_many_as_epsilon_says():
    learner = player(initial_epsilon=0.4, epsilon=0.0)
    observations = tf.ones((4000, 1))  # of which action 0 is the best

    explored = learner.act(observations, tf.constant([0, 1]))
    greedy = learner.act(observations, None, explore=False)

    assert abs(float(tf.reduce_mean(tf.cast(explored, tf.float32))) - 0.2) < 0.03
    assert not greedy.numpy().any()


def test_noisy_layers_explore_and_have_no_noise_in_evaluations():
    model = build_model((1,), num_actions=2, units=(8,), noisy=True)
    config = Config(initial_epsilon=0.0, epsilon=0.0)
    learner = compile_model(model, config, 100)
    observations = tf.zeros((500, 1))

    explored = learner.act(observations, tf.constant([0, 1]))
    greedy = learner.act(observations, None, explore=False)

    assert 0 < np.mean(explored) < 1
    assert len(set(greedy.numpy())) == 1


# --- the training ---------------------------------------------------------------------------


def test_it_learns_to_balance_the_pole():
    recipe = app.recipe(epochs=6, exploration=0.3)

    trained = train(app, recipe, QUIET)

    metrics = trained.report["metrics"]
    assert metrics["eval_return_mean"] > 200
    assert metrics["eval_return_min"] <= metrics["eval_return_mean"]
    assert 6 * 40 * 64 < metrics["env_steps"] < 6 * 40 * 64 + 1200  # with the warm-up
    assert (trained.folder / "figures" / "episode.png").exists()


@pytest.mark.parametrize("knobs", OTHER_KNOBS, ids=lambda knobs: "+".join(knobs))
def test_it_trains_with_other_knobs(knobs):
    trained = train(app, app.recipe(**SMALL | knobs), QUIET, until="judge")

    assert np.isfinite(trained.metrics["eval_return_mean"])
    assert not (trained.folder / "figures" / "returns.png").exists()  # of distributions alone


@pytest.mark.parametrize(
    "name", ["FrozenLake-v1", "MountainCar-v0", pytest.param("Acrobot-v1", marks=pytest.mark.full)]
)
def test_other_environments_are_played(name, capsys):
    trained = train(app, app.recipe(**SMALL | {"environment": name}), QUIET)

    assert np.isfinite(trained.report["metrics"]["eval_return_mean"])
    if importlib.util.find_spec("pygame"):  # which the extra `render` brings
        assert cli.run(app, ["play", "--output", "episode.gif"]) == 0
        assert f"steps of {name}, return " in capsys.readouterr().out
        assert Path("episode.gif").stat().st_size


class Light(gymnasium.Env):
    """Shows a bright or a dark picture; the action that names it is rewarded."""

    observation_space = spaces.Box(0, 255, (10, 10, 1), np.uint8)
    action_space = spaces.Discrete(2)

    def _picture(self):
        self.bright = int(self.np_random.integers(2))
        return np.full((10, 10, 1), 200 * self.bright, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action):
        reward = float(action == self.bright)
        return self._picture(), reward, False, False, {}


@pytest.fixture
def light():
    """Registers an environment of pictures in Gymnasium."""
    gymnasium.register("Light-v0", Light, max_episode_steps=8)
    yield
    gymnasium.registry.pop("Light-v0")


def test_it_learns_from_pictures(light):
    knobs = SMALL | {"environment": "Light-v0", "steps_per_epoch": 60, "batch_size": 32}

    trained = train(app, app.recipe(**knobs, discount=0.0, learning_rate=0.003), QUIET)

    assert trained.report["metrics"]["eval_return_mean"] > 7.5  # of 8
    assert trained.model.input_shape == (None, 10, 10, 1)


class SignalAfter(keras.callbacks.Callback):
    """Sends this process a signal after a step of the first epoch."""

    def __init__(self, step):
        super().__init__()
        self.after = step

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.after:
            self.after = None
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    "knobs", [pytest.param({}, marks=pytest.mark.full), {**RAINBOW, "atoms": 11}], ids=len
)
def test_a_resumed_training_goes_on_as_if_it_had_not_been_broken_off(knobs, tmp_path):
    def callbacks(fitted):
        return [*app.callbacks(fitted), signals]

    signals = SignalAfter(17)
    interrupted = dataclasses.replace(app, callbacks=callbacks)
    recipe = app.recipe(**SMALL | {"epochs": 2, "steps_per_epoch": 34} | knobs)
    run = dataclasses.replace(QUIET, run_dir=tmp_path / "broken", figures=False)
    again = dataclasses.replace(run, resume=True)

    uninterrupted = train(
        app, recipe, dataclasses.replace(run, run_dir=tmp_path / "whole"), until="judge"
    )
    with pytest.raises(Interrupted):
        train(interrupted, recipe, run)
    resumed = train(interrupted, None, again, until="judge")

    # The replay was full when the training was broken off.
    assert SMALL["replay_size"] < 17 * 16
    for one, two in zip(
        uninterrupted.model.get_weights(), resumed.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    assert uninterrupted.history["val_return"] == resumed.history["val_return"]
    assert uninterrupted.metrics["env_steps"] == resumed.metrics["env_steps"]


class Fragile(gymnasium.Env):
    """Breaks after so many steps of one copy, or shows a number that is none."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)
    lasts, fault = 10**9, "raises"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        Fragile.lasts -= 1
        if Fragile.lasts < 0 and Fragile.fault == "raises":
            raise ValueError("it broke")
        observation = np.full(2, np.nan if Fragile.lasts < 0 else 0.5, np.float32)
        return observation, 1.0, False, False, {}


@pytest.mark.parametrize(("fault", "message"), [("raises", "it broke"), ("nan", "NaN or infinite")])
def test_an_environment_that_fails_leaves_a_saved_state(
    fault, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(
        gymnasium.registry, "Fragile-v0",
        gymnasium.envs.registration.EnvSpec("Fragile-v0", Fragile, max_episode_steps=8),
    )  # fmt: skip
    knobs = {"num-envs": 4, "rollout-length": 4, "steps-per-epoch": 4, "updates": 1, "epochs": 3,
             "batch-size": 8, "warm-up": 20, "validation-episodes": 5, "units": 8}  # fmt: skip
    words = [word for name, value in knobs.items() for word in (f"--{name}", str(value))]
    folder = ["--run-dir", str(tmp_path / "run"), "--quiet", "--no-figures"]
    # Enough for the check, the first epoch and its evaluation.
    monkeypatch.setattr(Fragile, "lasts", 8 + 20 + 4 * 16 + 5 * 8 + 30)
    monkeypatch.setattr(Fragile, "fault", fault)

    code = cli.run(app, ["--environment", "Fragile-v0", *words, *folder])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and "--resume" in error and error.count("\n") == 1
    monkeypatch.setattr(Fragile, "lasts", 10**9)
    assert cli.run(app, [*folder, "--resume"]) == 0
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 1 + 3


# --- the export, and bad input --------------------------------------------------------------


def test_a_distribution_is_served_with_its_values():
    trained = train(app, app.recipe(**SMALL | {"distributional": True, "atoms": 5}), QUIET)

    assert (trained.folder / "figures" / "returns.png").exists()
    serve = tf.saved_model.load(str(trained.saved_model)).signatures["serve"]
    answer = arrays(serve(observation=tf.zeros((3, 4))))

    assert answer["action"].dtype == np.int64 and answer["probabilities"].shape == (3, 2, 5)
    np.testing.assert_allclose(
        answer["value"], answer["probabilities"] @ np.linspace(-10, 10, 5), atol=1e-5
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--environment", "CartPole-v11"], "near it: CartPole-v1"),
        (["--environment", "Pendulum-v1"], "one choice of action (apps.a2c"),
        (["--environment", "CliffWalking-v1"], "within 10,000 steps, or be given --max-episode-"),
        (["--replay-size", "127"], "--replay-size "),
        (
            ["--environment", "Taxi-v4", "--replay-size", "1000000000"],
            "into the memory of",
        ),
        (["--warm-up", "2000", "--replay-size", "1000"], "--warm-up "),
        (["--epsilon", "1.1"], "--epsilon "),
        (["--initial-epsilon", "-0.1"], "--initial-epsilon "),
        (["--n-step", "0"], "--n-step "),
        (["--value-range", "1", "0"], "--value-range "),
        (["--value-range", "0", "inf"], "--value-range "),
        (["--convolutions", "atari"], "--convolutions "),
        (["--data", "pole.csv"], "--environment says what is played"),
        (["play"], "an exported model is needed"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
