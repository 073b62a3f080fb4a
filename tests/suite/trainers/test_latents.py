import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from keras import layers

from suite import InputError
from suite.export.saved_model import Export, export
from suite.trainers.latents import (
    Samples,
    SamplesEachEpoch,
    code,
    interpolated,
    latents,
    quantiles,
    sampler,
)


@pytest.fixture
def decode():
    latent = keras.Input((3,), name="latent")
    image = layers.Reshape((4, 4, 1))(layers.Dense(16, activation="sigmoid")(latent) * 255)
    return keras.Model(latent, {"image": image})


def test_the_same_seed_draws_the_same_latents():
    np.testing.assert_array_equal(latents(5, 3, seed=1), latents(5, 3, seed=1))
    assert (latents(5, 3, seed=1) != latents(5, 3, seed=2)).numpy().any()
    assert latents(5, 3, seed=2**32 - 1).shape == (5, 3)


def test_the_plane_is_cut_into_equal_shares():
    points = quantiles(4)

    assert points.shape == (16, 2)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)
    assert points[0, 0] == -points[3, 0] == pytest.approx(-1.15035, abs=1e-5)
    assert points[0, 1] > points[-1, 1]


def test_interpolation_goes_from_point_to_point():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 8.0]])

    way = interpolated(points, 5)

    assert way.shape == (10, 2)
    np.testing.assert_array_equal(way[[0, 1, 4, 5, 9]], [[0, 0], [1, 0], [4, 0], [4, 0], [4, 8]])


def test_the_endpoint_draws_what_the_decoder_makes_of_latents(decode):
    sample = sampler(decode).function

    drawn = sample(tf.constant(7), tf.constant(1, tf.int64))["image"]

    np.testing.assert_array_equal(drawn, decode(latents(7, 3, seed=1))["image"])


@pytest.mark.parametrize("num", [0, -1, 10_001, 2**31 - 1])
def test_the_endpoint_refuses_what_is_too_much(decode, num):
    sample = tf.function(sampler(decode).function)

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"num must be in 1\.\.10,000"):
        sample(tf.constant(num), tf.constant(0, tf.int64))


def test_samples_are_drawn_by_the_newest_export_into_one_picture(decode, tmp_path):
    ends = {"serve": decode, "sample": sampler(decode)}
    export(tmp_path / "drawer", decode, ends, np.zeros((2, 3)), {})
    newest = Export(export_dir=tmp_path)

    Samples(num=5, seed=3, output=tmp_path / "a.png").save("drawer", newest)
    Samples(num=5, seed=3, output=tmp_path / "b.png").save("drawer", newest)
    Samples(num=5, seed=4, output=tmp_path / "c.png").save("drawer", newest)

    first, again, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    with PIL.Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (12, 8)
    assert first == again != other


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("samples.txt", "must end in one of"),
        ("samples", "must end in one of"),
        ("nowhere/samples.png", "must be writable"),
        (f"{'x' * 300}.png", "must be writable"),
        ("folder.png", "must be writable"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(tmp_path, output, message):
    (tmp_path / "folder.png").mkdir()

    with pytest.raises(InputError, match=message):
        Samples(output=tmp_path / output).save("drawer", Export(export_dir=tmp_path))


def test_every_epoch_adds_a_frame(decode, tmp_path):
    callback = SamplesEachEpoch(decode, tmp_path)

    for epoch in range(3):
        decode.set_weights([weights + epoch for weights in decode.get_weights()])
        callback.on_epoch_end(epoch)
    callback.on_train_end()

    assert len(list((tmp_path / "samples").iterdir())) == 3  # nothing half-written beside them
    with PIL.Image.open(tmp_path / "figures" / "training.gif") as animation:
        assert animation.n_frames == 3


def test_no_epoch_no_animation(decode, tmp_path):
    SamplesEachEpoch(decode, tmp_path).on_train_end()

    assert not list(tmp_path.iterdir())


def test_codes_are_as_frequent_as_their_shares():
    numbers = keras.Input((3,))
    chooses = keras.Model(numbers, code(numbers, (0.6, 0.3, 0.1)))

    chosen = keras.ops.convert_to_numpy(chooses(latents(20_000, 3, seed=0)))

    np.testing.assert_allclose(np.bincount(chosen) / 20_000, (0.6, 0.3, 0.1), atol=0.01)
    extreme = np.float32([[-40, 40, 0], [40, 0, -40], [-40, -40, -40], [0, -8, 8]])
    assert list(chooses(extreme))[:2] == [1, 0] and list(chooses(extreme))[3] == 2
    again = keras.models.model_from_json(chooses.to_json())
    assert np.array_equal(again(latents(9, 3, seed=1)), chooses(latents(9, 3, seed=1)))
