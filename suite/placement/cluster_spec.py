"""The workers of a cluster, as `TF_CONFIG` or Slurm describes them."""

import json
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, TypeAlias

import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

from suite.errors import InputError
from suite.placement import proxy

Resolver: TypeAlias = tf.distribute.cluster_resolver.ClusterResolver
SLURM = ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID")
FIRST_PORT = 8888  # port of the first worker on a host, under Slurm


def in_cluster() -> bool:
    """Whether `TF_CONFIG` describes a cluster, of one worker or more, or Slurm several tasks.

    Some platforms set a `TF_CONFIG` without a cluster on a single machine, which does not count.

    Raises:
        InputError: The description cannot be read.
    """
    return bool(_described().get("cluster")) or _tasks_of_slurm() > 1


def resolve() -> Resolver:
    """Reads the addresses of all workers, and which of them this process is.

    Sets `TF_CONFIG` from Slurm's variables where only those are set, and `no_proxy`, so that
    messages between workers on this machine do not go through a proxy.

    Raises:
        InputError: There is no cluster, it is described wrongly, or this worker's port is taken.
    """
    if not in_cluster():
        raise InputError(
            "`strategy` multi_worker needs a cluster: TF_CONFIG, Slurm's tasks, or "
            "python -m suite.cluster",
            "none of them",
        )
    if not _described().get("cluster"):
        os.environ["TF_CONFIG"] = _config_of_slurm()
    job, index = _checked_task(_described())
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver(job, index)
    _refuse_port_in_use(addresses(resolver)[worker_number(resolver)])
    proxy.bypass(os.environ, addresses(resolver))
    return resolver


def addresses(resolver: Resolver) -> list[str]:
    """`host:port` of all workers, the chief first."""
    jobs = resolver.cluster_spec().as_dict()
    return [*jobs.get("chief", []), *jobs.get("worker", [])]


def worker_number(resolver: Resolver) -> int:
    """The number of this process among the workers; the chief, if there is such a job, is 0."""
    after_chief = "chief" in resolver.cluster_spec().jobs and resolver.task_type == "worker"
    return resolver.task_id + after_chief


def _described() -> Mapping[str, Any]:
    """The content of `TF_CONFIG`; an empty mapping if the variable is not set."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        described = json.loads(text)
    except (ValueError, RecursionError):
        raise _malformed(text) from None
    if not isinstance(described, dict):
        raise _malformed(text)
    return described


def _malformed(text: str) -> InputError:
    return InputError(
        'TF_CONFIG must be JSON like {"cluster": {"worker": ["host:port", ...]}, "task": '
        '{"type": "worker", "index": 0}}',
        text,
    )


def _checked_task(described: Mapping[str, Any]) -> tuple[str, int]:
    """The job and the index of this process, from a `TF_CONFIG` that is checked completely.

    TensorFlow would silently misread a wrong description, or wait forever.

    Raises:
        InputError: The description is wrong.
    """
    try:
        jobs = {**described["cluster"]}
        job, index = described["task"]["type"], described["task"]["index"]
        if not isinstance(job, str) or not all(isinstance(tasks, list) for tasks in jobs.values()):
            raise TypeError(job)
    except (KeyError, TypeError):
        raise _malformed(json.dumps(described)) from None
    if "master" in jobs:
        raise InputError("the job master in TF_CONFIG must be called chief", "master")
    if unknown := set(jobs) - {"chief", "worker"}:
        raise InputError("TF_CONFIG must have chief and worker only", min(unknown))
    if not all(jobs.values()) or len(jobs.get("chief", [])) > 1:
        raise InputError(
            "TF_CONFIG must have one chief, or none, and no empty list", json.dumps(jobs)
        )
    if described.get("rpc_layer", "grpc") != "grpc":
        raise InputError("the rpc_layer in TF_CONFIG must be grpc", described["rpc_layer"])
    workers = [address for addresses in jobs.values() for address in addresses]
    for address in workers:
        parts = re.fullmatch(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", str(address), re.ASCII)
        if not parts or not 0 < int(parts[2]) < 65536:
            raise InputError("TF_CONFIG must name workers as host:port", address)
    if len(set(workers)) < len(workers):
        raise InputError("TF_CONFIG must name every worker once", workers)
    # Some platforms write the index as a string, which TensorFlow reads, too.
    number = int(index) if re.fullmatch("[0-9]{1,9}", str(index), re.ASCII) else -1
    if job not in jobs or not 0 <= number < len(jobs[job]):
        known = ", ".join(f"{name} 0 to {len(tasks) - 1}" for name, tasks in jobs.items())
        raise InputError(f"the task in TF_CONFIG must be one of {known}", f"{job} {index}")
    return job, number


def _tasks_of_slurm() -> int:
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if not tasks.isdecimal():
        raise InputError("SLURM_STEP_NUM_TASKS must be a number", tasks)
    return int(tasks)


def _config_of_slurm() -> str:
    """Converts Slurm's variables into a `TF_CONFIG`.

    TensorFlow's resolver for Slurm fails on hosts without GPUs. It also sorts the hosts by name, so
    that host10 precedes host2, unlike in Slurm. So only its parsers are used here.
    """
    variables = {name: os.environ.get(name, "") for name in SLURM}
    try:
        nodes, counts, number = variables.values()
        hosts, tasks = slurm.expand_hostlist(nodes), slurm.expand_tasks_per_node(counts)
        workers = [
            f"{host}:{FIRST_PORT + n}"
            for host, count in zip(hosts, tasks, strict=True)
            for n in range(count)
        ]
        task = {"type": "worker", "index": int(number)}
    except (ValueError, IndexError):
        raise InputError(
            "Slurm's variables must say who works together",
            ", ".join(f"{name}={value}" for name, value in variables.items()),
        ) from None
    return json.dumps({"cluster": {"worker": workers}, "task": task})


def _refuse_port_in_use(address: str) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", int(address.rpartition(":")[2])))
        except OSError as error:
            raise InputError(
                "the port of a worker must be free", f"{address}: {error.strerror}"
            ) from None
