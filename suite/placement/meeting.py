"""Where the workers of a cluster wait for each other before TensorFlow has them wait.

TensorFlow waits without a word and hears no signal meanwhile. Here the chief listens at the address
that TensorFlow is about to take, the others call there, and all go on together.
"""

import logging
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress

log = logging.getLogger(__name__)

SECONDS_OF_PATIENCE = 5.0  # before it is said who is waited for
SECONDS_BETWEEN_CALLS = 0.2
GO = b"go\n"


def meet(addresses: Sequence[str], number: int) -> None:
    """Returns once all workers are there.

    Args:
        addresses: `host:port` of all workers, that of the chief first.
        number: Which of them this one is.
    """
    if number == 0:
        _wait_for_all(addresses)
    else:
        _call(addresses[0], number)


def _wait_for_all(addresses: Sequence[str]) -> None:
    _, port = _parts(addresses[0])
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with (
        ExitStack() as stack,
        socket.create_server(("", port), family=family, dualstack_ipv6=both) as server,
    ):
        server.settimeout(SECONDS_OF_PATIENCE)
        there: dict[int, socket.socket] = {}
        said: set[int] = set()
        while missing := set(range(1, len(addresses))) - there.keys():
            try:
                caller = stack.enter_context(server.accept()[0])
            except TimeoutError:
                if missing != said:
                    _say(f"worker {each} at {addresses[each]}" for each in sorted(missing))
                    said = missing
            else:
                number = _number_of(caller)
                if number is not None and 0 < number < len(addresses):
                    there[number] = caller
            there = {each: caller for each, caller in there.items() if _holds(caller)}
        for caller in there.values():
            caller.sendall(GO)


def _call(address: str, number: int) -> None:
    host, port = _parts(address)
    since, said = time.monotonic(), False
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
        if not said and time.monotonic() - since > SECONDS_OF_PATIENCE:
            _say([f"worker 0 at {address}"])
            said = True
        time.sleep(SECONDS_BETWEEN_CALLS)


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _number_of(caller: socket.socket) -> int | None:
    """What a worker says that it is; None for anything else that comes by."""
    caller.settimeout(1.0)
    with suppress(OSError, ValueError):
        return int(caller.recv(16))
    return None


def _holds(caller: socket.socket) -> bool:
    """Whether a worker still waits."""
    caller.setblocking(False)
    try:
        return bool(caller.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        caller.setblocking(True)


def _say(who: Iterable[str]) -> None:
    log.warning("Waiting for %s.", ", ".join(who))
