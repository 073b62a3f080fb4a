import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.boltzmann import build_model
from suite import InputError
from suite.memories.boltzmann import (
    ContrastiveDivergence,
    RestrictedBoltzmann,
    drawn,
    gibbs,
    inputs_of,
    machines_of,
    pseudo_log_likelihood,
    sample,
)
from suite.memories.partition import Parameters, exact_log_partition

SEED = tf.constant([1, 2])


def machine(visible=3, hidden=2, scale=1.0, seed=0):
    """A machine with random weights and biases."""
    layer = RestrictedBoltzmann(hidden)
    layer.build((None, visible))
    random = np.random.default_rng(seed)
    layer.set_weights([scale * random.normal(size=tuple(weight.shape)) for weight in layer.weights])
    return layer


def states(count):
    """All states of some units, `(2 ** count, count)`."""
    return np.array(list(itertools.product((0, 1), repeat=count)), np.float32)


def probabilities(layer):
    """The probability of every visible state."""
    energies = np.asarray(layer.free_energy(states(layer.kernel.shape[0])), np.float64)
    weights = np.exp(-energies)
    return weights / weights.sum()


def test_the_free_energy_is_the_sum_over_all_hidden_states():
    layer = machine()
    kernel, visible_bias, hidden_bias = Parameters.of(layer)
    visible, hidden = states(3).astype(float), states(2).astype(float)
    energies = -(
        visible @ kernel @ hidden.T + (visible @ visible_bias)[:, None] + hidden @ hidden_bias
    )

    free_energies = np.asarray(layer.free_energy(states(3)))

    np.testing.assert_allclose(free_energies, -np.log(np.exp(-energies).sum(axis=1)), rtol=1e-5)


def test_both_directions_are_the_conditional_probabilities():
    layer = machine()
    kernel, visible_bias, hidden_bias = Parameters.of(layer)
    visible, hidden = states(3), states(2)

    up, down = np.asarray(layer(visible)), np.asarray(layer(hidden, down=True))

    np.testing.assert_allclose(up, 1 / (1 + np.exp(-visible @ kernel - hidden_bias)), rtol=1e-5)
    expected = 1 / (1 + np.exp(-hidden @ kernel.T - visible_bias))
    np.testing.assert_allclose(down, expected, rtol=1e-5)


def test_draws_have_their_probabilities_and_depend_on_the_seed():
    shares = tf.constant([[0.0, 0.2, 1.0]])
    one, same, other = (drawn(tf.repeat(shares, 10_000, 0), s) for s in (SEED, SEED, SEED + 1))

    assert set(np.unique(one)) == {0, 1}
    np.testing.assert_allclose(np.mean(one, axis=0), [0, 0.2, 1], atol=0.02)
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != np.asarray(other)).any()


def test_gibbs_sampling_follows_the_distribution_of_the_machine():
    layer = machine()

    samples = gibbs(layer, tf.zeros([20_000, 3]), 30, SEED)

    numbers = np.asarray(samples) @ [4, 2, 1]
    frequencies = np.bincount(numbers.astype(int), minlength=8) / len(numbers)
    np.testing.assert_allclose(frequencies, probabilities(layer), atol=0.02)


def test_a_single_machine_draws_what_it_finds_probable():
    layer = machine()

    means = np.mean(sample([layer], 20_000, 30, SEED), axis=0)

    np.testing.assert_allclose(means, probabilities(layer) @ states(3), atol=0.02)


def test_the_pseudo_likelihood_is_that_of_every_unit_given_the_others():
    layer = machine(visible=4, hidden=3)
    shares = dict(zip(map(tuple, states(4)), probabilities(layer), strict=True))
    state = (1.0, 0.0, 0.0, 1.0)
    exact = 0.0
    for unit in range(4):
        flipped = tuple(1 - bit if place == unit else bit for place, bit in enumerate(state))
        exact += np.log(shares[state] / (shares[state] + shares[flipped]))

    estimates = pseudo_log_likelihood(layer, tf.repeat([state], 20_000, axis=0), SEED)

    assert np.mean(estimates) == pytest.approx(exact, rel=0.05)


def test_the_gradient_is_the_difference_of_correlations():
    network = build_model((2, 2, 1), (3,), weight_scale=0.5)
    trainer = ContrastiveDivergence(network)
    [layer] = machines_of(network)
    visible, samples = states(4)[3:9], states(4)[:5]

    with tf.GradientTape() as tape:
        gap = trainer._gap(visible, samples)
    kernel, visible_bias, hidden_bias = tape.gradient(gap, [w.value for w in layer.weights])

    def correlations(rows):
        return rows.T @ np.asarray(layer(rows)) / len(rows)

    expected = correlations(samples) - correlations(visible)
    np.testing.assert_allclose(kernel, expected, atol=1e-6)
    np.testing.assert_allclose(visible_bias, samples.mean(0) - visible.mean(0), atol=1e-6)
    hidden = [np.asarray(layer(rows)).mean(0) for rows in (samples, visible)]
    np.testing.assert_allclose(hidden_bias, hidden[0] - hidden[1], atol=1e-6)


@pytest.mark.parametrize("chains", [None, 40])
def test_training_makes_the_examples_probable(chains):
    images = np.tile(255 * np.array([[1, 0, 1, 0], [0, 1, 0, 1]]), (500, 1)).reshape(-1, 2, 2, 1)
    network = build_model((2, 2, 1), (4,), weight_scale=0.1)
    [layer] = machines_of(network)
    trainer = ContrastiveDivergence(network, steps=2, chains=chains)
    trainer.compile(keras.optimizers.SGD(0.3))

    def nats():
        rows = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], np.float32)
        energies = np.asarray(layer.free_energy(rows))
        return float(-energies.mean() - exact_log_partition(Parameters.of(layer)))

    before = nats()
    history = trainer.fit(images, epochs=16, batch_size=40, verbose=0).history

    assert before == pytest.approx(-4 * np.log(2), abs=0.1)
    assert nats() > -1.5  # the best is -log 2
    assert history["pseudo_likelihood"][-1] > history["pseudo_likelihood"][0]
    if chains:
        assert set(np.unique(keras.ops.convert_to_numpy(trainer.chains))) == {0, 1}


def test_only_one_machine_learns_and_reads_what_is_below_it():
    network = build_model((2, 2, 1), (3, 2), weight_scale=0.5)
    lower, upper = machines_of(network)
    lower.trainable = False
    images = np.random.default_rng(0).uniform(0, 255, (20, 2, 2, 1))
    features = np.asarray(inputs_of(network, 1)(images))
    trainer = ContrastiveDivergence(network, 1)
    trainer.compile(keras.optimizers.SGD(0.1))
    before = [np.array(weight) for weight in (*lower.weights, *upper.weights)]

    trainer.fit(features, epochs=1, verbose=0)

    np.testing.assert_allclose(features, lower(images.reshape(20, 4) / 255), rtol=1e-4)
    after = [np.array(weight) for weight in (*lower.weights, *upper.weights)]
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True] * 3 + [False] * 3


def test_replicas_must_share_the_chains_evenly():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")][:2]
    reduction = tf.distribute.ReductionToOneDevice()
    with tf.distribute.MirroredStrategy(devices, reduction).scope():
        network = build_model((2, 2, 1))
        with pytest.raises(InputError, match=r"`chains` must be a multiple of .*, 2\. Received: 3"):
            ContrastiveDivergence(network, chains=3)
