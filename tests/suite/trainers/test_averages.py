import keras
import numpy as np
import pytest
from keras import layers

from suite.trainers.averages import AverageWeights


class Trajectory(keras.callbacks.Callback):
    """Keeps the weights after every step, and what the validation saw."""

    def __init__(self):
        super().__init__()
        self.weights, self.validated = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights())

    def on_test_batch_begin(self, batch, logs=None):
        self.validated.append(self.model.get_weights())


def expected_average(trajectory, decay):
    average = trajectory[0]
    for number, weights in enumerate(trajectory, start=1):
        kept = min(decay, (1 + number) / (10 + number))
        average = [kept * a + (1 - kept) * w for a, w in zip(average, weights, strict=True)]
    return average


def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization()])
    model.compile("sgd", "mse")
    return model


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    return random.normal(size=(24, 3)).astype("float32"), random.normal(size=(24, 4))


def fit(model, data, callbacks, **arguments):
    x, y = data
    model.fit(x, y, batch_size=8, validation_data=data, callbacks=callbacks, verbose=0, **arguments)


def test_the_training_validates_and_ends_with_the_average(data):
    model, trajectory = make_model(), Trajectory()

    fit(model, data, [trajectory, AverageWeights(0.8)], epochs=4)

    for one, two in zip(
        model.get_weights(), expected_average(trajectory.weights, 0.8), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    for one, two in zip(trajectory.validated[-1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_training_itself_is_not_changed(data):
    alone, averaged = Trajectory(), Trajectory()

    fit(make_model(), data, [alone], epochs=3)
    fit(make_model(), data, [averaged, AverageWeights(0.9)], epochs=3)

    for one, two in zip(alone.weights[-1], averaged.weights[-1], strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_resumed_average_goes_on(data):
    whole = make_model()
    fit(whole, data, [AverageWeights(0.9)], epochs=4)

    first, saved = AverageWeights(0.9), {}
    model = make_model()

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                saved.update(first.state(), weights=self.model.get_weights())
                self.model.stop_training = True

    fit(model, data, [first, Stop()], epochs=4)
    ended, average = model.get_weights(), first.state()["averages"]
    second = AverageWeights(0.9)

    class Restore(keras.callbacks.Callback):  # at the begin of an epoch, as the engine does
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                second.restore(saved)

    model.set_weights(saved["weights"])
    model.stop_training = False
    fit(model, data, [second, Restore()], epochs=4, initial_epoch=2)

    for one, two in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    for one, two in zip(ended, average, strict=True):  # although it was stopped early
        np.testing.assert_array_equal(one, two)
