"""KServe's Python server, without batching: that is another program, for clusters alone.

python -m benchmarks.serving.servers.kserve saved_models/mnist_cnn/1 8501
"""

import functools
import logging
from pathlib import Path
from typing import Any

import cyclopts
from kserve import Model, ModelServer

from benchmarks.serving.servers.network import Network

logging.getLogger("kserve.trace").setLevel(logging.WARNING)  # it logs a line for each request


class Served(Model):
    """The network behind the interface of KServe.

    Args:
        folder: A version of an exported `mnist_cnn`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("mnist_cnn")
        self.folder, self.ready = folder, True

    @functools.cached_property
    def network(self) -> Network:
        """The network, which every worker process loads when it first needs it."""
        return Network(self.folder)

    def predict(self, payload: dict[str, Any], headers: Any = None) -> dict[str, Any]:
        return {"predictions": self.network(payload["instances"]).tolist()}


def main(folder: Path, port: int, /, *, workers: int = 1) -> None:
    """Serves until it is ended.

    Args:
        folder: A version of an exported `mnist_cnn`.
        port: The port to listen on.
        workers: Number of processes that serve.
    """
    server = ModelServer(
        http_port=port, workers=workers, enable_grpc=False, enable_latency_logging=False
    )
    server.start([Served(folder.resolve())])


if __name__ == "__main__":
    cyclopts.run(main)
