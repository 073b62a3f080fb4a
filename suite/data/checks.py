"""Checks inside of graphs, such as those of an export's inputs."""

from typing import Any

import tensorflow as tf

MOST_TEXTS = 1024  # of a call: what a network keeps of each may take a megabyte


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


def accepted_texts(text: tf.Tensor) -> tf.Tensor:
    """Texts `(batch,)`, if they can be read and there is memory to go on with as many.

    Raises:
        tf.errors.InvalidArgumentError: They are more than 1,024, or one of them is not UTF-8.
    """
    count = tf.size(text)
    text = only_if(count <= MOST_TEXTS, text, f"`text` must be at most {MOST_TEXTS:,} texts", count)
    mended = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8")
    return only_if(tf.reduce_all(mended == text), text, "`text` must be UTF-8")
