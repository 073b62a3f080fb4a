import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.data.examples import Examples, Source
from suite.data.images.augmentation import random_affine
from suite.data.pipelines import (
    Augmentation,
    Shard,
    batches,
    by_length,
    by_tokens,
    generated_batches,
    num_batches,
    shuffled_batches,
    supervised,
)
from suite.errors import InputError


def numbered(count):
    inputs = np.arange(count, dtype="float32")[:, None]
    return Examples(inputs, np.arange(count, dtype="int32") % 5)


def sequences(count=100):
    """Row n is a sequence of a random length, in which every number is n + 1; and the lengths."""
    lengths = np.random.default_rng(0).integers(0, 60, count)
    rows = tf.RaggedTensor.from_row_lengths(np.repeat(np.arange(count) + 1, lengths), lengths)
    return Examples({"tokens": rows, "number": np.arange(count)}, {"length": lengths}), lengths


def numbers(dataset, steps):
    return [batch[0].numpy()[:, 0].tolist() for batch in dataset.take(steps)]


def arrays(dataset, steps):
    return [tf.nest.flatten(batch) for batch in dataset.take(steps)]


def assert_same(actual, expected):
    for batch, expected_batch in zip(actual, expected, strict=True):
        for part, expected_part in zip(batch, expected_batch, strict=True):
            np.testing.assert_array_equal(part, expected_part)


def test_an_epoch_holds_every_example_once_and_the_next_in_another_order():
    train = shuffled_batches(numbered(23), 5, seed=1)
    first, second = (np.concatenate(numbers(train(start), 5)) for start in (0, 5))

    assert sorted(first) == sorted(second) == list(range(23))
    assert first.tolist() != second.tolist()
    assert first.tolist() != np.concatenate(
        numbers(shuffled_batches(numbered(23), 5, seed=2)(0), 5)
    ).tolist()  # fmt: skip


def test_batches_from_a_step_on_are_those_of_the_whole_run():
    train = shuffled_batches(numbered(23), 5, seed=1)

    assert numbers(train(7), 6) == numbers(train(0), 13)[7:]


@pytest.mark.parametrize("count", [2, 3])
def test_shards_of_a_batch_make_it_up_and_weigh_the_same(count):
    train = shuffled_batches(numbered(23), 5, seed=1)
    shards = [list(train(0, Shard(index, count)).take(5)) for index in range(count)]

    for parts, whole in zip(zip(*shards, strict=True), train(0).take(5), strict=True):
        weights = [part[2].numpy() for part in parts]
        rows = np.concatenate([part[0][w > 0] for part, w in zip(parts, weights, strict=True)])
        np.testing.assert_array_equal(rows, whole[0])
        mean = np.mean([(part[0][:, 0] * w).numpy().mean() for part, w in zip(parts, weights)])  # noqa: B905
        np.testing.assert_allclose(mean, whole[0].numpy().mean(), rtol=1e-6)


def test_shards_of_equal_size_need_no_weights():
    train = shuffled_batches(numbered(24), 6, seed=1)

    assert all(len(batch) == 2 for batch in train(0, Shard(1, 2)).take(4))


def test_augmentation_follows_from_seed_and_step():
    images = np.random.default_rng(0).integers(0, 255, (12, 28, 28, 1), dtype=np.uint8)
    augment = random_affine(10, 2, 0.1)
    train = shuffled_batches(Examples(images, np.zeros(12, "int32")), 4, seed=3, augment=augment)

    third, fourth = arrays(train(2), 2)
    assert_same(arrays(train(0), 3)[2:], [third])
    assert not np.array_equal(third[0], fourth[0])
    assert random_affine(0, 0, 0) is None


def test_shards_are_augmented_as_the_batch_is():
    def noise(batch, draws):
        return (batch[0] + draws[0][:, None], *batch[1:])

    train = shuffled_batches(numbered(24), 6, seed=0, augment=Augmentation(noise, 1))
    (whole,), (first,), (second,) = (
        numbers(train(3, shard), 1) for shard in (Shard(), Shard(0, 2), Shard(1, 2))
    )

    assert first + second == whole
    assert np.ptp(np.asarray(whole) % 1) > 0


