import keras
import numpy as np
import pytest
from keras import layers

from suite.trainers.auxiliary import AuxiliaryLosses


@pytest.fixture
def trained():
    x = keras.Input((3,), name="x")
    hidden = layers.Dense(4, activation="relu")(x)
    outputs = {
        "logits": layers.Dense(2, name="logits")(layers.Dense(4, activation="relu")(hidden)),
        "first": layers.Dense(2, name="first")(hidden),
        "second": layers.Dense(2, name="second")(x),
    }
    model = AuxiliaryLosses(keras.Model(x, outputs), 0.3)
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


@pytest.fixture
def examples():
    inputs = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    return inputs, np.array([0, 1, 0, 1, 1, 0])


def test_auxiliary_losses_count_in_training_alone(trained, examples):
    inputs, labels = examples
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    outputs = trained.network(inputs)
    losses = {name: float(cross_entropy(labels, logits)) for name, logits in outputs.items()}
    correct = np.asarray(outputs["logits"]).argmax(axis=1) == labels

    evaluated = trained.evaluate(inputs, labels, verbose=0, return_dict=True)
    fitted = trained.train_on_batch(inputs, labels, return_dict=True)

    expected = losses["logits"] + 0.3 * (losses["first"] + losses["second"])
    assert fitted["loss"] == pytest.approx(expected, rel=1e-5)
    assert evaluated["loss"] == pytest.approx(losses["logits"], rel=1e-5)
    assert fitted.keys() == evaluated.keys() == {"loss", "accuracy"}
    assert fitted["accuracy"] == evaluated["accuracy"] == pytest.approx(correct.mean())


def test_every_output_is_trained(trained, examples):
    before = [weight.numpy() for weight in trained.trainable_weights]
    trained.train_on_batch(*examples)

    assert len(before) == 10
    for old, new in zip(before, trained.trainable_weights, strict=True):
        assert (old != new.numpy()).any()


def test_predictions_are_the_logits(trained, examples):
    inputs, _ = examples

    expected = trained.network(inputs)["logits"]
    np.testing.assert_allclose(trained.predict(inputs, verbose=0), expected, rtol=1e-5, atol=1e-6)
