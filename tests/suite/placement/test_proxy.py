import socket

import pytest

from suite.placement.proxy import bypass
from tests.forks import script, start_workers

CONNECT = """
from suite.placement.strategy import create_strategy
print("begun", flush=True)
print(create_strategy("multi_worker").num_replicas_in_sync, "replicas", flush=True)
"""
LOCAL = "127.0.0.1,[::1],localhost"


def no_proxy(addresses=("localhost:1",), **environment):
    bypass(environment, addresses)
    return environment.get("no_proxy")


def test_without_a_proxy_nothing_changes():
    assert no_proxy() is None
    assert no_proxy(no_proxy="a") == "a"
    assert no_proxy(HTTP_PROXY="http://proxy:1") is None  # gRPC does not know it


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_this_machine_is_added_to_what_the_user_wrote(variable):
    proxy = {variable: "http://proxy:1"}

    assert no_proxy(**proxy) == LOCAL
    assert no_proxy(**proxy, no_proxy="a, localhost") == "a,localhost,127.0.0.1,[::1]"
    assert no_proxy(["127.0.1.1:5"], **proxy) == "127.0.0.1,127.0.1.1,[::1],localhost"


def test_what_grpc_prefers_to_no_proxy_is_changed_in_its_place():
    environment = {"http_proxy": "http://proxy:1", "no_grpc_proxy": "a", "no_proxy": "b"}

    bypass(environment, ["localhost:1"])

    assert environment["no_grpc_proxy"] == f"a,{LOCAL}"
    assert environment["no_proxy"] == "b"


@pytest.mark.parametrize(
    ("exceptions", "hosts"),
    [("", "10.0.0.1,worker.net"), (".net,10.0.0.0/8", None), ("worker.net", "10.0.0.1")],
)
def test_other_hosts_that_the_proxy_would_get_are_named(exceptions, hosts, caplog):
    no_proxy(
        ["worker.net:1", "localhost:1", "10.0.0.1:2"],
        http_proxy="http://proxy:1",
        no_proxy=exceptions,
    )

    assert [message.rpartition("name ")[2] for message in caplog.messages] == (
        [f"{hosts}."] if hosts else []
    )


@pytest.fixture
def environment():
    """The environment of a worker with a proxy that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        yield {"http_proxy": address, "no_proxy": ""}


def test_workers_on_this_machine_connect_though_there_is_a_proxy(environment, tmp_path):
    workers = start_workers(script(CONNECT), tmp_path, environment)

    for number, worker in enumerate(workers):
        assert worker.wait(60) == 0
        assert (tmp_path / f"{number}.txt").read_text() == "begun\n2 replicas\n"
