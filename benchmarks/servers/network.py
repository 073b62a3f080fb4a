"""What all of them call."""

from pathlib import Path

import numpy as np
import tensorflow as tf


class Network:
    """An exported `mnist_cnn`: images `(n, 28, 28, 1)` in, probabilities `(n, 10)` out.

    Args:
        folder: The version.
    """

    def __init__(self, folder: Path) -> None:
        self.loaded = tf.saved_model.load(str(folder))
        self.function = self.loaded.signatures["serve"]

    def __call__(self, images: object) -> np.ndarray:
        batch = tf.constant(np.asarray(images, np.float32))
        return self.function(image=batch)["probabilities"].numpy()
