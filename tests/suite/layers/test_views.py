import keras
import numpy as np
import pytest
from keras import layers

from suite.layers.views import average_pixel_views, average_views


@pytest.fixture
def network():
    image = keras.Input((None, None, 1), name="image")
    features = layers.Conv2D(4, 3, activation="relu")(image)
    return keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(features)), name="small")


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(2, 7, 9, 1)).astype("float32")


def shifted(images, shift):
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    return padded[:, 1 - shift : 8 - shift, 1 - shift : 10 - shift]


def test_a_plain_view_leaves_the_network_alone(network):
    assert average_views(network, "plain") is network


def test_mirrored_views_are_averaged(network, images):
    expected = (network(images) + network(images[:, :, ::-1])) / 2

    np.testing.assert_allclose(average_views(network, "mirrored")(images), expected, atol=1e-6)


def test_shifted_views_repeat_the_pixels_at_the_edge(network, images):
    views = [shifted(images, shift) for shift in (0, -1, 1)]
    views += [view[:, :, ::-1] for view in views]
    expected = np.mean([network(view) for view in views], axis=0)

    outputs = average_views(network, "mirrored_and_shifted")(images)

    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_the_mean_is_float32_and_has_the_network_s_name(network, images):
    averaged = average_views(network, "mirrored")

    assert averaged.name == "small" and averaged.output.dtype == "float32"


@pytest.fixture
def pixel_network():
    """A network whose answer at a pixel depends unevenly on its eight neighbours."""
    image = keras.Input((None, None, 1), name="image")
    x = layers.Conv2D(2, 3, padding="same", kernel_initializer="glorot_normal")(image)
    return keras.Model(image, x, name="pixels")


def test_a_plain_view_of_pixels_leaves_the_network_alone(pixel_network):
    assert average_pixel_views(pixel_network, "plain") is pixel_network


def test_answers_to_mirrored_pictures_are_mirrored_back(pixel_network, images):
    in_the_mirror = pixel_network(images[:, :, ::-1]).numpy()[:, :, ::-1]
    expected = (pixel_network(images).numpy() + in_the_mirror) / 2

    outputs = average_pixel_views(pixel_network, "mirrored")(images)

    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_turned_views_are_all_quarter_turns_of_a_picture_and_its_mirror_image(
    pixel_network, images
):
    answers = []
    for mirrored in (False, True):
        shown = images[:, :, ::-1] if mirrored else images
        for turns in range(4):
            turned = np.rot90(shown, turns, axes=(1, 2)).copy()
            back = np.rot90(pixel_network(turned).numpy(), -turns, axes=(1, 2))
            answers.append(back[:, :, ::-1] if mirrored else back)

    outputs = average_pixel_views(pixel_network, "turned")(images)

    np.testing.assert_allclose(outputs, np.mean(answers, axis=0), atol=1e-6)


def test_pictures_and_their_turned_images_get_the_same_answers(pixel_network, images):
    averaged = average_pixel_views(pixel_network, "turned")
    turned = np.rot90(averaged(images).numpy(), axes=(1, 2))

    outputs = averaged(np.rot90(images, axes=(1, 2)).copy())

    np.testing.assert_allclose(outputs, turned, atol=1e-6)
