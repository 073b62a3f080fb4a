from types import SimpleNamespace

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from keras import layers

from suite import InputError
from suite.data import Examples
from suite.export.exported import Exports
from suite.export.saved_model import write_saved_model
from suite.tasks.image_generation import (
    EpochSamples,
    Interpolation,
    Samples,
    interpolate,
    refuse_single_pictures,
    sample,
    sample_endpoint,
)
from suite.trainers.latents import sample_latents


def decoder(channels=1):
    latent = keras.Input((3,), name="latent")
    pixels = layers.Dense(16 * channels, activation="sigmoid")(latent) * 255
    return keras.Model(latent, {"image": layers.Reshape((4, 4, channels))(pixels)})


@pytest.fixture
def decode():
    return decoder()


def test_the_endpoint_draws_what_the_decoder_makes_of_latents(decode):
    sample = sample_endpoint(decode).function

    images = sample(tf.constant(7), tf.constant(1, tf.int64))["image"]

    np.testing.assert_array_equal(images, decode(sample_latents(7, 3, seed=1))["image"])


@pytest.mark.parametrize("num", [0, -1, 10_001, 2**31 - 1])
def test_the_endpoint_refuses_what_is_too_much(decode, num):
    sample = tf.function(sample_endpoint(decode).function)

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"num must be in 1\.\.10,000"):
        sample(tf.constant(num), tf.constant(0, tf.int64))


def exported(decode, folder):
    """Exports of a decoder with all signatures that the commands call."""
    endpoints = {"serve": decode, "decode": decode, "sample": sample_endpoint(decode)}
    write_saved_model(folder / "drawer", decode, endpoints, np.zeros((2, 3)), {})
    return Exports(export_dir=folder)


# The commands need only the name of an application.
APP = SimpleNamespace(name="drawer")


def test_samples_are_drawn_by_the_newest_export_into_one_picture(decode, tmp_path, capsys):
    newest = exported(decode, tmp_path)

    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        samples = Samples(num=5, seed=seed, output=tmp_path / f"{name}.png")
        sample(APP, samples=samples, exports=newest)

    first, again, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    with PIL.Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (12, 8)
    assert first == again != other
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'c.png'}: 5 samples, seed 4"


def test_an_interpolation_begins_and_ends_in_samples(decode, tmp_path):
    newest = exported(decode, tmp_path)

    ways = Interpolation(num=3, steps=4, seed=5, output=tmp_path / "ways.png")
    interpolate(APP, interpolation=ways, exports=newest)

    with PIL.Image.open(tmp_path / "ways.png") as picture:
        pixels = np.asarray(picture).reshape(3, 4, 4, 4).swapaxes(1, 2)
    ends = decode(sample_latents(6, 3, seed=5))["image"].numpy()[..., 0].reshape(3, 2, 4, 4)
    np.testing.assert_allclose(pixels[:, [0, -1]], ends, atol=0.6)


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
    nothing = Exports(export_dir=tmp_path)

    with pytest.raises(InputError, match=message):
        sample(APP, samples=Samples(output=tmp_path / output), exports=nothing)
    with pytest.raises(InputError, match=message):
        interpolate(APP, interpolation=Interpolation(output=tmp_path / output), exports=nothing)


def test_one_picture_alone_is_not_compared():
    data = SimpleNamespace(
        splits={"validation": SimpleNamespace(num_examples=2), "test": Examples(np.zeros((1, 4)))}
    )
    with pytest.raises(InputError, match=r"must be 2 pictures or more.*Received: 1 in test"):
        refuse_single_pictures(data)


def test_every_epoch_adds_a_frame(decode, tmp_path):
    callback = EpochSamples(decode, tmp_path)

    for epoch in range(3):
        decode.set_weights([weights + epoch for weights in decode.get_weights()])
        callback.on_epoch_end(epoch)
    callback.on_train_end()

    assert len(list((tmp_path / "samples").iterdir())) == 3  # nothing half-written beside them
    with PIL.Image.open(tmp_path / "figures" / "training.gif") as animation:
        assert animation.n_frames == 3


def test_an_animation_in_colour_has_the_size_of_its_pictures(tmp_path):
    callback = EpochSamples(decoder(channels=3), tmp_path)

    for epoch in range(2):
        weights = callback.decoder.get_weights()
        callback.decoder.set_weights([array + epoch for array in weights])
        callback.on_epoch_end(epoch)
    callback.on_train_end()

    [first, _] = sorted((tmp_path / "samples").iterdir())
    with (
        PIL.Image.open(first) as picture,
        PIL.Image.open(tmp_path / "figures" / "training.gif") as animation,
    ):
        assert animation.size == picture.size
        assert animation.n_frames == 2


def test_no_epoch_no_animation(decode, tmp_path):
    EpochSamples(decode, tmp_path).on_train_end()

    assert not list(tmp_path.iterdir())
