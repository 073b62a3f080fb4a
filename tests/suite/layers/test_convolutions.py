import keras
import pytest
from keras import layers

from suite.layers.convolutions import convolve


@pytest.mark.parametrize("normalization", ["batch", "layer", "instance", "group", "none"])
def test_every_channel_has_one_offset(normalization):
    image = keras.Input((9, 7, 3))
    model = keras.Model(image, convolve(image, 4, (3, 1), 2, normalization))
    convolution = next(layer for layer in model.layers if isinstance(layer, layers.Conv2D))
    offsets = [w for w in model.trainable_weights if w.name in ("bias", "beta")]

    assert model.output_shape == (None, 5, 4, 4)
    assert convolution.kernel.shape == (3, 1, 3, 4)
    assert [weight.shape for weight in offsets] == [(4,)]


def test_without_padding_the_borders_are_left_out():
    image = keras.Input((9, 7, 3))

    assert convolve(image, 4, 3, padding="valid").shape == (None, 7, 5, 4)
