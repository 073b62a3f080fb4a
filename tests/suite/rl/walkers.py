"""A player of corridors, the dataset with which `fit` trains it, and pictures to play."""

from typing import ClassVar

import gymnasium
import keras
import numpy as np
import tensorflow as tf
from gymnasium import spaces
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


class Blinker(gymnasium.Env):
    """Pictures of truth values, lit by the last action; action 1 also costs one of three lives."""

    observation_space = spaces.Box(0, 1, (4, 4, 1), bool)
    action_space = spaces.Discrete(2)
    metadata: ClassVar = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lit, self.lives = False, 3
        return self.picture(), {"lives": self.lives}

    def step(self, action):
        self.lit, self.lives = bool(action), self.lives - int(action)
        return self.picture(), 5.0, self.lives == 0, False, {"lives": self.lives}

    def picture(self):
        return np.full((4, 4, 1), self.lit)

    def render(self):
        return np.full((4, 4, 3), float(self.lit))
