import gymnasium
import keras
import numpy as np
import pytest
from gymnasium import spaces

from apps.grid_world import app, build_model
from suite import Run, cli, train

QUIET = Run(data="embedded", quiet=True)


def trained(name=None, until="judge", run=QUIET, **knobs):
    return train(app, app.recipe(name, **knobs), run, until=until)


def test_the_table_has_a_row_for_every_state_and_number_of_steps_left():
    timed, stationary = build_model(5, 3, 7), build_model(5, 3, None)

    assert timed.count_params() == 5 * 3 * 7 and stationary.count_params() == 5 * 3
    assert list(stationary.input) == ["state"]
    assert timed.output["value"].shape == (None, 3)


def test_two_tables_are_averaged_and_begin_near_the_initial_value():
    model = build_model(2, 2, None, 2, initial_value=5.0)
    first, second = (keras.ops.convert_to_numpy(v) for v in model.trainable_variables)

    value = model({"state": np.array([0, 1])})["value"]

    np.testing.assert_allclose(value, (first + second) / 2, rtol=1e-6)
    assert (np.abs(first - 5) <= 1e-3).all() and np.any(first != second)


@pytest.mark.parametrize("method", ["value_iteration", "policy_iteration"])
def test_dynamic_programming_is_exact(method):
    """The best return within the limit, and the values of the table, to six decimals."""
    planned = trained(method=method)

    metrics = planned.metrics
    assert metrics["best_return"] == pytest.approx(0.744190, abs=1e-6)
    assert metrics["eval_gap"] == pytest.approx(0, abs=1e-6)
    assert metrics["best_return_without_limit"] == pytest.approx(14 / 17, abs=1e-6)
    [network] = planned.networks.values()
    start = network({"state": np.array([0]), "steps_left": np.array([100])})["value"]
    assert float(np.max(start)) == pytest.approx(0.744190, abs=1e-6)


def test_policies_that_do_not_know_the_steps_left_bring_less():
    planned = trained(method="policy_iteration", timed=False, discount=0.9999)

    assert planned.metrics["eval_return"] == pytest.approx(0.740, abs=1e-3)
    assert planned.networks["grid_world"].count_params() == 16 * 4


def test_q_learning_learns_to_cross_the_ice():
    learnt = trained(epochs=2, num_envs=512, learning_rate_decay=0.6)

    assert learnt.metrics["eval_gap"] < 0.02
    assert learnt.history["val_return"][-1] == learnt.metrics["eval_return"]
    assert (learnt.folder / "figures" / "values.png").stat().st_size > 5000


@pytest.mark.parametrize("name", ["taxi", "cliff"])
def test_recipes_without_chance_are_solved_exactly(name):
    learnt = trained(name, epochs=1)

    assert learnt.metrics["eval_gap"] == pytest.approx(0, abs=1e-9)
    best = {"taxi": 7.93, "cliff": -13}[name]
    assert learnt.metrics["eval_return"] == pytest.approx(best, abs=0.005)


def test_sarsa_takes_the_safe_way_and_q_learning_the_edge(tmp_path, capsys):
    assert cli.run(app, ["ways", "--output", "ways.png"]) == 0

    output = capsys.readouterr().out
    steps = {
        line.split(":")[0]: int(line.split()[1]) for line in output.splitlines() if "steps;" in line
    }
    assert steps["q_learning"] == 13 < steps["sarsa"] < 30
    assert (tmp_path / "ways.png").stat().st_size > 5000


class Parity(gymnasium.Env):
    """Three bits are shown; the reward is 1 for their parity, in episodes of one step."""

    observation_space = spaces.Dict(
        {"one": spaces.Discrete(2), "two": spaces.MultiDiscrete([2, 2])}
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bits = self.np_random.integers(2, size=3)
        return {"one": self.bits[0], "two": self.bits[1:]}, {}

    def step(self, action):
        reward = float(action == self.bits.sum() % 2)
        return {"one": self.bits[0], "two": self.bits[1:]}, reward, True, False, {}


@pytest.fixture
def parity():
    gymnasium.register("Parity-v0", Parity)
    yield
    gymnasium.registry.pop("Parity-v0")


def test_other_environments_are_played_and_evaluated_by_episodes(parity):
    learnt = trained(environment="Parity-v0", max_episode_steps=4, epochs=1, num_envs=16)

    assert learnt.metrics["eval_return"] == 1 and learnt.metrics["eval_return_std"] == 0
    assert learnt.metrics["best_return"] is None


def test_play_says_what_it_needs_or_draws(capsys):
    trained(until="publish", method="value_iteration")

    code = cli.run(app, ["play", "--output", "lake.gif"])

    captured = capsys.readouterr()
    try:
        import pygame  # noqa: F401
    except ImportError:
        assert code == 2
        assert ".[render]" in captured.err and captured.err.count("\n") == 1
    else:
        assert code == 0 and "steps of FrozenLake-v1" in captured.out


def test_an_export_is_evaluated_exactly(capsys):
    published = trained(until="publish", method="value_iteration")

    assert cli.run(app, ["evaluate"]) == 0

    assert f"{published.metrics['eval_return']:.4f}"[:6] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--environment", "CartPole-v1"], "observations that can be counted"),
        (["--environment", "FrozenLake-v11"], "near it: FrozenLake"),
        (["--environment", "Pendulum-v1"], "observations that can be counted"),
        (["--epsilon", "1.5"], "--epsilon "),
        (["--final-epsilon", "-0.1"], "--final-epsilon "),
        (["--temperature", "-1"], "--temperature "),
        (["--learning-rate", "2"], "--learning-rate "),
        (["--discount", "1.1"], "--discount "),
        (["--num-envs", "0"], "--num-envs "),
        (["--max-episode-steps", "0"], "--max-episode-steps "),
        (["--environment", "Taxi-v4", "--max-episode-steps", "100000"], "at most 50,000,000"),
        (["--method", "policy_iteration", "--no-timed"], "--discount must be below 1"),
        (["--method", "dqn"], "--method "),
        (["--data", "lake.csv"], "--environment says what is played"),
        (["--jit"], "--jit"),
        (["play"], "an exported model is needed"),
        (["ways", "--environment", "FrozenLake-v1"], "must leave nothing to chance"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_dynamic_programming_needs_a_model(parity, capsys):
    words = ["--environment", "Parity-v0", "--method", "value_iteration", "--quiet"]

    assert cli.run(app, words) == 2

    assert "--method must be one that learns from steps" in capsys.readouterr().err
