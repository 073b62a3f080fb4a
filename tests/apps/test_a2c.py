import dataclasses
import os
import signal

import keras
import numpy as np
import pytest

from apps.a2c import app, build_model
from suite import Interrupted, Run, cli, train

QUIET = Run(data="embedded", quiet=True)


def test_a_choice_of_actions():
    model = build_model(5, num_actions=3, units=(8,))

    said = model(np.zeros((2, 5), "f4"))

    assert {name: tuple(each.shape) for name, each in said.items()} == {
        "policy": (2, 3), "value": (2,), "action": (2,),
    }  # fmt: skip


def test_numbers_for_an_action_stay_within_their_bounds():
    bounds = ((-1.0, 0.0), (1.0, 100.0))
    model = build_model(3, num_actions=2, action_bounds=bounds, units=(8,), activation="tanh")
    model.get_layer("policy").set_weights([100 * np.ones((8, 2)), np.zeros(2)])

    said = model(np.random.default_rng(0).normal(size=(50, 3)))

    action = keras.ops.convert_to_numpy(said["action"])
    assert action.shape == (50, 2)
    assert action.min(axis=0).tolist() == [-1, 0] and action.max(axis=0).tolist() == [1, 100]
    assert (keras.ops.convert_to_numpy(said["log_scale"]) == 0).all()


def test_observations_are_scaled_by_the_model():
    plain = build_model(2, units=(4,))
    scaled = build_model(2, observation_scale=(0.5, 10.0), units=(4,))
    scaled.set_weights(plain.get_weights())

    one, other = plain(np.array([[1.0, 20.0]])), scaled(np.array([[2.0, 2.0]]))

    np.testing.assert_allclose(one["policy"], other["policy"], rtol=1e-5)


def test_actor_and_critic_may_share_their_torso():
    apart, shared = build_model(), build_model(shared_torso=True)

    hidden = 4 * 64 + 64 + 64 * 64 + 64
    assert apart.count_params() - shared.count_params() == hidden


def test_it_learns_to_balance_the_pole():
    config = app.config(epochs=6)

    trained = train(app, config, QUIET)

    metrics = trained.report["metrics"]
    assert metrics["eval_return_mean"] > 200
    assert metrics["env_steps"] == 6 * 25 * 128 * 8
    assert trained.history["episode_return"][0] < 50
    assert (trained.folder / "figures" / "episode.png").exists()


@pytest.mark.parametrize("name", ["Pendulum-v1", "FrozenLake-v1", "Acrobot-v1"])
def test_other_environments_are_played(name):
    config = app.config(epochs=1, environment=name, num_envs=4, rollout_length=4, steps_per_epoch=2)

    trained = train(app, config, QUIET, {"units": (8,)})

    assert np.isfinite(trained.report["metrics"]["eval_return_mean"])


class SignalAfter(keras.callbacks.Callback):
    """Sends this process a signal after a step of the first epoch."""

    def __init__(self, step):
        super().__init__()
        self.after = step

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.after:
            self.after = None
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", [17, 34])
def test_a_resumed_training_goes_on_as_if_it_had_not_been_broken_off(step, tmp_path):
    def callbacks(model, config, data, folder):
        return [*app.callbacks(model, config, data, folder), signals]

    signals = SignalAfter(step)
    broken = dataclasses.replace(app, callbacks=callbacks)
    config = app.config(epochs=2, num_envs=8, steps_per_epoch=34)
    run = dataclasses.replace(QUIET, run_dir=tmp_path / "broken")

    whole = train(app, config, QUIET)
    with pytest.raises(Interrupted):
        train(broken, config, run)
    resumed = train(broken, None, dataclasses.replace(run, resume=True))

    for one, two in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert whole.history["val_return"] == resumed.history["val_return"]
    assert whole.report["metrics"]["env_steps"] == resumed.report["metrics"]["env_steps"]


def test_play_says_what_it_needs_or_draws(capsys):
    train(app, app.config(epochs=1, num_envs=4, steps_per_epoch=2), QUIET)

    code = cli.run(app, ["play", "--output", "pole.gif"])

    said = capsys.readouterr()
    try:
        import pygame  # noqa: F401
    except ImportError:
        assert code == 2
        assert ".[render]" in said.err and said.err.count("\n") == 1
    else:
        assert code == 0 and "steps of CartPole-v1" in said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--environment", "CartPole-v11"], "near it: CartPole-v1"),
        (["--environment", "Blackjack-v1"], "Box or Discrete observations"),
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

    said = capsys.readouterr().err
    assert code == 2
    assert message in said and said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
