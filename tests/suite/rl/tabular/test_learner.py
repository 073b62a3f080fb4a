"""Learners against one step of each method, computed by hand in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.grid_world import build_model
from suite import InputError
from suite.rl.environments import Environments
from suite.rl.tabular import planning
from suite.rl.tabular.dynamics import Task, from_table, open_task
from suite.rl.tabular.learner import Learning, TabularLearner, set_values, values_of
from suite.rl.tabular.updates import Rate

LIMIT = 3


def task_of(dynamics, limit=LIMIT):
    return Task(
        name="fork", sizes=(2,), num_actions=2, limit=limit, layout=(1, 2), dynamics=dynamics
    )


def task_of_table(table):
    """A task of one action, whose episodes begin in the first state."""
    count = len(table)
    return Task(
        name="table",
        sizes=(count,),
        num_actions=1,
        limit=10,
        layout=(1, count),
        dynamics=from_table(table, np.eye(count)[0], 1),
    )


def learner(task, method="q_learning", timed=True, agents=64, steps=20, **knobs):
    knobs = {
        "discount": 0.9,
        "rate": Rate(1.0, 0.6),
        "exploration": "epsilon_greedy",
        "exploration_rates": (1.0, 0.0),
        **knobs,
    }
    model = build_model(
        task.num_states,
        task.num_actions,
        task.limit if timed else None,
        2 if method == "double_q_learning" else 1,
    )
    learning = Learning(method=method, timed=timed, **knobs)
    player = TabularLearner(model, task, learning, num_agents=agents, steps=steps)
    player.compile(keras.optimizers.SGD(1.0), auto_scale_loss=False)
    return model, player


def seeds(agents=64, seed=0):
    def draw(step):
        return (tf.random.stateless_uniform([agents], [step, seed], 0, 2**31 - 1, tf.int64),)

    return tf.data.Dataset.counter().map(draw)


METHODS = ["q_learning", "double_q_learning", "expected_sarsa", "sarsa", "monte_carlo"]


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_the_values_of_the_fork(method, timed, fork):
    limit = LIMIT if timed else 30
    task = task_of(fork, limit)
    model, player = learner(task, method, timed, agents=256, steps=40)

    history = player.fit(seeds(256), epochs=1, steps_per_epoch=40, shuffle=False, verbose=0).history

    values = values_of(model, task, limit if timed else 1)
    best = planning.best_within(fork, limit, 0.9).transpose(2, 0, 1)
    expected = best if timed else best[-1:]
    # Sarsa and Monte Carlo have learnt of exploration, too, which has faded away.
    near = 0.05 if method in ("q_learning", "double_q_learning") else 0.3
    visited = np.ones(expected.shape, bool)
    if timed and method == "monte_carlo":  # it learns of what was left where it has been
        visited = np.zeros(expected.shape, bool)
        visited[2, 0] = visited[1, 1] = True
    np.testing.assert_allclose(values[visited], expected[visited], atol=near)
    values = np.where(visited, values, expected)
    assert (values[-1].argmax(axis=-1) == expected[-1].argmax(axis=-1)).all()
    assert 0 < history["td_error"][0] < 2
    assert 0.5 < history["episode_return"][0] < 1.5
    assert 1 < history["episode_length"][0] < 3


@pytest.mark.parametrize("method", METHODS)
def test_the_length_is_that_of_the_episodes_that_are_over(method):
    """Every episode has three steps, and the last one of each rollout is not over."""
    way = {state: {0: [(1.0, state + 1, 0.0, False)]} for state in range(2)}
    way[2] = {0: [(1.0, 0, 1.0, True)]}
    _, player = learner(task_of_table(way), method, timed=False, agents=8)

    history = player.fit(seeds(8), epochs=1, steps_per_epoch=2, shuffle=False, verbose=0).history

    assert history["episode_length"] == [3]
    assert history["episode_return"] == [1]


def test_long_episodes_count_as_much_as_short_ones_in_monte_carlo():
    """An action whose episode ends at once for nothing, or late for 1, is worth one half."""
    late = {state: {0: [(1.0, state + 1, 0.0, False)]} for state in range(1, 6)}
    table = {0: {0: [(0.5, 0, 0.0, True), (0.5, 1, 0.0, False)]}, **late}
    table[6] = {0: [(1.0, 0, 1.0, True)]}
    task = task_of_table(table)
    model, player = learner(task, "monte_carlo", timed=False, agents=256, discount=1.0)

    player.fit(seeds(256), epochs=1, steps_per_epoch=20, shuffle=False, verbose=0)

    assert values_of(model, task, 1)[0, 0, 0] == pytest.approx(0.5, abs=0.05)


def one_move(fork, method, table, explores=0.5):
    """The change of a table that is not timed by one step of one agent, and the step."""
    task = task_of(fork, limit=1)
    knobs = {"rate": Rate(0.5, 0.0), "exploration_rates": (explores, explores)}
    model, player = learner(task, method, timed=False, agents=1, **knobs)
    for variable, values in zip(model.trainable_variables, table, strict=True):
        variable.assign(values)
    before = [variable.numpy() for variable in model.trainable_variables]
    player.fit(seeds(1), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)
    after = [variable.numpy() for variable in model.trainable_variables]
    return [new - old for new, old in zip(after, before, strict=True)]


TABLE = np.array([[2.0, 1.0], [5.0, 7.0]], "f4")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("q_learning", 0.9 * 7),
        ("expected_sarsa", 0.9 * (0.5 * 7 + 0.5 * 6)),
    ],
)
def test_one_step_by_hand(method, expected, fork):
    """An agent that goes on is cut off, and its value moves half of the way to the target."""
    fork = without_stopping(fork)

    [change] = one_move(fork, method, [TABLE])

    moved = np.flatnonzero(change)
    assert set(moved) <= {0, 1} and len(moved) == 1
    value = TABLE.ravel()[moved[0]]
    assert change.ravel()[moved[0]] == pytest.approx((expected - value) / 2, rel=1e-5)


def test_one_step_of_sarsa_is_about_an_action_that_may_be_taken(fork):
    [change] = one_move(without_stopping(fork), "sarsa", [TABLE])

    moved = np.flatnonzero(change)[0]
    target = TABLE.ravel()[moved] + 2 * change.ravel()[moved]
    assert min(abs(target - 0.9 * 5), abs(target - 0.9 * 7)) < 1e-5


def test_one_step_of_double_q_learning_is_of_one_table_by_the_other(fork):
    other = np.array([[0.0, 0.0], [4.0, 3.0]], "f4")

    first, second = one_move(without_stopping(fork), "double_q_learning", [TABLE, other])

    assert np.any(first) != np.any(second)
    if np.any(first):  # the first table prefers action 1, which the second values at 3
        change, value, target = first.ravel(), TABLE.ravel(), 0.9 * 3
    else:  # the second prefers action 0, which the first values at 5
        change, value, target = second.ravel(), other.ravel(), 0.9 * 5
    [moved] = np.flatnonzero(change)
    assert change[moved] == pytest.approx((target - value[moved]) / 2, rel=1e-5)


def without_stopping(fork):
    """The fork whose both actions go on in the first state."""
    from suite.rl.tabular.dynamics import from_table

    on = [(1.0, 1, 0.0, False)]
    table = {0: {0: on, 1: on}, 1: {0: [(1.0, 1, 1.0, True)], 1: [(1.0, 1, 1.0, True)]}}
    return from_table(table, fork.start, 2)


def test_softmax_explores_too(fork):
    task = task_of(fork)
    model, player = learner(task, exploration="softmax", exploration_rates=(1.0, 0.1), steps=30)

    player.fit(seeds(), epochs=1, steps_per_epoch=30, shuffle=False, verbose=0)

    values = values_of(model, task, LIMIT)[-1]
    np.testing.assert_allclose(values, [[1, 0.9], [1, 0.9]], atol=0.15)


def test_an_environment_without_a_table_is_played(coins):
    task = open_task("Coin-v0")
    model, player = learner(task, agents=8, steps=20, discount=1.0)

    player.fit(seeds(8), epochs=1, steps_per_epoch=20, shuffle=False, verbose=0)

    values = values_of(model, task, task.limit)[-1]
    assert values.argmax(axis=-1).tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(values[2:].max(axis=-1), 1, atol=0.01)
    np.testing.assert_allclose(values[:2].max(axis=-1), 2, atol=0.3)


def test_an_environment_that_fails_is_named(coins, monkeypatch):
    task = open_task("Coin-v0")
    _, player = learner(task, agents=2)
    monkeypatch.setattr(Environments, "_environment_actions", lambda *_: 1 / 0)

    with pytest.raises(InputError, match=r"`environment` must not fail. Received: Coin-v0: Zero"):
        player.fit(seeds(2), epochs=1, steps_per_epoch=1, shuffle=False, verbose=0)


def test_tables_are_set_and_read_back():
    model = build_model(3, 2, 4)
    task = Task(name="", sizes=(3,), num_actions=2, limit=4, layout=(1, 3), dynamics=None)
    values = np.arange(24.0).reshape(3, 2, 4)

    set_values(model, values)

    np.testing.assert_array_equal(values_of(model, task, 4), values.transpose(2, 0, 1))
    outputs = model({"state": np.array([1, 2, 2]), "steps_left": np.array([1, 3, 99])})
    expected = [values[1, :, 0], values[2, :, 2], values[2, :, 3]]
    np.testing.assert_array_equal(outputs["value"], expected)


def test_the_same_seeds_teach_the_same_bytes(fork):
    def weights():
        keras.utils.set_random_seed(1)
        model, player = learner(task_of(fork))
        player.fit(seeds(), epochs=1, steps_per_epoch=5, shuffle=False, verbose=0)
        return model.get_weights()

    for one, other in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(one, other)
