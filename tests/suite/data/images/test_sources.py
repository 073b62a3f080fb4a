import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from apps.mnist_cnn import app as mnist_cnn
from suite import InputError, Run
from suite.data import sources, stored
from suite.data.examples import Examples, Source
from suite.data.images.preparation import Preparation
from suite.data.images.sources import load_pictures


def prepare(name, shape, splits, folder, labels=("cat", "dog")):
    """A prepared dataset of a name that nobody has heard of."""
    features = {"image": tfds.features.Image(shape=shape)}
    if labels:
        features["label"] = tfds.features.ClassLabel(names=labels)
    tfds.dataset_builders.store_as_tfds_dataset(
        name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            split: tf.data.Dataset.from_generator(
                lambda examples=examples: iter(examples),
                output_signature={
                    key: tf.TensorSpec(shape if key == "image" else (), dtype)
                    for key, dtype in (("image", tf.uint8), ("label", tf.int64))
                    if key in features
                },
            )
            for split, examples in splits.items()
        },
        data_dir=str(folder),
    )


def examples(sizes, channels=3, label=True):
    rng = np.random.default_rng(0)
    return [
        {"image": rng.integers(0, 256, (*size, channels)).astype(np.uint8)}
        | ({"label": index % 2} if label else {})
        for index, size in enumerate(sizes)
    ]


def assert_same_pictures(one, other):
    """In any order: what prepares a dataset shuffles it."""
    assert sorted(image.tobytes() for image in one) == sorted(image.tobytes() for image in other)


def test_a_set_nobody_has_heard_of_is_read_with_its_splits_and_names(tmp_path):
    splits = {s: examples([(20, 24)] * 6) for s in ("train", "validation", "test")}
    prepare("creatures", (20, 24, 3), splits, tmp_path)

    source = load_pictures(Run(data_dir=tmp_path), "creatures")

    assert source.name == "tfds:creatures/1.0.0"
    assert source.class_names == ("cat", "dog")
    assert source.preparation == Preparation(layout="photo", height=20, width=24, channels=3)
    assert_same_pictures(source.train.inputs, [e["image"] for e in splits["train"]])
    assert source.validation.num_examples == source.test.num_examples == 6
    assert source.notes == {}


def test_pictures_of_many_sizes_are_resized(tmp_path):
    splits = {"train": examples([(30, 40), (50, 40), (45, 61)])}
    prepare("sizes", (None, None, 3), splits, tmp_path)

    source = load_pictures(Run(data_dir=tmp_path), "sizes")

    assert source.train.inputs.shape == (3, 40, 40, 3)
    assert sorted(source.train.targets) == [0, 0, 1]
    assert source.preparation.description == "photos of 40 x 40 pixels, in colour"
    expected = [source.preparation.prepare(e["image"]).numpy() for e in splits["train"]]
    assert_same_pictures(source.train.inputs, expected)


def test_labels_may_be_missing(tmp_path):
    prepare("bare", (8, 8, 1), {"train": examples([(8, 8)] * 3, 1, False)}, tmp_path, labels=())

    source = load_pictures(Run(data_dir=tmp_path), "bare")

    assert source.train.targets is None and source.class_names == ()


def test_what_lacks_labels_cannot_be_classified(tmp_path):
    prepare("bare", (8, 8, 1), {"train": examples([(8, 8)] * 3, 1, False)}, tmp_path, labels=())

    with pytest.raises(InputError, match=r"`dataset` must have two classes or more.*tfds:bare"):
        mnist_cnn.data(mnist_cnn.config(dataset="bare"), Run(data_dir=tmp_path))


@pytest.mark.parametrize("shape", [(20, 24, 3), (None, None, 3)])
def test_what_is_read_in_order_is_refused_beyond_the_memory_that_is_allowed(
    shape, tmp_path, monkeypatch
):
    monkeypatch.setattr(stored, "MOST_IN_MEMORY", 6 * 20 * 20 * 3)
    splits = {s: examples([(20, 24)] * 6) for s in ("train", "test")}
    prepare("creatures", shape, splits, tmp_path)

    with pytest.raises(InputError, match=r"^`in_memory` must be yes .*file_format=array_record"):
        load_pictures(Run(data_dir=tmp_path), "creatures")

    source = load_pictures(Run(data_dir=tmp_path, in_memory="yes"), "creatures")
    assert source.train.num_examples == 6
    source = load_pictures(Run(data_dir=tmp_path), "creatures", image_size=8)
    assert source.train.inputs.shape == (6, 8, 8, 3)
    with pytest.raises(InputError, match="`in_memory` must be yes"):
        load_pictures(Run(data_dir=tmp_path), "creatures", image_size=64)


def test_other_names_have_no_embedded_set(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "_reachable", lambda host: False)

    with pytest.raises(InputError, match="cifar10 must be prepared under"):
        load_pictures(Run(data_dir=tmp_path), "cifar10")
    with pytest.raises(InputError, match="no cifar10 comes with the suite"):
        load_pictures(Run(data="embedded"), "cifar10")


def test_what_has_no_pictures_is_refused(tmp_path):
    tfds.dataset_builders.store_as_tfds_dataset(
        "numbers",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"x": tf.int64}),
        split_datasets={"train": tf.data.Dataset.range(3).map(lambda x: {"x": x})},
        data_dir=str(tmp_path),
    )

    with pytest.raises(InputError, match=r"have a feature named image.*features x"):
        load_pictures(Run(data_dir=tmp_path), "numbers")


def test_embedded_digits_may_have_another_size():
    assert load_pictures(Run(data="embedded")).preparation == Preparation()
    with pytest.raises(InputError, match="`channels` must be 1 or 3"):
        load_pictures(Run(data="embedded"), channels=2)

    source = load_pictures(Run(data="embedded"), image_size=32, channels=3)

    assert source.train.inputs.shape == (1797, 32, 32, 3)
    assert source.preparation == Preparation(height=32, width=32, channels=3)


def test_arrays_from_python_are_completed():
    train = Examples(np.random.default_rng(0).random((6, 9, 9)), np.arange(6) % 2)

    source = load_pictures(Run(data="arrays", arrays=Source(name="arrays", train=train)))

    assert source.train.inputs.shape == (6, 9, 9, 1)
    assert source.class_names == ("0", "1")
    assert source.preparation.shape == (9, 9, 1)
