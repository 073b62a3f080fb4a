import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import Ridge

from suite import InputError
from suite.memories.reservoirs import (
    EchoStateCell,
    Readout,
    echo_state_network,
    features_of,
    forecaster,
)


def cell(units=20, **options):
    return EchoStateCell(units, **{"connections": 4, "seed": 1, "dtype": "float64", **options})


def network_of(reservoir=None, mean=0.5, scale=2.0):
    return echo_state_network(reservoir or cell(), mean, scale, "net")


def matrix_of(reservoir):
    """The recurrent weights `(units, units)`; a row has the weights that its unit reads by."""
    matrix = np.zeros((reservoir.units, reservoir.units))
    rows = np.arange(reservoir.units)[:, None]
    matrix[rows, np.asarray(reservoir.sources)] = np.asarray(reservoir.weights_of_sources)
    return matrix


@pytest.mark.parametrize("radius", [0.3, 1.2])
def test_the_weights_are_sparse_and_have_the_spectral_radius(radius):
    reservoir = cell(spectral_radius=radius)
    reservoir.build((None, 1))
    matrix = matrix_of(reservoir)

    assert abs(np.linalg.eigvals(matrix)).max() == pytest.approx(radius)
    assert ((matrix != 0).sum(axis=1) == 4).all()


def test_a_step_by_hand():
    reservoir = cell(leak=0.3, bias_scale=0.5)
    reservoir.build((None, 2))
    random = np.random.default_rng(0)
    inputs, state = random.normal(size=(3, 2)), random.normal(size=(3, 20))

    following, [same] = reservoir(inputs, [state])

    drive = inputs @ np.asarray(reservoir.kernel) + state @ matrix_of(reservoir).T
    expected = 0.7 * state + 0.3 * np.tanh(drive + np.asarray(reservoir.bias))
    np.testing.assert_allclose(following, expected, rtol=1e-12)
    np.testing.assert_array_equal(following, same)


def test_the_reservoir_forgets_how_it_began():
    reservoir = cell(spectral_radius=0.8, leak=0.5)
    layer = keras.layers.RNN(reservoir, dtype="float64")
    series = np.random.default_rng(0).normal(size=(1, 400, 1))

    ends = [layer(series, initial_state=[np.full((1, 20), begin)]) for begin in (-1.0, 1.0)]

    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)


def test_seeds_decide_the_weights():
    keras.utils.set_random_seed(3)
    first, second = cell(seed=None), cell(seed=None)
    keras.utils.set_random_seed(3)
    again = cell(seed=None)

    assert first.seed == again.seed != second.seed


def test_features_are_states_and_the_standardised_series_after_the_wash_out():
    reservoir = cell()
    network = network_of(reservoir)
    series = np.random.default_rng(0).normal(size=(5, 12, 1))

    features = features_of(network, series, washout=7, at_once=2)

    assert features.shape == (25, 21) and features.dtype == np.float64
    np.testing.assert_allclose(features[:, -1], (series[:, 7:].ravel() - 0.5) / 2, rtol=1e-12)
    states = features[:, :-1].reshape(5, 5, 20)
    np.testing.assert_allclose(states[:, -1], network(series)["state"], rtol=1e-12)


def test_the_readout_is_scikit_learn_s_ridge_regression():
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(60, 7)), random.normal(size=60) + 3
    readout = Readout(features, targets)

    for ridge in (1e-3, 0.5):
        kernel, bias = readout.weights(ridge)
        peer = Ridge(alpha=60 * ridge).fit(features, targets)
        np.testing.assert_allclose(kernel[:, 0], peer.coef_, rtol=1e-8)
        np.testing.assert_allclose(bias, [peer.intercept_], rtol=1e-8)


def test_a_forecast_feeds_predictions_back():
    network = network_of()
    series = np.random.default_rng(0).normal(size=(2, 15, 1))

    forecast = tf.function(forecaster(network, 6))(tf.constant(series)).numpy()

    assert forecast.shape == (2, 6)
    longer = series
    for step in range(6):
        following = np.asarray(network(tf.constant(longer))["next"])[:, -1:]
        np.testing.assert_allclose(forecast[:, step], following[:, 0, 0], rtol=1e-10)
        longer = np.concatenate([longer, following], axis=1)


def test_saved_and_loaded_it_predicts_the_same(tmp_path):
    network = network_of()
    network.save(tmp_path / "net.keras")

    loaded = keras.models.load_model(tmp_path / "net.keras")

    series = tf.constant(np.random.default_rng(0).normal(size=(2, 15, 1)))
    np.testing.assert_allclose(loaded(series)["next"], network(series)["next"], rtol=1e-12)


def test_connections_must_fit():
    with pytest.raises(InputError, match="`connections` must be at most `units`"):
        cell(units=3)
