"""KServe's Python server, whose batching is a program beside it, and in a cluster only.

python -m benchmarks.servers.kserve saved_models/mnist_cnn/1 8501
"""

import functools
import logging
from pathlib import Path
from typing import Any

import cyclopts
from kserve import Model, ModelServer

from benchmarks.servers.network import Network

logging.getLogger("kserve.trace").setLevel(logging.WARNING)  # else a line for each request


class Served(Model):
    """The network behind its interface.

    Args:
        folder: See `Network`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("mnist_cnn")
        self.folder, self.ready = folder, True

    @functools.cached_property
    def network(self) -> Network:
        """Loaded by every worker for itself."""
        return Network(self.folder)

    def predict(self, payload: dict[str, Any], headers: Any = None) -> dict[str, Any]:
        return {"predictions": self.network(payload["instances"]).tolist()}


def main(folder: Path, port: int, /, *, workers: int = 1) -> None:
    """Serves until it is ended.

    Args:
        folder: A version of an exported `mnist_cnn`.
        port: To listen on.
        workers: Processes.
    """
    server = ModelServer(
        http_port=port, workers=workers, enable_grpc=False, enable_latency_logging=False
    )
    server.start([Served(folder.resolve())])


if __name__ == "__main__":
    cyclopts.run(main)
