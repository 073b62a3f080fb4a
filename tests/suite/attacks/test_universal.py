import keras
import numpy as np
import pytest

from suite import InputError
from suite.attacks.gradients import probabilities
from suite.attacks.universal import add_change, universal_perturbation


def test_one_change_fools_pictures_that_it_was_not_learnt_from(network, digits):
    images, labels = digits
    known, others = slice(0, 500), slice(500, 1000)

    change = universal_perturbation(network, images[known], labels[known], epsilon=0.3, steps=60)

    assert change.shape == (8, 8, 1) and np.abs(change).max() <= 76.5 + 1e-3
    noise = np.random.default_rng(0).choice([-76.5, 76.5], change.shape)
    right = {}
    for name, one in (("nothing", 0 * change), ("noise", noise), ("change", change)):
        changed = np.asarray(add_change(images[others], np.float32(one)))
        assert changed.min() >= 0 and changed.max() <= 255
        right[name] = (probabilities(network, changed).argmax(axis=1) == labels[others]).mean()
    assert right["nothing"] > 0.95
    assert right["change"] < min(0.5, right["noise"] - 0.1)


def test_the_same_seed_gives_the_same_change(network, digits):
    one, same, other = (
        universal_perturbation(network, *digits, epsilon=0.1, steps=3, seed=seed)
        for seed in (0, 0, 1)
    )

    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_network_that_is_sure_is_fooled_as_well(network, digits):
    """The cross-entropy of a right answer, and its gradient, are rounded to 0."""
    image = network.input
    sure = keras.Model(image, 1000.0 * network(image))

    change = universal_perturbation(sure, *digits, epsilon=0.3, steps=60)

    right = probabilities(sure, add_change(digits[0], change)).argmax(axis=1) == digits[1]
    assert right.mean() < 0.5


@pytest.mark.parametrize("steps", [1, 3])
def test_few_steps_reach_the_ends_as_well(network, digits, steps):
    change = universal_perturbation(network, *digits, epsilon=0.1, steps=steps)

    assert np.abs(change).max() == pytest.approx(25.5)


def test_bad_input_is_refused(network, digits):
    with pytest.raises(InputError, match=r"`epsilon` must be from 0 to 1.*Received: 2"):
        universal_perturbation(network, *digits, epsilon=2)
