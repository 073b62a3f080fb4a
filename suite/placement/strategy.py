"""Where the work is placed: on one device, on many, on many hosts. No app knows of it."""

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

from suite.data.examples import Shard
from suite.errors import InputError, WorkerLost, sentence
from suite.placement.meeting import meet

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]
SLURM = ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID")
# What TensorFlow says, at length, when the others do not answer any more.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
FIRST_PORT = 8888  # of the workers on a host, where Slurm says who they are
Resolver: TypeAlias = tf.distribute.cluster_resolver.ClusterResolver


def strategy(name: StrategyName) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a `--strategy` flag.

    Args:
        name: `one_device` is TensorFlow's default placement; `mirrored` keeps one replica of the
            model on each GPU, or on each logical CPU device where there is no GPU;
            `multi_worker` does so on every host of the cluster that `TF_CONFIG` or Slurm
            describes; `tpu` on each core of a TPU; `auto` is `multi_worker` where there is a
            cluster, else `mirrored` where several GPUs are visible, else `one_device`.

    Raises:
        InputError: What is asked for is not there, or the cluster is described wrongly.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is in use already: its setting stands
            break
    if name == "auto" and _in_cluster():
        name = "multi_worker"
    elif name == "auto" and len(gpus) > 1:
        name = "mirrored"
    match name:
        case "multi_worker":
            # It warns of every sum that the workers make outside of a step.
            tf.get_logger().setLevel(logging.ERROR)
            resolver = _cluster()
            jobs = resolver.cluster_spec().as_dict()
            meet([*jobs.get("chief", []), *jobs.get("worker", [])], _number(resolver))
            return tf.distribute.MultiWorkerMirroredStrategy(resolver)
        case "mirrored":
            return _mirrored(bool(gpus))
        case "tpu":
            return _tpu()
    return tf.distribute.get_strategy()


def spread(
    batches: Callable[[Shard], tf.data.Dataset], placement: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Gives every replica its own share of the batches.

    Args:
        batches: The batches of one share.
        placement: Whose replicas.
    """
    replicas = placement.num_replicas_in_sync
    if replicas == 1:
        return _untuned(batches(Shard()))

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first = local * context.input_pipeline_id
        # TensorFlow hands them out to the replicas of the host in turn.
        shares = [batches(Shard(first + number, replicas)) for number in range(local)]
        turns = tf.data.Dataset.range(local).repeat()
        turn_by_turn = tf.data.Dataset.choose_from_datasets(
            shares, turns, stop_on_empty_dataset=True
        )
        return _untuned(turn_by_turn)

    return placement.distribute_datasets_from_function(of_host)


def spread_passes(
    dataset: tf.data.Dataset, placement: tf.distribute.Strategy
) -> tuple[tf.data.Dataset | tf.distribute.DistributedDataset, int | None]:
    """Gives every replica its own share of the batches of a dataset, for one pass at a time.

    Args:
        dataset: Finite.
        placement: Whose replicas.

    Returns:
        What to evaluate on; and the steps of a pass where it does not end by itself: replicas
        would have to ask each other at every step whether there is more.
    """
    if placement.num_replicas_in_sync == 1:
        return _untuned(dataset), None
    without_end = spread(lambda shard: shard.of(dataset).repeat(), placement)
    return without_end, int(dataset.cardinality())


def seed_of_replica(seeds: keras.random.SeedGenerator) -> tf.Tensor:
    """The next seed, another one on every replica; all of them count their seeds alike."""
    seed = tf.cast(seeds.next(), tf.int32)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)


def many_hosts(placement: tf.distribute.Strategy) -> bool:
    """Whether the replicas belong to several processes, which only work together."""
    if not isinstance(placement, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    spec = placement.cluster_resolver.cluster_spec()
    return sum(map(spec.num_tasks, spec.jobs)) > 1


def worker_number(placement: tf.distribute.Strategy) -> int:
    """The number of this process among those that work together."""
    if not many_hosts(placement):
        return 0
    return _number(placement.cluster_resolver)


def is_chief(placement: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the first worker, or the only process."""
    return worker_number(placement) == 0


def any_worker(placement: tf.distribute.Strategy, flag: bool) -> bool:
    """Whether the flag is set on any worker; all of them must ask."""
    if not many_hosts(placement):
        return flag
    return bool(placement.reduce("SUM", tf.constant(float(flag)), axis=None) > 0)


def gathered(placement: tf.distribute.Strategy, content: str) -> list[str]:
    """What every worker has, in order; all of them must ask."""
    if not many_hosts(placement):
        return [content]
    own = tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)  # bytes cannot be gathered
    sizes, everything = (placement.gather(x, axis=0).numpy() for x in (tf.shape(own), own))
    parts = np.split(everything.astype(np.uint8), np.cumsum(sizes)[:-1])
    return [part.tobytes().decode() for part in parts]


def refuse_disagreement(placement: tf.distribute.Strategy, **said: Any) -> None:
    """Refuses to let workers begin that would not do the same; all of them must ask.

    Args:
        placement: Whose workers.
        said: What must be the same everywhere.

    Raises:
        InputError: Something differs.
    """
    for name, value in said.items():
        values = gathered(placement, json.dumps(value, default=str))
        if len(set(values)) > 1:
            raise InputError(
                f"the {name} must be the same on all workers. Received: {'; '.join(values)}"
            )


def average_statistics(model: keras.Model) -> None:
    """Gives all replicas the mean of what each has noted of its own part of the batches.

    Batch normalisation moves its statistics on every replica by itself: evaluated and saved are
    those of all.
    """
    placement = model.distribute_strategy
    if placement.num_replicas_in_sync == 1:
        return
    for variable in model.non_trainable_variables:
        if tf.as_dtype(variable.dtype).is_floating:
            noted = placement.run(lambda value=variable.value: tf.identity(value))
            variable.value.assign(placement.reduce("MEAN", noted, axis=None))


