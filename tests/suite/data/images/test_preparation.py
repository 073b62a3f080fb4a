import functools

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from scipy.ndimage import rotate

from suite import metrics
from suite.data.images.digits import embedded_digits
from suite.data.images.files import read_picture
from suite.data.images.preparation import Preparation, prepare_all

COUNT = 300
SIDE = 150
ACROSS = np.linspace(0, 1, SIDE)[None, :]
DOWN = np.linspace(0, 1, SIDE)[:, None]


@functools.cache
def digits():
    train = embedded_digits().train
    rows = np.random.default_rng(0).permutation(train.num_examples)[:COUNT]
    return train.rows(rows)


@functools.cache
def classifier():
    path = f"{metrics.__path__[0]}/fidelity.keras"
    return keras.models.load_model(path, compile=False)


def agreement(images):
    answers = classifier().predict(images, verbose=0, batch_size=COUNT).argmax(axis=-1)
    return (answers == digits().targets).mean()


def photographed(light=1.0, paper=230, ink=40, noise=0.0, angle=0):
    """Photos of digits on paper.

    Args:
        light: Brightness of the light, as a factor of all pixels or of each.
        paper: Grey value of the paper.
        ink: Grey value of the digit.
        noise: Standard deviation of the noise of the camera.
        angle: Degrees by which the photos are turned.
    """
    large = tf.image.resize(digits().inputs, (112, 112), method="bicubic").numpy() / 255
    strokes = np.pad(large.clip(0, 1)[..., 0], ((0, 0), (10, SIDE - 122), (SIDE - 117, 5)))
    sheets = (paper + (ink - paper) * strokes) * light
    sheets = rotate(sheets, angle, axes=(1, 2), reshape=False, order=1, mode="nearest")
    sheets = sheets + noise * np.random.default_rng(1).standard_normal(sheets.shape)
    return np.rint(sheets).clip(0, 255).astype(np.uint8)[..., None]


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


SCENES = {
    "light_on_dark": {"paper": 20, "ink": 235},
    "soft_shadow": {"light": 1 - 0.15 / (1 + np.exp(-12 * (ACROSS - 0.5)))},
    "one_side_darker": {"light": 1 - 0.25 * ACROSS},
    "grey_paper": {"paper": 130, "ink": 30},
    "rotated": {"light": 1 - 0.15 * ACROSS, "angle": 8},
}
MORE_SCENES = {
    "even": {},
    "edge_of_a_shadow": {"light": np.where(ACROSS + 0.3 * DOWN > 0.6, 0.75, 1.0)},
    "dark_grey_paper_shaded": {"paper": 90, "ink": 15, "light": 1 - 0.15 * DOWN},
    "light_on_dark_shaded": {"paper": 20, "ink": 200, "light": 1 - 0.25 * ACROSS},
    "noise": {"light": 1 - 0.25 * DOWN, "noise": 8.0},
    "pencil": {"paper": 220, "ink": 130, "noise": 4.0},
}


@pytest.mark.parametrize(
    "scene",
    [pytest.param(scene, id=name) for name, scene in SCENES.items()]
    + [pytest.param(s, id=name, marks=pytest.mark.full) for name, s in MORE_SCENES.items()],
)
def test_shadows_and_paper_do_not_matter(scene):
    prepared = prepare_all(photographed(**scene), Preparation())

    assert agreement(prepared) >= agreement(digits().inputs) - 0.02
    assert (prepared == 0).mean() > 0.6


def test_a_drawing_may_reach_the_edges():
    cut = digits().inputs[:, 4:24, 4:24]
    tight = tf.image.resize(255 - cut.astype(float), (80, 80), method="bicubic")
    tight = tf.cast(tf.clip_by_value(tight, 0, 255), tf.uint8).numpy()

    assert agreement(prepare_all(tight, Preparation())) >= 0.95


def test_what_mnist_might_have_drawn_is_left_alone():
    images = digits().inputs[:20]

    prepared = [Preparation()(png(image)).numpy() for image in images]

    np.testing.assert_array_equal(prepared, images)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_photo_of_the_size_is_left_alone(channels):
    photo = np.random.default_rng(0).integers(0, 256, (20, 24, channels), dtype=np.uint8)
    preparation = Preparation(layout="photo", height=20, width=24, channels=channels)

    np.testing.assert_array_equal(preparation(png(photo)), photo)


def test_a_photo_is_cropped_about_its_centre():
    photo = np.zeros((40, 100, 3), np.uint8)
    photo[:, 30:70] = (200, 100, 50)

    prepared = Preparation(layout="photo", height=8, width=8, channels=3)(png(photo)).numpy()

    assert (prepared == (200, 100, 50)).all()


def test_a_photo_is_grey_where_one_channel_is_wanted():
    prepared = Preparation(layout="photo", height=2, width=2)(
        png(np.full((2, 2, 3), (255, 0, 0), np.uint8))
    )

    assert prepared.shape == (2, 2, 1)
    assert (prepared.numpy() == 76).all()


@pytest.mark.parametrize(
    ("ink", "paper", "expected"),
    [
        ((220, 20, 20), (255, 255, 255), "red"),
        ((220, 20, 20), (0, 0, 0), "red"),
        ((20, 20, 120), (240, 235, 220), "blue"),
        ((10, 10, 10), (240, 235, 220), "white"),
    ],
)
def test_ink_keeps_its_hue(ink, paper, expected):
    picture = np.full((60, 60, 3), paper, np.uint8)
    picture[10:50, 25:35] = ink

    prepared = Preparation(channels=3)(png(picture)).numpy()

    red, _green, blue = brightest = prepared[14, 14].astype(int)
    assert brightest.max() > 250 and not prepared[0].any()
    if expected == "white":
        assert brightest.min() > 230
    else:
        assert abs(red - blue) > 90 and (red > blue) == (expected == "red")


def test_an_even_surface_becomes_nothing():
    for value in (0, 90, 255):
        assert not Preparation()(png(np.full((50, 40, 3), value, np.uint8))).numpy().any()


def picture():
    return (
        np.random.default_rng(0)
        .integers(0, 256, (5, 7, 3))
        .astype(np.uint8)
        .repeat(16, 0)
        .repeat(16, 1)
    )


@pytest.mark.parametrize(
    "preparation",
    [Preparation(), Preparation(layout="photo", height=24, width=24, channels=3)],
    ids=["drawing", "photo"],
)
def test_an_export_answers_as_python_does(preparation, tmp_path):
    PIL.Image.fromarray(photographed()[0, ..., 0]).save("sheet.png")
    PIL.Image.fromarray(photographed(light=1 - 0.25 * ACROSS)[1, ..., 0]).save("sheet.jpg")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(picture()).save("turned.jpg", exif=exif)
    paths = [tmp_path / name for name in ("sheet.png", "sheet.jpg", "turned.jpg")]

    class Served(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
        def __call__(self, encoded):
            spec = tf.TensorSpec(preparation.shape, tf.uint8)
            return tf.map_fn(preparation, encoded, fn_output_signature=spec)

    tf.saved_model.save(Served(), str(tmp_path / "saved"))
    served = tf.saved_model.load(str(tmp_path / "saved"))
    answers = served(tf.constant([path.read_bytes() for path in paths])).numpy()

    for path, answer in zip(paths, answers, strict=True):
        np.testing.assert_array_equal(answer, read_picture(path, preparation))
