"""Draws points of a latent space, and decodes them into images."""

from statistics import NormalDist

import keras
import numpy as np
import tensorflow as tf


def sample_latents(num: int | tf.Tensor, latent_dim: int, seed: int | tf.Tensor) -> tf.Tensor:
    """Draws from the standard normal `(num, latent_dim)`; the same seed gives the same draws."""
    pair = tf.stack([tf.cast(seed, tf.int64), 0])
    return tf.random.stateless_normal([num, latent_dim], pair)


def decode_latents(decoder: keras.Model, points: np.ndarray) -> np.ndarray:
    """Decodes latents `(n, latent_dim)` into images `(n, height, width, channels)`, in 0..255.

    Args:
        decoder: A decoder or generator: maps latents to a dict with an `image`.
        points: The latents. At most 1,000 are decoded at a time, so that memory stays bounded.
    """
    parts = [
        keras.ops.convert_to_numpy(decoder(points[n : n + 1000])["image"])
        for n in range(0, len(points), 1000)
    ]
    return np.concatenate(parts)


def interpolate_latents(points: np.ndarray, steps: int) -> np.ndarray:
    """Interpolates linearly from each point to the next.

    Args:
        points: `(n, latent_dim)`.
        steps: Points of one interpolation, both ends included.

    Returns:
        `((n - 1) * steps, latent_dim)`.
    """
    paths = np.linspace(points[:-1], points[1:], steps, axis=1)
    return paths.reshape(-1, points.shape[1])


def latent_grid(side: int) -> np.ndarray:
    """A grid of points `(side * side, 2)` at evenly spaced quantiles of the standard normal."""
    quantiles = [NormalDist().inv_cdf((n + 0.5) / side) for n in range(side)]
    x, y = np.meshgrid(quantiles, quantiles[::-1])
    return np.stack([x.ravel(), y.ravel()], axis=1)
