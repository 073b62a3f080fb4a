import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite import InputError
from suite.attacks.gradients import (
    BATCH_SIZE,
    fgsm,
    logits_of,
    pgd,
    probabilities,
    right_and_wrong,
)


def accuracy(network, images, labels):
    return (probabilities(network, images).argmax(axis=1) == labels).mean()


def margins(logits, labels):
    """By how much the largest logit of a wrong class exceeds that of the right class."""
    right, wrong = right_and_wrong(logits, labels)
    return tf.reduce_max(wrong, axis=1) - right


def linear(seed=0, scale=1.0):
    """A linear network of two classes, and the difference of their weights by pixel."""
    image = keras.Input((4, 4, 3), name="image")
    logits = layers.Dense(2, name="logits")
    model = keras.Model(image, logits(layers.Flatten()(layers.Rescaling(1 / 255)(image))))
    weights = np.float32(scale * np.random.default_rng(seed).normal(size=(48, 2)))
    logits.set_weights([weights, np.float32([0.3, -0.2])])
    return model, (weights[:, 1] - weights[:, 0]).reshape(4, 4, 3) / 255


def test_the_fast_gradient_sign_method_is_one_step(network, digits):
    images, labels = (part[:100] for part in digits)

    changed = fgsm(network, images, labels, epsilon=0.1)

    with tf.GradientTape() as tape:
        pixels = tf.constant(images)
        tape.watch(pixels)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
            labels, network(pixels, training=False)
        )
    expected = np.clip(images + 25.5 * np.sign(tape.gradient(loss, pixels)), 0, 255)
    assert (np.abs(changed - expected) < 1e-3).mean() > 0.999  # gradients of nearly 0 may differ


@pytest.mark.parametrize("epsilon", [0.0, 0.02, 0.3, 1.0])
def test_no_pixel_changes_by_more_than_epsilon_or_leaves_its_range(network, digits, epsilon):
    images, labels = (part[:50] for part in digits)

    for changed in (
        fgsm(network, images, labels, epsilon=epsilon),
        pgd(network, images, labels, epsilon=epsilon, steps=5, restarts=2),
        pgd(network, images, labels, epsilon=epsilon, steps=3, step_size=1.0),
    ):
        assert changed.dtype == np.float32 and changed.shape == images.shape
        assert np.abs(changed - images).max() <= 255 * epsilon + 1e-3
        assert changed.min() >= 0 and changed.max() <= 255
        assert epsilon == 0 or (changed != images).any()


def test_stronger_attacks_leave_less_right(network, digits):
    images, labels = (part[:500] for part in digits)
    knobs = {"epsilon": 0.1}

    clean = accuracy(network, images, labels)
    by_one_step = accuracy(network, fgsm(network, images, labels, **knobs), labels)
    by_many = accuracy(network, pgd(network, images, labels, steps=20, **knobs), labels)

    assert clean > 0.95
    assert by_many <= by_one_step <= clean
    assert by_many < clean - 0.2


