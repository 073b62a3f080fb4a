import itertools

import keras
import numpy as np
import pytest
from keras import layers

from suite.explanations import shapley
from suite.explanations.coalitions import coalition_value


def game(num_players, seed=0):
    """A value for every coalition, drawn at random."""
    table = np.random.default_rng(seed).normal(size=2**num_players)
    return lambda coalitions: table[coalitions @ (1 << np.arange(num_players))]


def by_enumeration(value, num_players):
    """What each player adds, averaged over all orders in which they come."""
    shares = np.zeros(num_players)
    orders = list(itertools.permutations(range(num_players)))
    for order in orders:
        present = np.zeros((1, num_players), bool)
        before = value(present)[0]
        for player in order:
            present[0, player] = True
            after = value(present)[0]
            shares[player] += after - before
            before = after
    return shares / len(orders)


def convolutional():
    image = keras.Input((12, 12, 1), name="image")
    x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return keras.Model(image, layers.Dense(3, name="logits")(x))


@pytest.fixture
def picture_value():
    """The value of the nine cells of a picture for a network with convolution and max pooling."""
    model = convolutional()
    picture, other = np.random.default_rng(0).uniform(0, 255, (2, 12, 12, 1))
    cells = np.kron(np.arange(9).reshape(3, 3), np.ones((4, 4), int))

    def score(inputs):
        return np.asarray(model(inputs))[:, 1]

    return score, picture, other, coalition_value(score, picture, other[None], cells)


@pytest.mark.parametrize("num_players", [1, 2, 3, 5, 6])
def test_exact_values_are_those_of_the_definition(num_players):
    value = game(num_players)

    np.testing.assert_allclose(
        shapley.exact(value, num_players), by_enumeration(value, num_players), atol=1e-6
    )


@pytest.mark.parametrize("num_players", [1, 2, 3, 5, 8])
def test_kernel_shap_with_all_coalitions_is_exact(num_players):
    value = game(num_players, seed=1)

    np.testing.assert_allclose(
        shapley.kernel_shap(value, num_players), shapley.exact(value, num_players), atol=1e-6
    )


def test_all_coalitions_are_asked_for_at_once():
    asked = []

    def value(coalitions):
        asked.append(len(np.unique(coalitions, axis=0)))
        return coalitions.sum(axis=1)

    shares = shapley.shapley_values(value, 12)

    assert asked == [4096]
    np.testing.assert_allclose(shares, 1)


def test_values_add_up_with_convolution_and_max_pooling(picture_value):
    score, picture, other, value = picture_value

    shares = shapley.shapley_values(value, 9)

    after, before = score(np.stack([picture, other])).astype(float)
    assert shares.sum() == pytest.approx(after - before, abs=1e-6)
    assert np.abs(shares).min() > 0


def test_kernel_shap_agrees_with_convolution_and_max_pooling(picture_value):
    *_, value = picture_value

    np.testing.assert_allclose(shapley.kernel_shap(value, 9), shapley.exact(value, 9), atol=1e-6)


def test_the_values_of_a_row_against_a_background_are_those_of_the_definition():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(3)])
    row, *background = np.random.default_rng(0).normal(size=(11, 4))

    def score(inputs):
        return np.asarray(model(inputs))[:, 2]

    value = coalition_value(score, row, np.array(background), np.arange(4))
    shares = shapley.shapley_values(value, 4)

    np.testing.assert_allclose(shares, by_enumeration(value, 4), atol=1e-6)
    difference = score(row[None])[0] - score(np.array(background)).astype(float).mean()
    assert shares.sum() == pytest.approx(difference, abs=1e-6)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of Matplotlib, at its import
def test_the_values_are_those_of_the_library_shap():
    import shap

    model = keras.Sequential([keras.Input((5,)), layers.Dense(8, "tanh"), layers.Dense(3)])
    row, *background = np.random.default_rng(0).normal(size=(11, 5))

    def score(inputs):
        return np.asarray(model(inputs), np.float64)[:, 2]

    peer = shap.ExactExplainer(score, shap.maskers.Independent(np.array(background)))
    value = coalition_value(score, row, np.array(background), np.arange(5))

    np.testing.assert_allclose(
        shapley.shapley_values(value, 5), peer(row[None]).values[0], atol=1e-6
    )


def test_a_player_that_changes_nothing_has_no_share_and_equal_players_have_equal_ones():
    def value(coalitions):
        return (coalitions[:, 0] & coalitions[:, 1]).astype(float)

    np.testing.assert_allclose(shapley.exact(value, 4), [0.5, 0.5, 0, 0], atol=1e-12)


def test_drawn_coalitions_come_close_to_the_exact_values():
    weights = np.linspace(-1, 1, 20)

    def value(coalitions):
        present = coalitions.astype(float)
        return present @ weights + present[:, 0] * present[:, 1]

    shares = shapley.shapley_values(value, 20)

    np.testing.assert_allclose(shares, weights + 0.5 * (np.arange(20) < 2), atol=0.05)
    assert shares.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_array_equal(shares, shapley.shapley_values(value, 20))
