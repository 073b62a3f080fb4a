"""The `tf.data` pipelines that feed examples to `fit`.

The training pipeline is a pure function of the step: the seed and the number of the step decide
which examples a batch holds, and how they are augmented. So a run can resume at any step without
replaying the steps before it, and shuffling needs no buffer.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from suite.data.examples import (
    BY_CONTENT,
    BY_FILES,
    SPLITS,
    Description,
    Examples,
    Source,
    Split,
    fingerprint,
)
from suite.errors import InputError

MIN_STEPS = 100  # in an epoch, which passes over small data several times
MOST_AT_ONCE = 32  # steps in an execution of the graph
NUM_BUCKETS = 8  # largest number of buckets of sequences of similar length
NUM_TOKEN_BUCKETS = 32  # the same, where buckets have batches of their own sizes
TOKEN_BATCHES = 4  # that a bucket should have at least, since the last one of each is smaller


# Calls with a step, and perhaps a shard: the batches from that step on.
Train = Callable[..., tf.data.Dataset]


class Augmentation(NamedTuple):
    """A random distortion of examples.

    Args:
        distort: `distort(batch, draws) -> batch` distorts `(inputs, targets)` with TensorFlow ops,
            by the random numbers `draws` `(num_draws, batch)`, uniform in -1..1. Targets that
            belong to an image, such as a mask or boxes, must be distorted as the image is.
        num_draws: Number of random numbers for an example.
    """

    distort: Callable[[tuple[Any, ...], tf.Tensor], tuple[Any, ...]]
    num_draws: int


@dataclasses.dataclass(frozen=True)
class Shard:
    """A replica's part of every batch.

    Args:
        index: Index of the replica, from 0.
        count: Number of replicas.
    """

    index: int = 0
    count: int = 1

    def bounds(self, num: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The first row of the shard in a batch of `num` rows, and the row after its last."""
        return num * self.index // self.count, num * (self.index + 1) // self.count

    def of(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Keeps the rows of the shard in every batch of a dataset of whole batches."""
        if self.count == 1:
            return dataset

        def rows(*batch: Any) -> Any:
            first, end = self.bounds(tf.shape(keras.tree.flatten(batch)[0])[0])
            return keras.tree.map_structure(lambda values: values[first:end], batch)

        return dataset.map(rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The data of a training and its evaluation.

    Args:
        train: `train(step, shard)` gives the batches from that global step on, epoch after epoch,
            without end; of each batch the part of one replica, by default the whole batch.
        steps_per_epoch: Batches in an epoch.
        batch_size: Examples in a batch, over all replicas; in reinforcement learning, copies of the
            environment.
        description: Source, fingerprint and counts, for the report.
        examples_per_step: Mean number of examples in a batch; by default `batch_size`.
        splits: Examples by name: `train`, `validation` and `test`, as far as there are any.
        source: The source of the splits; None if the examples are generated.
        model_arguments: Arguments of the app's `build` that the data decide, such as the number of
            classes.
        evaluation_batch_size: Largest number of examples in a batch of `validation` and `test`.
        even_shards: Whether all replicas must have equally large parts of a batch.
        batch_knob: Name of the knob for `batch_size`, for errors.
        shuffled: `shuffled(split)` is the `train` of other examples with as many rows, in the same
            order, without augmentation; None if the examples are generated.
    """

    train: Train
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
    shuffled: Callable[[Split], Train] | None = None

    @property
    def validation(self) -> tf.data.Dataset | None:
        """Batches of one pass over the validation split; None if there is none."""
        return self.one_pass("validation")

    @property
    def test(self) -> tf.data.Dataset | None:
        """Batches of one pass over the test split; None if there is none."""
        return self.one_pass("test")

    def one_pass(self, split: str) -> tf.data.Dataset | None:
        """Batches of one pass over a split, in the order of its rows; None if it is missing."""
        if split not in self.splits:
            return None
        return batches(self.splits[split], self.evaluation_batch_size)

    def with_features(self, network: keras.Model) -> "Data":
        """The same rows with the outputs of a network in place of their inputs, computed once.

        Only `train` and `validation` are there, in memory, and without augmentation.

        Args:
            network: A model of the inputs.
        """
        if self.shuffled is None:
            raise TypeError("features need examples: data that `supervised` has made")
        compute = tf.function(lambda inputs: network(inputs, training=False), reduce_retracing=True)

        def features(split: Split) -> Split:
            parts = [
                keras.tree.map_structure(lambda part: part.numpy(), (compute(inputs), *targets))
                for inputs, *targets in batches(split, self.batch_size)
            ]
            return Examples(*keras.tree.map_structure(lambda *rows: np.concatenate(rows), *parts))

        splits = {
            name: features(split)
            for name, split in self.splits.items()
            if name in ("train", "validation")
        }
        return dataclasses.replace(self, splits=splits, train=self.shuffled(splits["train"]))

    def check_replicas(self, count: int) -> None:
        """Refuses a batch size that so many replicas cannot share.

        Raises:
            InputError: A batch has fewer examples than there are replicas, or must be shared
                evenly and cannot be.
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
    batch_knob: str = "batch_size",
    validation_split: float,
    seed: int,
    min_steps: int = MIN_STEPS,
    relabel: Callable[[Split], Callable[[Any], np.ndarray]] | None = None,
    corrupt: Callable[[np.ndarray], np.ndarray] | None = None,
    model_arguments: Callable[[Split], Mapping[str, Any]] | None = None,
    augment: Augmentation | None = None,
    lengths: Callable[[Split], np.ndarray] | None = None,
    tokens_per_batch: int | None = None,
) -> Data:
    """Makes the data of supervised training: splits a source, and makes the splits' pipelines.

    Args:
        source: The examples.
        batch_size: Examples per step, over all replicas; see also `tokens_per_batch`.
        batch_knob: Name of the knob that decides on it, for errors.
        validation_split: Share of the training examples that is held out if the source has no
            validation split.
        seed: Seed of order and augmentation; the splits do not depend on it.
        min_steps: Smallest number of steps in an epoch, which passes over small data several times.
        relabel: `relabel(train)` learns a function from inputs to targets on the training split;
            its results replace the targets of training and validation.
        corrupt: `corrupt(targets)` gives the targets that the training split has in place of its
            true ones; those of validation and test stay true.
        model_arguments: `model_arguments(train)` gives the arguments of the app's `build` that the
            training split decides.
        augment: Distorts the training examples, differently in every epoch.
        lengths: `lengths(train)` gives the length of every sequence, `(examples,)`; batches are
            then made of sequences of similar length.
        tokens_per_batch: Largest number of tokens in a batch over all replicas, padding included,
            where `lengths` are given: the shorter the sequences, the more are in a batch, but at
            most `batch_size`. None for batches of `batch_size`, however long.

    Raises:
        InputError: There are too few examples, or a sequence is longer than a batch may be.
    """
    splits = source.split(validation_split)
    if relabel:
        targets = relabel(splits["train"])
        for name in ("train", "validation"):
            inputs = splits[name].in_memory().inputs
            splits[name] = splits[name].with_targets(targets(inputs))
    if corrupt:
        splits["train"] = splits["train"].with_targets(corrupt(splits["train"].targets))
    train = splits["train"]
    buckets: list[np.ndarray] | None = None
    batch_sizes: int | list[int] = batch_size
    if lengths and tokens_per_batch is None:
        buckets = by_length(lengths(train), batch_size)
    elif lengths and tokens_per_batch is not None:
        buckets, batch_sizes = by_tokens(lengths(train), tokens_per_batch, batch_size)
    one_pass = num_batches(bucket_sizes(train, buckets), batch_sizes)
    return Data(
        train=shuffled_batches(train, batch_sizes, seed=seed, augment=augment, buckets=buckets),
        steps_per_epoch=one_pass * math.ceil(min_steps / one_pass),
        batch_size=batch_size,
        batch_knob=batch_knob,
        examples_per_step=train.num_examples / one_pass,
        splits=splits,
        source=source,
        model_arguments=model_arguments(train) if model_arguments else {},
        description=describe(source, splits),
        shuffled=functools.partial(
            shuffled_batches, batch_size=batch_sizes, seed=seed, buckets=buckets
        ),
    )


def describe(source: Source, splits: Mapping[str, Split]) -> Description:
    """The description of the splits of a source, for the report."""
    counts = {name: splits[name].num_examples if name in splits else 0 for name in SPLITS}
    bases = {split.fingerprint_of for split in splits.values()}
    notes = dict(source.notes)
    if source.preparation is not None:  # so that `evaluate` can prepare other data likewise
        notes["preparation"] = dataclasses.asdict(source.preparation)
    return Description(
        source=source.name,
        fingerprint=fingerprint(*splits.values()),
        fingerprint_of=BY_FILES if BY_FILES in bases else BY_CONTENT,
        comparable=source.comparable,
        class_names=source.class_names,
        feature_names=source.feature_names,
        notes=notes,
        **counts,
    )


def steps_per_execution(steps: int, max_steps: int = MOST_AT_ONCE) -> int:
    """The number of steps that one call of the training function should run.

    It divides the steps of an epoch, so that no call runs past the end of an epoch.

    Args:
        steps: Steps in an epoch.
        max_steps: Largest number of steps in a call.
    """
    return max(n for n in range(1, max_steps + 1) if steps % n == 0)


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without TensorFlow's automatic tuning of its parallelism.

    The thread that tunes a pipeline may notice its end only after a minute. A process that frees
    the pipeline waits for the thread, and other workers wait for the process.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def stream_seeds(seed: int, num: int) -> list[int]:
    """Seeds of independent random streams, as TensorFlow's stateless functions take them."""
    return (np.random.SeedSequence(seed).generate_state(num) // 2).tolist()


def by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Row numbers in buckets of sequences of similar length, the shortest first.

    Args:
        lengths: Lengths of the sequences, `(examples,)`.
        batch_size: Smallest number of rows in a bucket, unless there are fewer in all.
    """
    order = np.argsort(lengths, kind="stable")
    num_buckets = int(np.clip(len(order) // batch_size, 1, NUM_BUCKETS))
    return np.array_split(order, num_buckets)


def by_tokens(
    lengths: np.ndarray, tokens_per_batch: int, max_batch_size: int
) -> tuple[list[np.ndarray], list[int]]:
    """Row numbers in buckets of similar length, the shortest first, and the batch size of each.

    The buckets have about as many tokens each, so that the rare long sequences, whose lengths
    differ most, are in buckets of few rows.

    Args:
        lengths: Lengths of the sequences, `(examples,)`.
        tokens_per_batch: Largest number of tokens in a batch, padding included.
        max_batch_size: Largest number of sequences in a batch.

    Raises:
        InputError: A sequence is longer than `tokens_per_batch`.
    """
    if len(lengths) and lengths.max() > tokens_per_batch:
        raise InputError(
            f"`tokens_per_batch` must be at least the longest sequence's {lengths.max()} tokens",
            tokens_per_batch,
        )
    order = np.argsort(lengths, kind="stable")
    tokens = np.cumsum(np.maximum(lengths[order], 1, dtype=np.int64))  # empty ones are examples too
    num_buckets = np.clip(tokens[-1] // (TOKEN_BATCHES * tokens_per_batch), 1, NUM_TOKEN_BUCKETS)
    ends = np.searchsorted(tokens, tokens[-1] * np.arange(1, num_buckets) / num_buckets)
    buckets = [rows for rows in np.split(order, ends) if len(rows)]
    longest = [max(1, int(lengths[rows[-1]])) for rows in buckets]
    return buckets, [min(tokens_per_batch // length, max_batch_size) for length in longest]


def shuffled_batches(
    examples: Split,
    batch_size: int | Sequence[int],
    *,
    seed: int,
    augment: Augmentation | None = None,
    buckets: Sequence[np.ndarray] | None = None,
) -> Train:
    """The training pipeline, for `Data.train`.

    Every epoch permutes the row numbers without state (`tf.random.experimental.index_shuffle`), so
    the examples are never copied. The last batch of an epoch, or of a bucket, may be smaller. If
    the shards of a batch differ in size, they come with weights, by which the average over the
    replicas is the average over the examples.

    Args:
        examples: Examples to train on.
        batch_size: Examples in a batch, over all replicas; or such a number for every bucket.
        seed: Seed of order and augmentation.
        augment: Distorts the examples.
        buckets: Row numbers of every bucket; a batch holds rows of one bucket, and batches come in
            random order. By default one bucket of all rows.
    """
    read = examples.reader()
    # One stream each for the order of rows, the augmentation, and the order of buckets' batches.
    order_seed, augment_seed, bucket_seed = stream_seeds(seed, 3)
    sizes = bucket_sizes(examples, buckets)
    batch_sizes: list[int] = np.broadcast_to(batch_size, len(sizes)).tolist()
    steps = num_batches(sizes, batch_sizes)
    first_steps = np.cumsum([0, *-(-np.array(sizes) // batch_sizes)[:-1]])
    first_rows = np.cumsum([0, *sizes[:-1]])
    row_numbers = tf.constant(np.concatenate(buckets)) if buckets else None

    def rows_of(step: tf.Tensor, shard: Shard) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The row numbers of a shard, its bounds in the batch, and the size of the batch."""
        epoch, position = tf.cast(step // steps, tf.int32), step % steps
        first_row, count, most = 0, sizes[0], batch_sizes[0]
        if buckets:
            position = tf.random.experimental.index_shuffle(
                position, seed=tf.stack([epoch, bucket_seed]), max_index=steps - 1
            )
            bucket = tf.searchsorted(first_steps, [position], side="right")[0] - 1
            position -= tf.gather(first_steps, bucket)
            first_row, count, most = (
                tf.gather(values, bucket) for values in (first_rows, sizes, batch_sizes)
            )
        count, most = tf.cast(count, tf.int64), tf.cast(most, tf.int64)
        begin = position * most
        num = tf.minimum(begin + most, count) - begin
        first, end = shard.bounds(num)
        # An empty shard would have no mean, so it gets one example, with weight 0.
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
            # Drawn for the whole batch, so that sharding does not change the distortions.
            draws = tf.random.stateless_uniform((augment.num_draws, num), pair, -1.0, 1.0)
            values = augment.distort(values, draws[:, first : first + tf.size(rows, tf.int64)])
        even = all(
            most % shard.count == 0 and size % most % shard.count == 0
            for size, most in zip(sizes, batch_sizes, strict=True)
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
        return untuned(values.prefetch(tf.data.AUTOTUNE))

    return train


def generated_batches(batch: Callable[[tf.Tensor], tuple[Any, ...]]) -> Train:
    """Training batches that are computed from the number of their step.

    Args:
        batch: Makes the batch of a step, an int64; for one step the same at any time.
    """

    def train(step: int, shard: Shard = Shard()) -> tf.data.Dataset:
        steps = tf.data.Dataset.counter(step)
        whole = shard.of(steps.map(batch, tf.data.AUTOTUNE, deterministic=True))
        return untuned(whole.prefetch(tf.data.AUTOTUNE))

    return train


def batches(examples: Split, max_batch_size: int = 1000) -> tf.data.Dataset:
    """One pass over examples in the order of their rows, in batches of nearly equal size.

    Args:
        examples: The examples.
        max_batch_size: Largest number of examples in a batch.
    """
    read, count = examples.reader(), examples.num_examples
    batch_size = math.ceil(count / math.ceil(count / max_batch_size))
    starts = tf.data.Dataset.range(0, count, batch_size)
    values = starts.map(
        lambda start: read(tf.range(start, tf.minimum(start + batch_size, count))),
        tf.data.AUTOTUNE,
        deterministic=True,
    )
    return untuned(values.prefetch(tf.data.AUTOTUNE))


def _weights(targets: Any, weights: tf.Tensor) -> Any:
    """The weights of examples `(batch,)` in the structure and rank that Keras needs for targets.

    Keras takes one weight for every value of a loss, and broadcasts along one axis only. Of padded
    sequences, which have one loss for each example or for each token, `(batch, 1)` fits both.
    """

    def weights_of(target: tf.Tensor) -> tf.Tensor:
        inner = target.shape[1:]
        return tf.reshape(weights, [-1, 1] if None in inner else [-1, *(1 for _ in inner)])

    return weights if targets is None else keras.tree.map_structure(weights_of, targets)


def bucket_sizes(examples: Split, buckets: Sequence[np.ndarray] | None) -> list[int]:
    """The number of examples in each bucket; without buckets, all examples count as one."""
    return [len(rows) for rows in buckets] if buckets else [examples.num_examples]


def num_batches(sizes: Sequence[int], batch_size: int | Sequence[int]) -> int:
    """The number of batches in one pass over buckets of these sizes."""
    return int(np.sum(-(-np.array(sizes) // batch_size)))
