"""Runs the server as one process: REST by uvicorn and gRPC, on one event loop."""

import asyncio
import functools
import math
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from suite.errors import InputError
from suite.serve import rpc
from suite.serve.access import Access
from suite.serve.batching import Limits
from suite.serve.models import Models
from suite.serve.monitor import Monitor
from suite.serve.rest import application

KEEP_ALIVE_SECONDS = 75


def serve(
    folder: Path,
    limits: Limits,
    labels: Mapping[str, Mapping[str, int]],
    access: Access,
    address: tuple[str, int],
    grpc_port: int,
) -> None:
    """Serves until SIGINT or SIGTERM, then finishes the requests in progress.

    Args:
        folder: Holds `<app>/<version>/`.
        limits: Limits on requests and batches.
        labels: Numbers of versions by model and label.
        access: Access rules of the requests.
        address: Host and port of REST; gRPC listens on the same host.
        grpc_port: Port of gRPC.

    Raises:
        InputError: A port is in use, or the host is not an address of this machine.
    """
    models = Models(folder, limits, labels)
    with _listen(*address) as listener:
        uvloop.run(_serve(models, access, listener, url_address(address[0], grpc_port)))


def url_address(host: str, port: int) -> str:
    """Formats host and port for a URL, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """The REST server, which stops gRPC at the same time as itself.

    Args:
        grpc_server: The gRPC server.
        config: Of uvicorn.
        grace: Seconds in which both may finish the requests that they have begun.
    """

    def __init__(self, grpc_server: grpc.aio.Server, config: uvicorn.Config, grace: float) -> None:
        super().__init__(config)
        self._grpc_server, self._grace = grpc_server, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.gather(super().shutdown(sockets), self._grpc_server.stop(self._grace))


class _PunctualProtocol(HttpToolsProtocol):
    """HTTP of connections that are closed if the headers of a request do not come soon.

    Args:
        seconds: From the beginning of a connection, or of a later request, to whole headers.
        arguments: What uvicorn passes.
    """

    def __init__(self, seconds: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._seconds = seconds
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait(self._seconds)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait(self._seconds)

    def on_headers_complete(self) -> None:
        self._wait(None)
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)

    def _wait(self, seconds: float | None) -> None:
        """Closes the connection after some seconds, unless it is called again before."""
        if self._waiting is not None:
            self._waiting.cancel()
        close = self.transport.close
        self._waiting = self.loop.call_later(seconds, close) if seconds is not None else None


async def _serve(
    models: Models, access: Access, listener: socket.socket, grpc_address: str
) -> None:
    monitor = Monitor(models)
    grpc_server = rpc.server(models, access, monitor)
    try:
        grpc_port = grpc_server.add_insecure_port(grpc_address)
    except RuntimeError:
        raise InputError("`grpc_port` must be free", grpc_address) from None
    grace = math.ceil(access.timeout) + 1  # by then every request has its answer, or its error
    rest_server = _Server(
        grpc_server,
        uvicorn.Config(
            application(models, access, monitor),
            http=functools.partial(_PunctualProtocol, max(1.0, access.timeout)),  # type: ignore[arg-type]
            access_log=False,
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=grace,
        ),
        grace,
    )
    async with models.watched():
        await grpc_server.start()
        host, port, *_ = listener.getsockname()
        print(
            f"REST and the playground on http://{url_address(host, port)}, "
            f"gRPC on {url_address(host, grpc_port)}",
            flush=True,
        )
        # uvicorn stops on these signals, and raises them again at its end. Then these handlers
        # ignore them, so that calls that are still running can end; the next signal ends all.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        await rest_server.serve([listener])
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # `::` stands for all addresses of this machine, IPv4 included.
        listener = socket.create_server(
            (host, port), family=family, backlog=2048, dualstack_ipv6=host == "::"
        )
        # Without this, the body of a response may wait until the client confirms the headers.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise InputError(
            "`host` and `port` must be free here", f"{url_address(host, port)}: {error.strerror}"
        ) from None
