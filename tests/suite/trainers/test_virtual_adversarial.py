import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite.placement.strategy import create_strategy
from suite.trainers.virtual_adversarial import VirtualAdversarial, divergence, unit_length


def classifier(hidden=16, **knobs):
    """A small classifier of images of 4 x 4 pixels."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1), name="image")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    if hidden:
        x = layers.Dense(hidden, "relu")(x)
    network = keras.Model(image, layers.Dense(2, name="logits")(x), name="small")
    model = VirtualAdversarial(network, **{"epsilon": 1.0, "seed": 0, **knobs})
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


def examples(count=64):
    """Images that are brighter in their upper or in their lower half."""
    labels = np.arange(count) % 2
    images = np.random.default_rng(0).integers(60, 140, (count, 4, 4, 1)).astype("float32")
    images[labels == 0, :2] += 80
    images[labels == 1, 2:] += 80
    return images, labels


def test_divergence_is_that_of_kullback_and_leibler():
    p, q = np.array([[0.2, 0.8]]), np.array([[0.5, 0.5]])

    expected = 0.2 * np.log(0.2 / 0.5) + 0.8 * np.log(0.8 / 0.5)

    assert float(divergence(np.log(p) + 3, np.log(q))[0]) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(np.log(p), np.log(p))[0]) == pytest.approx(0, abs=1e-6)


def test_lengths_become_one_even_of_very_small_changes():
    changes = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype("float32")
    changes *= np.array([1e-25, 1.0, 1e15], "float32")[:, None, None, None]

    lengths = np.sqrt((np.asarray(unit_length(tf.constant(changes))) ** 2).sum(axis=(1, 2, 3)))

    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_a_linear_network_is_attacked_along_the_difference_of_its_weights():
    """The answer of two classes depends on the difference of their logits alone."""
    model = classifier(hidden=0, epsilon=0.5)
    images, _ = examples(8)

    changes = np.asarray(model.change(tf.constant(images))).reshape(8, 16) / 255

    kernel = model.network.layers[-1].get_weights()[0]
    direction = (kernel[:, 0] - kernel[:, 1]) / np.linalg.norm(kernel[:, 0] - kernel[:, 1])
    np.testing.assert_allclose(np.abs(changes @ direction), 0.5, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(changes, axis=1), 0.5, rtol=1e-3)


def test_half_precision_attacks_pictures_that_are_sure_as_well():
    keras.config.set_dtype_policy("mixed_float16")
    model = classifier(hidden=0, epsilon=0.5)
    images, _ = examples(8)
    layer = model.network.layers[-1]
    kernel, bias = layer.get_weights()
    gaps = np.ptp(model.network.predict(images, verbose=0), axis=1)
    layer.set_weights([kernel * 18 / gaps.max(), bias])  # one answer has a probability of 2e-8

    changes = np.asarray(model.change(tf.constant(images))).reshape(8, 16) / 255

    np.testing.assert_allclose(np.linalg.norm(changes, axis=1), 0.5, rtol=1e-2)


def test_it_changes_the_answers_more_than_noise_does():
    model = classifier(epsilon=2.0)
    images, _ = examples()
    noise = np.random.default_rng(1).normal(size=images.shape).astype("float32")

    def change_of_answers(changes):
        return float(
            tf.reduce_mean(divergence(model.network(images), model.network(images + changes)))
        )

    attacked = change_of_answers(model.change(tf.constant(images)))
    assert attacked > 2 * change_of_answers(2.0 * 255 * unit_length(tf.constant(noise)))


def test_the_loss_has_the_divergence_in_training_alone():
    images, labels = examples()
    losses = {}
    for weight in (0.0, 1.0, 2.0):
        model = classifier(weight=weight)
        model.optimizer.learning_rate = 0.0
        plain = model.evaluate(images, labels, verbose=0, return_dict=True)
        logs = model.fit(images, labels, batch_size=64, shuffle=False, verbose=0).history
        losses[weight] = logs["loss"][0]
        assert logs["accuracy"][0] == pytest.approx(plain["accuracy"])

    assert losses[0.0] == pytest.approx(plain["loss"], rel=1e-4)
    assert losses[1.0] > losses[0.0] + 1e-3
    assert losses[2.0] - losses[1.0] == pytest.approx(losses[1.0] - losses[0.0], rel=1e-2)


def test_it_learns_and_answers_as_its_network():
    images, labels = examples()
    model = classifier()

    history = model.fit(images, labels, batch_size=16, epochs=30, verbose=0).history

    assert history["loss"][-1] < history["loss"][0] and history["accuracy"][-1] > 0.9
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), model.network.predict(images, verbose=0)
    )


def test_the_same_seed_gives_the_same_weights():
    def trained(seed):
        model = classifier(seed=seed)
        model.fit(*examples(), batch_size=16, epochs=2, shuffle=False, verbose=0)
        return model.network.get_weights()

    one, same, other = trained(1), trained(1), trained(2)
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


def test_replicas_have_the_loss_of_one_device():
    """On a linear network attacks lie on one line, and short ones of both signs do the same."""
    images, labels = examples()

    def divergence_in_loss(placement):
        with create_strategy(placement).scope():
            model = classifier(hidden=0, epsilon=0.1, weight=100.0)
        model.optimizer.learning_rate = 0.0
        plain = model.evaluate(images, labels, batch_size=64, verbose=0, return_dict=True)["loss"]
        logs = model.fit(images, labels, batch_size=64, shuffle=False, verbose=0).history
        return logs["loss"][0] - plain

    one, two = (divergence_in_loss(placement) for placement in ("one_device", "mirrored"))
    assert one > 0.01 and two == pytest.approx(one, rel=0.1)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_it_learns_in_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)
    model = classifier()

    losses = model.fit(*examples(), batch_size=16, epochs=15, verbose=0).history["loss"]

    assert losses[-1] < losses[0]
