import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite.explanations import feature_visualization
from suite.explanations.feature_visualization import convolutions, excitement_of, exciting_inputs


@pytest.fixture(scope="module")
def network():
    """A network whose first convolution looks for a bright, a dark and a striped picture."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1), name="image")
    known = layers.Conv2D(3, 3, activation="relu", name="known")
    x = layers.Conv2D(5, 3, name="second")(known(layers.Rescaling(1 / 255)(image)))
    x = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x, name="small")
    stripes = np.tile([[-0.5, 1.0, -0.5]], (3, 1))
    kernel = np.stack([np.full((3, 3), 0.1), np.full((3, 3), -0.1), stripes], axis=-1)
    known.set_weights([kernel[:, :, None], np.float32([0, 1, 0])])
    return model


def test_the_convolutions_are_named_in_order(network):
    assert convolutions(network) == ["known", "second"]
    x = layers.DepthwiseConv2D(3, name="depthwise")(network.get_layer("second").output)
    x = layers.SeparableConv2D(2, 3, name="separable")(x)
    names = ["known", "second", "depthwise", "separable"]
    assert convolutions(keras.Model(network.input, x)) == names


def test_excitement_is_the_mean_square_of_a_map_where_it_is_positive(network):
    pictures = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 1)).astype("float32")

    excitement = excitement_of(network, ["second", "known"]).predict(pictures, verbose=0)

    maps = keras.Model(network.input, network.get_layer("second").output).predict(
        pictures, verbose=0
    )
    expected = np.where(maps > 0, maps**2, 0.01 * maps).mean(axis=(1, 2))
    np.testing.assert_allclose(excitement["second"], expected, rtol=1e-4, atol=1e-5)
    assert excitement["known"].shape == (4, 3)


def test_an_input_is_what_its_filter_looks_for(network):
    bright, dark, striped = exciting_inputs(network, "known", (0, 1, 2), (16, 16, 1), steps=100)

    assert bright.mean() > 250 and dark.mean() < 5
    differences = np.abs(np.diff(striped[..., 0], axis=1)).mean()
    assert differences > 2 * np.abs(np.diff(striped[..., 0], axis=0)).mean()


def test_shifts_and_blur_leave_less_that_changes_from_pixel_to_pixel(network, monkeypatch):
    smooth = exciting_inputs(network, "second", (0, 1, 2), (16, 16, 1))
    monkeypatch.setattr(feature_visualization, "BLUR", tf.constant([[0.0] * 3, [0, 1, 0], [0] * 3]))
    sharper = exciting_inputs(network, "second", (0, 1, 2), (16, 16, 1))
    monkeypatch.setattr(feature_visualization, "JITTER", 0.25)
    shifted = exciting_inputs(network, "second", (0, 1, 2), (16, 16, 1))

    def changes(pictures):
        return np.mean(np.diff(pictures, axis=1) ** 2) + np.mean(np.diff(pictures, axis=2) ** 2)

    assert changes(smooth) < 0.9 * changes(sharper)
    assert not np.array_equal(sharper, shifted)


def test_made_inputs_excite_more_than_pictures_at_random(network):
    coarse = np.random.default_rng(0).uniform(0, 255, (50, 4, 4, 1))
    pictures = np.kron(coarse, np.ones((4, 4, 1))).astype("float32")
    filters = (4, 0, 2)

    made = exciting_inputs(network, "second", filters, (16, 16, 1))

    excitement = excitement_of(network, ["second"])
    ours = excitement.predict(made, verbose=0)["second"][range(3), filters]
    best = excitement.predict(pictures, verbose=0)["second"].max(axis=0)[list(filters)]
    assert made.shape == (3, 16, 16, 1) and made.min() >= 0 and made.max() <= 255
    assert (ours > best).all()


def test_a_filter_that_nothing_excites_leaves_its_input_grey():
    image = keras.Input((16, 16, 3), name="image")
    dead = layers.Conv2D(1, 3, activation="relu", name="dead")
    model = keras.Model(image, dead(image))
    dead.set_weights([np.zeros((3, 3, 3, 1)), np.float32([-1])])

    [made] = exciting_inputs(model, "dead", [0], (16, 16, 3), steps=20)

    assert np.isfinite(made).all() and np.abs(made - 127.5).max() <= 11
