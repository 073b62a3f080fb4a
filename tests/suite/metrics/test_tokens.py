import keras
import numpy as np
import pytest

from suite.metrics.tokens import TokenMean

RIGHT = keras.metrics.sparse_categorical_accuracy


def predictions(tokens):
    """Logits of 5 tokens whose largest ones are these."""
    return np.eye(5, dtype="float32")[np.array(tokens)]


def test_every_token_counts_alike_whatever_the_batch():
    metric = TokenMean(RIGHT, name="accuracy")
    metric.update_state(np.array([[3, 0, 0, 0], [4, 0, 0, 0]]), predictions([[3] * 4, [1] * 4]))
    metric.update_state(np.array([[1, 2, 3, 4, 1, 2]]), predictions([[1, 2, 3, 4, 1, 2]]))

    assert float(metric.result()) == pytest.approx(7 / 8)


def test_more_padding_changes_nothing():
    results = []
    for more in (0, 9):
        metric = TokenMean(RIGHT, name="accuracy")
        for targets in ([[1, 2, 3]], [[2, 4, 1]]):
            padded = np.pad(np.array(targets), [(0, 0), (0, more * (targets[0][0] - 1))])
            metric.update_state(padded, predictions(np.where(padded == 1, 1, 0)))
        results.append(float(metric.result()))

    assert results == pytest.approx([2 / 6, 2 / 6])


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_weights_of_sequences_weigh_their_tokens(shape):
    metric = TokenMean(RIGHT, name="accuracy")
    targets = np.array([[3, 1], [4, 0]])

    metric.update_state(targets, predictions([[3, 1], [1, 1]]), np.reshape([1.0, 3.0], shape))

    assert float(metric.result()) == pytest.approx(2 / 5)
