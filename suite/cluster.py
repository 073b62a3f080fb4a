"""A cluster on this machine: several workers that train one model together.

    python -m suite.cluster --workers 2 -- python -m apps.mnist_cnn --epochs 2

Every worker is a process of its own that runs the command, on its share of the cores, told by
`TF_CONFIG` who the others are. When one fails, all are stopped; no process is left behind.
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
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from suite.errors import InputError, sentence

SECONDS_TO_FOLLOW = 5.0  # that the others have to end by themselves when one has
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def run(command: Sequence[str], workers: int) -> int:
    """Runs a command on every worker, and waits for all.

    For a process that has no other children: none of them is left in the end.

    Args:
        command: Words of the command line.
        workers: How many.

    Returns:
        The exit code: 0, or that of the worker that failed first.
    """
    told = zip(_environments(workers), _shares(workers), strict=True)
    processes: list[subprocess.Popen[str]] = []
    heard: list[int] = []
    # What workers have started becomes a child of this process when they are gone.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    def forward(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        for process in processes:
            if process.poll() is None:
                # The terminal may close, but the state is to be saved.
                process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    with ExitStack() as stack:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # else: nohup
                stack.callback(signal.signal, each, signal.signal(each, forward))
        stack.callback(_end, processes)
        for number, (environment, cores) in enumerate(told):
            processes.append(_begun(command, number, environment, cores))
        speakers = [
            threading.Thread(target=_repeat, args=(number, process.stdout), daemon=True)
            for number, process in enumerate(processes)
            if process.stdout
        ]
        for speaker in speakers:
            speaker.start()
        failed = _first_failed(processes)
        if failed is not None:
            _give_time_to_follow(processes)
        _end(processes)
        for speaker in speakers:
            speaker.join()
    if failed is None:
        return 0
    code = processes[failed].returncode
    what = f"by {_name(-code)}" if code < 0 else f"with exit code {code}"
    why = f"{_name(heard[0])} came" if heard else f"worker {failed} ended {what}"
    print(f"{why}: all were stopped", file=sys.stderr)
    return 128 - code if code < 0 else code


def _name(number: int) -> str:
    known = number in set(signal.Signals)
    return signal.Signals(number).name if known else f"signal {number}"


def _environments(workers: int) -> list[dict[str, str]]:
    """What every worker is told of the others, and of itself."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(workers)]
        for each in held:
            each.bind(("localhost", 0))
        addresses = [f"localhost:{each.getsockname()[1]}" for each in held]
    cluster = {"cluster": {"worker": addresses}}
    tasks = [{"type": "worker", "index": number} for number in range(workers)]
    return [{**os.environ, "TF_CONFIG": json.dumps({**cluster, "task": task})} for task in tasks]


def _shares(workers: int) -> list[list[int]]:
    """The cores of every worker: where all had all, their threads would wait for each other."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        return [cores] * workers
    bounds = [len(cores) * number // workers for number in range(workers + 1)]
    return [cores[start:end] for start, end in itertools.pairwise(bounds)]


def _begun(
    command: Sequence[str], number: int, environment: dict[str, str], cores: Sequence[int]
) -> subprocess.Popen[str]:
    # On a terminal the first worker, who has the progress bar, speaks for itself.
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    speaks = None if number == 0 and on_terminal else subprocess.PIPE
    parent = os.getpid()
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=speaks,
        stderr=speaks and subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a Ctrl-C comes through here
        preexec_fn=lambda: _settle(parent, cores),
    )


def _settle(parent: int, cores: Sequence[int]) -> None:
    """Keeps this process on its cores, and lets the kernel end it with its parent (Linux)."""
    os.sched_setaffinity(0, cores)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _repeat(number: int, lines: Iterable[str]) -> None:
    for line in lines:
        with suppress(OSError, ValueError):  # the workers go on though nobody listens
            print(f"[worker {number}] {line}", end="", flush=True)


def _first_failed(processes: Sequence[subprocess.Popen[Any]]) -> int | None:
    """Waits until one has failed, or all are done."""
    while True:
        codes = [process.poll() for process in processes]
        for number, code in enumerate(codes):
            if code:
                return number
        if None not in codes:
            return None
        time.sleep(0.1)


def _give_time_to_follow(processes: Sequence[subprocess.Popen[Any]]) -> None:
    until = time.monotonic() + SECONDS_TO_FOLLOW
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(0.1)


def _end(processes: Sequence[subprocess.Popen[Any]]) -> None:
    """Ends all that still runs; a worker that waits for another hears no polite signal."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # Nor is any of those left that they have started, in whatever session.
    while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for child in map(int, left):
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def main(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 2,
) -> int:
    """Run a command on every worker of a cluster on this machine.

    Args:
        command: What to run, after `--`.
        workers: Number of processes.
    """
    if not command:
        raise InputError(
            "a program must follow, such as -- python -m apps.mnist_cnn. Received: nothing"
        )
    if command[0].startswith("-"):
        raise InputError(f"the only option is --workers. Received: {command[0]}")
    if shutil.which(command[0]) is None:
        raise InputError(f"a program of that name must be there. Received: {command[0]}")
    return run(command, workers)


def answer(arguments: Sequence[str]) -> int:
    """Runs from the words of a command line, and gives the exit code: 2 for bad input."""
    command_line = cyclopts.App(name="python -m suite.cluster", version_flags=[])
    command_line.default(main)
    try:
        return command_line(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (cyclopts.CycloptsError, InputError, OSError) as error:
        print(sentence(error), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(answer(sys.argv[1:]))
