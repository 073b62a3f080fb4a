from typing import get_args

import keras
import numpy as np
import pytest

from suite.layers.normalization import Normalization, normalize

AXES = {"batch": (0, 1, 2), "layer": (1, 2, 3), "instance": (1, 2), "group": (1, 2)}


@pytest.mark.parametrize("normalization", get_args(Normalization))
def test_means_and_variances_are_those_of_its_axes(normalization):
    image = keras.Input((6, 5, 32))
    model = keras.Model(image, normalize(image, normalization))
    features = np.random.default_rng(0).normal(3, 2, (4, 6, 5, 32)).astype("float32")

    outputs = np.asarray(model(features, training=True))

    if normalization == "none":
        np.testing.assert_array_equal(outputs, features)
        return
    if normalization == "group":
        outputs = outputs.reshape(4, 6, 5, 2, 16).transpose(0, 1, 2, 4, 3)
        AXES["group"] = (1, 2, 3)
    np.testing.assert_allclose(outputs.mean(AXES[normalization]), 0, atol=1e-4)
    np.testing.assert_allclose(outputs.std(AXES[normalization]), 1, atol=1e-3)


def test_groups_divide_any_number_of_channels():
    image = keras.Input((4, 4, 12))

    assert keras.Model(image, normalize(image, "group")).count_params() == 24
