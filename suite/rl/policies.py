"""Policies: actions from the outputs of a network."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

Outputs: TypeAlias = Mapping[str, tf.Tensor]


def distribution(outputs: Outputs) -> tfd.Distribution:
    """The distribution of the actions.

    Args:
        outputs: `policy`: logits `(batch, num_actions)` of one choice; or logits
            `(batch, num_actions, values)` of independent choices, very low for values that a choice
            does not have; or, together with `log_scale`, the means `(batch, num_actions)` of
            independent normal distributions.

    Returns:
        A distribution over actions: `(batch,)` int32 of one choice, `(batch, num_actions)` int32
        of several, or `(batch, num_actions)` of the type of the means.
    """
    policy = outputs["policy"]
    if "log_scale" in outputs:
        return tfd.MultivariateNormalDiag(policy, tf.exp(outputs["log_scale"]))
    choice = tfd.Categorical(logits=policy)
    return tfd.Independent(choice, 1) if policy.shape.rank == 3 else choice


def epsilon_greedy(
    actions: tf.Tensor, num_actions: int, epsilon: tf.Tensor | float, seed: tf.Tensor
) -> tf.Tensor:
    """The epsilon-greedy policy: the best actions `(batch,)`, some replaced by random ones.

    Args:
        actions: The best actions `(batch,)`.
        num_actions: Number of actions to choose from.
        epsilon: Probability that an action is replaced by a uniformly random one, in [0, 1].
        seed: A pair of integers.
    """
    explore_seed, action_seed = tf.unstack(tf.random.experimental.stateless_split(seed))
    random_actions = tf.random.stateless_uniform(
        tf.shape(actions), action_seed, 0, num_actions, dtype=actions.dtype
    )
    explores = tf.random.stateless_uniform(tf.shape(actions), explore_seed) < epsilon
    return tf.where(explores, random_actions, actions)


def on_arrays(act: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of tensors as one of arrays, compiled."""
    compiled: Any = tf.function(act, reduce_retracing=True)
    return lambda observations: compiled(observations).numpy()


def greedy(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The policy that takes the likeliest action of each observation, as a function of arrays.

    Args:
        model: A model from observations to a dict with `policy`, see `distribution`.
    """
    return on_arrays(lambda observations: distribution(model(observations, training=False)).mode())
