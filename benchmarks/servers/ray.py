"""Ray Serve, with its own decorator for batches.

python -m benchmarks.servers.ray saved_models/mnist_cnn/1 8501
"""

import signal
import threading
from pathlib import Path
from typing import Any

import cyclopts
from ray import serve
from starlette.requests import Request

from benchmarks.servers import MOST, PATIENCE


@serve.deployment(max_ongoing_requests=2 * MOST)
class Served:
    """The network behind its interface.

    Args:
        folder: See `Network`.
    """

    def __init__(self, folder: Path) -> None:
        from benchmarks.servers.network import Network  # by the replicas alone

        self.network = Network(folder)

    @serve.batch(max_batch_size=MOST, batch_wait_timeout_s=PATIENCE)
    async def predict(self, images: list[Any]) -> list[Any]:
        """Many at a time."""
        return list(self.network(images))

    async def __call__(self, request: Request) -> dict[str, Any]:
        images = (await request.json())["instances"]
        return {"predictions": [(await self.predict(images[0])).tolist()]}


def main(folder: Path, port: int, /, *, replicas: int = 1) -> None:
    """Serves until it is ended.

    Args:
        folder: A version of an exported `mnist_cnn`.
        port: To listen on.
        replicas: Processes.
    """
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Served.options(num_replicas=replicas).bind(folder.resolve()))
    ended.wait()
    serve.shutdown()


if __name__ == "__main__":
    cyclopts.run(main)
