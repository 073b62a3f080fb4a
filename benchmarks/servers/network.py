"""What all of them call.

python -m benchmarks.servers.network saved_models/mnist_cnn/1
"""

import statistics
import time
from pathlib import Path

import cyclopts
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


def main(folder: Path, /, *, batch: int = 32, seconds: float = 5.0) -> None:
    """Prints the milliseconds, median, of a call in process that gives all outputs.

    Args:
        folder: A version of an exported `mnist_cnn`.
        batch: Images in a call.
        seconds: Of calls.
    """
    network, took = Network(folder), []
    images = np.random.default_rng(0).integers(0, 256, (batch, 28, 28, 1)).astype(np.float32)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        outputs = network.function(image=tf.constant(images))
        for output in outputs.values():
            output.numpy()
        took.append(time.perf_counter() - begun)
    print(1000 * statistics.median(took[len(took) // 4 :]))


if __name__ == "__main__":
    cyclopts.run(main)