def test_no_pipeline_is_tuned_by_a_thread_whose_sleep_its_end_would_wait_for():
    datasets = [
        shuffled_batches(numbered(23), 5, seed=1)(0),
        generated_batches(lambda step: (step,))(0),
        batches(numbered(23)),
    ]

    assert [dataset.options().autotune.enabled for dataset in datasets] == [False] * 3


def test_sequences_of_similar_length_share_a_batch_once_an_epoch():
    examples, lengths = sequences()
    buckets = by_length(lengths, 8)
    steps = num_batches([len(rows) for rows in buckets], 8)
    train = shuffled_batches(examples, 8, seed=4, buckets=buckets)

    epochs = [list(train(start).take(steps)) for start in (0, steps)]
    numbers_of_epochs = [
        [inputs["number"].numpy().tolist() for inputs, _ in batches_of_epoch]
        for batches_of_epoch in epochs
    ]
    for rows in numbers_of_epochs:
        assert sorted(np.concatenate(rows)) == list(range(100))
    assert numbers_of_epochs[0] != numbers_of_epochs[1]
    for inputs, targets in epochs[0]:
        length = targets["length"].numpy()
        tokens = inputs["tokens"].numpy()
        assert np.ptp(length) <= 12  # of 60: an eighth, and what chance adds
        assert tokens.shape[1] == length.max()
        expected = inputs["number"].numpy()[:, None] + 1
        inside = np.arange(tokens.shape[1]) < length[:, None]
        np.testing.assert_array_equal(tokens, expected * inside)
    longest = [[int(batch[1]["length"].numpy().max()) for batch in epoch] for epoch in epochs]
    assert longest[0] != sorted(longest[0])
    assert np.corrcoef(longest)[0, 1] < 0.9  # the buckets of each epoch take turns differently


def test_batches_by_length_follow_from_the_step():
    examples, lengths = sequences()
    train = shuffled_batches(examples, 8, seed=4, buckets=by_length(lengths, 8))
    run = arrays(train(0), 40)

    for step in (1, 15, 29):
        assert_same(arrays(train(step), 3), run[step : step + 3])


def test_batches_by_length_are_shared_out():
    examples, lengths = sequences()
    train = shuffled_batches(examples, 8, seed=4, buckets=by_length(lengths, 8))
    whole, *shards = (
        [batch[0]["number"].numpy().tolist() for batch in train(5, shard).take(20)]
        for shard in (Shard(), Shard(0, 2), Shard(1, 2))
    )

    assert [first + second for first, second in zip(*shards, strict=True)] == whole
    # Buckets of 12 and 13: their last batches hold 4 and 5.
    assert len(next(iter(train(0, Shard(0, 2))))) == 3


def test_batches_by_tokens_hold_every_example_once_and_never_too_many_tokens():
    examples, lengths = sequences(1000)
    buckets, sizes = by_tokens(lengths, 500, 30)
    steps = num_batches([len(rows) for rows in buckets], sizes)
    train = shuffled_batches(examples, sizes, seed=4, buckets=buckets)

    batches_of_epochs = [list(train(start).take(steps)) for start in (0, steps)]
    rows = [
        np.concatenate([inputs["number"] for inputs, _ in epoch]) for epoch in batches_of_epochs
    ]
    assert sorted(rows[0]) == sorted(rows[1]) == list(range(1000))
    assert rows[0].tolist() != rows[1].tolist()
    shapes = np.array([inputs["tokens"].shape for inputs, _ in batches_of_epochs[0]])
    assert shapes.prod(axis=1).max() <= 500
    assert shapes[:, 0].max() == 30  # of short ones, no more than `batch_size`
    assert shapes[:, 0].min() < 9  # of those of 60
    assert lengths.sum() > 0.75 * shapes.prod(axis=1).sum()  # little is padding
    assert len(buckets) > 8


