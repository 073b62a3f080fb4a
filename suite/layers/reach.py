"""How far a convolutional network looks."""

import math

import keras
from keras import layers


def reach_of(network: keras.Model) -> int:
    """At most how many pixels away an output depends on the input, along either axis.

    Normalisations over a whole picture, which depend on all of it, are left out.

    Args:
        network: A functional model of convolutions, transposed ones, poolings, and layers that act
            on single places; none that resizes otherwise. Its output has the height and width of
            its input.
    """
    # For each tensor the reach in pixels of the input, and how many of them its places are apart.
    reached: dict[int, tuple[float, float]] = {}

    def of(tensors: object) -> tuple[float, float]:
        return max((reached[id(tensor)] for tensor in keras.tree.flatten(tensors)), default=(0, 1))

    for operation in network.operations:
        if isinstance(operation, layers.InputLayer):
            reach, apart = 0.0, 1.0
        else:
            reach, apart = of(operation.input)
        if isinstance(operation, layers.Conv2DTranspose):
            apart /= max(operation.strides)
            reach += apart * (max(operation.kernel_size) - 1)
        elif isinstance(operation, layers.Conv2D):
            size = max(operation.dilation_rate) * (max(operation.kernel_size) - 1)
            reach += apart * math.ceil(size / 2)
            apart *= max(operation.strides)
        elif isinstance(operation, layers.MaxPooling2D | layers.AveragePooling2D):
            reach += apart * (max(operation.pool_size) - 1)
            apart *= max(operation.strides)
        for tensor in keras.tree.flatten(operation.output):
            reached[id(tensor)] = reach, apart
    return math.ceil(of(network.outputs)[0])
