import gc

import numpy as np
import pytest
import tensorflow as tf

from suite.data.examples import Examples, Source, fingerprint, held_out_rows, spread
from suite.errors import InputError


def classes(*sizes):
    targets = np.repeat(np.arange(len(sizes)), sizes).astype("int32")
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: len(sizes)])
    return Examples(np.arange(len(targets), dtype="float32")[:, None], targets), names


def several():
    """Two named inputs, one a sequence of any length; a mask and ragged boxes as targets."""
    inputs = {
        "image": np.arange(3 * 4, dtype="float32").reshape(3, 2, 2),
        "words": tf.ragged.constant([[1, 2], [], [3]]),
    }
    targets = {
        "mask": np.arange(3 * 4).reshape(3, 2, 2) % 2,
        "boxes": tf.ragged.constant(
            [[[0, 0, 1, 1]], [], [[0, 1, 2, 3], [4, 5, 6, 7]]], inner_shape=(4,)
        ),
    }
    return Examples(inputs, targets)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(4, [0, 1, 2, 3]), (9, [0] * 3 + [1] * 2 + [2] * 2 + [3] * 2), (99, None)],
)
def test_some_examples_are_of_all_classes_though_they_lie_class_by_class(most, expected):
    examples, _ = classes(30, 30, 30, 30) if expected else classes(3, 3)

    targets = spread(examples, most).targets.tolist()

    assert targets == (expected or [0, 0, 0, 1, 1, 1])


def test_rows_of_nested_and_ragged_structures():
    examples = several()
    inputs, targets = examples.rows(np.array([2, 0]))

    assert examples.num_examples == 3
    np.testing.assert_array_equal(inputs["image"], examples.inputs["image"][[2, 0]])
    assert inputs["words"].to_list() == [[3], [1, 2]]
    assert targets["boxes"].to_list() == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[0, 0, 1, 1]]]
    np.testing.assert_array_equal(targets["mask"], examples.targets["mask"][[2, 0]])


def test_reader_pads_sequences_of_different_lengths():
    inputs, targets = several().reader()(tf.constant([0, 1, 2]))

    assert inputs["words"].numpy().tolist() == [[1, 2], [0, 0], [3, 0]]
    assert targets["boxes"].shape == (3, 2, 4)
    assert targets["boxes"].numpy()[1].tolist() == [[0] * 4] * 2


def test_without_targets_there_are_inputs_alone():
    examples = Examples(np.arange(4))

    assert len(examples.parts()) == 1
    assert examples.rows(np.array([3])).targets is None
    (inputs,) = examples.reader()(tf.constant([3, 1]))
    assert inputs.numpy().tolist() == [3, 1]
    assert examples.with_targets(np.ones(4)).targets.tolist() == [1] * 4


def test_text_is_read_as_text():
    examples = Examples(np.array(["one", "zwölf"], object), np.array([b"1", b"12"], object))

    inputs, targets = examples.reader()(tf.constant([1]))

    assert (inputs.numpy()[0].decode(), targets.numpy()[0]) == ("zwölf", b"12")


def test_fingerprint_sees_bytes_shape_and_type():
    examples = Examples(np.zeros((2, 2), "int16"), np.zeros(2, "int32"))
    others = [
        Examples(np.zeros((4, 1), "int16"), examples.targets),
        Examples(np.zeros((2, 2), "uint16"), examples.targets),
        Examples(np.asarray([[0, 0], [0, 1]], "int16"), examples.targets),
        Examples(examples.inputs),
    ]

    assert len({fingerprint(s) for s in [examples, *others]}) == 5


def test_fingerprint_of_text_is_of_its_content_and_not_of_where_it_lies():
    def words(*letters):
        gc.collect()
        return Examples(np.array(["".join(parts) for parts in letters], object))

    same = {fingerprint(words("ab", "cd")), fingerprint(words("ab", "cd"))}
    same.add(fingerprint(Examples(np.array(["ab", "cd"]))))
    same.add(fingerprint(Examples(np.array([b"ab", b"cd"], object))))

    assert len(same) == 1
    assert fingerprint(words("abc", "d")) not in same


def test_fingerprint_sees_where_sequences_end():
    ends = ([[1, 2], [3]], [[1], [2, 3]])

    assert len({fingerprint(Examples(tf.ragged.constant(rows))) for rows in ends}) == 2
    assert fingerprint(several()) == fingerprint(several())