def test_batches_by_tokens_follow_from_the_step_and_are_shared_out():
    examples, lengths = sequences()
    buckets, sizes = by_tokens(lengths, 200, 1000)
    train = shuffled_batches(examples, sizes, seed=4, buckets=buckets)
    run = arrays(train(0), 40)

    for step in (1, 15, 29):
        assert_same(arrays(train(step), 3), run[step : step + 3])
    whole = [batch[0]["number"].numpy().tolist() for batch in train(5).take(20)]
    shares = [[] for _ in whole]
    for index in range(2):
        shard = train(5, Shard(index, 2)).take(20)
        for share, (inputs, _, weights) in zip(shares, shard, strict=True):
            present = weights["length"].numpy() > 0  # a shard without examples has one of weight 0
            share += inputs["number"].numpy()[present].tolist()
    assert shares == whole


@pytest.mark.parametrize("lengths", [[0, 0, 0], [7], [1, 1, 1, 100], [100] * 50 + [1]])
def test_buckets_by_tokens_hold_every_row(lengths):
    buckets, sizes = by_tokens(np.array(lengths), 100, 10)

    assert sorted(np.concatenate(buckets)) == list(range(len(lengths)))
    assert len(buckets) == len(sizes) and min(sizes) >= 1 and max(sizes) <= 10


def test_a_sequence_longer_than_a_batch_is_refused():
    message = r"^`tokens_per_batch` must be at least the longest sequence's 9 tokens\. Received: 8$"
    with pytest.raises(InputError, match=message):
        by_tokens(np.array([3, 9]), 8, 100)


def test_buckets_may_be_of_one_example():
    lengths = np.array([3, 1, 2])
    buckets = by_length(lengths, 1)
    train = shuffled_batches(numbered(3), 1, seed=0, buckets=buckets)

    assert [rows.tolist() for rows in buckets] == [[1], [2], [0]]
    assert sorted(numbers(train(3), 3)) == [[0], [1], [2]]
    assert len(by_length(lengths, 100)) == 1


def test_one_pass_keeps_the_order_in_batches_of_nearly_one_size():
    sizes = [len(batch) for batch in numbers(batches(numbered(23), 10), 9)]

    assert sizes == [8, 8, 7]
    assert np.concatenate(numbers(batches(numbered(23), 10), 9)).tolist() == list(range(23))


def test_shards_of_one_pass_make_it_up():
    dataset = batches(numbered(23), 10)
    first, second = (np.concatenate(numbers(Shard(i, 2).of(dataset), 9)) for i in range(2))

    assert sorted([*first, *second]) == list(range(23))
    assert first[:4].tolist() == [0, 1, 2, 3]


def test_data_without_targets_and_with_several():
    plain = next(iter(shuffled_batches(Examples(np.arange(6)), 4, seed=0)(0)))
    assert len(plain) == 1
    uneven = next(iter(shuffled_batches(Examples(np.arange(6)), 3, seed=0)(0, Shard(0, 2))))
    assert uneven[1] is None
    assert len(uneven) == 3

    structure = Examples({"a": np.arange(6), "b": np.arange(6)}, (np.arange(6), np.arange(6) * 2))
    inputs, (one, two) = next(iter(shuffled_batches(structure, 4, seed=0)(0)))
    np.testing.assert_array_equal(inputs["a"], inputs["b"])
    np.testing.assert_array_equal(2 * one, two)


def test_small_data_are_passed_over_several_times_in_an_epoch():
    source = Source(name="x", train=numbered(20), test=numbered(5))
    data = supervised(source, batch_size=4, validation_split=0.25, seed=0, min_steps=9)

    assert (data.steps_per_epoch, data.examples_per_step) == (12, 3.75)
    assert (data.description.train, data.description.validation, data.description.test) == (
        15,
        5,
        5,
    )
    assert [len(rows) for rows in numbers(data.validation, 2)] == [5]
    assert np.concatenate(numbers(data.test, 2)).tolist() == list(range(5))


def test_sequences_are_trained_on_by_length():
    examples, _ = sequences()
    data = supervised(
        Source(name="x", train=examples, test=examples.rows(np.arange(3))),
        batch_size=8,
        validation_split=0.2,
        seed=0,
        min_steps=1,
        lengths=lambda train: train.inputs["tokens"].row_lengths().numpy(),
    )

    assert data.steps_per_epoch == 16  # 8 buckets of 10
    assert data.examples_per_step == 5
    row_numbers = [b[0]["number"].numpy() for b in data.train(0).take(16)]
    assert sorted(np.concatenate(row_numbers)) == sorted(data.splits["train"].inputs["number"])


