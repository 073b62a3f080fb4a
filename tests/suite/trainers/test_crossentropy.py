import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.trainers.crossentropy import (
    SmoothCrossentropy,
    TokenCrossentropy,
    accuracy,
    nats,
)

LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
LABELS = np.array([0, 3, 1, 2, 2, 0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_smoothed_labels_cost_what_keras_says(smoothing):
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)

    loss = SmoothCrossentropy(smoothing)(LABELS, LOGITS)

    expected = keras_loss(keras.ops.one_hot(LABELS, 4), LOGITS)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_mixture_costs_the_mean_of_its_labels():
    share = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    others = np.array([1, 1, 2, 0, 3, 3])
    loss = SmoothCrossentropy()
    first, second = (loss.call(labels, LOGITS) for labels in (LABELS, others))

    mixed = loss.call(keras.ops.array(np.stack([LABELS, others, share], axis=1)), LOGITS)

    np.testing.assert_allclose(mixed, share * first + (1 - share) * second, rtol=1e-5)


@pytest.mark.parametrize("made", [SmoothCrossentropy(0.3, reduction="sum"), accuracy])
def test_a_saved_model_has_its_loss_and_its_metric_again(made):
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))

    np.testing.assert_allclose(restored(LABELS, LOGITS), made(LABELS, LOGITS))


def test_the_larger_part_of_a_mixture_decides_whether_an_answer_is_right():
    answers = LOGITS.argmax(axis=1)
    mixture = np.stack([answers, (answers + 1) % 4, np.full(6, 0.6)], axis=1)

    np.testing.assert_array_equal(accuracy(keras.ops.array(answers), LOGITS), np.ones(6))
    np.testing.assert_array_equal(accuracy(keras.ops.array(mixture), LOGITS), np.ones(6))
    np.testing.assert_array_equal(accuracy(keras.ops.array((answers + 1) % 4), LOGITS), np.zeros(6))


TOKENS = np.array([[4, 5, 2, 0], [2, 0, 0, 0]])


def random_logits(rows=2, time=4):
    return np.random.default_rng(rows).normal(size=(rows, time, 7)).astype("float32")


def test_the_loss_is_the_mean_over_tokens_without_padding():
    logits = random_logits()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    by_hand = [
        -np.log(probabilities[r, t, TOKENS[r, t]]) for r, t in [(0, 0), (0, 1), (0, 2), (1, 0)]
    ]

    loss = float(TokenCrossentropy()(TOKENS, logits))

    assert loss == pytest.approx(np.mean(by_hand), rel=1e-5)
    wider = np.concatenate([logits, random_logits(time=3)], axis=1)
    padded = np.pad(TOKENS, [(0, 0), (0, 3)])
    assert float(TokenCrossentropy()(padded, wider)) == pytest.approx(loss, rel=1e-6)


def test_label_smoothing_is_that_of_keras():
    logits = random_logits(rows=1, time=1)
    target = np.eye(7)[[[4]]]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)

    loss = TokenCrossentropy(0.2)(np.array([[4]]), logits)

    assert float(loss) == pytest.approx(float(expected(target, logits)), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_gradient_of_tokens_is_that_of_keras(smoothing):
    logits = tf.constant(100 * random_logits().astype("float64"))
    weights = tf.constant([[1.0, 2.0, -3.0, 0.5]], "float64")
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction=None, dtype="float64"
    )

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = tf.reduce_sum(weights * nats(TOKENS, logits, smoothing))
        expected = tf.reduce_sum(weights * loss(np.eye(7)[TOKENS], logits))

    np.testing.assert_allclose(ours, expected, rtol=1e-10)
    np.testing.assert_allclose(
        tape.gradient(ours, logits), tape.gradient(expected, logits), atol=1e-10
    )
