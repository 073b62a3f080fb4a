import dataclasses
import logging
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from suite.data import sources, stored
from suite.data.examples import Examples, Source
from suite.data.pipelines import Augmentation, Shard, batches, shuffled_batches, supervised
from suite.errors import InputError
from suite.run import Run

COUNT = 23


def images(count=COUNT):
    return np.random.default_rng(0).integers(0, 255, (count, 4, 5, 3), dtype=np.uint8)


def decode(encoded):
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (4, 5, 3))


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = [folder / f"{number:02d}.png" for number in range(COUNT)]
    for path, image in zip(names, images(), strict=True):
        path.write_bytes(tf.io.encode_png(image).numpy())
    return names


@pytest.fixture
def pictures(paths):
    return stored.files(paths, decode, np.arange(COUNT, dtype=np.int32) % 3)


def in_memory():
    return Examples(images(), np.arange(COUNT, dtype=np.int32) % 3)


def assert_same(batch, other):
    for part, expected in zip(batch, other, strict=True):
        np.testing.assert_array_equal(part, expected)


def message_of_damage(dataset):
    """The message about the damaged file at which reading a dataset stops."""
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        list(dataset)
    return str(stored.damage_error(error.value))


class Letters(tfds.core.GeneratorBasedBuilder):
    """Pictures of noise, with words of different lengths."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(4, 5, 3)),
                    "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
                    "word": tfds.features.Sequence(np.int32),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, image in enumerate(images()):
            yield number, {"image": image, "label": number % 3, "word": [number] * (number % 4)}


def prepare(tmp_path, file_format):
    builder = Letters(data_dir=tmp_path / file_format, file_format=file_format)
    builder.download_and_prepare()
    return builder


def image_of(features):
    return features["image"]


def test_a_step_gives_the_same_batch_from_disk_as_from_memory(pictures):
    def noise(batch, draws):
        inputs, targets = batch
        return tf.cast(inputs, tf.float32) + draws[0][:, None, None, None], targets

    settings = {"batch_size": 5, "seed": 3, "augment": Augmentation(noise, 1)}
    from_disk, from_memory = (
        shuffled_batches(examples, **settings) for examples in (pictures, in_memory())
    )

    for number, batch in enumerate(from_disk(0).take(7)):
        assert_same(batch, next(iter(from_memory(number))))
        assert_same(batch, next(iter(from_disk(number))))


@pytest.mark.parametrize("threads", [1, 5])
def test_the_number_of_threads_changes_no_byte(pictures, threads):
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    train = shuffled_batches(pictures, 4, seed=5)(3).take(8)

    for batch, other in zip(train.with_options(options), train, strict=True):
        assert_same(batch, other)


def test_one_pass_and_memory_hold_all_examples_in_their_order(pictures):
    assert_same(pictures.in_memory(), in_memory())
    assert_same(pictures.parts(), in_memory().parts())
    assert_same(map(np.concatenate, zip(*batches(pictures, 4), strict=True)), in_memory())
    assert_same(pictures.rows(np.array([7, 2])).in_memory(), in_memory().rows(np.array([7, 2])))


def test_a_shard_decodes_its_rows_alone(pictures, paths):
    train = shuffled_batches(pictures, 6, seed=0)
    whole = next(iter(train(0)))
    second = next(iter(train(0, Shard(1, 2))))
    assert_same(second[:2], [part[3:] for part in whole])

    gone = int(np.flatnonzero((images() == whole[0][0].numpy()).all((1, 2, 3)))[0])
    paths[gone].unlink()

    assert_same(next(iter(train(0, Shard(1, 2)))), second)
    assert message_of_damage(train(0, Shard(0, 2)).take(1)) == (
        f"every example must be readable. Received: {paths[gone]}, damaged or gone"
    )


@pytest.mark.parametrize("batch_size", [1, COUNT])
def test_a_damaged_file_is_named_when_its_batch_comes(pictures, paths, batch_size):
    paths[9].write_bytes(paths[9].read_bytes()[:40])

    assert str(paths[9]) in message_of_damage(batches(pictures, batch_size))
    with pytest.raises(InputError, match=rf"Received: {paths[9]}, damaged or gone"):
        pictures.in_memory()


def test_an_error_about_something_else_names_no_file():
    error = tf.errors.InvalidArgumentError(None, None, "assertion failed: [shapes must be equal]")

    assert stored.damage_error(error) is None


def test_digest_is_of_names_sizes_times_rows_and_targets(pictures, paths, tmp_path):
    first = pictures.digest()
    others = [pictures.rows(np.arange(22)).digest(), pictures.rows(np.arange(COUNT)[::-1]).digest()]
    others.append(pictures.with_targets(pictures.targets + 1).digest())
    os.utime(paths[0], (0, 0))
    others.append(pictures.digest())
    paths[0].write_bytes(b"shorter")
    os.utime(paths[0], (0, 0))
    others.append(pictures.digest())
    moved = shutil.move(paths[0].parent, tmp_path / "elsewhere")
    there = stored.files([moved / path.name for path in paths], decode, pictures.targets)

    assert len({first, *others}) == 6
    assert there.digest() == others[-1]


def test_what_is_known_of_the_data_says_what_the_fingerprint_is_of(pictures):
    names = ("a", "b", "c")
    on_disk, from_memory = (
        supervised(
            Source(name="x", train=examples, test=in_memory(), class_names=names),
            batch_size=4,
            validation_split=0.25,
            seed=0,
            min_steps=1,
        )
        for examples in (pictures, in_memory())
    )

    assert on_disk.description.fingerprint_of == "sizes and times"
    assert from_memory.description.fingerprint_of == "content"
    assert np.bincount(on_disk.splits["validation"].targets).tolist() == [2, 2, 2]
    for name in ("train", "validation", "test"):
        assert_same(on_disk.splits[name].in_memory(), from_memory.splits[name])


def test_auto_reads_into_memory_what_fits(pictures, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    source = Source(name="x", train=pictures, test=pictures.rows(np.arange(2)))

    assert_same(stored.into_memory(source, "auto").train, in_memory())
    assert "25 examples are read into memory" in caplog.text
    assert stored.decoded_size(pictures) == COUNT * (4 * 5 * 3 + 4)

    monkeypatch.setattr(stored, "MOST_IN_MEMORY", (COUNT + 1) * (4 * 5 * 3 + 4))
    assert stored.into_memory(source, "auto") is source
    assert "25 examples are read from disk" in caplog.text
    assert isinstance(stored.into_memory(source, "yes").test, Examples)
    assert stored.into_memory(dataclasses.replace(source, test=None), "no").train is pictures


def test_records_of_tensorflow_datasets_are_read_at_random(tmp_path):
    builder = prepare(tmp_path, "array_record")
    on_disk = stored.records(builder, "train", image_of, label="label")
    as_stored = builder.as_data_source("train")
    expected = Examples(
        np.stack([example["image"] for example in as_stored]),
        np.asarray([example["label"] for example in as_stored], np.int32),
    )

    assert isinstance(on_disk, stored.Stored)
    np.testing.assert_array_equal(on_disk.targets, expected.targets)
    for batch, expected_batch in zip(
        shuffled_batches(on_disk, 5, seed=1)(2).take(4),
        shuffled_batches(expected, 5, seed=1)(2).take(4),
        strict=True,
    ):
        assert_same(batch, expected_batch)


def test_records_may_decode_targets_and_sequences_of_any_length(tmp_path):
    builder = prepare(tmp_path, "array_record")
    words = stored.records(
        builder, "train", lambda features: (image_of(features), features["word"])
    )

    memory = words.in_memory()
    assert words.targets is None
    assert isinstance(memory.targets, tf.RaggedTensor)
    for word in memory.targets.to_list():
        assert len(word) == (word or [0])[0] % 4
    assert_same(next(iter(batches(words, 9))), next(iter(batches(memory, 9))))


def test_records_that_can_only_be_read_in_order_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"`tfds build letters --file_format=array_record`"):
        stored.records(prepare(tmp_path, "tfrecord"), "train", image_of)


@pytest.mark.parametrize("in_memory", ["auto", "yes", "no"])
def test_a_run_says_whether_its_data_are_in_memory(tmp_path, in_memory):
    def from_tfds(builder, name):
        train = stored.records(builder, "train", image_of, label="label")
        return Source(name=name, train=train, class_names=("a", "b", "c"))

    def load():
        return sources.load(
            run, tfds_name="letters", from_tfds=from_tfds, embedded=None, from_path=None
        )

    prepare(tmp_path, "array_record")
    run = Run(data="tfds", data_dir=tmp_path / "array_record", in_memory=in_memory)
    assert isinstance(load().train, stored.Stored if in_memory == "no" else Examples)

    run = dataclasses.replace(run, min_per_class=8)
    assert load().class_names == ("a", "b")
    assert np.bincount(load().train.targets).tolist() == [8, 8]


def test_digest_of_records_sees_their_files(tmp_path):
    builder = prepare(tmp_path, "array_record")
    records = stored.records(builder, "train", image_of)
    first = records.digest()
    (file,) = builder.data_path.glob("*array_record*")
    os.utime(file, (0, 0))

    assert records.digest() != first


def test_lines_of_text_are_read_by_their_position(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\n\r\ntwö\r\n \nthree".encode())
    (tmp_path / "b.txt").write_bytes(b"four\n")
    lines = stored.text_lines([tmp_path / "a.txt", tmp_path / "b.txt"], lambda line: line)

    assert lines.in_memory().inputs.tolist() == [b"one", "twö".encode(), b"three", b"four"]
    (shuffled,) = zip(*shuffled_batches(lines, 2, seed=0)(0).take(2), strict=True)
    assert sorted(np.concatenate(shuffled)) == sorted(lines.in_memory().inputs)


def test_lines_can_be_tokens_of_any_number(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3\n4\n")
    lines = stored.text_lines(
        [tmp_path / "a.txt"], lambda line: tf.strings.to_number(tf.strings.split(line), tf.int32)
    )

    assert next(iter(batches(lines)))[0].numpy().tolist() == [[1, 2, 3], [4, 0, 0]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_windows_of_text_come_with_the_tokens_that_follow(tmp_path, dtype):
    for name, count in (("a", 14), ("b", 4), ("c", 9)):
        np.arange(count).astype(dtype).tofile(tmp_path / name)
    windows = stored.text_windows([tmp_path / name for name in "abc"], 4, dtype)

    inputs, targets = windows.in_memory()
    assert inputs[:, 0].tolist() == [0, 4, 8, 0, 4]
    np.testing.assert_array_equal(targets, inputs + 1)
    assert inputs.shape == (5, 4)


def test_a_text_that_became_shorter_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n")
    lines = stored.text_lines([path], lambda line: line)
    path.write_text("one\n")

    assert message_of_damage(batches(lines)) == (
        f"every example must be readable. Received: {path}, damaged or gone"
    )


@pytest.mark.parametrize("gone", ["a.txt", "array_record"])
def test_text_and_records_that_are_gone_are_named(tmp_path, gone):
    if gone == "a.txt":
        (tmp_path / gone).write_text("one\n")
        examples, file = stored.text_lines([tmp_path / gone], lambda line: line), tmp_path / gone
    else:
        builder = prepare(tmp_path, gone)
        examples = stored.records(builder, "train", image_of)
        (file,) = builder.data_path.glob("*array_record*")
    file.unlink()

    with pytest.raises(InputError, match=rf"Received: .*{gone}.*damaged or gone"):
        examples.in_memory()


def test_size_of_text_is_that_of_the_words(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("title\n" + ("x" * 999 + "\n") * 99)

    assert 90_000 < stored.decoded_size(stored.text_lines([path], lambda line: line)) < 110_000


def test_no_text_at_all_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n")

    with pytest.raises(InputError, match="at least one example"):
        stored.text_lines([path], lambda line: line)
