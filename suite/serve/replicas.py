"""Runs the server as several processes on Ray Serve, on one machine or more."""

import os
import signal
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from suite.errors import InputError
from suite.serve.access import Access
from suite.serve.batching import Limits
from suite.serve.models import Models
from suite.serve.monitor import Monitor
from suite.serve.rest import application
from suite.serve.server import url_address

NAME = "suite"  # of the application on the cluster


def serve(
    folder: Path,
    limits: Limits,
    labels: Mapping[str, Mapping[str, int]],
    access: Access,
    address: tuple[str, int],
    replicas: int,
) -> None:
    """Serves REST, without gRPC, until SIGINT or SIGTERM.

    Every replica is a process that loads all models and batches the requests that Ray sends to it.
    The cluster is the one of `RAY_ADDRESS`, or else a new one on this machine.

    Args:
        folder: Holds `<app>/<version>/`, on every machine.
        limits: Limits on requests and batches.
        labels: Numbers of versions by model and label.
        access: Access rules of the requests.
        address: Host and port.
        replicas: Number of processes.

    Raises:
        InputError: The port is 0: Ray does not say which one it has taken.
    """
    host, port = address
    if not port:
        raise InputError("`port` must be above 0 with `engine` ray", port)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import serve as ray_serve

    folder = folder.resolve()

    def build() -> FastAPI:
        models = Models(folder, limits, labels)

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            async with models.watched():
                yield

        return application(models, access, Monitor(models), lifespan=lifespan)

    address_of_cluster = os.environ.get("RAY_ADDRESS", "local")
    ray.init(address_of_cluster, log_to_driver=False, configure_logging=False)
    ray_serve.start(http_options={"host": host, "port": port})
    # A replica takes as many requests as a signature; further ones wait in Ray.
    deployment = ray_serve.deployment(
        ray_serve.ingress(build)(),
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=limits.max_queue,
    )
    try:
        ray_serve.run(deployment.bind(), name=NAME)
        stopped = threading.Event()
        # After `ray_serve.run`, which sets handlers as well.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        print(
            f"REST and the playground on http://{url_address(host, port)}, {replicas} replicas",
            flush=True,
        )
        stopped.wait()
    finally:
        ray_serve.delete(NAME)
        if not os.environ.get("RAY_ADDRESS"):  # or else it would end the applications of others
            ray_serve.shutdown()
        ray.shutdown()
