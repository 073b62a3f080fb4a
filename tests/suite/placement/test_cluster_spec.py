import json
import socket

import pytest

from suite import InputError
from suite.placement.cluster_spec import addresses, resolve, worker_number
from suite.placement.strategy import create_strategy


def cluster(job="worker", index=0, **jobs):
    jobs = jobs or {"worker": ["localhost:1", "localhost:2"]}
    return json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})


def test_a_cluster_must_be_described(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)

    with pytest.raises(InputError, match=r"needs a cluster.*python -m suite\.cluster"):
        create_strategy("multi_worker")


@pytest.mark.parametrize("name", ["auto", "multi_worker"])
@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("{", r"must be JSON like .* Received: \{"),
        ("[]", "must be JSON like"),
        ('{"cluster": {"worker": ["localhost:1"]}}', "must be JSON like"),
        ('{"cluster": {"worker": 7}, "task": {"type": "worker", "index": 0}}', "must be JSON like"),
        (cluster(worker=["localhost"]), "host:port. Received: localhost"),
        (cluster(worker=["localhost:1", "b:65536"]), "host:port. Received: b:65536"),
        (cluster(worker=["localhost:1", "localhost:1"]), "every worker once"),
        (cluster(worker=["a:1"], ps=["b:1"]), "chief and worker only. Received: ps"),
        (cluster(job="master", master=["a:1"]), "must be called chief. Received: master"),
        (cluster(worker=["http://localhost:1"]), "host:port. Received: http://localhost:1"),
        (cluster(worker=["no such host:1"]), "host:port. Received: no such host:1"),
        (cluster(chief=[], worker=["localhost:1"]), "one chief, or none, and no empty list. Rec"),
        (cluster(job="chief", chief=["a:1", "b:1"]), "one chief, or none"),
        (cluster()[:-1] + ', "rpc_layer": "foo"}', "rpc_layer in TF_CONFIG must be grpc. Rec"),
        (cluster(index=False), "one of worker 0 to 1. Received: worker False"),
        (cluster(worker=["localhost:" + 5000 * "9"]), "host:port. Received: localhost:9"),
        (cluster(worker={"localhost:1": 2}), "must be JSON like"),
        (cluster(job=["worker"]), "must be JSON like"),
        (9999 * "[", "must be JSON like"),
        (cluster(index=2), "one of worker 0 to 1. Received: worker 2"),
        (cluster(index=-1), "one of worker 0 to 1. Received: worker -1"),
        (cluster(index="2"), "one of worker 0 to 1. Received: worker 2"),
        (cluster(index="one"), "one of worker 0 to 1. Received: worker one"),
        (cluster(job="chief"), "one of worker 0 to 1. Received: chief 0"),
    ],
)
def test_a_cluster_described_wrongly_is_refused(name, description, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", description)

    with pytest.raises(InputError, match=message):
        create_strategy(name)


@pytest.mark.parametrize(
    "description",
    ["{}", '{"environment": "cloud"}', '{"cluster": {}, "task": {}, "environment": "cloud"}'],
)
def test_a_description_without_workers_is_no_cluster(description, monkeypatch):
    """As some platforms set it for a single machine, and as TensorFlow reads it."""
    monkeypatch.setenv("TF_CONFIG", description)

    assert create_strategy("auto").num_replicas_in_sync == 1
    with pytest.raises(InputError, match="needs a cluster"):
        create_strategy("multi_worker")


@pytest.mark.parametrize("index", [1, "1"])
def test_the_index_of_a_task_may_be_a_string(index, monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", cluster(index=index, chief=["localhost:1"], worker=["a:2", "b:2"])
    )
    # Its port is refused to all but administrators.
    monkeypatch.setattr("suite.placement.cluster_spec._refuse_port_in_use", lambda address: None)

    resolver = resolve()

    assert addresses(resolver) == ["localhost:1", "a:2", "b:2"]
    assert worker_number(resolver) == 2


def test_slurm_says_who_works_together(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[9-10],other")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2(x2),1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "5")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("TF_CONFIG", "")

    resolver = resolve()

    assert resolver.cluster_spec().as_dict() == {
        "worker": ["node9:8888", "node9:8889", "node10:8888", "node10:8889", "other:8888"]
    }
    assert (resolver.task_type, resolver.task_id) == ("worker", 3)


def test_slurm_s_number_of_tasks_must_be_one(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "two")
    monkeypatch.setenv("TF_CONFIG", "")

    with pytest.raises(InputError, match=r"must be a number. Received: two"):
        create_strategy("auto")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_STEP_NODELIST", None),
        ("SLURM_STEP_NODELIST", "h[1-"),
        ("SLURM_STEP_TASKS_PER_NODE", "1"),
        ("SLURM_PROCID", None),
        ("SLURM_PROCID", "first"),
    ],
)
def test_slurm_must_say_it_all(name, value, monkeypatch):
    step = {"NODELIST": "a,b", "TASKS_PER_NODE": "1(x2)", "NUM_TASKS": "2"}
    variables = {f"SLURM_STEP_{key}": text for key, text in step.items()} | {"SLURM_PROCID": "0"}
    for variable, text in {**variables, "TF_CONFIG": "", name: value}.items():
        monkeypatch.delenv(variable, raising=False)
        if text is not None:
            monkeypatch.setenv(variable, text)

    with pytest.raises(InputError, match="must say who works together. Received: .*" + name):
        create_strategy("auto")


def test_a_port_in_use_is_refused(monkeypatch):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("TF_CONFIG", cluster(worker=[f"localhost:{port}", "localhost:1"]))

        with pytest.raises(InputError, match=f"must be free. Received: localhost:{port}"):
            create_strategy("multi_worker")
