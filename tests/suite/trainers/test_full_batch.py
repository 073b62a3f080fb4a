import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from suite import InputError
from suite.data.examples import Examples
from suite.trainers import full_batch


def examples(count=300):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(count, 4)).astype("float32")
    noisy = inputs @ random.normal(size=(4, 3)) + random.normal(size=(count, 3))
    return Examples(inputs, noisy.argmax(axis=1).astype("int32"))


def softmax_regression(l2):
    row = keras.Input((4,), name="row")
    layer = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(l2), name="logits")
    model = keras.Model(row, layer(row))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_it_ends_where_scikit_learn_does(monkeypatch):
    """The split comes in parts of different sizes."""
    monkeypatch.setattr(full_batch, "MOST_EXAMPLES", 128)
    rows, l2 = examples(), 0.01
    model = softmax_regression(l2)

    loss = full_batch.fit_lbfgs(model, rows, 200)

    peer = LogisticRegression(C=1 / (2 * l2 * rows.num_examples), tol=1e-8, max_iter=1000)
    peer.fit(rows.inputs, rows.targets)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kernel, peer.coef_.T, atol=2e-3)
    np.testing.assert_allclose(
        bias - bias.mean(), peer.intercept_ - peer.intercept_.mean(), atol=2e-3
    )
    assert loss == pytest.approx(model.evaluate(*rows, verbose=0), rel=1e-4)


def test_more_iterations_lower_the_loss():
    losses = []
    for iterations in (1, 3, 30):
        keras.utils.set_random_seed(0)
        losses.append(full_batch.fit_lbfgs(softmax_regression(0.0), examples(), iterations))

    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Dropout(0.1),
        keras.layers.GaussianNoise(0.1),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(2, kernel_constraint=keras.constraints.MaxNorm(1.0)),
    ],
)
def test_what_is_no_function_of_the_weights_is_refused(layer):
    row = keras.Input((4,), name="row")

    with pytest.raises(InputError, match="`iterations` must be 0 for a network with dropout"):
        full_batch.refuse_stochastic_loss(keras.Model(row, layer(row)), "iterations", 3)
    full_batch.refuse_stochastic_loss(softmax_regression(0.0), "iterations", 3)
