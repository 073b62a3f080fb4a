"""Rollouts: steps of several environments side by side, as tensors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from suite.rl.environments import Environments


class Rollout(NamedTuple):
    """Some steps of several environments.

    Args:
        observations: The observations before every step and after the last one,
            `(time + 1, envs, *observation_shape)`, float32 or uint8.
        actions: `(time, envs, *action_shape)`, int32 for choices, or float32.
        rewards: `(time, envs)`, float32.
        terminated: Whether the step ended the episode, `(time, envs)`, bool.
        truncated: Whether the episode was cut off after the step, `(time, envs)`, bool.
        valid: False for the step after the end of an episode, which only resets the environment,
            `(time, envs)`, bool.
        returns: Undiscounted sum of the rewards of an episode at its last step, else 0,
            `(time, envs)`, float32.
        lengths: Number of steps of an episode at its last step, else 0, `(time, envs)`, float32.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    rewards: tf.Tensor
    terminated: tf.Tensor
    truncated: tf.Tensor
    valid: tf.Tensor
    returns: tf.Tensor
    lengths: tf.Tensor


def collect(
    act: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    environments: Environments,
    length: int,
    seed: tf.Tensor,
) -> Rollout:
    """Plays a rollout in the graph, from the current observations of the environments.

    Args:
        act: `act(observations, seed)`, the policy: returns actions `(envs, *action_shape)`.
        environments: The environments, which the graph calls through `tf.numpy_function`.
        length: Number of steps of each environment.
        seed: A pair of integers.
    """
    num_envs, spaces = environments.num_envs, environments.spaces
    observation_shape = (num_envs, *spaces.observation_shape)
    shapes = [observation_shape] + 6 * [(num_envs,)]
    types = [spaces.observation_dtype, tf.float32, *3 * [tf.bool], *2 * [tf.float32]]

    def step(before: tuple[Any, ...], number: tf.Tensor) -> tuple[Any, ...]:
        seed_of_step = tf.random.experimental.stateless_fold_in(seed, number)
        actions = tf.cast(act(before[0], seed_of_step), spaces.action_dtype)
        after = tf.numpy_function(environments.step, [actions], types)
        for tensor, shape in zip(after, shapes, strict=True):
            tensor.set_shape(shape)
        return (after[0], actions, *after[1:])

    start = tf.numpy_function(lambda: environments.observations, [], spaces.observation_dtype)
    start.set_shape(observation_shape)
    actions = tf.zeros((num_envs, *spaces.action_shape), spaces.action_dtype)
    zeros, no = tf.zeros((num_envs,)), tf.zeros((num_envs,), tf.bool)
    observations, *others = tf.scan(
        step,
        tf.range(length),
        (start, actions, zeros, no, no, no, zeros, zeros),
        parallel_iterations=1,
    )
    return Rollout(tf.concat([start[None], observations], axis=0), *others)


def in_floatx(rollout: Rollout) -> Rollout:
    """The same rollout with rewards of the type that Keras computes in, float32 by default."""
    return rollout._replace(rewards=tf.cast(rollout.rewards, keras.config.floatx()))


def transitions(rollout: Rollout, discount: float) -> dict[str, tf.Tensor]:
    """The steps of a rollout as `n` transitions, without those that only reset.

    After an episode was cut off, `next_observations` is the observation from which it would have
    continued. Only `terminated` says that no return follows.

    Args:
        rollout: The steps.
        discount: Weight of the next step's return.

    Returns:
        The fields that `suite.rl.replay.Replay.sample` returns, `(n, ...)`, but `rows`.
    """
    fields = {
        "observations": rollout.observations[:-1],
        "actions": rollout.actions,
        "rewards": rollout.rewards,
        "terminated": rollout.terminated,
        "next_observations": rollout.observations[1:],
        "discount": discount * tf.cast(~rollout.terminated, rollout.rewards.dtype),
        "weights": tf.ones_like(rollout.rewards),
    }
    return {name: tf.boolean_mask(field, rollout.valid) for name, field in fields.items()}
