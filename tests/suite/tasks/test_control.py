import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.rl.rollouts import Rollout
from suite.tasks.control import ActorCritic, ActorCriticConfig, build_actor_critic


def test_a_choice_of_actions():
    model = build_actor_critic(5, num_actions=3, units=(8,))

    outputs = model(np.zeros((2, 5), "f4"))

    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "policy": (2, 3), "value": (2,), "action": (2,),
    }  # fmt: skip


def test_numbers_for_an_action_stay_within_their_bounds():
    bounds = ((-1.0, 0.0), (1.0, 100.0))
    model = build_actor_critic(
        3, num_actions=2, action_bounds=bounds, units=(8,), activation="tanh"
    )
    model.get_layer("policy").set_weights([100 * np.ones((8, 2)), np.zeros(2)])

    outputs = model(np.random.default_rng(0).normal(size=(50, 3)))

    action = keras.ops.convert_to_numpy(outputs["action"])
    assert action.shape == (50, 2)
    assert action.min(axis=0).tolist() == [-1, 0] and action.max(axis=0).tolist() == [1, 100]
    assert (keras.ops.convert_to_numpy(outputs["log_scale"]) == 0).all()


def test_several_choices_have_logits_of_as_many_values_as_they_have():
    model = build_actor_critic(3, num_actions=2, action_choices=(3, 2), units=(8,))

    outputs = model(np.random.default_rng(0).normal(size=(50, 3)))

    assert outputs["policy"].shape == (50, 2, 3) and outputs["action"].shape == (50, 2)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(outputs["policy"]))
    assert (probabilities[:, 1, 2] == 0).all() and (probabilities[:, 0] > 0.3).all()
    with pytest.raises(ValueError, match=r"must be 2 values. Received: "):
        build_actor_critic(num_actions=2, action_choices=(3,))


def test_observations_are_scaled_by_the_model():
    plain = build_actor_critic(2, units=(4,))
    scaled = build_actor_critic(2, observation_scale=(0.5, 10.0), units=(4,))
    scaled.set_weights(plain.get_weights())

    one, other = plain(np.array([[1.0, 20.0]])), scaled(np.array([[2.0, 2.0]]))

    np.testing.assert_allclose(one["policy"], other["policy"], rtol=1e-5)


def test_actor_and_critic_may_share_their_torso():
    apart, shared = build_actor_critic(), build_actor_critic(shared_torso=True)

    hidden = 4 * 64 + 64 + 64 * 64 + 64
    assert apart.count_params() - shared.count_params() == hidden


def rollout(rewards):
    """Three steps of two environments, the second of which only resets in its last one."""
    no, zeros = tf.zeros((3, 2), tf.bool), tf.zeros((3, 2))
    return Rollout(
        observations=tf.random.stateless_normal((4, 2, 4), (0, 1)),
        actions=tf.constant([[0, 1], [1, 1], [0, 0]]),
        rewards=tf.constant(rewards),
        terminated=no,
        truncated=no,
        valid=tf.constant([[True, True], [True, True], [True, False]]),
        returns=zeros,
        lengths=zeros,
    )


def test_the_loss_by_hand():
    """Without a critic's opinion the surprise of a step is its reward, and lambda 0 stops there."""
    config = ActorCriticConfig(gae_lambda=0.0, reward_scale=0.5, entropy_weight=0.1, discount=0.0)
    model = build_actor_critic(units=(4,))
    model.get_layer("value").set_weights([np.zeros((4, 1)), np.zeros(1)])
    player = ActorCritic(model, config)
    rewards = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 60.0]], "f4")

    observations, targets, weights = player.examples(rollout(rewards))
    outputs = player(observations)
    loss = player.compute_loss(observations, targets, outputs, weights)

    taken = np.array([1, 1, 1, 1, 1, 0])
    advantage = rewards.ravel() / 2
    logits = keras.ops.convert_to_numpy(outputs["policy"])
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    chosen = log_probabilities[np.arange(6), [0, 1, 1, 1, 0, 0]]
    entropy = -(np.exp(log_probabilities) * log_probabilities).sum(axis=1)
    steps = -chosen * advantage + 0.5 * advantage**2 / 2 - 0.1 * entropy
    assert float(loss) == pytest.approx(float((taken * steps).mean()), rel=1e-4)


def test_advantages_of_an_update_may_have_mean_0_and_deviation_1():
    config = ActorCriticConfig(normalize_advantages=True)
    player = ActorCritic(build_actor_critic(units=(4,)), config)

    _, targets, weights = player.examples(rollout([[1.0, 2.0], [3.0, 4.0], [5.0, 60.0]]))

    advantage = targets["advantage"].numpy()[weights.numpy() > 0]
    assert len(advantage) == 5
    assert advantage.mean() == pytest.approx(0, abs=1e-5)
    assert advantage.std() == pytest.approx(1, abs=1e-4)
