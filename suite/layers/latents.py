"""Functions of latents for builders of functional models."""

import math
from collections.abc import Sequence

import keras
import numpy as np


def choice(latent: keras.KerasTensor, shares: Sequence[float]) -> keras.KerasTensor:
    """Turns standard normal latents into the index of a category, by the Gumbel-max trick.

    Each index comes up with its given frequency.

    Args:
        latent: Standard normal numbers `(batch, categories)`.
        shares: The frequency of each category, greater than 0, `(categories,)`.

    Returns:
        Indices `(batch,)`, int32.

    Reference:
        Gumbel, 1954, Statistical Theory of Extreme Values and Some Practical Applications
    """
    gumbel = -keras.ops.log(-keras.ops.log((1 + keras.ops.erf(latent / math.sqrt(2))) / 2))
    logits = keras.layers.Rescaling(1.0, offset=np.log(shares).tolist(), dtype="float32")
    return keras.ops.argmax(logits(gumbel), axis=-1)
