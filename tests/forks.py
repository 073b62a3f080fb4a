"""Processes that start with the slow imports already done."""

import contextlib
import functools
import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, by the server that all processes are forked from.
CONTEXT.set_forkserver_preload(
    ["suite.cli", "suite.figures.curves", "suite.serve.server", "tests.forks"]
)
Target = Callable[[], object]


def program(module: str, *arguments: str) -> Target:
    """What `python -m <module> <arguments>` does."""
    return functools.partial(_run_program, module, arguments)


def script(source: str) -> Target:
    """What `python -c <source>` does."""
    return functools.partial(exec, source, {"__name__": "__main__"})


def _run_program(module: str, arguments: tuple[str, ...]) -> None:
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _run(
    target: Target,
    output: Path,
    folder: Path,
    environment: Mapping[str, str],
    setup: Target | None,
) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(folder)
    os.environ.update(environment)
    # A shell has what it runs in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if setup is not None:
        setup()
    target()


class Fork:
    """A process as `subprocess.Popen` has it.

    Args:
        target: What it does: a `program`, a `script`, or a function that can be pickled.
        output: File to which standard output and error are appended.
        folder: Its current folder.
        environment: Variables that are added to its environment.
        setup: Is called in it first, and can be pickled.
    """

    def __init__(
        self,
        target: Target,
        output: Path,
        folder: Path = ROOT,
        environment: Mapping[str, str] = MappingProxyType({}),
        setup: Target | None = None,
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:  # the server does not know our `sys.path`
            patch.setenv("PYTHONPATH", str(ROOT))
            forkserver.ensure_running()
        arguments = (target, output, folder, dict(environment), setup)
        self.process = CONTEXT.Process(target=_run, args=arguments)
        self.process.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that killed it; None if it runs."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """The same as `returncode`."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end, and returns the exit code."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout or 0)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self.process.exitcode is None:
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kills it."""
        self.process.kill()


def free_addresses(count: int) -> list[str]:
    """`host:port` of free ports on this machine."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("localhost", 0))
        return [f"localhost:{free.getsockname()[1]}" for free in sockets]


def start_workers(
    target: Target, folder: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> list[Fork]:
    """Starts the two workers of a cluster.

    Args:
        target: What both do.
        folder: Their current folder, to which their outputs are written as `<number>.txt`.
        environment: Variables that are added to their environments.
    """
    addresses = free_addresses(2)
    tasks = [{"type": "worker", "index": number} for number in range(len(addresses))]
    configs = [json.dumps({"cluster": {"worker": addresses}, "task": task}) for task in tasks]
    return [
        Fork(target, folder / f"{number}.txt", folder, {**environment, "TF_CONFIG": config})
        for number, config in enumerate(configs)
    ]
