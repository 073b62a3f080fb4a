"""LitServe: one process reads requests, another one calls the network.

python -m benchmarks.servers.litserve saved_models/mnist_cnn/1 8501
"""

from pathlib import Path
from typing import Any

import cyclopts
import litserve
import numpy as np

from benchmarks.servers import MOST, PATIENCE


class Served(litserve.LitAPI):
    """The network behind its interface.

    Args:
        folder: See `Network`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(max_batch_size=MOST, batch_timeout=PATIENCE)
        self.folder = folder

    def setup(self, device: str) -> None:
        from benchmarks.servers.network import Network  # by the process that calls it alone

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
        port: To listen on.
        fast_queue: The other way between the processes.
    """
    server = litserve.LitServer(Served(folder.resolve()), accelerator="cpu", fast_queue=fast_queue)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    cyclopts.run(main)
