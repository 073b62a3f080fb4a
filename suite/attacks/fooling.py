"""Pictures of nothing that a network is sure about."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from suite.attacks.gradients import RANGE, logits_of

STEP = 1.0  # grey values
CONFIDENCE, STEPS = 0.9999, 2000


def fooling_picture(
    network: keras.Model,
    label: int,
    shape: Sequence[int],
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> np.ndarray:
    """A picture made out of noise that the network takes for a class with great confidence.

    Args:
        network: Maps `image` to logits, as in `suite.attacks.gradients`.
        label: Index of the class.
        shape: `(height, width, channels)` of the picture.
        steps: Largest number of steps. They end when the class has the probability `CONFIDENCE`; a
            network that resists so long is less sure.
        seed: Seed of the noise, below 2 ** 31.

    Returns:
        The picture, whole grey values in 0..255, float32.

    Reference:
        Nguyen, Yosinski and Clune, 2014, Deep Neural Networks are Easily Fooled: High Confidence
        Predictions for Unrecognizable Images, https://arxiv.org/abs/1412.1897
        This is the paper's gradient ascent, with the signs of the gradient and without a penalty.
    """
    labels = tf.constant([label])

    def loss_of(picture: tf.Tensor) -> tf.Tensor:
        logits = logits_of(network, picture)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)[0]

    def unsure(number: tf.Tensor, picture: tf.Tensor) -> tf.Tensor:
        return tf.exp(-loss_of(tf.round(picture))) < CONFIDENCE

    def step(number: tf.Tensor, picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(picture)
            loss = RANGE * loss_of(picture)
        changed = picture - STEP * tf.sign(tape.gradient(loss, picture))
        return number + 1, tf.clip_by_value(changed, 0.0, RANGE)

    @tf.function(autograph=False)
    def ascend() -> tf.Tensor:
        noise = tf.random.stateless_uniform((1, *shape), (seed, 0), 0.0, RANGE)
        return tf.while_loop(unsure, step, (tf.constant(0), noise), maximum_iterations=steps)[1]

    return np.rint(ascend().numpy()[0])
