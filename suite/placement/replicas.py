"""Replicas of a model: their shares of the batches, their seeds, and communication of workers."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from suite.data.pipelines import Shard, untuned
from suite.errors import InputError, WorkerLost
from suite.placement import cluster_spec

# TensorFlow's errors when another worker does not answer any more.
LOST_WORKER_ERRORS = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


def distribute(
    batches: Callable[[Shard], tf.data.Dataset], placement: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Gives every replica its own share of the batches.

    Args:
        batches: Makes the dataset of one share.
        placement: The strategy whose replicas share the batches.

    Returns:
        A dataset for `fit`: of TensorFlow's usual kind if there is one replica.
    """
    replicas = placement.num_replicas_in_sync
    if replicas == 1:
        return untuned(batches(Shard()))

    def host_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = replicas // context.num_input_pipelines
        first = local * context.input_pipeline_id
        # TensorFlow gives the batches of this dataset to the host's replicas in turn.
        shares = [batches(Shard(first + number, replicas)) for number in range(local)]
        turns = tf.data.Dataset.range(local).repeat()
        interleaved = tf.data.Dataset.choose_from_datasets(
            shares, turns, stop_on_empty_dataset=True
        )
        return untuned(interleaved)

    return placement.distribute_datasets_from_function(host_dataset)


def distribute_passes(
    dataset: tf.data.Dataset, placement: tf.distribute.Strategy
) -> tuple[tf.data.Dataset | tf.distribute.DistributedDataset, int | None]:
    """Gives every replica its own share of the batches of a finite dataset, pass after pass.

    Args:
        dataset: One pass, in batches for all replicas together.
        placement: The strategy whose replicas share the batches.

    Returns:
        The dataset to evaluate on, and the steps of one pass. On one device the dataset ends after
        a pass, and the steps are None. On several replicas it never ends: otherwise they would
        have to agree at every step whether there is another batch.
    """
    if placement.num_replicas_in_sync == 1:
        return untuned(dataset), None
    without_end = distribute(lambda shard: shard.of(dataset).repeat(), placement)
    return without_end, int(dataset.cardinality())


def seed_of_replica(seeds: keras.random.SeedGenerator) -> tf.Tensor:
    """The next seed, a different one on every replica.

    The generator's state changes in the same way on all replicas, and so stays the same on them.
    """
    return fold_in_replica(tf.cast(seeds.next(), tf.int32))


def fold_in_replica(seed: tf.Tensor) -> tf.Tensor:
    """A seed `(2,)` of this replica, made of one that all replicas share; of the same dtype."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    number = replica.replica_id_in_sync_group
    folded = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), number)
    return tf.cast(folded, seed.dtype)


def sum_over_replicas(values: Any) -> Any:
    """The sums of tensors over all replicas, which all of them get, in the same structure.

    All replicas must call it, at the same point of a step.
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return values
    return replica.all_reduce("SUM", values)


def many_hosts(placement: tf.distribute.Strategy) -> bool:
    """Whether the replicas belong to several worker processes, none of which can train alone."""
    if not isinstance(placement, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    spec = placement.cluster_resolver.cluster_spec()
    return sum(map(spec.num_tasks, spec.jobs)) > 1


def worker_number(placement: tf.distribute.Strategy) -> int:
    """The number of this process among the workers; 0 if it is the only one."""
    if not many_hosts(placement):
        return 0
    return cluster_spec.worker_number(placement.cluster_resolver)


def is_chief(placement: tf.distribute.Strategy) -> bool:
    """Whether this process writes the results: the first worker does, or the only process."""
    return worker_number(placement) == 0


def any_worker(placement: tf.distribute.Strategy, flag: bool) -> bool:
    """Whether the flag is set on any worker. All workers must call it, at the same point."""
    if not many_hosts(placement):
        return flag
    return bool(placement.reduce("SUM", tf.constant(float(flag)), axis=None) > 0)


def gather(placement: tf.distribute.Strategy, text: str) -> list[str]:
    """The texts of all workers, in their order. All workers must call it, at the same point."""
    if not many_hosts(placement):
        return [text]
    codes = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)  # bytes cannot be gathered
    sizes, together = (placement.gather(x, axis=0).numpy() for x in (tf.shape(codes), codes))
    parts = np.split(together.astype(np.uint8), np.cumsum(sizes)[:-1])
    return [part.tobytes().decode() for part in parts]


def refuse_disagreement(placement: tf.distribute.Strategy, **settings: Any) -> None:
    """Refuses a training whose workers differ in the model, the data or the saved state.

    All workers must call it, at the same point.

    Args:
        placement: The strategy that the workers share.
        settings: Values by name, which JSON can hold; of a mapping only what differs is named.

    Raises:
        InputError: One of the settings differs between workers.
    """
    for name, value in settings.items():
        texts = gather(placement, json.dumps(value, default=str))
        if len(set(texts)) == 1:
            continue
        what, of_workers = name, [json.loads(text) for text in texts]
        if isinstance(value, Mapping):
            for key in sorted(set().union(*of_workers)):
                of_key = [worker.get(key) for worker in of_workers]
                if any(other != of_key[0] for other in of_key):
                    what, of_workers = f"{name}, `{key}`,", of_key
                    break
        received = "; ".join(map(json.dumps, of_workers))
        raise InputError(f"the {what} must be the same on all workers", received)


def average_statistics(model: keras.Model) -> None:
    """Replaces untrained variables, such as statistics, by their means over all replicas.

    Each replica updates the statistics of batch normalisation from its own part of the batches.
    Before a model is evaluated or saved, they must represent all parts. Integers, such as seeds,
    stay as they are.
    """
    placement = model.distribute_strategy
    if placement.num_replicas_in_sync == 1:
        return
    for variable in model.non_trainable_variables:
        if tf.as_dtype(variable.dtype).is_floating:
            statistic = placement.run(lambda value=variable.value: tf.identity(value))
            variable.value.assign(placement.reduce("MEAN", statistic, axis=None))


@contextmanager
def workers_leave_together(placement: tf.distribute.Strategy) -> Iterator[None]:
    """A `with` block that no worker leaves before all are at its end.

    All workers must enter it. The chief works in it while the others wait.
    """
    try:
        yield
    finally:
        any_worker(placement, False)


@contextmanager
def reporting_lost_worker(placement: tf.distribute.Strategy, advice: str) -> Iterator[None]:
    """Turns TensorFlow's errors when another worker is gone into `WorkerLost`.

    Args:
        placement: The strategy that the workers share.
        advice: The end of the message: how to resume, such as "go on with ...".

    Raises:
        WorkerLost: Another worker is gone.
    """
    try:
        yield
    except LOST_WORKER_ERRORS as error:
        if not many_hosts(placement):
            raise
        raise WorkerLost(f"another worker is gone, or cannot be reached; {advice}") from error
