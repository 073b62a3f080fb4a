import numpy as np
import pytest
import tensorflow as tf

from suite.data.examples import Source
from suite.data.generated import GeneratedExamples
from suite.data.pipelines import Shard, supervised


def squares(numbers):
    numbers = np.asarray(numbers, np.float32)
    return np.stack([numbers, numbers**2], axis=1), numbers.astype(np.int32)


def made(count=10, made_of=(1, "squares")):
    return GeneratedExamples(numbers=np.arange(count), make=squares, made_of=made_of)


def test_rows_are_made_by_their_numbers():
    inputs, targets = made().rows(np.array([7, 2])).in_memory()

    assert inputs.tolist() == [[7, 49], [2, 4]]
    assert targets.tolist() == [7, 2]
    assert made().num_examples == 10 and made().targets is None


def test_a_graph_reads_rows_of_a_known_shape():
    read = made().rows(np.arange(5, 10)).reader()

    dataset = tf.data.Dataset.from_tensors(tf.constant([4, 0])).map(read)

    inputs, targets = dataset.get_single_element()
    assert inputs.numpy().tolist() == [[9, 81], [5, 25]] and targets.numpy().tolist() == [9, 5]
    assert dataset.element_spec[0].shape == (2, 2)


def test_other_targets_replace_those_that_are_made():
    other = made().with_targets(np.arange(10) * 10).rows(np.array([3, 1]))

    assert other.targets.tolist() == other.in_memory().targets.tolist() == [30, 10]
    assert other.reader()(tf.constant([1]))[1].numpy().tolist() == [10]
    np.testing.assert_array_equal(other.parts()[0], made().parts()[0][[3, 1]])


@pytest.mark.parametrize("count", [1, 2])
def test_a_training_goes_on_at_any_step_and_in_any_shard(count):
    source = Source(name="made", train=made(), test=made().in_memory(), validation=made(4))
    data = supervised(source, batch_size=4, validation_split=0.1, seed=0, min_steps=1)

    batches = [
        np.concatenate([parts[0] for parts in of_step])
        for of_step in zip(
            *(data.train(0, Shard(n, count)).take(6).as_numpy_iterator() for n in range(count)),
            strict=True,
        )
    ]

    assert sorted(np.concatenate(batches[:3])[:, 0].tolist()) == list(range(10))
    later = next(iter(data.train(4)))[0].numpy()
    np.testing.assert_array_equal(batches[4], later)


def test_the_digest_is_of_what_examples_are_made_of():
    assert made().digest() == made().digest()
    others = [made(9), made(made_of=(2, "squares")), made().with_targets(np.arange(10))]
    assert len({made().digest(), *(other.digest() for other in others)}) == 4
