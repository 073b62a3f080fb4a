"""How near a picture comes to another one: PSNR, SSIM, and the distance of features.

PSNR and SSIM are measured as papers on super-resolution do: on the luma alone, and without a border
of as many pixels as the picture was enlarged by.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from suite.layers.colours import to_luma

PEAK = 255.0
SMALLEST_ERROR = 1e-10  # mean squared error; equal pictures would have an infinite PSNR
# SSIM: the size and the deviation of its window, and the constants that keep its ratios finite.
WINDOW, DEVIATION = 11, 1.5
STABILISERS = ((0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2)


def luma_psnr(y_true: keras.KerasTensor, y_pred: keras.KerasTensor, border: int = 0) -> Any:
    """Peak signal-to-noise ratio of the luma, in decibels: larger is better.

    Args:
        y_true: Pictures `(batch, height, width, 3)`, values in 0..255.
        y_pred: Pictures of the same shape; values are clipped to 0..255.
        border: Pixels on every side that do not count.

    Returns:
        `(batch,)`; about 148 for equal pictures.
    """
    floatx = keras.config.floatx()
    y_true, y_pred = ops.cast(y_true, floatx), ops.cast(y_pred, floatx)
    difference = to_luma(y_true) - to_luma(ops.clip(y_pred, 0, PEAK))
    error = ops.mean(ops.square(without_border(difference, border)), axis=(1, 2, 3))
    return 10 * ops.log10(PEAK**2 / ops.maximum(error, SMALLEST_ERROR))


def luma_ssim(one: np.ndarray, other: np.ndarray, border: int = 0) -> float:
    """Mean structural similarity of the lumas of two pictures; at most 1, for equal ones.

    Args:
        one: `(height, width, 3)`, values in 0..255.
        other: The same shape.
        border: Pixels on every side that do not count. 11 x 11 pixels must remain.
    """
    lumas = (
        ops.convert_to_numpy(to_luma(np.asarray(picture, np.float64)[None]))[0]
        for picture in (one, other)
    )
    return ssim(*(without_border(luma[None], border)[0, ..., 0] for luma in lumas))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Mean structural similarity of two grey pictures.

    Args:
        one: `(height, width)`, values in 0..255, 11 x 11 pixels or more.
        other: The same shape.

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, 2004, Image Quality Assessment: From Error Visibility to
        Structural Similarity, https://doi.org/10.1109/TIP.2003.819861
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    mean_one, mean_other = _local_mean(one), _local_mean(other)
    variances = _local_mean(one**2) - mean_one**2 + _local_mean(other**2) - mean_other**2
    covariance = _local_mean(one * other) - mean_one * mean_other
    first, second = STABILISERS
    similarity = (2 * mean_one * mean_other + first) * (2 * covariance + second)
    similarity /= (mean_one**2 + mean_other**2 + first) * (variances + second)
    return float(similarity.mean())


def feature_distance(features: keras.Model, one: np.ndarray, other: np.ndarray) -> float:
    """The distance of pictures in the features of a network; 0 for equal ones.

    The features of a pixel are scaled to unit length. The squared distances are averaged over the
    pixels and summed over the layers.

    Args:
        features: Maps `(batch, height, width, 3)`, values in 0..255, to a list of features
            `(batch, rows, columns, channels)`, one for each layer.
        one: Pictures `(batch, height, width, 3)`.
        other: Pictures of the same shape.

    Reference:
        Zhang, Isola, Efros, Shechtman and Wang, 2018, The Unreasonable Effectiveness of Deep
        Features as a Perceptual Metric, https://arxiv.org/abs/1801.03924
        Differs from the paper: all channels count alike, rather than by weights that were learnt
        from people's judgements, so values cannot be compared with LPIPS.
    """
    both = [features(np.asarray(pictures, np.float32), training=False) for pictures in (one, other)]
    distance = 0.0
    for first, second in zip(*map(keras.tree.flatten, both), strict=True):
        difference = ops.normalize(first, axis=-1) - ops.normalize(second, axis=-1)
        distance += float(ops.mean(ops.sum(ops.square(difference), axis=-1)))
    return distance


def without_border(pictures: Any, border: int) -> Any:
    """Pictures `(batch, height, width, channels)` without `border` pixels on every side."""
    return pictures[:, border:-border, border:-border] if border else pictures


def _local_mean(values: np.ndarray) -> np.ndarray:
    """The means over every window that fits into `(height, width)`, weighted by a Gaussian."""
    from scipy.ndimage import correlate1d

    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * DEVIATION**2))
    weights /= weights.sum()
    for axis in (0, 1):
        values = correlate1d(values, weights, axis=axis)
    return without_border(values[None, ..., None], WINDOW // 2)[0, ..., 0]
