"""LitServe: one process reads requests, another one calls the network.

python -m benchmarks.serving.servers.litserve saved_models/mnist_cnn/1 8501
"""

from pathlib import Path
from typing import Any

import cyclopts
import litserve
import numpy as np

from benchmarks.serving.servers import BATCH_SECONDS, BATCH_SIZE


class Served(litserve.LitAPI):
    """The network behind the interface of LitServe.

    Args:
        folder: A version of an exported `mnist_cnn`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(max_batch_size=BATCH_SIZE, batch_timeout=BATCH_SECONDS)
        self.folder = folder

    def setup(self, device: str) -> None:
        # Only the process that calls it imports TensorFlow.
        from benchmarks.serving.servers.network import Network

        self.network = Network(self.folder)

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.asarray(request["instances"][0], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self.network(inputs)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"predictions": [output.tolist()]}


def main(folder: Path, port: int, /, *, fast_queue: bool = False) -> None:
    """Serves until it is ended.

    Args:
        folder: A version of an exported `mnist_cnn`.
        port: The port to listen on.
        fast_queue: Use LitServe's faster queue between its processes.
    """
    server = litserve.LitServer(Served(folder.resolve()), accelerator="cpu", fast_queue=fast_queue)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    cyclopts.run(main)
