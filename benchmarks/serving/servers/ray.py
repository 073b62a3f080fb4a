"""Ray Serve, which gathers batches by its decorator.

python -m benchmarks.serving.servers.ray saved_models/mnist_cnn/1 8501
"""

import signal
import threading
from pathlib import Path
from typing import Any

import cyclopts
from ray import serve
from starlette.requests import Request

from benchmarks.serving.servers import BATCH_SECONDS, BATCH_SIZE


@serve.deployment(max_ongoing_requests=2 * BATCH_SIZE)
class Served:
    """The network behind the interface of Ray Serve.

    Args:
        folder: A version of an exported `mnist_cnn`.
    """

    def __init__(self, folder: Path) -> None:
        # Only the replicas import TensorFlow.
        from benchmarks.serving.servers.network import Network

        self.network = Network(folder)

    @serve.batch(max_batch_size=BATCH_SIZE, batch_wait_timeout_s=BATCH_SECONDS)
    async def predict(self, images: list[Any]) -> list[Any]:
        """Answers the images of several requests at once."""
        return list(self.network(images))

    async def __call__(self, request: Request) -> dict[str, Any]:
        images = (await request.json())["instances"]
        return {"predictions": [(await self.predict(images[0])).tolist()]}


def main(folder: Path, port: int, /, *, replicas: int = 1) -> None:
    """Serves until it is stopped.

    Args:
        folder: A version of an exported `mnist_cnn`.
        port: The port to listen on.
        replicas: Number of processes that call the network.
    """
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Served.options(num_replicas=replicas).bind(folder.resolve()))
    stopped.wait()
    serve.shutdown()


if __name__ == "__main__":
    cyclopts.run(main)