@contextmanager
def while_others_wait(placement: tf.distribute.Strategy) -> Iterator[None]:
    """What the chief does alone; the others enter it, too, and do nothing in it."""
    try:
        yield
    finally:
        any_worker(placement, False)


@contextmanager
def noticing_loss(placement: tf.distribute.Strategy, how: str) -> Iterator[None]:
    """Says in one sentence that another worker is gone.

    Args:
        placement: The worker's.
        how: How to go on.
    """
    try:
        yield
    except LOST as error:
        if not many_hosts(placement):
            raise
        raise WorkerLost(f"another worker is gone, or cannot be reached; {how}") from error


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    # The thread that tunes a pipeline can sleep through its end: whoever lets go of the pipeline
    # then waits for it, for up to a minute, and with a worker all the others.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _mirrored(on_gpus: bool) -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise InputError(
            f"--strategy mirrored needs at least two devices. Received: {devices[0].name}"
        )
    # Collectives of several strategies in one process get in each other's way on CPU devices.
    reduction = None if on_gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy([device.name for device in devices], reduction)


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            os.environ.get("TPU_NAME", "local")
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            "--strategy tpu needs a TPU, here or under the name in TPU_NAME. Received: "
            f"{sentence(error).partition(' used by ')[0]}"
        ) from None


def _in_cluster() -> bool:
    return bool(os.environ.get("TF_CONFIG")) or _tasks_of_slurm() > 1


def _tasks_of_slurm() -> int:
    said = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if not said.isdecimal():
        raise InputError(f"SLURM_STEP_NUM_TASKS must be a number. Received: {said}")
    return int(said)


def _number(resolver: Resolver) -> int:
    """The number of this process among the workers; the chief, if there is such a job, is 0."""
    after_chief = "chief" in resolver.cluster_spec().jobs and resolver.task_type == "worker"
    return resolver.task_id + after_chief


def _cluster() -> Resolver:
    """Who works together, and which of them this process is."""
    if not _in_cluster():
        raise InputError(
            "--strategy multi_worker needs a cluster: TF_CONFIG, Slurm's tasks, or "
            "python -m suite.cluster. Received: none of them"
        )
    if not os.environ.get("TF_CONFIG"):
        os.environ["TF_CONFIG"] = _said_by_slurm()
    _refuse_port_in_use(_checked(os.environ["TF_CONFIG"]))
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def _said_by_slurm() -> str:
    """Slurm's variables as a `TF_CONFIG`.

    TensorFlow's own resolver fails on hosts without GPUs, and takes the hosts in the order of the
    alphabet, which is not Slurm's from the tenth on: only its parsers are used.
    """
    said = {name: os.environ.get(name, "") for name in SLURM}
    try:
        nodes, counts, number = said.values()
        hosts, tasks = slurm.expand_hostlist(nodes), slurm.expand_tasks_per_node(counts)
        workers = [
            f"{host}:{FIRST_PORT + n}"
            for host, count in zip(hosts, tasks, strict=True)
            for n in range(count)
        ]
        task = {"type": "worker", "index": int(number)}
    except (ValueError, IndexError):
        raise InputError(
            "Slurm's variables must say who works together. Received: "
            f"{', '.join(f'{name}={value}' for name, value in said.items())}"
        ) from None
    return json.dumps({"cluster": {"worker": workers}, "task": task})


def _checked(text: str) -> Mapping[str, Any]:
    """The content of `TF_CONFIG`, which TensorFlow would misunderstand in silence, or wait for.

    Raises:
        InputError: It describes no cluster.
    """
    try:
        described = json.loads(text)
        jobs = {**described["cluster"]}
        job, index = described["task"]["type"], described["task"]["index"]
        if not isinstance(job, str) or not all(isinstance(each, list) for each in jobs.values()):
            raise TypeError(job)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            'TF_CONFIG must be JSON like {"cluster": {"worker": ["host:port", ...]}, "task": '
            f'{{"type": "worker", "index": 0}}}}. Received: {text}'
        ) from None
    if unknown := set(jobs) - {"chief", "worker"}:
        raise InputError(f"TF_CONFIG must have chief and worker only. Received: {min(unknown)}")
    if not jobs or not all(jobs.values()) or len(jobs.get("chief", [])) > 1:
        raise InputError(
            "TF_CONFIG must have one chief, or none, and no empty list. Received: "
            f"{json.dumps(jobs)}"
        )
    if described.get("rpc_layer", "grpc") != "grpc":
        raise InputError(
            f"the rpc_layer in TF_CONFIG must be grpc. Received: {described['rpc_layer']}"
        )
    addresses = [address for each in jobs.values() for address in each]
    for address in addresses:
        found = re.fullmatch(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", str(address), re.ASCII)
        if not found or not 0 < int(found[2]) < 65536:
            raise InputError(f"TF_CONFIG must name workers as host:port. Received: {address}")
    if len(set(addresses)) < len(addresses):
        raise InputError(f"TF_CONFIG must name every worker once. Received: {addresses}")
    if job not in jobs or type(index) is not int or not 0 <= index < len(jobs[job]):
        known = ", ".join(f"{name} 0 to {len(each) - 1}" for name, each in jobs.items())
        raise InputError(f"the task in TF_CONFIG must be one of {known}. Received: {job} {index}")
    return described


def _refuse_port_in_use(described: Mapping[str, Any]) -> None:
    task = described["task"]
    address = described["cluster"][task["type"]][task["index"]]
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", int(address.rpartition(":")[2])))
        except OSError as error:
            raise InputError(
                f"the port of a worker must be free. Received: {address}: {error.strerror}"
            ) from None