def test_held_out_rows_are_stratified_exact_and_always_the_same():
    examples, names = classes(20, 20, 20, 20, 20)
    remaining, held_out = held_out_rows(examples, 0.2, names)

    assert np.bincount(examples.targets[held_out]).tolist() == [4] * 5
    assert sorted([*remaining, *held_out]) == list(range(100))
    np.testing.assert_array_equal(held_out, held_out_rows(examples, 0.2, names)[1])


def test_where_the_target_is_no_class_any_rows_are_held_out():
    numbers = Examples(np.zeros((10, 1)), np.linspace(0, 1, 10))
    remaining, held_out = held_out_rows(numbers, 0.25)
    assert (len(remaining), len(held_out)) == (7, 3)

    for examples in (several(), Examples(np.zeros(3))):
        assert [len(rows) for rows in held_out_rows(examples, 0.99)] == [1, 2]


@pytest.mark.parametrize(("count", "sizes"), [(26, (1, 1)), (3, (2, 1))])
def test_of_tiny_classes_one_example_each_is_held_out(count, sizes, caplog):
    caplog.set_level("INFO", "suite")
    examples, names = classes(*[8] * count) if count == 26 else classes(500, 300, 3)
    source = Source(name="x", train=examples, class_names=names)

    splits = source.split(0.1, test_split=0.1)

    for name in ("validation", "test", "train"):
        assert len(set(splits[name].targets)) == count
    assert "at least one of each class" in caplog.text
    rows = np.concatenate([split.inputs[:, 0] for split in splits.values()])
    assert sorted(rows) == list(range(examples.num_examples))
    assert tuple(np.bincount(splits["test"].targets)[-1:]) == sizes[1:]


def test_a_large_share_leaves_enough_for_the_next_split():
    examples, names = classes(9, 3)
    splits = Source(name="x", train=examples, class_names=names).split(0.5, test_split=0.9)

    counts = {name: np.bincount(split.targets).tolist() for name, split in splits.items()}
    assert counts == {"test": [7, 1], "validation": [1, 1], "train": [1, 1]}


def test_classes_too_small_for_what_is_held_out_are_named():
    examples, names = classes(9, 1)
    with pytest.raises(InputError, match=r"at least 2 examples.*Received: 1 of b"):
        held_out_rows(examples, 0.2, names)

    examples, names = classes(9, 2, 3)
    with pytest.raises(InputError, match=r"at least 3 .*`min_per_class` 3 .*Received: 2 of b"):
        Source(name="x", train=examples, class_names=names).split(0.1)
    splits = Source(name="x", train=examples, test=examples, class_names=names).split(0.1)
    assert np.bincount(splits["train"].targets)[1:].tolist() == [1, 2]


def test_groups_stay_together():
    groups = np.repeat(np.arange(10), 4)
    examples = Examples(groups[:, None], np.arange(40) % 4)
    source = Source(name="x", train=examples, groups=groups, class_names=tuple("abcd"))

    splits = source.split(0.25)

    groups_of_splits = [set(split.inputs[:, 0]) for split in splits.values()]
    assert [len(groups) for groups in groups_of_splits] == [6, 2, 2]
    assert set.union(*groups_of_splits) == set(range(10))
    with pytest.raises(InputError, match=r"at least 3 groups.*Received: 2"):
        Source(name="x", train=examples, groups=groups % 2).split(0.25)


def test_splits_that_the_source_gives_are_taken():
    train, validation, test = (Examples(np.full(6, number)) for number in range(3))

    splits = Source(name="x", train=train, validation=validation, test=test).split(0.5)
    assert [part.inputs.tolist() for part in splits.values()] == [[0] * 6, [1] * 6, [2] * 6]

    splits = Source(name="x", train=train, validation=validation).split(0.5)
    assert {name: part.num_examples for name, part in splits.items()} == {
        "train": 4, "validation": 6, "test": 2,
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_examples_are_refused(count):
    with pytest.raises(InputError, match=f"at least 2 examples .*Received: {count}"):
        held_out_rows(Examples(np.zeros(count)), 0.5)


def test_masks_are_held_out_without_regard_to_their_classes():
    examples = Examples(np.zeros((10, 4, 4, 1)), np.zeros((10, 4, 4), np.uint8))

    kept, held_out = held_out_rows(examples, 0.2, ("ground", "disc"))

    assert sorted([*kept, *held_out]) == list(range(10)) and len(held_out) == 2
