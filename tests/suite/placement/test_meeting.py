import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from suite.placement import meeting
from suite.placement.meeting import meet

ROOT = Path(__file__).parents[3]


@pytest.fixture
def addresses():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [f"localhost:{port}", "elsewhere:1", "elsewhere:2"]


def start_worker(addresses, number):
    """Starts a worker in a thread, in which it waits for the others, and returns the thread."""
    worker = threading.Thread(target=meet, args=(addresses, number), daemon=True)
    worker.start()
    return worker


def call(addresses):
    """Connects to the chief as soon as it listens, and returns the connection."""
    port = int(addresses[0].rpartition(":")[2])
    while True:
        try:
            return socket.create_connection(("localhost", port))
        except ConnectionRefusedError:
            pass


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_all_go_on_when_the_last_has_come(order, addresses):
    *early, last = order
    waiting = [start_worker(addresses, number) for number in early]
    for worker in waiting:
        worker.join(0.5)
        assert worker.is_alive()

    for worker in [*waiting, start_worker(addresses, last)]:
        worker.join(10)
        assert not worker.is_alive()


@pytest.mark.parametrize("stranger", [b"GET / HTTP/1.1\r\n\r\n", b"0\n", b"3\n", b"-1\n", b"2\n"])
def test_strangers_and_workers_that_left_are_not_counted(stranger, addresses):
    """The last one says that it is worker 2, and hangs up."""
    chief, first = start_worker(addresses, 0), start_worker(addresses, 1)
    with call(addresses) as caller:
        caller.sendall(stranger)
    chief.join(1)
    assert chief.is_alive() and first.is_alive()

    for worker in (start_worker(addresses, 2), chief, first):
        worker.join(10)
        assert not worker.is_alive()


def test_who_is_waited_for_is_said(addresses, caplog, monkeypatch):
    monkeypatch.setattr(meeting, "SECONDS_OF_PATIENCE", 0.3)

    first = start_worker(addresses, 1)
    first.join(1)
    assert caplog.messages == [f"Waiting for worker 0 at {addresses[0]}."]
    chief = start_worker(addresses, 0)
    chief.join(1)
    assert caplog.messages[1:] == ["Waiting for worker 2 at elsewhere:2."]
    start_worker(addresses, 2)
    chief.join(10)

    assert not chief.is_alive()


@pytest.mark.parametrize(
    ("worker", "number"),
    [
        (0, signal.SIGTERM),
        (1, signal.SIGINT),
        pytest.param(0, signal.SIGINT, marks=pytest.mark.full),
        pytest.param(1, signal.SIGTERM, marks=pytest.mark.full),
    ],
)
def test_a_worker_that_waits_can_be_stopped(worker, number, addresses, tmp_path):
    config = {"cluster": {"worker": [addresses[0], "localhost:1"]}}
    if worker:
        config["cluster"]["worker"].reverse()
    config["task"] = {"type": "worker", "index": worker}
    script = (
        "import signal\n"
        "from suite.placement import meeting\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "meeting.SECONDS_OF_PATIENCE = 0.3\n"
        "from apps.iris import app\n"
        "from suite.cli import run\n"
        "raise SystemExit(run(app, ['--data', 'embedded']))\n"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(config)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "Waiting for worker" in waiting.stdout.readline()

    waiting.send_signal(number)

    assert waiting.wait(10) in (128 + number, -number)
    waiting.communicate()
    assert list(tmp_path.iterdir()) == []
