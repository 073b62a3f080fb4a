"""A meeting point, where the workers of a cluster wait for each other before TensorFlow starts.

TensorFlow waits for other workers in C++. It does not report which worker is missing, and Python
cannot handle signals meanwhile, so a worker that waits in vain can only be killed. Here the workers
wait in Python, where Ctrl-C and SIGTERM work at once. The chief listens at the address that
TensorFlow will use afterwards, the other workers connect to it, and all continue together.
"""

import logging
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress

log = logging.getLogger(__name__)

SECONDS_OF_PATIENCE = 5.0  # before a worker reports the missing workers
SECONDS_BETWEEN_CALLS = 0.2
GO = b"go\n"


def meet(addresses: Sequence[str], number: int) -> None:
    """Waits until all workers have connected to the chief.

    Args:
        addresses: `host:port` of all workers, the chief first.
        number: Index of this worker in `addresses`.
    """
    if number == 0:
        _wait_for_all(addresses)
    else:
        _wait_for_chief(addresses[0], number)


def _wait_for_all(addresses: Sequence[str]) -> None:
    _, port = _split(addresses[0])
    dual_stack = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual_stack else socket.AF_INET
    with (
        ExitStack() as stack,
        socket.create_server(("", port), family=family, dualstack_ipv6=dual_stack) as server,
    ):
        server.settimeout(SECONDS_OF_PATIENCE)
        workers: dict[int, socket.socket] = {}
        reported: set[int] = set()
        while missing := set(range(1, len(addresses))) - workers.keys():
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError:
                if missing != reported:
                    _warn(f"worker {number} at {addresses[number]}" for number in sorted(missing))
                    reported = missing
            else:
                number = _read_number(connection)
                if number is not None and 0 < number < len(addresses):
                    workers[number] = connection
            workers = {n: worker for n, worker in workers.items() if _is_connected(worker)}
        for worker in workers.values():
            worker.sendall(GO)


def _wait_for_chief(address: str, number: int) -> None:
    host, port = _split(address)
    start, warned = time.monotonic(), False
    while True:
        with (
            suppress(OSError),
            socket.create_connection((host, port), timeout=SECONDS_OF_PATIENCE) as chief,
        ):
            chief.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            chief.sendall(f"{number}\n".encode())
            chief.settimeout(None)
            if chief.recv(len(GO)) == GO:
                return
        if not warned and time.monotonic() - start > SECONDS_OF_PATIENCE:
            _warn([f"worker 0 at {address}"])
            warned = True
        time.sleep(SECONDS_BETWEEN_CALLS)


def _split(address: str) -> tuple[str, int]:
    """Splits `host:port`, and removes the brackets of an IPv6 address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _read_number(connection: socket.socket) -> int | None:
    """The number that a worker sends; None if another program has connected."""
    connection.settimeout(1.0)
    with suppress(OSError, ValueError):
        return int(connection.recv(16))
    return None


def _is_connected(connection: socket.socket) -> bool:
    """Whether a worker still waits at the other end."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.setblocking(True)


def _warn(missing: Iterable[str]) -> None:
    log.warning("Waiting for %s.", ", ".join(missing))
