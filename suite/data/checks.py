"""Checks inside of graphs, such as those of an export's inputs."""

from typing import Any

import tensorflow as tf


def only_if(condition: tf.Tensor, tensor: tf.Tensor, requirement: str, *received: Any) -> tf.Tensor:
    """The tensor, if a condition holds; in a graph, too, nothing that takes it runs before that.

    Args:
        condition: A scalar, bool.
        tensor: What is returned.
        requirement: What must be, for the message of the error.
        received: What was received.

    Raises:
        tf.errors.InvalidArgumentError: The condition does not hold.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [requirement, *received])]):
        return tf.identity(tensor)
