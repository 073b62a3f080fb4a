"""Normalisation of the features of a convolutional network, by a name that a knob can choose."""

import math
from typing import Literal

import keras
from keras import layers

Normalization = Literal["batch", "layer", "instance", "group", "none"]
CHANNELS_PER_GROUP = 16
SMALLEST_FUSED = 1.001e-5  # epsilon that a fused kernel takes: see `suite.training.batch_norm`


def normalize(
    x: keras.KerasTensor, normalization: Normalization, epsilon: float = 1e-5
) -> keras.KerasTensor:
    """Normalises features, and gives every channel a scale and an offset that are learnt.

    Args:
        x: Features `(batch, height, width, channels)`.
        normalization: What the mean and variance are taken over: for a channel, all examples of the
            batch (`batch`, with running averages after training); for an example, all channels
            (`layer`), one channel (`instance`), or groups of as many channels as the greatest
            common divisor of 16 and their number (`group`). `none` returns the features as they
            are.
        epsilon: What is added to the variance.

    Reference:
        Ioffe and Szegedy, 2015, Batch Normalization, https://arxiv.org/abs/1502.03167
        Ba, Kiros and Hinton, 2016, Layer Normalization, https://arxiv.org/abs/1607.06450
        Ulyanov, Vedaldi and Lempitsky, 2016, Instance Normalization,
        https://arxiv.org/abs/1607.08022
        Wu and He, 2018, Group Normalization, https://arxiv.org/abs/1803.08494
    """
    channels = x.shape[-1]
    match normalization:
        case "batch":
            return layers.BatchNormalization(momentum=0.9, epsilon=max(epsilon, SMALLEST_FUSED))(x)
        case "layer":
            return layers.GroupNormalization(1, epsilon=epsilon)(x)
        case "instance":
            return layers.GroupNormalization(channels, epsilon=epsilon)(x)
        case "group":
            groups = channels // math.gcd(channels, CHANNELS_PER_GROUP)
            return layers.GroupNormalization(groups, epsilon=epsilon)(x)
        case "none":
            return x
