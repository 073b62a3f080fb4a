"""The same server on Ray Serve: as many replicas as are wanted, on one machine or on many."""

import os
import signal
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from suite.serve.access import Access
from suite.serve.batches import Limits
from suite.serve.models import Models
from suite.serve.monitor import Monitor
from suite.serve.rest import application


def serve(
    folder: Path,
    limits: Limits,
    labels: Mapping[str, Mapping[str, int]],
    access: Access,
    address: tuple[str, int],
    replicas: int,
) -> None:
    """Serves until a signal comes, by REST alone.

    Every replica is a process that loads what lies under the folder, and makes batches of what
    Ray gives it. The cluster is the one that `RAY_ADDRESS` names, or one on this machine.

    Args:
        folder: Holds `<app>/<version>/`, on every machine.
        limits: Of batches.
        labels: Numbers of versions by model and label.
        access: What requests must keep to.
        address: Host and port.
        replicas: How many.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve as ray_serve

    folder = folder.resolve()

    def built() -> FastAPI:
        models = Models(folder, limits, labels)

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            async with models.watched():
                yield

        return application(models, access, Monitor(models), lifespan=lifespan)

    host, port = address
    ray.init(log_to_driver=False, configure_logging=False)
    ray_serve.start(http_options={"host": host, "port": port})
    # As many at a time as a signature takes; Ray lets further ones wait for a replica.
    replicated = ray_serve.deployment(
        ray_serve.ingress(built)(),
        name="suite",
        num_replicas=replicas,
        max_ongoing_requests=limits.queue,
    )
    try:
        ray_serve.run(replicated.bind())
        asked_to_end = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):  # not before: Ray has handlers of its own
            signal.signal(number, lambda *_: asked_to_end.set())
        print(f"REST and the playground on http://{host}:{port}, {replicas} replicas", flush=True)
        asked_to_end.wait()
    finally:
        ray_serve.shutdown()
        ray.shutdown()
