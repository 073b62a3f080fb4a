"""A player of corridors, and the dataset with which `fit` trains it."""

import keras
import tensorflow as tf
from keras import layers

from suite.rl.environments import Environments
from suite.rl.on_policy import OnPolicyPlayer


def walker(name="Corridor-v0", num_envs=2):
    """A player of corridors that learns to go to the middle of the first bounds."""
    observation = keras.Input((4,), name="observation")
    policy = layers.Dense(2, kernel_initializer="zeros", name="policy")(observation)
    scale = layers.Dense(2, kernel_initializer="zeros", use_bias=False)(observation)
    model = keras.Model(observation, {"policy": policy, "log_scale": scale})

    class Walker(OnPolicyPlayer):
        def examples(self, rollout):
            observations = tf.reshape(rollout.observations[:-1], [-1, 4])
            return observations, observations, tf.reshape(tf.cast(rollout.valid, tf.float32), [-1])

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            losses = tf.reduce_sum(
                (y_pred["policy"] - 0.5) ** 2 + y_pred["log_scale"] ** 2, axis=-1
            )
            return self.mean(losses, losses, sample_weight)

    player = Walker(
        model,
        lambda number: Environments(name, number),
        num_envs=num_envs,
        rollout_length=5,
        seed=0,
    )
    player.compile(keras.optimizers.SGD(0.1))
    return player


def ticks(num_envs=2):
    """Batches of different seeds, one for each environment, as a player takes them."""

    def batch(step):
        return (tf.range(num_envs, dtype=tf.int64) + 10 * step,)

    return tf.data.Dataset.range(1000).map(batch)
