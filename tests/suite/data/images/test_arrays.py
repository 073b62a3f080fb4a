import string
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from suite import InputError
from suite.data.examples import Examples, Source
from suite.data.images.arrays import prepare_source, read_npz
from suite.data.images.digits import embedded_digits
from suite.data.images.files import read_picture
from suite.data.images.layouts import InputOptions
from suite.data.images.preparation import Preparation


def noise(count=30, shape=(28, 28), high=256, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, high, (count, *shape)).astype(dtype)


def npz(**arrays):
    np.savez("own.npz", **arrays)
    return read_npz(Path("own.npz"), InputOptions())


def test_the_layout_of_keras_is_read():
    labels = np.arange(30) % 10

    source = npz(x_train=noise(), y_train=labels, x_test=noise(9), y_test=labels[:9])

    assert source.name == "own.npz"
    np.testing.assert_array_equal(source.train.inputs[..., 0], noise())
    np.testing.assert_array_equal(source.train.targets, labels)
    assert source.test.num_examples == 9
    assert source.class_names == tuple("0123456789")


def test_any_shape_and_any_number_of_classes():
    letters = np.arange(52) % 26
    names = list(string.ascii_lowercase)
    source = npz(x=noise(52, (32, 32, 3)), y=letters[:, None], class_names=names)

    assert source.train.inputs.shape == (52, 32, 32, 3)
    assert source.train.targets.tolist() == letters.tolist()
    assert source.class_names[25] == "z"
    assert source.test is None
    assert source.preparation == Preparation(layout="photo", height=32, width=32, channels=3)


def test_labels_may_be_names_or_begin_anywhere_or_be_missing():
    assert npz(x=noise(4), y=["b", "a", "b", "a"]).class_names == ("a", "b")
    from_one = npz(x=noise(4), y=[1, 2, 3, 1])
    assert from_one.class_names == ("1", "2", "3")
    assert from_one.train.targets.tolist() == [0, 1, 2, 0]
    none = npz(x_train=noise(4), x_test=noise(2))
    assert none.train.targets is None and none.class_names == () and none.test.num_examples == 2


@pytest.mark.parametrize(
    ("white", "dtype"),
    [
        (1, np.float32),
        (1.03, np.float32),
        (16, np.float64),
        (255, np.float64),
        (4095, np.uint16),
        (65535, np.int32),
        (1, bool),
    ],
)
def test_pixels_are_scaled_by_what_they_hold(white, dtype):
    pixels = noise() if dtype is not bool else noise(high=2) * np.uint8(255)

    source = npz(x=(pixels / 255 * white).astype(dtype), y=np.arange(30) % 2)

    difference = source.train.inputs[..., 0].astype(int) - pixels
    assert np.abs(difference).max() <= (1 if white != 1.03 else 8)


def test_dark_digits_on_white_are_what_predict_makes_of_them():
    digits = embedded_digits().train.rows(np.arange(20))

    source = npz(x=255 - digits.inputs, y=digits.targets)

    assert source.preparation == Preparation()
    PIL.Image.fromarray(255 - digits.inputs[3, ..., 0]).save("three.png")
    answer = read_picture(Path("three.png"), source.preparation)
    np.testing.assert_array_equal(source.train.inputs[3], answer)
    assert not answer[0].any()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": noise(2)}, "must hold x_train, or x.*Received: a"),
        ({"x": noise(2, (784,)), "y": [0, 1]}, r"Received: \(2, 784\) in train"),
        ({"x": noise(2, (3, 28, 28)), "y": [0, 1]}, "channels last"),
        ({"x": noise(2), "y": [0, 1, 2]}, "must be 2 integers or names"),
        (
            {"x_train": noise(2), "y_train": [0, 1], "x_test": noise(2), "y_test": ["a", "b"]},
            "must be integers, or names in UTF-8, in all splits",
        ),
        ({"x": noise(2), "y": [b"\xff", b"a"]}, "must be integers, or names in UTF-8"),
        ({"x": noise(2), "y": [0.5, 1.5]}, "must be 2 integers or names"),
        ({"x": noise(2), "y": [0, 5], "class_names": ["a", "b"]}, "among 0, 1. Received: 5"),
        ({"x": noise(2) / 127 - 1, "y": [0, 1]}, r"must be in 0\.\.1"),
        ({"x": np.full((2, 8, 8), np.nan), "y": [0, 1]}, r"must be in 0\.\.1"),
        ({"x": np.full((2, 8, 8), "a"), "y": [0, 1]}, "must be numbers"),
        ({"x_train": noise(2), "y_train": [0, 1], "x_test": noise(2)}, "in all splits or in none"),
        ({"x_train": noise(2), "x_test": noise(2, (8, 8))}, "same shape in all splits"),
    ],
)
def test_what_is_wrong_is_said(arrays, reason):
    with pytest.raises(InputError, match=reason):
        npz(**arrays)


def test_damaged_files_are_refused():
    npz(x=noise(), y=np.arange(30))
    content = Path("own.npz").read_bytes()

    for damaged in (content[:500], b"", b"text"):
        Path("own.npz").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read as one"):
            read_npz(Path("own.npz"), InputOptions())


def test_a_source_of_the_caller_is_completed():
    train = Examples(noise(6, (12, 10, 3)) / 255, np.array(["x", "y"] * 3))

    source = prepare_source(Source(name="arrays", train=train), InputOptions())

    assert source.train.inputs.dtype == np.uint8
    assert source.train.targets.tolist() == [0, 1] * 3
    assert source.class_names == ("x", "y")
    assert source.preparation == Preparation(layout="photo", height=12, width=10, channels=3)
    assert prepare_source(source, InputOptions()) is source