@pytest.mark.parametrize("scale", [1.0, 100.0])  # with 100, the cross-entropy is rounded to 0
def test_on_a_linear_network_one_step_is_the_exact_worst_case(scale):
    model, difference = linear(scale=scale)
    images = np.random.default_rng(1).uniform(0, 255, (20, 4, 4, 3)).astype("float32")
    labels = np.arange(20) % 2

    changed = fgsm(model, images, labels, epsilon=0.2)

    before, after = (
        margins(logits_of(model, x), tf.constant(labels, tf.int32)).numpy()
        for x in (images, changed)
    )
    signed = np.where(labels == 0, 1, -1)[:, None, None, None] * difference
    low, high = np.maximum(images - 51, 0), np.minimum(images + 51, 255)
    largest = np.maximum(signed * (low - images), signed * (high - images)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(after - before, largest, rtol=1e-4, atol=1e-4 * scale)


def test_more_restarts_never_find_fewer_wrong_answers(network, digits):
    images, labels = (part[:300] for part in digits)
    right = []
    for restarts in (1, 2, 5):
        changed = pgd(network, images, labels, epsilon=0.06, steps=3, restarts=restarts)
        right.append(probabilities(network, changed).argmax(axis=1) == labels)

    for fewer, more in itertools.pairwise(right):
        assert not (more & ~fewer).any()
    assert right[-1].sum() < right[0].sum()


def test_what_fooled_the_network_on_the_way_is_not_forgotten(network, digits):
    """Steps of twice the ball's width jump to and fro; more of them fool no fewer."""
    images, labels = (part[:300] for part in digits)
    leads = [
        margins(logits_of(network, pgd(network, images, labels, **knobs)), labels).numpy()
        for knobs in (
            {"epsilon": 0.0, "steps": 1},
            {"epsilon": 0.05, "steps": 1, "step_size": 0.2},
            {"epsilon": 0.05, "steps": 2, "step_size": 0.2},
            {"epsilon": 0.05, "steps": 3, "step_size": 0.2},
        )
    ]

    for fewer, more in itertools.pairwise(leads):
        assert (more >= fewer - 1e-4).all()
    assert (leads[-1] > leads[0]).any()


def test_an_attack_depends_on_its_seed_alone(network, digits):
    images, labels = (part[: BATCH_SIZE + 10] for part in digits)

    one, same, other = (
        pgd(network, images, labels, epsilon=0.1, steps=1, step_size=0.01, seed=seed)
        for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    # Every batch has random starts of its own.
    first, second = (one - images)[:10], (one - images)[BATCH_SIZE:]
    assert (first != second).any()


def test_the_network_is_used_as_after_training(network, digits):
    """In a batch of equal pictures, statistics of the batch would give other answers."""
    images = np.repeat(digits[0][:1], 8, axis=0)
    before = network.get_weights()

    outputs = logits_of(network, tf.constant(images))
    fgsm(network, images, np.zeros(8), epsilon=0.1)

    np.testing.assert_allclose(outputs, network.predict(images, verbose=0), rtol=1e-4, atol=1e-4)
    for one, two in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_of_several_outputs_the_logits_count(network, digits):
    outputs = {"features": network.layers[-2].output, "logits": network.output}
    several = keras.Model(network.input, outputs)
    images, labels = (part[:20] for part in digits)

    np.testing.assert_array_equal(
        fgsm(several, images, labels, epsilon=0.1), fgsm(network, images, labels, epsilon=0.1)
    )


def test_margins_by_hand():
    logits = tf.constant([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0]])

    assert margins(logits, tf.constant([1, 2])).numpy().tolist() == [-2.0, 2.0]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"epsilon": -0.1}, "`epsilon` must be from 0 to 1"),
        ({"epsilon": 1.1}, "`epsilon` must be from 0 to 1"),
        ({"epsilon": 0.1, "steps": 0}, "`steps` must be at least 1"),
        ({"epsilon": 0.1, "restarts": 0}, "`restarts` must be at least 1"),
    ],
)
def test_bad_input_is_refused(network, digits, knobs, message):
    with pytest.raises(InputError, match=message):
        pgd(network, *digits, **knobs)


@pytest.mark.filterwarnings("ignore:PyTorch not found:UserWarning")  # which it can do without
def test_the_accuracy_is_that_of_the_adversarial_robustness_toolbox(network, digits):
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    images, labels = (part[:500] for part in digits)
    classifier = TensorFlowV2Classifier(
        network,
        nb_classes=10,
        input_shape=images.shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0, 255),
    )
    peer = ProjectedGradientDescent(
        classifier,
        eps=25.5,
        eps_step=2.5 * 25.5 / 40,
        max_iter=40,
        num_random_init=1,
        batch_size=len(images),
        verbose=False,
    )
    one_hot = keras.utils.to_categorical(labels, 10)

    theirs = accuracy(network, peer.generate(np.asarray(images, np.float32), one_hot), labels)

    ours = accuracy(network, pgd(network, images, labels, epsilon=0.1, steps=40), labels)
    assert ours == pytest.approx(theirs, abs=0.005)
    assert ours < accuracy(network, images, labels) - 0.1
