"""Policies: what the outputs of a network say about what to do."""

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
            `(batch, num_actions, values)` of independent choices, very low where a choice has fewer
            values; or, beside a `log_scale`, the means `(batch, num_actions)` of independent
            normal distributions.
    """
    policy = outputs["policy"]
    if "log_scale" in outputs:
        return tfd.MultivariateNormalDiag(policy, tf.exp(outputs["log_scale"]))
    choice = tfd.Categorical(logits=policy)
    return tfd.Independent(choice, 1) if policy.shape.rank == 3 else choice


def epsilon_greedy(
    actions: tf.Tensor, num_actions: int, epsilon: tf.Tensor | float, seed: tf.Tensor
) -> tf.Tensor:
    """Choices `(batch,)`, of which a share is replaced by others drawn evenly.

    Args:
        actions: What seems best.
        num_actions: Number of actions to choose from.
        epsilon: Probability that an action is drawn.
        seed: A pair of integers.
    """
    whether, which = tf.unstack(tf.random.experimental.stateless_split(seed))
    drawn = tf.random.stateless_uniform(
        tf.shape(actions), which, 0, num_actions, dtype=actions.dtype
    )
    explores = tf.random.stateless_uniform(tf.shape(actions), whether) < epsilon
    return tf.where(explores, drawn, actions)


def on_arrays(act: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of tensors as one of arrays, compiled."""
    compiled: Any = tf.function(act, reduce_retracing=True)
    return lambda observations: compiled(observations).numpy()


def greedy(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The likeliest action of each observation, as a function of arrays.

    Args:
        model: Observations to a dict with `policy`.
    """
    return on_arrays(lambda observations: distribution(model(observations, training=False)).mode())
