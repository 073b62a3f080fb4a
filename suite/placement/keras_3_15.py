"""Lets Keras's `fit` run under `MultiWorkerMirroredStrategy`.

Keras 3 fails there in two places (https://github.com/keras-team/keras/issues/20585): it averages
the logs over an axis that scalars do not have, and it reduces whole batches across the workers
only to learn their shapes. Here both are done on what a worker has itself. And on any replicas
gradients are clipped after they are summed, and each draws seeds of its own.

What is replaced is private to Keras, so this is for one version of it, and on one replica nothing
is touched. This module can go on the day that `tests/suite/test_multi_worker.py` finds `fit` to
run without it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, partialmethod
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

from suite.errors import InputError

KERAS = "3.15"


def refuse_other_keras() -> None:
    """Refuses several replicas where Keras may be another one inside.

    Raises:
        InputError: It is of another version.
    """
    if not keras.version().startswith(f"{KERAS}."):
        raise InputError(
            f"several replicas need Keras {KERAS}, to be had by pip install 'keras=={KERAS}.*'. "
            f"Received: {keras.version()}"
        )


@contextmanager
def fit_on_replicas(placement: tf.distribute.Strategy) -> Iterator[None]:
    """While entered, `fit` and `evaluate` run on the replicas of a strategy.

    Args:
        placement: If it has a single replica, Keras is left as it is.

    Raises:
        InputError: Keras is of another version than this is for.
    """
    if placement.num_replicas_in_sync == 1:
        yield
        return
    refuse_other_keras()
    from keras.src.backend.tensorflow import optimizer, random, trainer

    fitting, clipping, summing = (
        trainer.TensorFlowTrainer,
        keras.optimizers.Optimizer,
        optimizer.TFOptimizer,
    )
    build, clip, add_up = (
        fitting._maybe_symbolic_build,
        clipping._clip_gradients,
        summing._all_reduce_sum_gradients,
    )
    reduced = partial(_reduced, trainer.reduce_per_replica)
    seed_of_replica = partial(_seed_of_replica, random.draw_seed)
    with (
        mock.patch.object(trainer, "reduce_per_replica", reduced),
        mock.patch.object(fitting, "_maybe_symbolic_build", partialmethod(_built, build)),
        mock.patch.object(clipping, "_clip_gradients", partialmethod(_not_clipped_yet, clip)),
        mock.patch.object(
            summing, "_all_reduce_sum_gradients", partialmethod(_summed_and_clipped, add_up, clip)
        ),
        mock.patch.object(random, "draw_seed", seed_of_replica),
    ):
        yield


def _not_clipped_yet(
    self: keras.optimizers.Optimizer, clip: Callable[..., Any], gradients: list[Any]
) -> list[Any]:
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return gradients if several else clip(self, gradients)


def _summed_and_clipped(
    self: keras.optimizers.Optimizer,
    add_up: Callable[..., Any],
    clip: Callable[..., Any],
    gradients: Iterable[tuple[Any, Any]],
) -> list[tuple[Any, Any]]:
    summed = add_up(self, gradients)
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return summed
    clipped = clip(self, [gradient for gradient, _ in summed])
    return [(gradient, pair[1]) for gradient, pair in zip(clipped, summed, strict=True)]


def _seed_of_replica(draw: Callable[..., Any], seed: Any) -> Any:
    drawn = draw(seed)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return drawn
    number = replica.replica_id_in_sync_group
    own = tf.random.experimental.stateless_fold_in(tf.cast(drawn, tf.int32), number)
    return tf.cast(own, drawn.dtype)


def _reduced(
    reduce: Callable[..., Any], values: Any, strategy: tf.distribute.Strategy, reduction: str
) -> Any:
    many_hosts = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if not many_hosts or reduction not in ("auto", "mean"):
        return reduce(values, strategy, reduction)
    # All in one message: they are small, and there is one each step.
    stacked = strategy.run(
        lambda *each: tf.stack([tf.cast(value, tf.float32) for value in each]),
        args=keras.tree.flatten(values),
    )
    means = tf.unstack(strategy.reduce("MEAN", stacked, axis=None))
    return keras.tree.pack_sequence_as(values, means)


def _built(
    self: keras.Model, build: Callable[..., Any], iterator: Any = None, data_batch: Any = None
) -> None:
    strategy = self.distribute_strategy
    if iterator is not None and strategy.num_replicas_in_sync > 1:
        _, _, batches = next(iter(iterator))
        data_batch = keras.tree.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], next(batches)
        )
        iterator = None
    build(self, iterator, data_batch)
