"""Batch normalisation by one kernel while a model trains, where TensorFlow has that kernel.

Keras composes it of a dozen operations, each of which goes through all activations. The builders
keep Keras's own layer, which runs on every backend and loads anywhere; for the time of a training
its instances are given the faster call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import keras
import tensorflow as tf
from keras import layers

LEAST_EPSILON = 1.001e-5  # that of the kernel


@contextmanager
def fused_batch_normalization(model: keras.Model) -> Iterator[None]:
    """Lets the model's batch normalisations use the kernel, wherever they can.

    Args:
        model: Is as it was afterwards.
    """
    # `model.layers` would leave out what a subclass of a functional model has added.
    chosen = [layer for layer in model._flatten_layers() if _suits(layer)]
    for layer in chosen:
        layer.call = MethodType(_fused_call, layer)
    try:
        yield
    finally:
        for layer in chosen:
            del layer.call


def _fused_call(
    self: layers.BatchNormalization,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    if not training or not self.trainable or mask is not None:
        return layers.BatchNormalization.call(self, inputs, training=training, mask=mask)
    # In float32 as in Keras: the kernel is slow in bfloat16 where the processor lacks it.
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        tf.cast(inputs, tf.float32),
        tf.convert_to_tensor(self.gamma),
        tf.convert_to_tensor(self.beta),
        epsilon=self.epsilon,
        is_training=True,
    )
    # The kernel divides the squares by n - 1, Keras by n.
    count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
    moved = 1 - self.momentum
    self.moving_mean.assign(self.momentum * self.moving_mean + moved * mean)
    variance = variance * (count - 1) / count
    self.moving_variance.assign(self.momentum * self.moving_variance + moved * variance)
    return tf.cast(outputs, self.compute_dtype)


def _suits(layer: layers.Layer) -> bool:
    return (
        type(layer) is layers.BatchNormalization
        and layer.built
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.center
        and layer.scale
        and not layer.renorm
        and not layer.synchronized
        and layer.epsilon >= LEAST_EPSILON
        and layer.compute_dtype != "float64"
    )
