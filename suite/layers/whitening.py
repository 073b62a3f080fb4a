"""A first convolution that decorrelates the pixels of small patches, and is not trained."""

import keras
import numpy as np
from keras import layers, ops

NAME = "whitening"
NUM_PATCHES = 100_000
EPSILON = 5e-4  # added to the variances, so that noise is not blown up


def whiten(x: keras.KerasTensor, size: int = 2) -> keras.KerasTensor:
    """A frozen convolution with a filter, and its negative, for every direction of a patch.

    `fit_whitening` sets its weights; before that, they are random.

    Args:
        x: Pictures `(batch, height, width, channels)`.
        size: Height and width of a patch.

    Returns:
        Features `(batch, height - size + 1, width - size + 1, 2 * size**2 * channels)`. Each half
        of the channels is uncorrelated and has variance 1 over the patches of the examples.
    """
    filters = 2 * size**2 * x.shape[-1]
    return layers.Conv2D(filters, size, trainable=False, use_bias=False, name=NAME)(x)


def has_whitening(model: keras.Model) -> bool:
    """Whether a functional model has the layer that `whiten` made."""
    return any(layer.name == NAME for layer in model.layers)


def fit_whitening(model: keras.Model, images: np.ndarray) -> None:
    """Sets the weights of the layer that `whiten` made, by the principal axes of patches.

    Args:
        model: A functional model with that layer.
        images: Inputs of the model, `(n, height, width, channels)`.

    Reference:
        Page, 2019, How to Train Your ResNet 8: Bag of Tricks,
        https://web.archive.org/web/20231207234442/https://myrtle.ai/learn/how-to-train-your-resnet-8-bag-of-tricks/
    """
    layer = model.get_layer(NAME)
    size, _, channels, _ = layer.kernel.shape
    x = keras.Model(model.input, layer.input)(images)
    patches = ops.reshape(ops.image.extract_patches(x, size, 1), (-1, size**2 * channels))
    patches = ops.convert_to_numpy(ops.cast(patches, "float32"))
    if len(patches) > NUM_PATCHES:
        patches = np.random.default_rng(0).choice(patches, NUM_PATCHES, replace=False)
    variances, axes = np.linalg.eigh(np.cov(patches, rowvar=False))
    kernel = (axes / np.sqrt(variances + EPSILON)).reshape(size, size, channels, -1)
    layer.kernel.assign(np.concatenate([kernel, -kernel], axis=-1))
