"""Padding changes nothing: no loss, no metric, no gradient, no answer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite import Run
from suite.app import Fitted
from suite.data.pipelines import batches
from tests.strangers.tagging import NAMES, Config, app


@pytest.fixture
def tagging():
    """An untrained tagger, compiled, with its data."""
    keras.utils.set_random_seed(0)
    data, config = app.data(Config(), Run()), Config()
    built = app.build()
    model = app.compile(built, config, 1)
    return Fitted(model=model, networks={"tagging": built}, data=data, config=config, folder=None)


def longer(batch, more=7):
    """A batch with more padding behind every sentence."""
    return tuple(tf.pad(part, [[0, 0], [0, more]]) for part in batch)


def test_a_loss_and_its_gradients_are_those_without_padding(tagging):
    model = tagging.model
    results = []
    for inputs, targets in (batch := next(iter(tagging.data.validation)), longer(batch)):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(inputs, targets, model(inputs, training=True))
        results.append([loss, *tape.gradient(loss, model.trainable_variables)])

    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(one), tf.convert_to_tensor(other), rtol=1e-4, atol=1e-7
        )


def test_a_loss_is_the_mean_over_words_and_not_over_padding(tagging):
    inputs, targets = next(iter(tagging.data.validation))
    logits = tagging.model(inputs, training=False)

    loss = tagging.model.compute_loss(inputs, targets, logits)

    of_words = tf.nn.log_softmax(logits)[targets > 0].numpy()
    expected = -of_words[np.arange(len(of_words)), targets[targets > 0]].mean()
    assert (targets.numpy() == 0).sum() > 0
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_metrics_are_the_same_with_more_padding_and_in_other_batches(tagging):
    split = tagging.data.splits["validation"]
    results = [
        tagging.model.evaluate(dataset, verbose=0, return_dict=True)
        for dataset in (
            batches(split),
            batches(split).map(lambda *batch: longer(batch)),
            batches(split, 3),
        )
    ]

    for name in ("accuracy", "nats"):
        assert results[1][name] == pytest.approx(results[0][name], rel=1e-5)
        assert results[2][name] == pytest.approx(results[0][name], rel=1e-5)


def test_weights_of_an_uneven_share_weigh_its_words(tagging):
    inputs, targets = next(iter(tagging.data.validation))
    model = tagging.model
    logits = model(inputs, training=False)

    plain = model.compute_loss(inputs, targets, logits)
    halved = model.compute_loss(inputs, targets, logits, tf.fill([len(inputs), 1], 0.5))

    np.testing.assert_allclose(halved, plain / 2, rtol=1e-5)


def test_an_answer_is_the_same_alone_and_beside_a_longer_text(tagging):
    serve = app.endpoints(tagging)["serve"].function
    text, long = "the old dog", "a cat is not old " * 20

    [alone] = serve(tf.constant([text]))["tags"].numpy()
    beside, _ = serve(tf.constant([text, long]))["tags"].numpy()

    assert alone == beside
    assert len(alone.decode().split(" ")) == 3
    assert set(alone.decode().split(" ")) <= set(NAMES)
