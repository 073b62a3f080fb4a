import keras
import numpy as np
import pytest
from keras import layers

from suite.trainers.latents import decode_latents, interpolate_latents, latent_grid, sample_latents


def test_the_same_seed_draws_the_same_latents():
    np.testing.assert_array_equal(sample_latents(5, 3, seed=1), sample_latents(5, 3, seed=1))
    assert (sample_latents(5, 3, seed=1) != sample_latents(5, 3, seed=2)).numpy().any()
    assert sample_latents(5, 3, seed=2**32 - 1).shape == (5, 3)


def test_the_plane_is_cut_into_equal_shares():
    points = latent_grid(4)

    assert points.shape == (16, 2)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)
    assert points[0, 0] == -points[3, 0] == pytest.approx(-1.15035, abs=1e-5)
    assert points[0, 1] > points[-1, 1]


def test_interpolation_goes_from_point_to_point():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 8.0]])

    way = interpolate_latents(points, 5)

    assert way.shape == (10, 2)
    np.testing.assert_array_equal(way[[0, 1, 4, 5, 9]], [[0, 0], [1, 0], [4, 0], [4, 0], [4, 8]])


def test_decoded_in_parts_is_decoded_at_once():
    latent = keras.Input((3,), name="latent")
    decoder = keras.Model(latent, {"image": layers.Reshape((2, 2, 1))(layers.Dense(4)(latent))})
    points = sample_latents(2345, 3, seed=0).numpy()

    np.testing.assert_allclose(decode_latents(decoder, points), decoder(points)["image"], atol=1e-6)
