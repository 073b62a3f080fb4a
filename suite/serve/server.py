"""The server as one process: REST by uvicorn, gRPC beside it, both on one event loop."""

import signal
import socket
from collections.abc import Mapping
from pathlib import Path

import uvicorn
import uvloop

from suite.errors import InputError
from suite.serve import rpc
from suite.serve.access import Access
from suite.serve.batches import Limits
from suite.serve.models import Models
from suite.serve.monitor import Monitor
from suite.serve.rest import application

SECONDS_TO_FINISH, SECONDS_KEPT_OPEN = 30, 75


def serve(
    folder: Path,
    limits: Limits,
    labels: Mapping[str, Mapping[str, int]],
    access: Access,
    address: tuple[str, int],
    grpc_port: int,
) -> None:
    """Serves until a signal comes, and finishes what is in flight.

    Args:
        folder: Holds `<app>/<version>/`.
        limits: Of batches.
        labels: Numbers of versions by model and label.
        access: What requests must keep to.
        address: Host and port of REST.
        grpc_port: Of gRPC.

    Raises:
        InputError: A port is not free.
    """
    models = Models(folder, limits, labels)
    with _bound(*address) as listening:
        uvloop.run(_serve(models, access, listening, f"{address[0]}:{grpc_port}"))


async def _serve(
    models: Models, access: Access, listening: socket.socket, grpc_address: str
) -> None:
    monitor = Monitor(models)
    of_rpc = rpc.server(models, access, monitor)
    try:
        grpc_port = of_rpc.add_insecure_port(grpc_address)
    except RuntimeError:
        raise InputError(f"--grpc-port must be free. Received: {grpc_address}") from None
    of_rest = uvicorn.Server(
        uvicorn.Config(
            application(models, access, monitor),
            access_log=False,
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=SECONDS_KEPT_OPEN,
            timeout_graceful_shutdown=SECONDS_TO_FINISH,
        )
    )
    async with models.watched():
        await of_rpc.start()
        host, port, *_ = listening.getsockname()
        said = f"REST and the playground on http://{host}:{port}, gRPC on {host}:{grpc_port}"
        print(said, flush=True)
        # uvicorn ends on these, and raises them again when it has: by then all is done but gRPC.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        await of_rest.serve([listening])
        await of_rpc.stop(SECONDS_TO_FINISH)


def _bound(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((host, port), backlog=2048)
        # Head and body of an answer are written one after the other: neither should wait.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise InputError(
            f"--host and --port must be free here. Received: {host}:{port}: {error.strerror}"
        ) from None
