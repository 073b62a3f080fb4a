import numpy as np
import pytest
import tensorflow as tf

from suite.rl.on_policy import advantages
from suite.rl.rollouts import Rollout


def rollout(terminated=False, truncated=False):
    """Four steps of one environment, whose episode may end with the second."""
    no = np.zeros((4, 1), bool)
    ends = no.copy()
    ends[1] = True
    return Rollout(
        observations=None,
        actions=None,
        rewards=tf.constant([[1.0], [2.0], [0.0], [3.0]]),
        terminated=tf.constant(ends if terminated else no),
        truncated=tf.constant(ends if truncated else no),
        valid=None,
        returns=None,
        lengths=None,
    )


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        # Surprises 1, 1.5, -1, 1.5, each with a quarter of what comes after it.
        ({}, [1 + (1.5 - 0.625 / 4) / 4, 1.5 - 0.625 / 4, -1 + 1.5 / 4, 1.5]),
        # After an end nothing follows: the second one's surprise is 2 - 2.
        ({"terminated": True}, [1, 0, -0.625, 1.5]),
        # What was cut off is worth what the critic says, 2 + 3 / 2 - 2, and no more.
        ({"truncated": True}, [1 + 1.5 / 4, 1.5, -0.625, 1.5]),
    ],
)
def test_advantages_by_hand(ends, expected):
    values = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0]])

    estimates = advantages(rollout(**ends), values, discount=0.5, gae_lambda=0.5)

    assert estimates.numpy()[:, 0].tolist() == pytest.approx(expected)


def test_with_lambda_1_advantages_are_returns_of_n_steps_less_the_value():
    values = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0]])

    estimates = advantages(rollout(), values, discount=0.5, gae_lambda=1.0)

    returns = [1 + 2 / 2 + 0 + 3 / 8 + 5 / 16, 2 + 0 + 3 / 4 + 5 / 8, 3 / 2 + 5 / 4, 3 + 5 / 2]
    expected = np.subtract(returns, [1, 2, 3, 4])
    assert estimates.numpy()[:, 0].tolist() == pytest.approx(expected.tolist())
