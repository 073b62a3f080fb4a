import json
import signal
import socket
import threading

import pytest

from suite.placement import meeting
from suite.placement.meeting import meet
from tests.forks import Fork, free_addresses, program


@pytest.fixture
def addresses():
    return [*free_addresses(1), "elsewhere:1", "elsewhere:2"]


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
    """The last one says that it is worker 2, and hangs up before worker 1 comes."""
    chief = start_worker(addresses, 0)
    with call(addresses) as caller:
        caller.sendall(stranger)
    first = start_worker(addresses, 1)
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


def lose_patience_soon():
    meeting.SECONDS_OF_PATIENCE = 0.3


@pytest.mark.parametrize(
    ("worker", "number"),
    [
        (0, signal.SIGTERM),
        (1, signal.SIGINT),
        pytest.param(0, signal.SIGINT, marks=pytest.mark.full),
        pytest.param(1, signal.SIGTERM, marks=pytest.mark.full),
    ],
)
def test_a_worker_that_waits_can_be_stopped(worker, number, addresses, tmp_path, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "output.txt"
    output.touch()
    config = {"cluster": {"worker": [addresses[0], "localhost:1"]}}
    if worker:
        config["cluster"]["worker"].reverse()
    config["task"] = {"type": "worker", "index": worker}
    waiting = Fork(
        program("apps.iris", "--data", "embedded"),
        output,
        tmp_path,
        {"TF_CONFIG": json.dumps(config)},
        setup=lose_patience_soon,
    )
    while "Waiting for worker" not in output.read_text():
        assert waiting.poll() is None

    waiting.send_signal(number)

    assert waiting.wait(60) in (128 + number, -number)
    assert list(tmp_path.iterdir()) == []
