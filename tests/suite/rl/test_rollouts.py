import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite import InputError
from suite.placement.strategy import strategy
from suite.rl.environments import Environments
from suite.rl.rollouts import GreedyReturns, Player, Rollout, advantages, distribution, greedy, play

pytestmark = pytest.mark.usefixtures("corridors")


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

    found = advantages(rollout(**ends), values, discount=0.5, gae_lambda=0.5)

    assert found.numpy()[:, 0].tolist() == pytest.approx(expected)


def test_with_lambda_1_advantages_are_returns_of_n_steps_less_the_value():
    values = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0]])

    found = advantages(rollout(), values, discount=0.5, gae_lambda=1.0)

    returns = [1 + 2 / 2 + 0 + 3 / 8 + 5 / 16, 2 + 0 + 3 / 4 + 5 / 8, 3 / 2 + 5 / 4, 3 + 5 / 2]
    expected = np.subtract(returns, [1, 2, 3, 4])
    assert found.numpy()[:, 0].tolist() == pytest.approx(expected.tolist())


def walker(name="Corridor-v0", num_envs=2):
    """A player of corridors that learns to go to the middle of the first bounds."""
    observation = keras.Input((4,), name="observation")
    policy = layers.Dense(2, kernel_initializer="zeros", name="policy")(observation)
    scale = layers.Dense(2, kernel_initializer="zeros", use_bias=False)(observation)
    model = keras.Model(observation, {"policy": policy, "log_scale": scale})

    class Walker(Player):
        def examples(self, rollout):
            seen = tf.reshape(rollout.observations[:-1], [-1, 4])
            return seen, seen, tf.reshape(tf.cast(rollout.valid, tf.float32), [-1])

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            each = tf.reduce_sum((y_pred["policy"] - 0.5) ** 2 + y_pred["log_scale"] ** 2, axis=-1)
            return self.mean(each, each, sample_weight)

    made = Walker(
        model,
        lambda number: Environments(name, number),
        num_envs=num_envs,
        rollout_length=5,
        seed=0,
    )
    made.compile(keras.optimizers.SGD(0.1))
    return made


def ticks(num_envs=2):
    def batch(step):
        return (tf.range(num_envs, dtype=tf.int64) + 10 * step,)

    return tf.data.Dataset.range(1000).map(batch)


def test_a_rollout_goes_on_where_the_last_one_ended():
    model = walker()
    [environments] = [model.make(2)]
    environments.reset(0)

    one, two = (play(model, environments, 3, tf.constant([0, n])) for n in range(2))

    where = tf.argmax(tf.concat([one.observations, two.observations], 0), -1)[:, 0]
    assert where.numpy().tolist() == [0, 1, 2, 3, 3, 0, 1, 2]
    assert one.valid.numpy().all()
    assert two.valid.numpy()[:, 0].tolist() == [False, True, True]
    assert one.actions.shape == (3, 2, 2)
    assert (one.actions != two.actions).numpy().any()


def test_fit_plays_and_learns():
    model = walker()

    history = model.fit(ticks(), steps_per_epoch=4, epochs=5, shuffle=False, verbose=0).history

    assert history["episode_return"] == pytest.approx(5 * [6])
    assert history["episode_length"] == pytest.approx(5 * [3])
    assert history["loss"][-1] < history["loss"][0] / 2


def test_replicas_play_environments_of_their_own():
    placement = strategy("mirrored")
    with placement.scope():
        model = walker(num_envs=4)

    history = model.fit(ticks(4), steps_per_epoch=4, epochs=2, shuffle=False, verbose=0).history

    assert [environments.num_envs for environments in model.played] == [2, 2]
    assert history["loss"][1] < history["loss"][0]


def test_two_replicas_take_the_step_of_one():
    """The corridor is the same for all, and so is what is learnt of it."""
    weights = []
    for placement in ("one_device", "mirrored"):
        with strategy(placement).scope():
            model = walker(num_envs=4)
        model.fit(ticks(4), steps_per_epoch=4, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_an_environment_that_fails_is_named():
    model = walker("Broken-v0")

    with pytest.raises(InputError, match="from Broken-v0: ValueError: the lamp went out"):
        model.fit(ticks(), steps_per_epoch=4, shuffle=False, verbose=0)


def test_greedy_is_the_likeliest_action():
    model = walker()
    model.get_layer("policy").set_weights([np.ones((4, 2)), np.array([1.0, 2.0])])

    assert greedy(model)(np.eye(4, dtype="f4")[:1]).tolist() == [[2, 3]]
    logits = {"policy": tf.constant([[0.0, 2.0, 1.0]])}
    assert distribution(logits).mode().numpy().tolist() == [1]


@pytest.mark.parametrize("solved_at", [5, 7, None])
def test_what_it_took_is_counted(solved_at):
    model = walker()
    callback = GreedyReturns(Environments("Corridor-v0", 3), solved_at, seed=0)

    history = model.fit(
        ticks(), steps_per_epoch=4, epochs=2, shuffle=False, verbose=0, callbacks=[callback]
    )

    logs = history.history
    assert logs["val_return"] == [6, 6]
    assert logs["val_return_std"] == [0, 0]
    account = model.account()
    assert account["env_steps"] == 80  # 2 epochs of 4 updates of 5 steps in 2 environments
    assert account["env_steps_per_second"] == pytest.approx(80 / callback.seconds)
    assert account.get("env_steps_to_solve") == (40 if solved_at == 5 else None)
