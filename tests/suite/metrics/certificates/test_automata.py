"""Correct networks get a certificate, and wrong ones do not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite.metrics.certificates.automata import (
    Automaton,
    Network,
    StopWhenCertified,
    certify,
    closing_loss,
)

SYMBOLS = np.array([[0.0], [1.0]])
# Outputs the last symbol, which is also the state.
LAST = Automaton(SYMBOLS, np.array([[0, 1], [0, 1]]), np.array([[0, 1], [0, 1]]))
# Outputs 1 as soon as there was a 1.
EVER = Automaton(SYMBOLS, np.array([[0, 1], [1, 1]]), np.array([[0, 1], [1, 1]]))


def one_unit(read, keep, bias, output_weight=4.0, dtype="float32"):
    """A network of one tanh unit; its logit is the state of the unit, times `output_weight`."""
    inputs = keras.Input((None, 1))
    layer, readout = layers.SimpleRNN(1, return_sequences=True, dtype=dtype), layers.Dense(1)
    model = keras.Model(inputs, readout(layer(inputs)))
    layer.set_weights([np.full((1, 1), read), np.full((1, 1), keep), np.array([bias])])
    readout.set_weights([np.full((1, 1), output_weight), np.zeros(1)])
    return model, Network(layer, readout)


def test_a_right_network_gets_its_certificate():
    _, network = one_unit(read=8.0, keep=0.0, bias=-4.0)

    certificate = certify(network, LAST)

    assert certificate.holds
    # tanh of 4 or -4, times 4, less what rounding may take
    np.testing.assert_allclose(certificate.margin, 4 * np.tanh(4), atol=1e-3)
    assert certificate.sets == 1 + 2 * 2
    assert "unit roundoff 5.96e-08" in certificate.method


def test_memory_is_proven_where_it_lasts_and_refused_where_it_fades():
    _, lasting = one_unit(read=8.0, keep=4.0, bias=-2.0)
    model, fading = one_unit(read=2.5, keep=0.9, bias=-0.2)

    assert certify(lasting, EVER).holds
    refused = certify(fading, EVER)

    assert not refused.holds and refused.margin == 0
    # The refusal is just: after a one, enough zeros make it forget.
    zeros_after_one = np.zeros((1, 200, 1))
    zeros_after_one[0, 0] = 1
    assert model(zeros_after_one).numpy()[0, 0, 0] > 0
    assert model(zeros_after_one).numpy()[0, -1, 0] < 0


def test_coarse_arithmetic_is_refused():
    _, network = one_unit(read=16.0, keep=8.0, bias=-4.0)

    assert certify(network, EVER, roundoff=2.0**-11).holds
    assert not certify(network, EVER, roundoff=2.0**-3).holds


def test_network_that_computes_in_bfloat16_is_not_judged_as_if_in_float32():
    _, network = one_unit(read=8.0, keep=4.0, bias=-2.0, dtype="mixed_bfloat16")

    assert certify(network, EVER, roundoff=2.0**-24).holds
    assert not certify(network, EVER).holds


def test_wrong_outputs_are_refused_already_at_the_first_symbol():
    _, network = one_unit(read=8.0, keep=0.0, bias=-4.0, output_weight=-4.0)

    assert not certify(network, LAST).holds


def test_activation_without_bounds_is_said():
    inputs = keras.Input((None, 1))
    layer, readout = layers.SimpleRNN(1, activation="gelu"), layers.Dense(1)
    readout(layer(inputs))

    certificate = certify(Network(layer, readout), LAST)

    assert not certificate.holds
    assert certificate.method.startswith("`activation` must be")


def test_words_lead_to_every_state():
    counter = Automaton(SYMBOLS, np.array([[0, 1], [1, 2], [2, 2]]), np.zeros((3, 2), int))

    assert counter.shortest_words() == [(), (1,), (1, 1)]
    with pytest.raises(ValueError, match="must reach every state"):
        Automaton(SYMBOLS, np.array([[0, 0], [1, 1]]), np.zeros((2, 2), int)).shortest_words()


@pytest.mark.parametrize("cell", [layers.SimpleRNN, layers.GRU])
def test_the_loss_alone_teaches_an_automaton(cell):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 1))
    network = Network(cell(4, return_sequences=True), layers.Dense(1))
    model = keras.Model(inputs, network.readout(network.layer(inputs)))
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(model.trainable_variables)
    before = certify(network, LAST)

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            loss = closing_loss(network, LAST, rounds=3)
        optimizer.apply(tape.gradient(loss, model.trainable_variables))

    for _ in range(150):
        train()

    assert not before.holds
    assert certify(network, LAST).holds


def test_training_ends_with_the_proof():
    model, network = one_unit(read=8.0, keep=0.0, bias=-4.0)
    model.compile("sgd", "mse")
    callback = StopWhenCertified(network, LAST)

    history = model.fit(
        np.zeros((4, 3, 1)), -4 * np.ones((4, 3, 1)), epochs=5, verbose=0, callbacks=[callback]
    )

    assert len(history.history["loss"]) == 1
