import keras
import numpy as np
import pytest
from keras import layers

from suite.layers.views import average_views


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
