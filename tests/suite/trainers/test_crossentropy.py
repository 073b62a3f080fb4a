import keras
import numpy as np
import pytest

from suite.trainers.crossentropy import SmoothCrossentropy, accuracy

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


def test_the_larger_part_of_a_mixture_decides_whether_an_answer_is_right():
    answers = LOGITS.argmax(axis=1)
    mixture = np.stack([answers, (answers + 1) % 4, np.full(6, 0.6)], axis=1)

    np.testing.assert_array_equal(accuracy(keras.ops.array(answers), LOGITS), np.ones(6))
    np.testing.assert_array_equal(accuracy(keras.ops.array(mixture), LOGITS), np.ones(6))
    np.testing.assert_array_equal(accuracy(keras.ops.array((answers + 1) % 4), LOGITS), np.zeros(6))
