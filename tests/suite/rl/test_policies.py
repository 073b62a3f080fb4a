import numpy as np
import pytest
import tensorflow as tf

from suite.rl.policies import distribution, epsilon_greedy, greedy
from tests.suite.rl.walkers import walker


def test_greedy_is_the_likeliest_action():
    model = walker()
    model.get_layer("policy").set_weights([np.ones((4, 2)), np.array([1.0, 2.0])])

    assert greedy(model)(np.eye(4, dtype="f4")[:1]).tolist() == [[2, 3]]
    logits = {"policy": tf.constant([[0.0, 2.0, 1.0]])}
    assert distribution(logits).mode().numpy().tolist() == [1]


def test_several_choices_are_independent():
    logits = np.array([[[0, np.log(3.0), -1e9], [0, 0, 0]]], "f4")

    policy = distribution({"policy": tf.constant(logits)})

    actions = policy.sample(4000, seed=[1, 2]).numpy()
    assert actions.shape == (4000, 1, 2) and actions.dtype == np.int32
    shares = [np.bincount(actions[:, 0, n], minlength=3) / 4000 for n in range(2)]
    np.testing.assert_allclose(shares, [[0.25, 0.75, 0], [1 / 3] * 3], atol=0.03)
    assert policy.mode().numpy()[0, 0] == 1
    action = tf.constant([[1, 2]])
    assert policy.log_prob(action).numpy() == pytest.approx([np.log(0.75 / 3)])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)) + np.log(3)
    assert policy.entropy().numpy() == pytest.approx([entropy])


def test_epsilon_is_the_share_that_is_drawn():
    best = tf.fill([6000], 2)

    actions = epsilon_greedy(best, 4, 0.4, tf.constant([3, 4])).numpy()

    shares = np.bincount(actions, minlength=4) / 6000
    np.testing.assert_allclose(shares, [0.1, 0.1, 0.7, 0.1], atol=0.02)
    assert (epsilon_greedy(best, 4, 0.0, tf.constant([3, 4])) == best).numpy().all()
