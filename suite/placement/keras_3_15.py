"""Makes Keras's `fit` compute on several replicas what it computes on one device.

Keras does three things differently on several replicas. It clips the gradients of each replica
before it sums them: here they are summed first. It gives all replicas the same seeds, so that
dropout and noise are the same in every part of a batch: here every replica has other seeds. And it
averages whole batches over the replicas only to find their shapes, which fails if the parts of a
batch differ in size: here the shapes are those of one part.

A fourth difference makes `fit` fail under `MultiWorkerMirroredStrategy`: Keras averages the logs
over an axis that scalars do not have. https://github.com/keras-team/keras/issues/20585 (open) asks
whether Keras 3 supports that strategy at all. Here the logs are averaged over the replicas.

The replaced functions are private to Keras, so they are replaced for one version of Keras, only
while a model is trained or evaluated, and not at all on one replica. The fourth part can go when
`test_keras_still_needs_help` fails.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, partialmethod
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

from suite.errors import InputError
from suite.placement.replicas import fold_in_replica

KERAS = "3.15"


def refuse_other_keras() -> None:
    """Refuses several replicas with a version of Keras whose private functions may differ.

    Raises:
        InputError: Keras is not of version 3.15.
    """
    if not keras.version().startswith(f"{KERAS}."):
        raise InputError(
            f"several replicas need Keras {KERAS}: pip install 'keras=={KERAS}.*'",
            keras.version(),
        )


@contextmanager
def fit_on_replicas(placement: tf.distribute.Strategy) -> Iterator[None]:
    """Replaces Keras's functions in a `with` block, where `fit` and `evaluate` are called.

    Args:
        placement: The strategy of the model. If it has one replica, nothing is replaced.

    Raises:
        InputError: Keras is not of version 3.15.
    """
    if placement.num_replicas_in_sync == 1:
        yield
        return
    refuse_other_keras()
    with ExitStack() as stack:
        _clip_summed_gradients(stack)
        _draw_seeds_by_replica(stack)
        _build_by_one_part(stack)
        if isinstance(placement, tf.distribute.MultiWorkerMirroredStrategy):
            _average_logs(stack)
        yield


def _clip_summed_gradients(stack: ExitStack) -> None:
    from keras.src.backend.tensorflow.optimizer import TFOptimizer

    clip = keras.optimizers.Optimizer._clip_gradients
    all_reduce = TFOptimizer._all_reduce_sum_gradients
    unclipped = partialmethod(_unclipped_on_replicas, clip)
    summed = partialmethod(_summed_and_clipped, all_reduce, clip)
    stack.enter_context(mock.patch.object(keras.optimizers.Optimizer, "_clip_gradients", unclipped))
    stack.enter_context(mock.patch.object(TFOptimizer, "_all_reduce_sum_gradients", summed))


def _draw_seeds_by_replica(stack: ExitStack) -> None:
    from keras.src.backend.tensorflow import random

    draw_seed = partial(_seed_of_replica, random.draw_seed)
    stack.enter_context(mock.patch.object(random, "draw_seed", draw_seed))


def _build_by_one_part(stack: ExitStack) -> None:
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

    built = partialmethod(_built_by_one_part, TensorFlowTrainer._maybe_symbolic_build)
    stack.enter_context(mock.patch.object(TensorFlowTrainer, "_maybe_symbolic_build", built))


def _average_logs(stack: ExitStack) -> None:
    from keras.src.backend.tensorflow import trainer

    averaged = partial(_averaged_logs, trainer.reduce_per_replica)
    stack.enter_context(mock.patch.object(trainer, "reduce_per_replica", averaged))


def _unclipped_on_replicas(
    self: keras.optimizers.Optimizer, clip: Callable[..., Any], gradients: list[Any]
) -> list[Any]:
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return gradients if several else clip(self, gradients)


def _summed_and_clipped(
    self: keras.optimizers.Optimizer,
    all_reduce: Callable[..., Any],
    clip: Callable[..., Any],
    gradients: Iterable[tuple[Any, Any]],
) -> list[tuple[Any, Any]]:
    summed = all_reduce(self, gradients)
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return summed
    clipped = clip(self, [gradient for gradient, _ in summed])
    return [(gradient, pair[1]) for gradient, pair in zip(clipped, summed, strict=True)]


def _seed_of_replica(draw_seed: Callable[..., Any], generator: Any) -> Any:
    return fold_in_replica(draw_seed(generator))


def _averaged_logs(
    reduce: Callable[..., Any], values: Any, strategy: tf.distribute.Strategy, reduction: str
) -> Any:
    if reduction not in ("auto", "mean"):
        return reduce(values, strategy, reduction)
    # Stacked into one tensor, so that the replicas exchange one message per step.
    stacked = strategy.run(
        lambda *logs: tf.stack([tf.cast(value, tf.float32) for value in logs]),
        args=keras.tree.flatten(values),
    )
    means = tf.unstack(strategy.reduce("MEAN", stacked, axis=None))
    return keras.tree.pack_sequence_as(values, means)


def _built_by_one_part(
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
