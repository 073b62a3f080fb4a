"""Replicas of a model: their shares of the batches, their seeds, and what they agree on."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from suite.data.pipelines import Shard
from suite.errors import InputError, WorkerLost
from suite.placement import cluster_spec

# What TensorFlow says, at length, when the others do not answer any more.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


def distribute(
    batches: Callable[[Shard], tf.data.Dataset], placement: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Gives every replica its own share of the batches.

    Args:
        batches: Makes the dataset of one share.
        placement: The strategy whose replicas share the batches.
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


def distribute_passes(
    dataset: tf.data.Dataset, placement: tf.distribute.Strategy
) -> tuple[tf.data.Dataset | tf.distribute.DistributedDataset, int | None]:
    """Gives every replica its own share of the batches of a finite dataset, pass after pass.

    Returns:
        The dataset to evaluate on, and the steps of one pass. On one device the dataset ends by
        itself, and the steps are None. On several it never ends: the replicas would have to ask
        each other at every step whether there is more.
    """
    if placement.num_replicas_in_sync == 1:
        return _untuned(dataset), None
    without_end = distribute(lambda shard: shard.of(dataset).repeat(), placement)
    return without_end, int(dataset.cardinality())


def seed_of_replica(seeds: keras.random.SeedGenerator) -> tf.Tensor:
    """The next seed, a different one on every replica.

    The generator moves on alike on all of them, so that its state stays the same everywhere.
    """
    seed = tf.cast(seeds.next(), tf.int32)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    return tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)


def many_hosts(placement: tf.distribute.Strategy) -> bool:
    """Whether the replicas belong to several processes, none of which can go on alone."""
    if not isinstance(placement, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    spec = placement.cluster_resolver.cluster_spec()
    return sum(map(spec.num_tasks, spec.jobs)) > 1


def worker_number(placement: tf.distribute.Strategy) -> int:
    """The number of this process among those that work together."""
    if not many_hosts(placement):
        return 0
    return cluster_spec.worker_number(placement.cluster_resolver)


def is_chief(placement: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the first worker, or the only process."""
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
    """Refuses to begin where workers would not train the same model on the same data.

    All workers must call it, at the same point.

    Raises:
        InputError: One of the settings differs between workers.
    """
    for name, value in settings.items():
        values = gather(placement, json.dumps(value, default=str))
        if len(set(values)) > 1:
            raise InputError(f"the {name} must be the same on all workers", "; ".join(values))


def average_statistics(model: keras.Model) -> None:
    """Sets the statistics of batch normalisation to their mean over all replicas.

    Each replica moves its statistics by its own part of the batches. Before a model is evaluated
    or saved they must stand for all parts.
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
    """A block that no worker leaves before all are at its end.

    The chief works in it alone; the others must enter it, too, and wait there.
    """
    try:
        yield
    finally:
        any_worker(placement, False)


@contextmanager
def reporting_lost_worker(placement: tf.distribute.Strategy, advice: str) -> Iterator[None]:
    """Turns what TensorFlow raises when another worker is gone into one sentence.

    Args:
        placement: The strategy that the workers share.
        advice: How to go on, such as "go on with ...".

    Raises:
        WorkerLost: Another worker is gone.
    """
    try:
        yield
    except LOST as error:
        if not many_hosts(placement):
            raise
        raise WorkerLost(f"another worker is gone, or cannot be reached; {advice}") from error


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    # The thread that tunes a pipeline can sleep through its end: whoever lets go of the pipeline
    # then waits for it, for up to a minute, and with a worker all the others.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
