import numpy as np
import pytest
import tensorflow as tf

from suite.data.examples import (
    Examples,
    Split,
    batches,
    collect,
    fingerprint,
    hold_out,
    shuffled_batches,
    supervised,
)
from suite.data.pictures import augmenter
from suite.errors import InputError


def numbered(count):
    return Split(np.arange(count, dtype="float32")[:, None], np.arange(count, dtype="int32") % 5)


def labels(dataset, steps):
    return [inputs.numpy()[:, 0].tolist() for inputs, _ in dataset.take(steps)]


def test_an_epoch_holds_every_example_once_and_the_next_in_another_order():
    train = shuffled_batches(numbered(23), 5, seed=1)
    first, second = (np.concatenate(labels(train(start), 5)) for start in (0, 5))

    assert sorted(first) == sorted(second) == list(range(23))
    assert first.tolist() != second.tolist()


def test_batches_from_a_step_on_are_those_of_the_whole_run():
    train = shuffled_batches(numbered(23), 5, seed=1)

    assert labels(train(7), 6) == labels(train(0), 13)[7:]


def test_augmentation_follows_from_seed_and_step():
    images = np.random.default_rng(0).integers(0, 255, (12, 28, 28, 1), dtype=np.uint8)
    split = Split(images, np.zeros(12, "int32"))
    augment = augmenter(10, 2, 0.1)

    def third(start):
        train = shuffled_batches(split, 4, seed=3, augment=augment)
        return next(iter(train(start).skip(2 - start)))[0].numpy()

    np.testing.assert_array_equal(third(0), third(2))
    assert augmenter(0, 0, 0) is None


def test_no_distortion_leaves_the_image():
    image = tf.constant(np.random.default_rng(0).integers(0, 255, (2, 28, 28, 1)), tf.uint8)

    same = augmenter(1e-9, 0, 0).distort(image, tf.ones((5, 2)))

    np.testing.assert_allclose(same, tf.cast(image, tf.float32), atol=1e-2)


def test_shift_moves_by_at_most_that_many_pixels():
    image = np.zeros((64, 28, 28, 1), np.uint8)
    image[:, 14, 14] = 255

    draws = tf.random.stateless_uniform((5, 64), [1, 2], -1, 1)
    moved = augmenter(0, 3, 0).distort(tf.constant(image), draws).numpy()[..., 0]
    rows = (moved.sum(2) * np.arange(28)).sum(1) / moved.sum((1, 2))

    assert np.abs(rows - 14).max() <= 3
    assert np.abs(rows - 14).max() > 2


def test_hold_out_is_stratified_exact_and_always_the_same():
    rest, held = hold_out(numbered(100), 0.2)

    assert (rest.num_examples, held.num_examples) == (80, 20)
    assert np.bincount(held.labels).tolist() == [4] * 5
    assert fingerprint(held) == fingerprint(hold_out(numbered(100), 0.2)[1])
    assert not set(rest.inputs[:, 0]) & set(held.inputs[:, 0])


def test_hold_out_refuses_classes_of_one():
    with pytest.raises(InputError, match="1 of the smallest class"):
        hold_out(Split(np.zeros((5, 1)), np.asarray([0, 0, 0, 0, 1])), 0.2)


def test_fingerprint_sees_bytes_shape_and_type():
    split = Split(np.zeros((2, 2), "int16"), np.zeros(2, "int32"))
    others = [
        Split(np.zeros((4, 1), "int16"), split.labels),
        Split(np.zeros((2, 2), "uint16"), split.labels),
        Split(np.asarray([[0, 0], [0, 1]], "int16"), split.labels),
    ]

    assert len({fingerprint(s) for s in [split, *others]}) == 4


def test_collect_undoes_batches():
    split = numbered(23)

    for found, given in zip(collect(batches(split, 4)), split, strict=True):
        np.testing.assert_array_equal(found, given)


def test_other_labels_are_learnt_from_the_training_split():
    examples = Examples(
        Split(np.arange(40.0), np.arange(40) % 2), Split(np.zeros(4), np.arange(4)), ("a", "b"), "x"
    )
    plain, relabelled = (
        supervised(examples, batch_size=4, validation_split=0.25, seed=0, relabel=relabel)
        for relabel in (None, lambda train: lambda inputs: inputs < train.inputs.mean())
    )

    mean = plain.training.inputs.mean()
    for before, after in (
        (plain.training, relabelled.training),
        (collect(plain.validation), collect(relabelled.validation)),
    ):
        assert np.array_equal(before.inputs, after.inputs)
        assert np.array_equal(after.labels, before.inputs < mean)
    assert np.array_equal(collect(relabelled.test).labels, np.arange(4))
    assert plain.description["fingerprint"] != relabelled.description["fingerprint"]
