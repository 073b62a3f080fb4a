"""What the filters of a convolutional network respond to: inputs made to excite them."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from suite.explanations.heat_maps import CONVOLUTIONS

JITTER = 1 / 14  # largest shift in a step, as a share of the smaller side
NEGATIVE_SLOPE = 0.01
STEPS_TO_BLUR = 4  # every so many steps the input is blurred
# A binomial filter: each pixel gets half of its value from its neighbours, along each axis.
BLUR = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25]).astype(np.float32)


def convolutions(network: keras.Model) -> list[str]:
    """The names of the convolutions of a network, in the order of its layers."""
    return [layer.name for layer in network.layers if isinstance(layer, CONVOLUTIONS)]


def excitement_of(network: keras.Model, names: Sequence[str]) -> keras.Model:
    """A model of how much a picture excites the filters of some layers.

    Args:
        network: A functional model of `image` `(batch, height, width, channels)`.
        names: Names of its layers, whose outputs are `(batch, height, width, filters)`.

    Returns:
        A model from `image` to a dict of `(batch, filters)`, float32, by the name of the layer: the
        mean over height and width of the squares of what the layer computes where it is positive,
        and of a hundredth of it where it is negative. Squares make a strong response in some places
        count more than a weak one everywhere: the plain mean of a first layer is linear, and an
        even picture would excite it most.
    """

    def excitement(maps: keras.KerasTensor) -> keras.KerasTensor:
        # Negative values keep a slope, by which a filter that nothing excites yet can be excited.
        return ops.mean(ops.where(maps > 0, maps**2, NEGATIVE_SLOPE * maps), axis=(1, 2))

    features = {name: ops.cast(network.get_layer(name).output, "float32") for name in names}
    return keras.Model(network.input, {name: excitement(x) for name, x in features.items()})


def exciting_inputs(
    network: keras.Model,
    name: str,
    filters: Sequence[int],
    shape: Sequence[int],
    *,
    steps: int = 256,
    step_size: float = 4.0,
    seed: int = 0,
) -> np.ndarray:
    """Inputs that excite single filters of a layer, by gradient ascent from grey noise.

    Every step shifts the inputs at random, follows the gradient, and shifts them back; every few
    steps blur them. Without both, noise of high frequency excites filters more than any shape.

    Args:
        network: A functional model of `image` `(batch, height, width, channels)`, in 0..255.
        name: Name of a convolution.
        filters: Indices of its filters.
        shape: `(height, width, channels)` of the inputs.
        steps: Number of steps.
        step_size: Change in one step, the root of the mean of squares, in grey values.
        seed: Seed of noise and shifts, below 2 ** 31.

    Returns:
        `(filters, height, width, channels)`, float32, values in 0..255.

    Reference:
        Yosinski et al., 2015, Understanding Neural Networks Through Deep Visualization,
        https://arxiv.org/abs/1506.06579
        Olah, Mordvintsev and Schubert, 2017, Feature Visualization,
        https://distill.pub/2017/feature-visualization
        Differs from both: pixels are optimised as they are, and shifted around the border; the
        objective squares positive responses.
    """
    height, width, channels = shape
    excitement = excitement_of(network, [name])
    wanted = tf.constant(list(filters))
    jitter = max(1, round(min(height, width) * JITTER))
    kernel = tf.tile(BLUR[:, :, None, None], (1, 1, channels, 1))

    def blurred(pictures: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(pictures, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
        return tf.nn.depthwise_conv2d(padded, kernel, (1, 1, 1, 1), "VALID")

    # The loop over it is Python's: in one of TensorFlow's, pooling has no fast gradient on CPUs.
    @tf.function(autograph=False)
    def step(number: tf.Tensor, pictures: tf.Tensor) -> tf.Tensor:
        shift = tf.random.stateless_uniform(
            (2,), tf.stack([seed, number]), -jitter, jitter + 1, tf.int32
        )
        moved = tf.roll(pictures, shift, (1, 2))
        with tf.GradientTape() as tape:
            tape.watch(moved)
            values = excitement(moved, training=False)[name]
            total = tf.reduce_sum(tf.gather(values, wanted, axis=1, batch_dims=1))
        gradient = tape.gradient(total, moved)
        size = tf.sqrt(tf.reduce_mean(gradient**2, axis=(1, 2, 3), keepdims=True))
        # A filter that nothing excites has no gradient: its input stays as it is.
        moved += step_size * tf.math.divide_no_nan(gradient, size)
        pictures = tf.roll(moved, -shift, (1, 2))
        blur = (number % STEPS_TO_BLUR == 0) & (number < steps - STEPS_TO_BLUR)
        pictures = tf.cond(blur, lambda: blurred(pictures), lambda: pictures)
        return tf.clip_by_value(pictures, 0.0, 255.0)

    pictures = tf.random.stateless_uniform((len(wanted), *shape), (seed, -1), 117.5, 137.5)
    for number in range(steps):
        pictures = step(tf.constant(number), pictures)
    return pictures.numpy()
