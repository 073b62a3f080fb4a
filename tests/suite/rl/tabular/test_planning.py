import numpy as np
import pytest

from suite.rl.tabular import planning
from suite.rl.tabular.dynamics import open_task


def test_values_by_hand(fork):
    discount = 0.9

    within = planning.best_within(fork, 3, discount)
    unlimited = planning.best_without_limit(fork, discount)
    policy, _ = planning.policy_iteration(fork, discount)

    # One step left: stop for 1, or go on for nothing. Two: a coin of mean 1 is 0.9 away.
    np.testing.assert_allclose(within[0].T, [[1, 0], [1, 0.9], [1, 0.9]])
    np.testing.assert_allclose(within[1].T, [[1, 0], [1, 0.9], [1, 0.9]])
    np.testing.assert_allclose(unlimited, [[1, 0.9], [1, 0.9]])
    np.testing.assert_allclose(policy, unlimited)


def test_a_policy_is_evaluated_with_the_actions_of_the_steps_left(fork):
    stop, go_on = np.array([[0, 0]]), np.array([[1, 0]])

    assert planning.policy_return(fork, stop, 5) == 1
    assert planning.policy_return(fork, go_on, 1) == 0
    assert planning.policy_return(fork, go_on, 2) == 1
    wander = np.array([[1, 0], [1, 1]])  # the coin with the last step only
    assert planning.policy_return(fork, wander, 2) == 1
    assert planning.policy_return(fork, wander, 3) == 0
    assert planning.policy_return(fork, wander, 4) == 1


# Within the limit of Gymnasium; without one.
BEST = {
    "FrozenLake-v1": (0.7442, 14 / 17),
    "FrozenLake8x8-v1": (0.9132, 1.0),
    "Taxi-v4": (7.93, 7.93),
    "CliffWalking-v1": (-13, -13),
}


@pytest.mark.parametrize("name", BEST)
def test_the_best_returns_are_the_known_ones(name):
    task = open_task(name)
    limit = 100 if name == "CliffWalking-v1" else task.limit
    dynamics = task.dynamics

    values = planning.best_within(dynamics, limit)
    best = planning.best_at_limit(dynamics, limit)
    np.testing.assert_allclose(best, values[..., -1].max(axis=1), rtol=1e-12)
    by_policies, _ = planning.policy_iteration_within(dynamics, limit)
    unlimited = planning.best_without_limit(dynamics)

    best, expected = dynamics.start @ values[..., -1].max(axis=1), BEST[name]
    assert best == pytest.approx(expected[0], abs=6e-5)
    assert dynamics.start @ unlimited.max(axis=1) == pytest.approx(expected[1], abs=6e-5)
    np.testing.assert_allclose(by_policies.max(axis=1), values.max(axis=1), atol=1e-9)
    actions = values.argmax(axis=1).T
    assert planning.policy_return(dynamics, actions, limit) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"), [("FrozenLake-v1", 0.740), ("FrozenLake8x8-v1", 0.886)]
)
def test_what_policies_reach_that_do_not_know_the_steps_left(name, expected):
    task = open_task(name)

    values, _ = planning.policy_iteration(task.dynamics, 0.999_999)

    actions = values.argmax(axis=1)[None]
    assert planning.policy_return(task.dynamics, actions, task.limit) == pytest.approx(
        expected, abs=1e-3
    )


@pytest.mark.parametrize("discount", [0.5, 0.99])
def test_policy_iteration_and_value_iteration_agree(discount):
    dynamics = open_task("FrozenLake8x8-v1").dynamics

    by_policies, count = planning.policy_iteration(dynamics, discount)

    np.testing.assert_allclose(
        by_policies, planning.best_without_limit(dynamics, discount), atol=1e-9
    )
    assert count < 20


def test_values_that_grow_without_end_are_not_given(monkeypatch):
    from suite.rl.tabular.dynamics import from_table

    monkeypatch.setattr(planning, "MOST_SWEEPS", 50)
    treadmill = from_table({0: {0: [(1.0, 0, 1.0, False)]}}, np.ones(1), 1)

    assert planning.best_without_limit(treadmill) is None


def test_states_that_look_alike_share_a_value():
    dynamics = open_task("Blackjack-v1").dynamics
    values = np.arange(714.0)[:, None]

    shared = planning.of_observations(dynamics, values, 704)[:, 0]

    first = (21 * 11 + 1) * 2 + 1
    assert shared[first] == (first + 704) / 2
    assert shared[0] == 0


def test_the_best_policy_of_blackjack_is_the_book_s():
    task = open_task("Blackjack-v1", 25)

    values = planning.best_within(task.dynamics, task.limit)
    table = planning.of_observations(task.dynamics, values, task.num_states)
    sticks = table[..., -1].argmax(axis=1).reshape(task.layout) == 0

    # Sutton and Barto, figure 5.2: without a usable ace, from 12 or 13 on against a weak dealer,
    # else from 17 on; with one, from 18 on, or 19 against a nine, a ten or an ace.
    lowest = sticks[11:22].argmax(axis=0) + 11
    assert lowest[1:, 0].tolist() == [17, 13, 13, 12, 12, 12, 17, 17, 17, 17]
    with_ace = sticks[12:22].argmax(axis=0) + 12
    assert with_ace[2:9, 1].tolist() == [18] * 7
    assert with_ace[9:, 1].tolist() == [19, 19]
