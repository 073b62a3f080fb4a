"""Scikit-learn's digits in MNIST's layout, which need no download."""

import numpy as np
import tensorflow as tf

from suite.data.examples import Examples, Source
from suite.data.images.preparation import Preparation

SIZE = 28
INK_SIZE = 20  # MNIST fits the ink of a digit into 20 x 20 pixels
DIGITS = tuple("0123456789")


def embedded_digits() -> Source:
    """1,797 handwritten digits of scikit-learn, enlarged from 8 x 8 to MNIST's layout.

    Returns:
        A source whose `train` has images `(1797, 28, 28, 1)`, uint8, and labels 0..9, int32. It has
        no other split.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images * (255 / 16)).astype(np.float32)[..., None]
    large = tf.image.resize(small, (INK_SIZE, INK_SIZE), method="bicubic")
    margin = (SIZE - INK_SIZE) // 2
    large = tf.image.pad_to_bounding_box(large, margin, margin, SIZE, SIZE)
    images = np.clip(np.rint(large.numpy()), 0, 255).astype(np.uint8)
    return Source(
        name="embedded:digits",
        train=Examples(images, digits.target.astype(np.int32)),
        class_names=DIGITS,
        comparable=False,
        preparation=Preparation(),
    )
