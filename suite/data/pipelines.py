"""The `tf.data` pipelines that feed examples to `fit`.

The training pipeline is a pure function of the step: which examples a batch holds, and how they
are augmented, follows from the seed and the number of the step alone. So a run resumes at any
step without replaying those before it, and a shuffle costs no buffer.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from suite.data.examples import (
    BY_CONTENT,
    BY_FILES,
    Description,
    Source,
    Split,
    fingerprint,
)
from suite.errors import InputError

MIN_STEPS = 100  # of an epoch: smaller data are passed over several times
NUM_BUCKETS = 8  # of sequences of similar length


class Augmentation(NamedTuple):
    """A random distortion of examples.

    Args:
        distort: `distort(batch, draws) -> batch` distorts `(inputs, targets)` in the graph, by
            `draws` `(num_draws, batch)`, uniform in -1..1; what happens to an image happens to
            its mask and its boxes.
        num_draws: Random numbers for an example.
    """

    distort: Callable[[tuple[Any, ...], tf.Tensor], tuple[Any, ...]]
    num_draws: int


@dataclasses.dataclass(frozen=True)
class Shard:
    """A replica's part of every batch.

    Args:
        index: Number of the replica.
        count: Number of replicas.
    """

    index: int = 0
    count: int = 1

    def bounds(self, num: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Its first row of `num`, and the one after its last."""
        return num * self.index // self.count, num * (self.index + 1) // self.count

    def of(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Its rows of every batch."""
        if self.count == 1:
            return dataset

        def rows(*batch: Any) -> Any:
            first, end = self.bounds(tf.shape(keras.tree.flatten(batch)[0])[0])
            return keras.tree.map_structure(lambda values: values[first:end], batch)

        return dataset.map(rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What `fit` and the judgement of a model are fed, and where it came from.

    Args:
        train: `train(step, shard)`: the batches from that global step on, epoch after epoch,
            without end; of each the part of one replica, by default all of it.
        steps_per_epoch: Batches of an epoch.
        batch_size: Examples of a batch, or whatever else the replicas share.
        description: Source, fingerprint and counts, for the report.
        examples_per_step: Examples of one batch, on average; by default `batch_size`.
        splits: Examples by name: `train`, `validation`, `test`; those that there are.
        source: What the splits were made of; None where examples are made on the fly.
        model_arguments: What the data decides about the model: arguments of the app's `build`.
        evaluation_batch_size: Most examples in a batch of `validation` and `test`.
        even_shards: Whether every replica must have the same part of each batch.
        batch_knob: The knob that says `batch_size`, for errors.
    """

    train: Callable[..., tf.data.Dataset]
    steps_per_epoch: int
    batch_size: int
    description: Description
    examples_per_step: float | None = None
    splits: Mapping[str, Split] = dataclasses.field(default_factory=dict)
    source: Source | None = None
    model_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    evaluation_batch_size: int = 1000
    even_shards: bool = False
    batch_knob: str = "batch_size"

    @property
    def validation(self) -> tf.data.Dataset | None:
        """One pass over the validation split; None where there is none."""
        return self.one_pass("validation")

    @property
    def test(self) -> tf.data.Dataset | None:
        """One pass over the test split; None where there is none."""
        return self.one_pass("test")

    def one_pass(self, split: str) -> tf.data.Dataset | None:
        """One pass over a split, in its own order; None where there is no such split."""
        if split not in self.splits:
            return None
        return batches(self.splits[split], self.evaluation_batch_size)

    def check_replicas(self, count: int) -> None:
        """Refuses what so many replicas cannot share.

        Raises:
            InputError: A batch has fewer examples than there are replicas, or cannot be shared
                evenly where it must be.
        """
        if self.even_shards and self.batch_size % count:
            must = f"a multiple of the number of replicas, {count}"
        elif self.batch_size < count:
            must = f"at least the number of replicas, {count}"
        else:
            return
        raise InputError(f"`{self.batch_knob}` must be {must}", self.batch_size)


def supervised(
    source: Source,
    *,
    batch_size: int,
    validation_split: float,
    seed: int,
    min_steps: int = MIN_STEPS,
    relabel: Callable[[Split], Callable[[Any], np.ndarray]] | None = None,
    model_arguments: Callable[[Split], Mapping[str, Any]] | None = None,
    augment: Augmentation | None = None,
    lengths: Callable[[Split], np.ndarray] | None = None,
) -> Data:
    """Splits the examples of a source and makes their pipelines.

    Args:
        source: The examples.
        batch_size: Examples per step, over all replicas.
        validation_split: Share of the training examples that is held out, where the source has
            no validation split.
        seed: Decides order and augmentation, not the splits.
        min_steps: Steps that an epoch has at least; smaller data are passed over several times.
        relabel: `relabel(train)` learns from the training split a function that gives targets by
            inputs, which replace those of training and validation.
        model_arguments: `model_arguments(train)`: what the training split decides about the model.
        augment: Distorts the training examples, anew each time they are used.
        lengths: `lengths(train)`, the length of every sequence `(examples,)`: sequences of
            similar length share a batch.
    """
    splits = source.split(validation_split)
    if relabel:
        targets = relabel(splits["train"])
        for name in ("train", "validation"):
            inputs = splits[name].in_memory().inputs
            splits[name] = splits[name].with_targets(targets(inputs))
    train = splits["train"]
    buckets = by_length(lengths(train), batch_size) if lengths else None
    one_pass = num_batches(bucket_sizes(train, buckets), batch_size)
    return Data(
        train=shuffled_batches(train, batch_size, seed=seed, augment=augment, buckets=buckets),
        steps_per_epoch=one_pass * math.ceil(min_steps / one_pass),
        batch_size=batch_size,
        examples_per_step=train.num_examples / one_pass,
        splits=splits,
        source=source,
        model_arguments=model_arguments(train) if model_arguments else {},
        description=describe(source, splits),
    )


def describe(source: Source, splits: Mapping[str, Split]) -> Description:
    """What a report says about the splits of a source."""
    counts = {
        name: splits[name].num_examples if name in splits else 0
        for name in ("train", "validation", "test")
    }
    taken_of = {split.fingerprint_of for split in splits.values()}
    return Description(
        source=source.name,
        fingerprint=fingerprint(*splits.values()),
        fingerprint_of=BY_FILES if BY_FILES in taken_of else BY_CONTENT,
        comparable=source.comparable,
        class_names=source.class_names,
        feature_names=source.feature_names,
        notes=source.notes,
        **counts,
    )


def steps_per_execution(steps: int, most: int = 32) -> int:
    """How many steps one call should run, so that none runs past the end of an epoch.

    Args:
        steps: Steps of an epoch.
        most: Is not exceeded.
    """
    return max(n for n in range(1, most + 1) if steps % n == 0)


def streams(seed: int, num: int) -> list[int]:
    """Seeds of independent random streams, as TensorFlow's stateless functions take them."""
    return (np.random.SeedSequence(seed).generate_state(num) // 2).tolist()


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers in buckets of sequences of similar length, the shortest first.

    Args:
        lengths: Of the sequences, `(examples,)`.
        batch_size: A bucket holds at least so many, where there are enough.
    """
    order = np.argsort(lengths, kind="stable")
    num_buckets = int(np.clip(len(order) // batch_size, 1, NUM_BUCKETS))
    return np.array_split(order, num_buckets)


def shuffled_batches(
    examples: Split,
    batch_size: int,
    *,
    seed: int,
    augment: Augmentation | None = None,
    buckets: Sequence[np.ndarray] | None = None,
) -> Callable[..., tf.data.Dataset]:
    """The training pipeline: see `Data.train`.

    The examples stay where they are; a stateless permutation of their numbers is made anew for
    each epoch (`tf.random.experimental.index_shuffle`). The last batch of an epoch, or of a
    bucket, may be smaller. Where the shards of a batch differ in size, each comes with weights,
    by which the average over the replicas is that over the examples.

    Args:
        examples: To train on.
        batch_size: Examples of a batch, over all replicas.
        seed: Decides order and augmentation.
        augment: Distorts the examples.
        buckets: Row numbers; a batch holds rows of one bucket, and batches come in random order.
            By default one bucket of all rows.
    """
    read = examples.reader()
    # Order, augmentation, and the order of the buckets' batches draw from streams of their own.
    order_seed, augment_seed, bucket_seed = streams(seed, 3)
    sizes = bucket_sizes(examples, buckets)
    steps = num_batches(sizes, batch_size)
    first_steps = np.cumsum([0, *(math.ceil(size / batch_size) for size in sizes[:-1])])
    first_rows = np.cumsum([0, *sizes[:-1]])
    row_numbers = tf.constant(np.concatenate(buckets)) if buckets else None

    def rows_of(step: tf.Tensor, shard: Shard) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Row numbers of a shard, its bounds in the batch, and the size of the batch."""
        epoch, position = tf.cast(step // steps, tf.int32), step % steps
        first_row, count = 0, sizes[0]
        if buckets:
            position = tf.random.experimental.index_shuffle(
                position, seed=tf.stack([epoch, bucket_seed]), max_index=steps - 1
            )
            bucket = tf.searchsorted(first_steps, [position], side="right")[0] - 1
            position -= tf.gather(first_steps, bucket)
            first_row, count = tf.gather(first_rows, bucket), tf.gather(sizes, bucket)
        count = tf.cast(count, tf.int64)
        begin = position * batch_size
        num = tf.minimum(begin + batch_size, count) - begin
        first, end = shard.bounds(num)
        # An empty shard has no mean: it gets one example, with weight 0.
        end_of_rows = tf.maximum(end, first + 1)
        rows = tf.random.experimental.index_shuffle(
            tf.range(begin + first, begin + end_of_rows),
            seed=tf.stack([epoch, order_seed]),
            max_index=count - 1,
        )
        if row_numbers is not None:
            rows = tf.gather(row_numbers, first_row + rows)
        return rows, first, end, num

    def batch(step: tf.Tensor, shard: Shard) -> tuple[Any, ...]:
        rows, first, end, num = rows_of(step, shard)
        values = read(rows)
        if augment is not None:
            pair = tf.stack([tf.cast(step, tf.int32), augment_seed])
            # Drawn for the whole batch, so that its shards are distorted as it is.
            draws = tf.random.stateless_uniform((augment.num_draws, num), pair, -1.0, 1.0)
            values = augment.distort(values, draws[:, first : first + tf.size(rows, tf.int64)])
        even = batch_size % shard.count == 0 and all(
            size % batch_size % shard.count == 0 for size in sizes
        )
        if even:
            return values
        weight = tf.cast((end - first) * shard.count / num, tf.float32)
        inputs, *rest = values
        targets = rest[0] if rest else None
        return inputs, targets, _weights(targets, tf.fill([tf.size(rows)], weight))

    def train(step: int, shard: Shard = Shard()) -> tf.data.Dataset:
        numbers = tf.data.Dataset.counter(step)
        values = numbers.map(lambda n: batch(n, shard), tf.data.AUTOTUNE, deterministic=True)
        return values.prefetch(tf.data.AUTOTUNE)

    return train


def batches(examples: Split, most: int = 1000) -> tf.data.Dataset:
    """One pass over the examples in their own order, in batches of nearly the same size.

    Args:
        examples: To be passed over.
        most: Is not exceeded by any batch.
    """
    read, count = examples.reader(), examples.num_examples
    batch_size = math.ceil(count / math.ceil(count / most))
    starts = tf.data.Dataset.range(0, count, batch_size)
    values = starts.map(
        lambda start: read(tf.range(start, tf.minimum(start + batch_size, count))),
        tf.data.AUTOTUNE,
        deterministic=True,
    )
    return values.prefetch(tf.data.AUTOTUNE)


def _weights(targets: Any, weights: tf.Tensor) -> Any:
    """The weights of examples, as Keras takes them beside these targets.

    Keras takes a weight for every number of a loss, and broadcasts along one axis only. Padded
    sequences have a loss for each example, and so one weight.
    """

    def weights_of(target: tf.Tensor) -> tf.Tensor:
        inner = target.shape[1:]
        return tf.reshape(weights, [-1, *(1 for _ in inner)]) if None not in inner else weights

    return weights if targets is None else keras.tree.map_structure(weights_of, targets)


def bucket_sizes(examples: Split, buckets: Sequence[np.ndarray] | None) -> list[int]:
    """Examples in each bucket; all of them are one bucket where there are none."""
    return [len(rows) for rows in buckets] if buckets else [examples.num_examples]


def num_batches(sizes: Sequence[int], batch_size: int) -> int:
    """Batches of one pass over buckets of these sizes."""
    return sum(math.ceil(size / batch_size) for size in sizes)
