"""Fused batch normalisation: one TensorFlow kernel in place of Keras's operations, in training.

Keras composes batch normalisation from a dozen operations, and each of them reads and writes all
activations. Models are still built with `keras.layers.BatchNormalization`, which runs on every
backend and can be loaded anywhere. Its instances use the faster `call` only while a model trains.

Reference:
    Ioffe and Szegedy, 2015, Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift, https://arxiv.org/abs/1502.03167
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType

import keras
import tensorflow as tf
from keras import layers

LEAST_EPSILON = 1.001e-5  # the smallest that the kernel takes
PROCESSOR = Path("/proc/cpuinfo")


@contextmanager
def fused_batch_normalization(model: keras.Model, enabled: bool = True) -> Iterator[None]:
    """Lets the batch normalisations of a model use the kernel inside a `with` block.

    Args:
        model: A built model.
        enabled: With False, the block changes nothing.
    """
    # `model.layers` would omit layers that a subclass of a functional model has added.
    fusible = [layer for layer in model._flatten_layers() if enabled and _is_fusible(layer)]
    for layer in fusible:
        layer.call = MethodType(_fused_call, layer)
    try:
        yield
    finally:
        for layer in fusible:
            del layer.call


def _fused_call(
    self: layers.BatchNormalization,
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    if not training or not self.trainable or mask is not None:
        return layers.BatchNormalization.call(self, inputs, training=training, mask=mask)
    # The kernel computes in float32 in any case, so that only the copies differ.
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        inputs if _kernel_takes(self.compute_dtype) else tf.cast(inputs, tf.float32),
        tf.convert_to_tensor(self.gamma),
        tf.convert_to_tensor(self.beta),
        epsilon=self.epsilon,
        is_training=True,
    )
    # The kernel returns the variance with divisor n - 1, Keras uses n.
    count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
    rate = 1 - self.momentum
    self.moving_mean.assign(self.momentum * self.moving_mean + rate * mean)
    variance = variance * (count - 1) / count
    self.moving_variance.assign(self.momentum * self.moving_variance + rate * variance)
    return tf.cast(outputs, self.compute_dtype)


@functools.cache
def _kernel_takes(dtype: str) -> bool:
    """Whether the kernel is fast with inputs in half precision.

    It is on GPUs, and in bfloat16 on processors with AVX512-BF16 or AMX. On others it is many times
    slower than in float32, or missing.
    """
    if tf.config.list_physical_devices("GPU"):
        return True
    features = PROCESSOR.read_text(encoding="utf-8").split() if PROCESSOR.exists() else []
    return dtype == "bfloat16" and ("avx512_bf16" in features or "amx_bf16" in features)


def _is_fusible(layer: layers.Layer) -> bool:
    """Whether the kernel computes the same as the layer."""
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
