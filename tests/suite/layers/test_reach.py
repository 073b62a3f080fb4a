import keras
import numpy as np
import pytest
from keras import layers

from apps.unet import build_model
from suite.layers.reach import reach_of


def farthest_change(network, side):
    """How far away a pixel changes the outputs, at most, over all phases of a stride of 8."""
    black = np.zeros((1, side, side, 1), "float32")
    farthest, plain = 0, np.asarray(network(black))
    for place in range(side // 2, side // 2 + 8):
        dotted = black.copy()
        dotted[0, place, side // 2] = 255
        rows = np.nonzero(np.abs(network(dotted) - plain).max(axis=(0, 2, 3)) > 1e-6)[0]
        farthest = max(farthest, *np.abs(rows - place))
    return farthest


@pytest.mark.parametrize(
    ("depth", "convolutions", "padding"), [(1, 1, "same"), (2, 2, "same"), (3, 1, "valid")]
)
def test_nothing_farther_away_changes_an_output(depth, convolutions, padding):
    keras.utils.set_random_seed(0)
    model = build_model(
        (None, None, 1), 2, depth=depth, convolutions=convolutions, padding=padding, filters=4
    )
    reach = reach_of(model)

    farthest = farthest_change(model, 128)

    assert 0.7 * reach <= farthest <= reach


def test_strides_and_dilations_reach_farther():
    image = keras.Input((None, None, 1))
    x = layers.Conv2D(2, 3, strides=2, padding="same")(image)  # 1 pixel
    x = layers.Conv2D(2, 3, dilation_rate=4, padding="same")(x)  # 4 places, 8 pixels
    x = layers.Conv2DTranspose(1, 2, strides=2)(x)  # 1 pixel

    assert reach_of(keras.Model(image, x)) == 10
