"""Processes that run `python -m <module>`, but start with the slow imports already done."""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, by the server that all processes are forked from.
CONTEXT.set_forkserver_preload(
    ["suite.cli", "suite.figures.curves", "suite.serve.server", "tests.forks"]
)


def run(
    module: str,
    arguments: list[str],
    output: Path,
    folder: Path,
    setup: Callable[[], object] | None,
) -> None:
    """Becomes `python -m <module> <arguments>`, in a process of its own."""
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(folder)
    if setup is not None:
        setup()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Fork:
    """A process as `subprocess.Popen` has it.

    Args:
        module: The module that it runs.
        arguments: Arguments of its command line.
        output: File to which standard output and error are appended.
        folder: Its current folder.
        setup: Is called in it first, and can be pickled.
    """

    def __init__(
        self,
        module: str,
        arguments: list[str],
        output: Path,
        folder: Path,
        setup: Callable[[], object] | None = None,
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:  # the server does not know our `sys.path`
            patch.setenv("PYTHONPATH", str(ROOT))
            forkserver.ensure_running()
        self.process = CONTEXT.Process(target=run, args=(module, arguments, output, folder, setup))
        self.process.start()

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
