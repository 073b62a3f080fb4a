"""Runs a cluster on this machine: several worker processes that train one model together.

    python -m suite.cluster --workers 2 -- python -m apps.mnist_cnn --epochs 2

Every worker is a process that runs the command on its share of the cores. `TF_CONFIG` holds the
addresses of all workers. If one worker fails, all workers and their child processes are stopped.
"""

import ctypes
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Annotated

import cyclopts
import psutil
from cyclopts import Parameter
from cyclopts.validators import Number

from suite.console import error_line, prepare_output
from suite.errors import InputError
from suite.placement import proxy

SECONDS_TO_END = 5.0  # in which the other workers may end by themselves after one has failed
# Two options of Linux's prctl. The first lets the kernel kill the workers when this process dies.
# The second makes the orphans of a killed worker children of this process, which can kill them.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def run(command: Sequence[str], workers: int) -> int:
    """Runs a command on every worker, and waits until all have ended.

    At the end it kills all children of this process, those of other callers included.

    Args:
        command: The program and its arguments.
        workers: Number of processes.

    Returns:
        0 if all workers succeeded; else the exit code of the worker that failed first, or 128 plus
        the number of the signal that ended it.
    """
    processes: list[subprocess.Popen[str]] = []
    signals: list[int] = []
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def forward(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        for process in processes:
            if process.poll() is None:
                # Workers save their state on SIGTERM, but not on the hangup of a terminal.
                process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    with ExitStack() as stack:
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if stop != signal.SIGHUP or signal.getsignal(stop) != signal.SIG_IGN:  # else: nohup
                stack.callback(signal.signal, stop, signal.signal(stop, forward))
        # Killed workers leave their temporary files behind.
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(_kill, processes)
        settings = zip(_environments(workers), shares_of_cores(workers), strict=True)
        for environment, cores in settings:
            environment["TMPDIR"] = temporary
            processes.append(_start(command, len(processes), environment, cores))
        threads = [
            threading.Thread(target=_print_lines, args=(number, process.stdout), daemon=True)
            for number, process in enumerate(processes)
            if process.stdout
        ]
        for thread in threads:
            thread.start()
        failed = _first_failed(processes)
        if failed is not None:
            _wait(processes, SECONDS_TO_END)
        _kill(processes)
        for thread in threads:
            thread.join()
    if failed is None:
        return 0
    code = processes[failed].returncode
    end = f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}"
    cause = f"{_signal_name(signals[0])} came" if signals else f"worker {failed} ended {end}"
    print(f"{cause}: all were stopped", file=sys.stderr)
    return 128 - code if code < 0 else code


def _signal_name(number: int) -> str:
    has_name = number in set(signal.Signals)
    return signal.Signals(number).name if has_name else f"signal {number}"


def _environments(workers: int) -> list[dict[str, str]]:
    """The environment of every worker, with the addresses of all workers and its index."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(workers)]
        for server in sockets:
            server.bind(("localhost", 0))
        addresses = [f"localhost:{server.getsockname()[1]}" for server in sockets]
    shared = {**os.environ}
    proxy.bypass(shared, addresses)
    tasks = [{"type": "worker", "index": number} for number in range(workers)]
    configs = ({"cluster": {"worker": addresses}, "task": task} for task in tasks)
    return [{**shared, "TF_CONFIG": json.dumps(config)} for config in configs]


def shares_of_cores(workers: int) -> list[list[int]]:
    """The cores of every worker. Workers that shared cores would slow each other down."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        return [cores] * workers
    bounds = [len(cores) * number // workers for number in range(workers + 1)]
    return [cores[start:end] for start, end in itertools.pairwise(bounds)]


def _start(
    command: Sequence[str], number: int, environment: dict[str, str], cores: Sequence[int]
) -> subprocess.Popen[str]:
    # The first worker shows the progress bar, so it writes to the terminal directly.
    on_terminal = number == 0 and sys.stdout.isatty()
    parent = os.getpid()
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=None if on_terminal else subprocess.PIPE,
        stderr=None if on_terminal else subprocess.STDOUT,
        encoding="utf-8",
        errors="backslashreplace",
        start_new_session=True,  # this process forwards the Ctrl-C of the terminal
        preexec_fn=lambda: _prepare_worker(parent, cores),
    )


def _prepare_worker(parent: int, cores: Sequence[int]) -> None:
    """Binds this process to its cores, and lets the kernel kill it when its parent dies."""
    os.sched_setaffinity(0, cores)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before `prctl`
        os._exit(1)


def _print_lines(number: int, lines: Iterable[str]) -> None:
    for line in lines:
        with suppress(OSError, ValueError):  # the workers continue when nobody reads the output
            print(f"[worker {number}] {line}", end="", flush=True)


def _first_failed(processes: Sequence[subprocess.Popen[str]]) -> int | None:
    """Waits until one worker has failed, and returns its number, or until all have ended."""
    while True:
        codes = [process.poll() for process in processes]
        for number, code in enumerate(codes):
            if code:
                return number
        if None not in codes:
            return None
        time.sleep(0.1)


def _wait(processes: Sequence[subprocess.Popen[str]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.1)


def _kill(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Kills the workers and all processes that they started, in other sessions as well."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # The children of a killed child become children of this process.
    while children := psutil.Process().children():
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
                child.wait()


def launch(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 2,
) -> int:
    """Run a command on every worker of a cluster on this machine.

    Args:
        command: What to run, after `--`.
        workers: Number of processes.

    Raises:
        InputError: No command follows, or there is no program of that name.
    """
    if not command:
        raise InputError("a program must follow, such as -- python -m apps.mnist_cnn", "nothing")
    if command[0].startswith("-"):
        raise InputError("the only option is `workers`", command[0])
    if shutil.which(command[0]) is None:
        raise InputError("a program of that name must exist", command[0])
    return run(command, workers)


def main(arguments: Sequence[str]) -> int:
    """Runs a command line, and returns the exit code: 2 for bad input."""
    prepare_output()
    command_line = cyclopts.App(name="python -m suite.cluster", version_flags=[])
    command_line.default(launch)
    try:
        return command_line(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (cyclopts.CycloptsError, InputError, OSError) as error:
        print(error_line(error, command_line), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
