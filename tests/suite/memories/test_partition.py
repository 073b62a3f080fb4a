import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from suite.memories import partition
from suite.memories.boltzmann import RestrictedBoltzmann
from suite.memories.partition import (
    Parameters,
    estimated_log_partition,
    exact_log_partition,
    inverse_temperatures,
    log_bernoulli,
    log_likelihood,
)

SEED = tf.constant([3, 4])


def random_parameters(visible, hidden, scale, seed=0):
    random = np.random.default_rng(seed)
    shapes = ((visible, hidden), (visible,), (hidden,))
    return Parameters(*(scale * random.normal(size=shape) for shape in shapes))


def layer_of(parameters):
    layer = RestrictedBoltzmann(len(parameters.hidden_bias))
    layer.build((None, len(parameters.visible_bias)))
    layer.set_weights(list(parameters))
    return layer


def states(count):
    return np.array(list(itertools.product((0, 1), repeat=count)), float)


def brute_force(parameters):
    """The log of the sum over all states of both sides."""
    kernel, visible_bias, hidden_bias = parameters
    visible, hidden = states(len(visible_bias)), states(len(hidden_bias))
    return logsumexp(
        visible @ kernel @ hidden.T + (visible @ visible_bias)[:, None] + hidden @ hidden_bias
    )


@pytest.mark.parametrize(("visible", "hidden"), [(5, 3), (3, 5), (1, 1)])
def test_the_sum_over_one_side_is_that_over_both(visible, hidden):
    parameters = random_parameters(visible, hidden, 1.0)

    assert exact_log_partition(parameters) == pytest.approx(brute_force(parameters), rel=1e-12)


def test_the_sum_in_parts_is_the_same(monkeypatch):
    parameters = random_parameters(6, 5, 1.0)
    monkeypatch.setattr(partition, "NUMBERS_AT_ONCE", 7 * 6)  # 7 states of 6 units

    assert exact_log_partition(parameters) == pytest.approx(brute_force(parameters), rel=1e-12)


def test_annealed_importance_sampling_comes_near_the_exact_sum():
    parameters = random_parameters(30, 16, 0.4)

    estimate, error = estimated_log_partition(parameters, np.zeros(30), steps=1000, chains=200)

    assert estimate == pytest.approx(exact_log_partition(parameters), abs=0.1)
    assert 0 < error < 0.1


def test_without_weights_the_estimate_is_exact():
    parameters = random_parameters(6, 4, 1.0)
    parameters = parameters._replace(kernel=np.zeros((6, 4)))

    estimate, error = estimated_log_partition(
        parameters._replace(hidden_bias=np.zeros(4)), parameters.visible_bias, steps=3, chains=2
    )

    assert estimate == pytest.approx(
        brute_force(parameters._replace(hidden_bias=np.zeros(4))), rel=1e-12
    )
    assert error == pytest.approx(0, abs=1e-12)


def test_temperatures_go_from_nothing_to_the_machine_in_ever_smaller_steps():
    betas = inverse_temperatures(290)

    assert betas[0] == 0 and betas[-1] == pytest.approx(1) and len(betas) == 291
    distances = np.diff(betas)
    assert (distances > 0).all() and (np.diff(distances) < 1e-12).all()
    assert betas[10] == pytest.approx(0.5) and betas[90] == pytest.approx(0.9)


def test_probabilities_of_all_states_sum_to_one():
    parameters = random_parameters(5, 3, 1.0)

    nats = log_likelihood(
        [layer_of(parameters)],
        tf.constant(states(5), tf.float32),
        exact_log_partition(parameters),
        SEED,
    )

    assert np.exp(nats).sum() == pytest.approx(1, rel=1e-4)


def test_two_machines_have_a_lower_bound():
    lower, upper = random_parameters(3, 2, 1.0), random_parameters(2, 2, 1.0, seed=1)
    layers = [layer_of(lower), layer_of(upper)]
    log_partition = exact_log_partition(upper)
    hidden = states(2)
    of_hidden = -np.asarray(layers[1].free_energy(hidden.astype("float32"))) - log_partition
    visible = np.array([[1.0, 0.0, 1.0]])
    given_hidden = log_bernoulli(
        tf.constant(visible), tf.constant(hidden @ lower.kernel.T + lower.visible_bias)
    )
    exact = logsumexp(np.asarray(given_hidden) + of_hidden)

    rows = tf.constant(np.repeat(visible, 20_000, axis=0), tf.float32)
    bounds = np.asarray(log_likelihood(layers, rows, log_partition, SEED))

    assert bounds.mean() <= exact + 0.01
    # With weights by which the hidden units are drawn, the mean is that of importance sampling.
    assert np.log(np.exp(bounds.astype(float)).mean()) == pytest.approx(exact, abs=0.03)
