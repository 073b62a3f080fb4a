"""Attacks by the gradient of the loss: a small change of a picture that changes the answer.

A network maps `image` `(batch, height, width, channels)`, values in 0..255, to logits, its only
output or the one named `logits`. It is used as after training, so that batch normalisation takes
its running averages. Sizes of changes are shares of the range of a pixel: 0.3 is 76.5 grey values.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from suite.errors import InputError

RANGE = 255.0  # of a pixel
# Pictures of a batch: as many, unless they have more values together.
BATCH_SIZE, MOST_VALUES = 200, 2_500_000


def fgsm(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, *, epsilon: float
) -> np.ndarray:
    """The fast gradient sign method: one step of the whole length.

    Args:
        network: The network to fool.
        images: `(n, height, width, channels)`, values in 0..255.
        labels: The classes that the network shall not answer, `(n,)`.
        epsilon: Change of a pixel, as a share of its range.

    Returns:
        The changed pictures, float32, in 0..255.

    Raises:
        InputError: `epsilon` is out of range.

    Reference:
        Goodfellow, Shlens and Szegedy, 2014, Explaining and Harnessing Adversarial Examples,
        https://arxiv.org/abs/1412.6572
    """
    refuse_epsilon(epsilon)

    @traced
    def attack(first: tf.Tensor, batch: tf.Tensor, batch_labels: tf.Tensor) -> tf.Tensor:
        return climb(network, batch, batch_labels, batch, epsilon, epsilon, steps=1)

    return in_batches(attack, np.asarray(images, np.float32), np.asarray(labels, np.int32))


def pgd(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float,
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Projected gradient descent: many small steps up the loss, none of which leaves the ball.

    The ball holds the pictures no pixel of which differs by more than `epsilon`. Of all that the
    steps come to, and of the picture itself, the worst is kept: the one in which a wrong class
    leads by the most, or the right class by the least. So more restarts never find fewer wrong
    answers.

    Args:
        network: The network to fool.
        images: `(n, height, width, channels)`, values in 0..255.
        labels: The classes that the network shall not answer, `(n,)`.
        epsilon: Largest change of a pixel, as a share of its range.
        steps: Steps of every restart.
        step_size: Length of a step, as a share of the range; by default `default_step_size`.
        restarts: Number of attacks, each from another point of the ball.
        seed: Seed of the random points, below 2 ** 31.

    Returns:
        The changed pictures, float32, in 0..255.

    Raises:
        InputError: `epsilon`, `steps` or `restarts` is out of range.

    Reference:
        Madry et al., 2017, Towards Deep Learning Models Resistant to Adversarial Attacks,
        https://arxiv.org/abs/1706.06083
        Differs from the paper: what is kept has the largest margin of all steps, rather than the
        largest loss of the last ones.
    """
    refuse_epsilon(epsilon)
    if steps < 1:
        raise InputError("`steps` must be at least 1", steps)
    if restarts < 1:
        raise InputError("`restarts` must be at least 1", restarts)
    length = default_step_size(epsilon, steps) if step_size is None else step_size

    # The loop over it is Python's: in one of TensorFlow's, pooling has no fast gradient on CPUs,
    # and a step takes longer by half.
    @traced
    def step(
        changed: tf.Tensor,
        worst: tf.Tensor,
        largest: tf.Tensor,
        batch: tf.Tensor,
        batch_labels: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        margin, direction = margins_and_direction(network, changed, batch_labels)
        worst = tf.where(tf.reshape(margin > largest, [-1, 1, 1, 1]), changed, worst)
        following = nearest_in_ball(changed + RANGE * length * direction, batch, epsilon)
        return following, worst, tf.maximum(margin, largest)

    def attack(first: tf.Tensor, batch: tf.Tensor, batch_labels: tf.Tensor) -> tf.Tensor:
        _, *worst = step(batch, batch, tf.fill([len(batch)], -np.inf), batch, batch_labels)
        for number in range(restarts):
            changed = random_point(batch, epsilon, seed=tf.stack([seed + number, first]))
            for _ in range(steps + 1):  # the last one judges where the others have led
                changed, *worst = step(changed, *worst, batch, batch_labels)
        return worst[0]

    return in_batches(attack, np.asarray(images, np.float32), np.asarray(labels, np.int32))


def climb(
    network: keras.Model,
    images: tf.Tensor,
    labels: tf.Tensor,
    start: tf.Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
) -> tf.Tensor:
    """Steps along the signs of the gradient of the loss, projected to the ball.

    They are not a loop of TensorFlow's, in which pooling has no fast gradient on CPUs.

    Args:
        network: The network to fool.
        images: Centres of the balls, `(batch, height, width, channels)`, float32.
        labels: The right classes, `(batch,)`.
        start: Where to begin, in the shape of `images`.
        epsilon: Largest change of a pixel, as a share of its range.
        step_size: Change of a pixel in one step, as a share of its range.
        steps: Number of steps.

    Returns:
        The changed pictures, without a gradient.
    """
    changed = start
    for _ in range(steps):
        _, direction = margins_and_direction(network, changed, labels)
        changed = nearest_in_ball(changed + RANGE * step_size * direction, images, epsilon)
    return tf.stop_gradient(changed)


def margins_and_direction(
    network: keras.Model, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """How wrong the answers are, and the signs of the gradient that leads away from the classes.

    A margin is by how much the largest logit of a wrong class exceeds that of the right class. The
    gradient is that of what the cross-entropy grows with, the wrong classes' share of the
    softmax over the right one's, in logarithms: where a network is sure, the cross-entropy itself
    is rounded to 0, and has no direction.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        right, wrong = right_and_wrong(logits_of(network, images), labels)
        # The sign stays the same, and half precision does not round the gradient to zero.
        loss = RANGE * tf.reduce_sum(tf.reduce_logsumexp(wrong, axis=1) - right)
    return tf.reduce_max(wrong, axis=1) - right, tf.sign(tape.gradient(loss, images))


def nearest_in_ball(changed: tf.Tensor, images: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The nearest points of the balls around pictures, in 0..255."""
    low = tf.maximum(images - RANGE * epsilon, 0.0)
    return tf.clip_by_value(changed, low, tf.minimum(images + RANGE * epsilon, RANGE))


def random_point(images: tf.Tensor, epsilon: float, seed: tf.Tensor) -> tf.Tensor:
    """A random point of the ball around every picture, in 0..255.

    Args:
        images: Values in 0..255, float32.
        epsilon: Largest change of a pixel, as a share of its range.
        seed: A pair of integers.
    """
    noise = tf.random.stateless_uniform(tf.shape(images), seed, -RANGE * epsilon, RANGE * epsilon)
    return tf.clip_by_value(images + noise, 0.0, RANGE)


def default_step_size(epsilon: float, steps: int) -> float:
    """The length of a step: all together are longer than the ball is wide, `2 * epsilon`."""
    return 2.5 * epsilon / steps


def logits_of(network: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """The logits of a network as it is used after training, `(batch, classes)`, float32."""
    outputs = network(images, training=False)
    if isinstance(outputs, Mapping):
        outputs = outputs["logits"]
    return tf.cast(outputs, tf.float32)


def right_and_wrong(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The logit of the right class `(batch,)`, and all logits with minus infinity in its place."""
    is_right = tf.one_hot(labels, tf.shape(logits)[1], True, False)
    return tf.gather(logits, labels, axis=1, batch_dims=1), tf.where(is_right, -np.inf, logits)


def probabilities(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """The probabilities of the classes, `(n, classes)`, for pictures with values in 0..255."""

    @traced
    def answer(first: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits_of(network, batch))

    return in_batches(answer, np.asarray(images, np.float32))


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A graph of a function of tensors; a second one serves batches of all other sizes."""
    return tf.function(function, autograph=False, reduce_retracing=True)


def in_batches(function: Callable[..., tf.Tensor], *arrays: np.ndarray) -> np.ndarray:
    """Calls a function with batches of the rows of some arrays, as tensors.

    Args:
        function: `function(first, *rows)`, where `first` is the number of the batch's first row;
            `traced`, if it consists of many operations.
        arrays: Arrays of as many rows, at least one; the first are pictures.

    Returns:
        What the calls returned, as one array.
    """
    size = max(1, min(BATCH_SIZE, MOST_VALUES // arrays[0][:1].size))
    parts = [
        function(*map(tf.constant, (start, *(array[start : start + size] for array in arrays))))
        for start in range(0, len(arrays[0]), size)
    ]
    return np.concatenate(parts)


def refuse_epsilon(epsilon: float) -> None:
    """Refuses a change that is negative, or larger than the range of a pixel."""
    if not 0 <= epsilon <= 1:
        raise InputError("`epsilon` must be from 0 to 1, a share of the range of a pixel", epsilon)
