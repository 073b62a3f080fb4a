import keras
import numpy as np
import pytest
from keras import layers

from suite.attacks.gradients import pgd, probabilities
from suite.placement.strategy import create_strategy
from suite.trainers.adversarial import AdversarialClassifier


def classifier(hidden=16, **knobs):
    """A small classifier of images of 4 x 4 pixels, trained against attacks."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1), name="image")
    x = layers.Flatten()(layers.Rescaling(1 / 127.5, offset=-1)(image))
    if hidden:
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.5)(layers.Dense(hidden)(x)))
    network = keras.Model(image, layers.Dense(2, dtype="float32", name="logits")(x), name="small")
    model = AdversarialClassifier(
        network, **{"epsilon": 0.1, "steps": 3, "step_size": None, "seed": 0, **knobs}
    )
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


def test_the_loss_on_attacked_pictures_falls_and_the_network_becomes_robust():
    images, labels = examples()
    model = classifier()

    losses = model.fit(images, labels, batch_size=16, epochs=15, verbose=0).history["loss"]

    assert losses[-1] < losses[0] / 2
    changed = pgd(model.network, images, labels, epsilon=0.1, steps=10)
    assert (probabilities(model.network, changed).argmax(axis=1) == labels).mean() > 0.95


def test_the_training_counts_attacked_pictures_and_the_test_those_of_the_data():
    images, labels = examples()
    model = classifier(hidden=0, epsilon=0.4)
    model.optimizer.learning_rate = 0.0
    plain = model.evaluate(images, labels, verbose=0, return_dict=True)

    attacked = model.fit(images, labels, batch_size=64, verbose=0).history

    assert attacked["loss"][0] > 1.2 * plain["loss"]
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), model.network.predict(images, verbose=0)
    )
    assert {"loss", "accuracy"} == set(plain)


def test_the_same_seed_gives_the_same_weights():
    def trained(seed):
        model = classifier(seed=seed, steps=1, step_size=0.01)
        model.fit(*examples(), batch_size=16, epochs=2, shuffle=False, verbose=0)
        return model.network.get_weights()

    one, same, other = trained(1), trained(1), trained(2)
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


def test_replicas_take_the_step_of_one_device():
    """On a linear network with long steps, attacks end in the same corner from any start."""
    weights = []
    for placement in ("one_device", "mirrored"):
        with create_strategy(placement).scope():
            model = classifier(hidden=0, steps=2, step_size=0.2)
        model.fit(*examples(), batch_size=16, epochs=3, shuffle=False, verbose=0)
        weights.append(model.network.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "jit"), [("mixed_bfloat16", False), ("mixed_float16", False), ("float32", True)]
)
def test_it_learns_in_mixed_precision_and_compiled(precision, jit):
    keras.config.set_dtype_policy(precision)
    model = classifier()
    model.jit_compile = jit

    losses = model.fit(*examples(), batch_size=16, epochs=15, verbose=0).history["loss"]

    assert losses[-1] < losses[0] / 2
    if precision == "mixed_float16":  # the loss is scaled
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_share_of_the_batch_is_attacked():
    """The loss is the mean over attacked pictures, the first ones, and pictures as they are."""
    images, labels = examples(40)

    def loss(share, rows):
        model = classifier(hidden=0, epsilon=0.4, steps=2, step_size=0.8, share=share)
        model.optimizer.learning_rate = 0.0
        history = model.fit(
            images[rows], labels[rows], batch_size=40, shuffle=False, verbose=0
        ).history
        return history["loss"][0], model

    quarter, model = loss(0.25, slice(None))
    attacked, _ = loss(1.0, slice(10))
    plain = model.evaluate(images[10:], labels[10:], verbose=0, return_dict=True)["loss"]

    assert attacked > 1.2 * plain
    np.testing.assert_allclose(quarter, 0.25 * attacked + 0.75 * plain, rtol=1e-4)
