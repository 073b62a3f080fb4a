import keras
import numpy as np
import pytest

from suite import InputError
from suite.layers.residual import feature_maps, feature_pyramid


def test_every_stage_halves_height_and_width_and_doubles_the_filters():
    image = keras.Input((64, 96, 3))

    maps = feature_maps(image, (1, 2, 1), 4)

    assert [x.shape[1:] for x in maps] == [(32, 48, 4), (16, 24, 8), (8, 12, 16)]


@pytest.mark.parametrize("shape", [(40, 64, 3), (64, 40, 3)])
def test_sides_must_be_halved_without_a_remainder(shape):
    with pytest.raises(InputError, match=r"`image_size` must be a multiple of 16 .* Received: 40"):
        feature_maps(keras.Input(shape), (1, 1, 1, 1), 4)


def test_the_pyramid_keeps_sizes_and_has_the_same_channels():
    maps = feature_maps(keras.Input((32, 32, 1)), (1, 1, 1), 4)

    shapes = [x.shape[1:] for x in feature_pyramid(maps, 6)]

    assert shapes == [(16, 16, 6), (8, 8, 6), (4, 4, 6)]


def test_a_fine_map_of_the_pyramid_depends_on_what_is_far_away():
    """A pixel in a corner changes the fine map in the other one only by way of the coarse map."""
    image = keras.Input((32, 32, 1))
    maps = [keras.layers.AveragePooling2D(2)(image), keras.layers.AveragePooling2D(32)(image)]
    whole = keras.layers.UpSampling2D(8)(maps[1])
    model = keras.Model(image, feature_pyramid([maps[0], whole], 16, "none")[0])
    plain, marked = np.zeros((1, 32, 32, 1)), np.zeros((1, 32, 32, 1))
    marked[0, 0, 0] = 1000.0

    difference = np.abs(np.asarray(model(marked)) - np.asarray(model(plain)))

    assert difference[0, -1, -1].max() > 0
