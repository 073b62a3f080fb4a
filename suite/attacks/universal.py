"""One change for all pictures, which makes a network answer most of them wrong."""

import keras
import numpy as np
import tensorflow as tf

from suite.attacks.gradients import RANGE, logits_of, refuse_epsilon, right_and_wrong

# Losses above it do not count, so that a few pictures that are wrong already do not decide.
LARGEST_LOSS = 9.0
BATCH_SIZE = 100


def universal_perturbation(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float,
    steps: int = 200,
    seed: int = 0,
) -> np.ndarray:
    """A change that, added to any picture, leads the network astray.

    Every step draws a batch of the pictures, and changes each pixel along the sign of the gradient
    of the batch's loss. The steps become shorter, so that the change settles.

    Args:
        network: Maps `image` to logits, as in `suite.attacks.gradients`.
        images: Pictures to learn the change from, `(n, height, width, channels)`, in 0..255.
        labels: Their classes, `(n,)`.
        epsilon: Largest change of a pixel, as a share of its range.
        steps: Number of steps.
        seed: Seed of the batches.

    Returns:
        The change `(height, width, channels)`, float32, to add to pictures with `add_change`.

    Raises:
        InputError: `epsilon` is out of range.

    Reference:
        Moosavi-Dezfooli, Fawzi, Fawzi and Frossard, 2016, Universal Adversarial Perturbations,
        https://arxiv.org/abs/1610.08401
        Shafahi et al., 2018, Universal Adversarial Training, https://arxiv.org/abs/1811.11304
        This is the latter's stochastic gradient method, with the signs of the gradient, and a loss
        that has one where the network is sure (`suite.attacks.gradients.margins_and_direction`).
    """
    refuse_epsilon(epsilon)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(
        change: tf.Tensor, batch: tf.Tensor, batch_labels: tf.Tensor, length: tf.Tensor
    ) -> tf.Tensor:
        changed = add_change(batch, change)
        with tf.GradientTape() as tape:
            tape.watch(changed)
            right, wrong = right_and_wrong(logits_of(network, changed), batch_labels)
            losses = tf.reduce_logsumexp(wrong, axis=1) - right
            loss = RANGE * tf.reduce_sum(tf.minimum(losses, LARGEST_LOSS))
        # With respect to the changed picture: where a pixel is clipped, the gradient with respect
        # to the change is 0.
        gradient = tf.reduce_sum(tape.gradient(loss, changed), axis=0)
        return tf.clip_by_value(
            change + length * tf.sign(gradient), -RANGE * epsilon, RANGE * epsilon
        )

    # Few steps lead together from one side of the ball to the other; of many, the first is a fifth
    # of epsilon.
    first_length = RANGE * epsilon * max(1 / 5, 4 / (steps + 1))
    generator = np.random.default_rng(seed)
    change = tf.zeros(images.shape[1:])
    for number in range(steps):
        rows = generator.integers(len(images), size=BATCH_SIZE)
        length = first_length * (1 - number / steps)
        change = step(
            change,
            np.asarray(images[rows], np.float32),
            np.asarray(labels[rows], np.int32),
            tf.constant(length, tf.float32),
        )
    return change.numpy()


def add_change(images: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Pictures with the change added, within 0..255."""
    return tf.clip_by_value(images + change, 0.0, RANGE)
