"""Labelled examples in memory, and the `tf.data` pipelines that feed them to `fit`.

The training pipeline is a pure function of the step: which examples a batch holds, and how they
are augmented, follows from the seed and the number of the step alone. So a run resumes at any
step without replaying those before it, and a shuffle costs no buffer.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from suite.errors import InputError

# An epoch passes over a small dataset several times, until it is worth the name.
LEAST_STEPS = 100
# The held-out examples are the same for every seed, so that seeds can be compared.
SPLIT_SEED = 0


class Augmentation(NamedTuple):
    """A random distortion of examples.

    Args:
        distort: `distort(inputs, draws)` distorts a batch in the graph, by `draws`
            `(num_draws, batch)`, each even in -1..1.
        num_draws: Random numbers of an example.
    """

    distort: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
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

        def rows(*batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            first, end = self.bounds(tf.shape(batch[0])[0])
            return tuple(values[first:end] for values in batch)

        return dataset.map(rows)


class Split(NamedTuple):
    """Examples and their labels, row by row."""

    inputs: np.ndarray
    labels: np.ndarray

    @property
    def num_examples(self) -> int:
        """Number of rows."""
        return len(self.labels)

    def rows(self, index: np.ndarray) -> "Split":
        """The examples at these rows."""
        return Split(self.inputs[index], self.labels[index])


NO_EXAMPLES = Split(np.empty(0), np.empty(0))


class Examples(NamedTuple):
    """A labelled dataset as a source gives it.

    Args:
        train: Examples to train on.
        test: None where the source has no such split of its own.
        class_names: By label.
        source: `tfds:mnist/3.0.1`, `embedded:digits` or the path.
        comparable: Whether figures may stand beside published ones.
        feature_names: By column, for tables.
    """

    train: Split
    test: Split | None
    class_names: tuple[str, ...]
    source: str
    comparable: bool = True
    feature_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """What `fit` and `evaluate` are fed, and where it came from.

    Args:
        train: `train(step, shard)`: the batches from that global step on, epoch after epoch,
            without end; of each the part of one replica, by default all of it.
        steps_per_epoch: Batches of one epoch.
        examples_per_step: Examples of one batch, on average.
        validation: One pass over the validation split; None where `fit` has nothing to evaluate.
        test: One pass over the test split; None where the app evaluates by other means.
        model_arguments: What the data decides about the model: arguments of the app's `build`.
        description: Source, fingerprint and counts, for the report.
        training: The training examples, where all of them are in memory; else none.
        unsplit: The source's training examples before any were held out, for cross-validation.
    """

    train: Callable[..., tf.data.Dataset]
    steps_per_epoch: int
    examples_per_step: float
    validation: tf.data.Dataset | None
    test: tf.data.Dataset | None
    model_arguments: Mapping[str, Any]
    description: Mapping[str, Any]
    training: Split = NO_EXAMPLES
    unsplit: Split = NO_EXAMPLES


def supervised(
    examples: Examples,
    *,
    batch_size: int,
    validation_split: float,
    seed: int,
    relabel: Callable[[Split], Callable[[np.ndarray], np.ndarray]] | None = None,
    model_arguments: Callable[[Split], Mapping[str, Any]] | None = None,
    augment: Augmentation | None = None,
) -> Data:
    """Splits labelled examples and makes their pipelines.

    Args:
        examples: What a source gave.
        batch_size: Examples per step, over all replicas.
        validation_split: Share of the training examples that is held out.
        seed: Decides order and augmentation, not the splits.
        relabel: Learns from the training split what labels examples instead, by their inputs, in
            training and validation.
        model_arguments: What the training split decides about the model, if anything.
        augment: Distorts the training examples, anew each time they are seen.
    """
    train, test = examples.train, examples.test
    if test is None:
        train, test = hold_out(train, 0.2)
    train, validation = hold_out(train, validation_split)
    if relabel:
        label = relabel(train)
        train, validation = (Split(each.inputs, label(each.inputs)) for each in (train, validation))
    return Data(
        train=shuffled_batches(train, batch_size, seed=seed, augment=augment),
        steps_per_epoch=epoch_steps(train.num_examples, batch_size),
        examples_per_step=train.num_examples / math.ceil(train.num_examples / batch_size),
        validation=batches(validation),
        test=batches(test),
        model_arguments=model_arguments(train) if model_arguments else {},
        training=train,
        unsplit=examples.train,
        description={
            "source": examples.source,
            "comparable": examples.comparable,
            "fingerprint": fingerprint(train, validation, test),
            "train": train.num_examples,
            "validation": validation.num_examples,
            "test": test.num_examples,
            "class_names": list(examples.class_names),
            "feature_names": list(examples.feature_names),
        },
    )


def epoch_steps(num_examples: int, batch_size: int) -> int:
    """Steps of an epoch: of one pass, or of as many whole ones as make `LEAST_STEPS`."""
    one_pass = math.ceil(num_examples / batch_size)
    return one_pass * math.ceil(LEAST_STEPS / one_pass)


def steps_per_execution(steps: int, most: int = 32) -> int:
    """How many steps one call should run, so that none runs past the end of an epoch.

    Args:
        steps: Steps of an epoch.
        most: Is not exceeded.
    """
    return max(n for n in range(1, most + 1) if steps % n == 0)


def streams(seed: int, num: int) -> list[int]:
    """Seeds of streams with nothing in common, as TensorFlow's stateless functions take them."""
    return (np.random.SeedSequence(seed).generate_state(num) // 2).tolist()


def hold_out(split: Split, share: float) -> tuple[Split, Split]:
    """Splits off a share of every class: `(rest, held out)`, the same ones every time.

    Raises:
        InputError: There are too few examples to have every class on both sides.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, held = train_test_split(
            np.arange(split.num_examples),
            test_size=share,
            random_state=SPLIT_SEED,
            stratify=split.labels,
        )
    except ValueError:
        counts = np.unique(split.labels, return_counts=True)[1]
        raise InputError(
            f"a share of {share:.3g} can be held out only where every class has enough examples. "
            f"Received: {split.num_examples} examples, {counts.min()} of the smallest class"
        ) from None
    return split.rows(np.sort(rest)), split.rows(np.sort(held))


def shuffled_batches(
    split: Split, batch_size: int, *, seed: int, augment: Augmentation | None = None
) -> Callable[..., tf.data.Dataset]:
    """The training pipeline: see `Data.train`.

    The examples stay where they are; a stateless permutation of their indices is made anew for
    each epoch (`tf.random.experimental.index_shuffle`). The last batch of an epoch may be
    smaller. Where the shards of a batch differ in size, each comes with weights, by which the
    average over the replicas is that over the examples.
    """
    inputs, labels = tf.constant(split.inputs), tf.constant(split.labels)
    count = split.num_examples
    steps = math.ceil(count / batch_size)
    # Order and augmentation draw from streams of their own.
    order_seed, augment_seed = streams(seed, 2)

    def batch(step: tf.Tensor, shard: Shard) -> tuple[tf.Tensor, ...]:
        epoch, position = step // steps, step % steps
        begin = position * batch_size
        num = tf.minimum(begin + batch_size, count) - begin
        first, end = shard.bounds(num)
        weight = tf.cast((end - first) * shard.count / num, tf.float32)
        end = tf.maximum(
            end, first + 1
        )  # nothing has no average: one example, which weighs nothing
        rows = tf.random.experimental.index_shuffle(
            tf.range(begin + first, begin + end),
            seed=tf.stack([tf.cast(epoch, tf.int32), order_seed]),
            max_index=count - 1,
        )
        batch_inputs = tf.gather(inputs, rows)
        if augment is not None:
            pair = tf.stack([tf.cast(step, tf.int32), augment_seed])
            # Those of the whole batch, so that its shards are distorted as it is.
            draws = tf.random.stateless_uniform((augment.num_draws, num), pair, -1.0, 1.0)
            batch_inputs = augment.distort(batch_inputs, draws[:, first:end])
        found = batch_inputs, tf.gather(labels, rows)
        if batch_size % shard.count == 0 and count % batch_size % shard.count == 0:
            return found
        return *found, tf.fill([end - first], weight)

    def train(step: int, shard: Shard = Shard()) -> tf.data.Dataset:
        if batch_size < shard.count:
            raise InputError(
                f"`batch_size` must be at least the number of replicas, {shard.count}. Received: "
                f"{batch_size}"
            )
        numbers = tf.data.Dataset.counter(step)
        made = numbers.map(lambda n: batch(n, shard), tf.data.AUTOTUNE, deterministic=True)
        return made.prefetch(tf.data.AUTOTUNE)

    return train


def refuse_uneven_shards(name: str, num: int, shard: Shard) -> None:
    """Refuses what the replicas cannot share evenly.

    Raises:
        InputError: It is no multiple of their number.
    """
    if num % shard.count:
        raise InputError(
            f"`{name}` must be a multiple of the number of replicas, {shard.count}. Received: {num}"
        )


def batches(split: Split, most: int = 1000) -> tf.data.Dataset:
    """One pass over the examples in their own order, in batches of nearly the same size.

    Args:
        split: The examples.
        most: Is not exceeded by any batch.
    """
    dataset = tf.data.Dataset.from_tensor_slices(tuple(split))
    batch_size = math.ceil(split.num_examples / math.ceil(split.num_examples / most))
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def collect(dataset: tf.data.Dataset) -> Split:
    """All examples of a finite dataset of `(inputs, labels)` batches."""
    inputs, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return Split(np.concatenate(inputs), np.concatenate(labels))


def fingerprint(*splits: Split) -> str:
    """SHA-256 over the bytes, shapes and types of some arrays, in order."""
    digest = hashlib.sha256()
    for split in splits:
        for array in split:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
