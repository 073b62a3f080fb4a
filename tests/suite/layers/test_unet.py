import functools

import keras
import numpy as np
import pytest
from keras import layers

from suite import InputError
from suite.layers.unet import (
    contract_and_expand,
    crop_to_smaller,
    refuse_too_deep,
    refuse_uneven,
)


def halve(filters, x):
    return layers.Conv2D(filters, 4, 2, padding="same")(x)


def double(filters, x):
    return layers.Conv2DTranspose(filters, 4, 2, padding="same")(x)


def u(image, filters, skips=True):
    return contract_and_expand(
        image,
        [functools.partial(halve, count) for count in filters],
        [functools.partial(double, count) for count in reversed(filters[:-1])],
        skips,
    )


@pytest.mark.parametrize(("skips", "channels"), [(True, 8), (False, 4)])
def test_features_of_equal_size_are_joined(skips, channels):
    image = keras.Input((16, 24, 3))

    features = u(image, (4, 6, 8), skips)

    assert features.shape == (None, 8, 12, channels)
    model = keras.Model(image, features)
    joined = [layer for layer in model.layers if isinstance(layer, layers.Concatenate)]
    assert [layer.output.shape[-1] for layer in joined] == [12, 8][: len(joined)]
    assert len(joined) == 2 * skips


def test_odd_sides_come_back_to_their_size():
    image = keras.Input((13, 9, 1))

    assert u(image, (4, 4, 4, 4)).shape == (None, 7, 5, 8)


def test_any_size_where_sides_are_not_known():
    image = keras.Input((None, None, 1))
    model = keras.Model(image, u(image, (2, 2, 2)))

    assert model(np.zeros((1, 16, 32, 1), np.float32)).shape == (1, 8, 16, 4)


def test_what_convolutions_have_cut_is_cropped_about_the_centre():
    picture = np.arange(5 * 8, dtype=np.float32).reshape(1, 5, 8, 1)
    one, other = keras.Input((5, 8, 1)), keras.Input((3, 8, 1))
    model = keras.Model([one, other], crop_to_smaller(one, other))

    cropped, same = model([picture, picture[:, :3]])

    np.testing.assert_array_equal(cropped, picture[:, 1:4])
    np.testing.assert_array_equal(same, picture[:, :3])


def test_as_many_halvings_as_a_picture_has_pixels_for():
    refuse_too_deep((64, 128), 6, "filters")
    refuse_too_deep((None, None), 20, "filters")

    with pytest.raises(InputError, match=r"^`filters` must halve .* 64 x 128 at most 6 .* 7$"):
        refuse_too_deep((64, 128), 7, "filters")


def test_sizes_that_fit_are_named():
    refuse_uneven((64, None), 4)

    with pytest.raises(InputError, match=r"^`image_size` must .* 16, such as 96 or 112, .* 100$"):
        refuse_uneven((64, 100), 4)
    with pytest.raises(InputError, match=r"such as 16, .* Received: 9$"):
        refuse_uneven((9, 16), 4)


def test_cuts_make_unpadded_convolutions_fit_where_sides_are_not_known():
    """A level of 3 x 3: 12 x 12 becomes 10, 5, 3 and 6 pixels, so 2 are cut on every side."""
    image = keras.Input((None, None, 1))

    def convolution(x):
        return layers.Conv2D(2, 3)(x)

    features = contract_and_expand(
        image,
        [convolution, lambda x: convolution(layers.MaxPooling2D()(x))],
        [layers.UpSampling2D()],
        cuts=[2],
    )

    for size in (12, 20):
        assert keras.Model(image, features)(np.zeros((1, size, size, 1))).shape[1] == size - 6
