import numpy as np
import pytest

from suite.attacks.fooling import fooling_picture
from suite.attacks.gradients import probabilities


@pytest.mark.parametrize("label", [0, 7])
def test_noise_becomes_a_class_with_confidence(network, digits, label):
    picture = fooling_picture(network, label, (8, 8, 1))

    assert picture.shape == (8, 8, 1)
    assert picture.min() >= 0 and picture.max() <= 255
    np.testing.assert_array_equal(picture, np.rint(picture))
    assert probabilities(network, picture[None])[0, label] >= 0.9999
    of_class = digits[0][digits[1] == label].mean(axis=0)
    assert np.abs(picture - of_class).mean() > 50  # it does not look like the class


def test_without_steps_it_is_noise(network):
    start = fooling_picture(network, 0, (8, 8, 1), steps=0)
    later = fooling_picture(network, 0, (8, 8, 1), steps=5)

    assert start.std() > 50
    assert 0 < np.abs(later - start).max() <= 6
