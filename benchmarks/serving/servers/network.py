"""The network that all servers call, and its speed without a server.

python -m benchmarks.serving.servers.network saved_models/mnist_cnn/1
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
        folder: A version of the export, such as `saved_models/mnist_cnn/1`.
    """

    def __init__(self, folder: Path) -> None:
        self.loaded = tf.saved_model.load(str(folder))
        self.function = self.loaded.signatures["serve"]

    def __call__(self, images: object) -> np.ndarray:
        batch = tf.constant(np.asarray(images, np.float32))
        return self.function(image=batch)["probabilities"].numpy()


def main(folder: Path, /, *, batch: int = 32, seconds: float = 5.0) -> None:
    """Prints the median of the milliseconds that a call of all outputs takes in this process.

    Args:
        folder: A version of an exported `mnist_cnn`.
        batch: Images in a call.
        seconds: How long it is called.
    """
    network, durations = Network(folder), []
    images = np.random.default_rng(0).integers(0, 256, (batch, 28, 28, 1)).astype(np.float32)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        outputs = network.function(image=tf.constant(images))
        for output in outputs.values():
            output.numpy()
        durations.append(time.perf_counter() - started)
    print(1000 * statistics.median(durations[len(durations) // 4 :]))


if __name__ == "__main__":
    cyclopts.run(main)
