import gymnasium
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from apps.reinforce import (
    Config,
    Reinforce,
    app,
    average_of_others,
    returns_to_go,
    variance_figure,
)
from suite import Run, cli, train
from suite.tasks.control import build_actor_critic

QUIET = Run(data="embedded", quiet=True)


class Countdown(gymnasium.Env):
    """Episodes whose first observation is their length, with a reward of 1 for each step."""

    observation_space = spaces.Box(0, 100, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 60))
        return np.array([self.left], "f4"), {}

    def step(self, action):
        self.left -= 1
        return np.array([self.left], "f4"), 1.0, self.left == 0, False, {}


class Bandit(gymnasium.Env):
    """Episodes of one step, in which action 0 brings 1, and action 1 brings 2."""

    observation_space = spaces.Box(0, 1, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, "f4"), {}

    def step(self, action):
        return np.zeros(1, "f4"), 1.0 + action, True, False, {}


@pytest.fixture(autouse=True)
def toys():
    """Registers the environments in Gymnasium."""
    gymnasium.register("Countdown-v0", Countdown, disable_env_checker=True)
    gymnasium.register("Bandit-v0", Bandit, disable_env_checker=True)
    yield
    for name in ("Countdown-v0", "Bandit-v0"):
        gymnasium.registry.pop(name)


def played(**knobs):
    """A player of some environments, and a rollout of one update."""
    player = Reinforce(build_actor_critic(1, units=(4,)), Config(**knobs))

    @tf.function
    def play(seeds):
        return player.collect(player.environments(seeds))

    return player, play(tf.range(player.num_envs, dtype=tf.int64))


def test_returns_to_go_by_hand():
    rewards = tf.constant([[1.0, 4.0], [2.0, 0.0], [3.0, 0.0]])

    assert returns_to_go(rewards, 1.0).numpy().tolist() == [[6, 4], [5, 0], [3, 0]]
    assert returns_to_go(rewards, 0.5).numpy().tolist() == [[2.75, 4], [3.5, 0], [3, 0]]


def test_the_average_of_the_others_is_of_those_that_last_as_long():
    taken = tf.constant([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    returns = tf.constant([[6.0, 4.0, 3.0], [5.0, 0.0, 1.0], [3.0, 0.0, 0.0]])

    averages = average_of_others(returns, taken).numpy()

    assert averages[0].tolist() == [3.5, 4.5, 5]
    assert averages[1, 0] == 1 and averages[1, 2] == 5
    assert averages[2, 0] == 0  # nobody lasts as long


@pytest.mark.parametrize("limit", [None, 10])
def test_an_update_plays_one_whole_episode_in_every_environment(limit):
    _, rollout = played(environment="Countdown-v0", num_envs=8, max_episode_steps=limit)

    expected = rollout.observations[0, :, 0].numpy()
    expected = np.minimum(expected, limit or 60)
    steps = rollout.valid.numpy()
    assert len(set(expected)) > 1 or limit
    assert steps.sum(axis=0).tolist() == expected.tolist()
    assert all(steps[: int(length), number].all() for number, length in enumerate(expected))
    for field in (rollout.rewards, rollout.returns, rollout.lengths):
        totals = field.numpy().sum(axis=0)
        assert totals.tolist() == expected.tolist()
    assert len(rollout.observations) == len(steps) + 1 < expected.max() + 27


def test_the_next_update_begins_new_episodes():
    player = Reinforce(
        build_actor_critic(1, units=(4,)), Config(environment="Countdown-v0", num_envs=8)
    )

    @tf.function
    def first_observations(seeds):
        return player.collect(player.environments(seeds)).observations[0]

    lengths = [first_observations(tf.constant(8 * [seed], tf.int64)) for seed in (1, 2, 1)]

    assert (lengths[0].numpy() == lengths[2].numpy()).all()
    assert (lengths[0].numpy() != lengths[1].numpy()).any()


@pytest.mark.parametrize(
    ("baseline", "tolerance"), [("none", 0.1), ("average", 0.01), ("value", 0.1)]
)
def test_the_gradient_is_that_of_the_return_with_every_baseline(baseline, tolerance):
    """For two actions that are as likely, it is half of what one brings beyond the mean."""
    player, rollout = played(environment="Bandit-v0", num_envs=1024, reward_scale=1.0)

    gradient = player.gradient(rollout, baseline).numpy()

    sizes = [int(tf.size(variable)) for variable in player.trainable_variables]
    paths = [variable.path for variable in player.trainable_variables]
    by_variable = dict(zip(paths, np.split(gradient, np.cumsum(sizes)[:-1]), strict=True))
    [bias] = [values for path, values in by_variable.items() if path.endswith("policy/bias")]
    assert bias.tolist() == pytest.approx([0.25, -0.25], abs=tolerance)
    others = [values for path, values in by_variable.items() if "value" in path]
    assert others and not any(values.any() for values in others)


def test_the_loss_is_a_sum_over_steps_and_a_mean_over_episodes():
    player, rollout = played(
        environment="Countdown-v0", num_envs=4, baseline="none", value_weight=0.0, reward_scale=1.0,
        discount=1.0,
    )  # fmt: skip

    observations, targets, weights = player.examples(rollout)
    with tf.GradientTape() as tape:
        loss = player.compute_loss(observations, targets, player(observations), weights)
    gradients = tape.gradient(loss, player.trainable_variables)

    flat = np.concatenate([tf.reshape(gradient, [-1]).numpy() for gradient in gradients])
    expected = player.gradient(rollout, "none").numpy()
    np.testing.assert_allclose(flat, expected, rtol=1e-3, atol=1e-3)


def test_it_learns_to_balance_the_pole_and_measures_its_gradient():
    recipe = app.recipe(epochs=4, variance_batches=4, max_episode_steps=200)

    trained = train(app, recipe, QUIET)

    history, metrics = trained.history, trained.report["metrics"]
    assert metrics["eval_return_mean"] > 100
    assert history["episode_return"][-1] > 2 * 22  # what chance brings
    assert history["gradient_variance_value"][-1] < history["gradient_variance_none"][-1]
    assert history["gradient_variance_average"][-1] < history["gradient_variance_none"][-1]
    assert (trained.folder / "figures" / "gradient_variance.png").exists()


@pytest.mark.parametrize(
    ("name", "baseline"), [("Pendulum-v1", "average"), ("FrozenLake-v1", "none")]
)
def test_other_environments_are_played_with_other_baselines(name, baseline):
    recipe = app.recipe(
        units=(8,), epochs=1, environment=name, num_envs=4, steps_per_epoch=2, baseline=baseline,
        variance_batches=0, max_episode_steps=20,
    )  # fmt: skip

    trained = train(app, recipe, QUIET, until="judge")

    assert np.isfinite(trained.metrics["eval_return_mean"])
    assert "gradient_variance_none" not in trained.history
    assert not (trained.folder / "figures" / "gradient_variance.png").exists()


def test_the_figure_of_the_variance_has_a_line_for_each_baseline():
    [axes] = variance_figure({"none": np.array([3.0, 2.0]), "value": np.array([1.0, 0.5])}).axes

    assert [line.get_label() for line in axes.lines] == ["none", "value"]
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--baseline", "mean"], "--baseline "),
        (["--baseline", "average", "--num-envs", "1"], "--num-envs must be at least 2"),
        (["--variance-batches", "1"], "--variance-batches must be 0, or at least 2"),
        (["--environment", "CliffWalking-v1"], "within 10,000 steps, or be given --max-episode-"),
        (["--data", "pole.csv"], "--environment says what is played"),
        (["--jit"], "--jit"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
