"""Lets Keras's `fit` run under `MultiWorkerMirroredStrategy`.

Keras 3 fails there in two places (https://github.com/keras-team/keras/issues/20585): it averages
the logs over an axis that scalars do not have, and it reduces whole batches across the workers
only to learn their shapes. Here both are done on what a worker has itself. This module can go on
the day that `tests/suite/test_multi_worker.py` finds `fit` to run without it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import optimizer, random, trainer

_Trainer, _Optimizer = trainer.TensorFlowTrainer, optimizer.TFOptimizer
_reduce_per_replica = trainer.reduce_per_replica
_maybe_symbolic_build = _Trainer._maybe_symbolic_build
_clip_gradients = keras.optimizers.Optimizer._clip_gradients
_all_reduce_sum_gradients = _Optimizer._all_reduce_sum_gradients
_draw_seed = random.draw_seed


@contextmanager
def fit_on_replicas() -> Iterator[None]:
    """While entered, `fit` and `evaluate` run on any replicas."""
    with (
        mock.patch.object(trainer, "reduce_per_replica", _reduced),
        mock.patch.object(_Trainer, "_maybe_symbolic_build", _built),
        mock.patch.object(keras.optimizers.Optimizer, "_clip_gradients", _not_clipped_yet),
        mock.patch.object(_Optimizer, "_all_reduce_sum_gradients", _summed_and_clipped),
        mock.patch.object(random, "draw_seed", _seed_of_replica),
    ):
        yield


def _not_clipped_yet(self: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return gradients if several else _clip_gradients(self, gradients)


def _summed_and_clipped(
    self: keras.optimizers.Optimizer, gradients: Iterable[tuple[Any, Any]]
) -> list[tuple[Any, Any]]:
    summed = _all_reduce_sum_gradients(self, gradients)
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return summed
    clipped = _clip_gradients(self, [gradient for gradient, _ in summed])
    return [(gradient, pair[1]) for gradient, pair in zip(clipped, summed, strict=True)]


def _seed_of_replica(seed: Any) -> Any:
    drawn = _draw_seed(seed)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return drawn
    number = replica.replica_id_in_sync_group
    own = tf.random.experimental.stateless_fold_in(tf.cast(drawn, tf.int32), number)
    return tf.cast(own, drawn.dtype)


def _reduced(values: Any, strategy: tf.distribute.Strategy, reduction: str) -> Any:
    many_hosts = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if not many_hosts or reduction not in ("auto", "mean"):
        return _reduce_per_replica(values, strategy, reduction)
    # All in one message: they are small, and there is one each step.
    stacked = strategy.run(
        lambda *each: tf.stack([tf.cast(value, tf.float32) for value in each]),
        args=keras.tree.flatten(values),
    )
    means = tf.unstack(strategy.reduce("MEAN", stacked, axis=None))
    return keras.tree.pack_sequence_as(values, means)


def _built(self: keras.Model, iterator: Any = None, data_batch: Any = None) -> None:
    strategy = self.distribute_strategy
    if iterator is not None and strategy.num_replicas_in_sync > 1:
        _, _, batches = next(iter(iterator))
        data_batch = keras.tree.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], next(batches)
        )
        iterator = None
    _maybe_symbolic_build(self, iterator, data_batch)