def test_sequences_are_trained_on_by_number_of_tokens():
    examples, _ = sequences(1000)
    data = supervised(
        Source(name="x", train=examples, test=examples.rows(np.arange(3))),
        batch_size=64,
        validation_split=0.2,
        seed=0,
        min_steps=1,
        lengths=lambda train: train.inputs["tokens"].row_lengths().numpy(),
        tokens_per_batch=300,
    )

    epoch = [inputs for inputs, _ in data.train(0).take(data.steps_per_epoch)]
    row_numbers = np.concatenate([inputs["number"] for inputs in epoch])
    assert sorted(row_numbers) == sorted(data.splits["train"].inputs["number"])
    assert max(tf.size(inputs["tokens"]).numpy() for inputs in epoch) <= 300
    assert data.examples_per_step == 800 / data.steps_per_epoch


def test_other_targets_are_learnt_from_the_training_split():
    source = Source(
        name="x",
        train=Examples(np.arange(40.0), np.arange(40) % 2),
        test=Examples(np.zeros(4), np.arange(4)),
    )
    plain, relabelled = (
        supervised(source, batch_size=4, validation_split=0.25, seed=0, relabel=relabel)
        for relabel in (None, lambda train: lambda inputs: inputs < train.inputs.mean())
    )

    mean = plain.splits["train"].inputs.mean()
    for name in ("train", "validation"):
        before, after = plain.splits[name], relabelled.splits[name]
        np.testing.assert_array_equal(before.inputs, after.inputs)
        np.testing.assert_array_equal(after.targets, before.inputs < mean)
    assert relabelled.splits["test"].targets.tolist() == [0, 1, 2, 3]
    assert plain.description.fingerprint != relabelled.description.fingerprint


def test_the_model_is_told_what_the_training_split_decides():
    data = supervised(
        Source(name="x", train=numbered(20)),
        batch_size=4,
        validation_split=0.25,
        seed=0,
        model_arguments=lambda train: {"num_examples": train.num_examples},
    )

    assert data.model_arguments == {"num_examples": 12}


def test_batches_that_replicas_cannot_share_are_refused():
    data = supervised(
        Source(name="x", train=numbered(20)), batch_size=3, validation_split=0.25, seed=0
    )

    data.check_replicas(3)
    with pytest.raises(InputError, match="`batch_size` must be at least the number of replicas, 4"):
        data.check_replicas(4)


def test_features_take_the_place_of_inputs_in_the_same_order():
    point = keras.Input((1,))
    doubled = keras.Model(point, keras.layers.Rescaling(2.0)(point))
    source = Source(name="x", train=numbered(30), test=numbered(5))
    augment = Augmentation(lambda batch, draws: (batch[0] + draws[0][:, None], *batch[1:]), 1)
    plain, distorted = (
        supervised(source, batch_size=4, validation_split=0.3, seed=3, augment=augment)
        for augment in (None, augment)
    )

    data = distorted.with_features(doubled)

    assert (data.steps_per_epoch, sorted(data.splits)) == (
        plain.steps_per_epoch,
        ["train", "validation"],
    )
    for one, other in (
        (data.train(5, Shard(1, 2)), plain.train(5, Shard(1, 2))),
        (data.validation, plain.validation),
    ):
        for (features, labels, *_), (inputs, targets, *_) in zip(
            one.take(9), other.take(9), strict=True
        ):
            np.testing.assert_array_equal(features, 2 * inputs)
            np.testing.assert_array_equal(labels, targets)


def test_targets_of_the_training_alone_are_corrupted():
    source = Source(name="arrays", train=numbered(40))
    true, corrupt = (
        supervised(source, batch_size=4, validation_split=0.25, seed=0, corrupt=corrupt)
        for corrupt in (None, lambda targets: targets + 10)
    )

    train = corrupt.splits["train"]
    np.testing.assert_array_equal(train.targets, true.splits["train"].targets + 10)
    for name in ("validation", "test"):
        np.testing.assert_array_equal(corrupt.splits[name].targets, true.splits[name].targets)
    inputs, targets = next(iter(corrupt.train(0)))
    np.testing.assert_array_equal(targets, inputs[:, 0] % 5 + 10)
