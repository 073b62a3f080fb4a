import keras
import numpy as np
import pytest
from keras import layers

from suite.layers.whitening import fit_whitening, has_whitening, whiten


def test_whitened_patches_are_uncorrelated_and_of_variance_one():
    random = np.random.default_rng(0)
    noise = random.normal(size=(200, 9, 9, 3))
    images = 40 * noise + 20 * np.roll(noise, 1, axis=1) + 30 * noise[..., :1] + 100
    image = keras.Input((9, 9, 3))
    model = keras.Model(image, whiten(layers.Rescaling(1 / 100)(image)))

    fit_whitening(model, images.astype("float32"))
    outputs = model.predict(images, verbose=0).reshape(-1, 24)

    assert has_whitening(model) and not model.trainable_weights
    np.testing.assert_allclose(np.cov(outputs[:, :12], rowvar=False), np.eye(12), atol=0.05)
    np.testing.assert_allclose(outputs[:, 12:], -outputs[:, :12], atol=1e-5)  # both are rounded


@pytest.mark.parametrize("size", [2, 3])
def test_every_size_of_a_patch_has_two_filters_for_each_direction(size):
    image = keras.Input((8, 8, 2))
    assert whiten(image, size).shape == (None, 9 - size, 9 - size, 4 * size**2)


def test_another_network_has_no_whitening():
    image = keras.Input((8, 8, 2))
    assert not has_whitening(keras.Model(image, layers.Conv2D(3, 3)(image)))
