import numpy as np
import pytest
import tensorflow as tf

from suite.rl.tabular.updates import (
    Exploring,
    Rate,
    move_towards,
    of_chosen,
    one_step_earlier,
    returns,
)

VALUES = tf.constant([[1.0, 3.0, 2.0]])


def shares(policy, values=VALUES, count=30_000):
    """How often each action is chosen."""
    random = np.random.default_rng(0)
    explores, preferences = random.random(count), random.random((count, 3))
    actions = policy.choose(
        tf.repeat(values, count, axis=0),
        tf.constant(explores, tf.float32),
        tf.constant(preferences, tf.float32),
    )
    return np.bincount(actions, minlength=3) / count


def test_epsilon_greedy_takes_a_share_at_random():
    policy = Exploring("epsilon_greedy", tf.constant(0.3))

    np.testing.assert_allclose(shares(policy), [0.1, 0.8, 0.1], atol=0.01)
    assert policy.mean(VALUES).numpy() == pytest.approx(0.1 * 1 + 0.8 * 3 + 0.1 * 2)


def test_softmax_takes_better_actions_more_often():
    policy = Exploring("softmax", tf.constant(0.5))
    expected = np.exp([2, 6, 4]) / np.exp([2, 6, 4]).sum()

    np.testing.assert_allclose(shares(policy), expected, atol=0.01)
    assert policy.mean(VALUES).numpy() == pytest.approx(expected @ [1, 3, 2], rel=1e-5)


@pytest.mark.parametrize("exploration", ["epsilon_greedy", "softmax"])
def test_without_exploration_the_best_action_is_taken(exploration):
    policy = Exploring(exploration, tf.constant(0.0))

    assert shares(policy, count=100).tolist() == [0, 1, 0]
    assert policy.mean(VALUES).numpy() == pytest.approx(3)


def test_an_agent_explores_alike_at_all_horizons():
    values = tf.constant([[[1.0, 0.0], [0.0, 1.0]]] * 2)  # (agents, actions, horizons)
    policy = Exploring("epsilon_greedy", tf.constant(0.5))

    actions = policy.choose(values, tf.constant([0.9, 0.1]), tf.constant([[0.0, 1.0]] * 2))

    assert actions.numpy().tolist() == [[0, 1], [1, 1]]
    assert of_chosen(values, actions).numpy().tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize("exploration", ["epsilon_greedy", "softmax"])
def test_the_value_of_a_choice_is_that_of_the_chosen_action(exploration):
    random = np.random.default_rng(0)
    policy = Exploring(exploration, tf.constant(0.5))
    values = tf.constant(random.random((5, 3, 4)), tf.float32)  # states, actions, horizons
    states = tf.constant(random.integers(0, 5, 200), tf.int32)
    explores = tf.constant(random.random(200), tf.float32)
    preferences = tf.constant(random.random((200, 3)), tf.float32)

    after = tf.gather(values, states)
    chosen = of_chosen(after, policy.choose(after, explores, preferences))

    choice = policy.value_of_choice(values, states, explores, preferences)
    np.testing.assert_array_equal(choice, chosen)
    assert not np.array_equal(choice, tf.reduce_max(after, axis=1))


def test_nothing_is_left_at_the_first_horizon():
    assert one_step_earlier(tf.constant([[1.0, 2.0, 3.0]])).numpy().tolist() == [[0, 1, 2]]


def test_a_row_moves_as_far_as_its_targets_one_by_one():
    table = tf.constant([[0.0, 10.0], [5.0, 5.0], [7.0, 7.0]])
    targets = tf.constant([[1.0, 1.0], [1.0, 1.0], [9.0, 9.0]])
    valid = tf.constant([True, True, False])

    new, visits, distance = move_towards(
        table, tf.zeros(3), tf.constant([0, 0, 1]), targets, valid, Rate(0.5, 0.0)
    )

    np.testing.assert_allclose(new, [[0.75, 3.25], [5, 5], [7, 7]])
    assert visits.numpy().tolist() == [2, 0, 0]
    assert float(distance) == pytest.approx(5)  # the mean of 1 and 9


def test_the_mean_of_all_targets():
    table, visits = tf.zeros((1, 1)), tf.zeros(1)
    targets = np.random.default_rng(0).normal(size=50).astype("f4")

    for target in targets:
        table, visits, _ = move_towards(
            table, visits, tf.constant([0]), tf.constant([[target]]), [True], Rate(1.0, 1.0)
        )

    assert float(table[0, 0]) == pytest.approx(targets.mean(), abs=1e-5)


def test_returns_end_where_episodes_do():
    rewards = tf.constant([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0], [8.0, 8.0]])
    over = tf.constant([[False, False], [True, False], [False, False], [False, True]])
    valid = tf.constant([[True, True], [True, True], [True, False], [True, True]])

    totals, known = returns(rewards, over, valid, 0.5)

    np.testing.assert_allclose(totals[:2, 0], [2, 2])
    np.testing.assert_allclose(totals[:, 1], [4, 6, 8, 8])
    assert known[:, 0].numpy().tolist() == [True, True, False, False]
    assert known[:, 1].numpy().tolist() == [True, True, False, True]
