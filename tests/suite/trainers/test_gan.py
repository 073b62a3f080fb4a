import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite.errors import Diverged, InputError
from suite.placement.strategy import create_strategy
from suite.trainers.gan import (
    LOSSES,
    GenerativeAdversarialNetwork,
    PairedAdversarialNetwork,
    StopWhenDiscriminatorWins,
    _parts,
    mean_absolute_difference,
)


def network(noisy=True, learning_rate=0.1, **knobs):
    """A small adversarial network for images of 4 x 4 pixels."""
    keras.utils.set_random_seed(0)
    latent, image = keras.Input((2,), name="latent"), keras.Input((4, 4, 1), name="image")
    x = layers.Dense(16)(latent if noisy else 0 * latent)
    x = layers.BatchNormalization()(x) if noisy else x
    outputs = {"image": layers.Reshape((4, 4, 1))(255 * keras.ops.sigmoid(x))}
    generator = keras.Model(latent, outputs, name="generator")
    flat = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    scores = layers.Dense(1, dtype="float32")(layers.Dense(8, "tanh")(flat))
    discriminator = keras.Model(image, scores, name="discriminator")
    model = GenerativeAdversarialNetwork(generator, discriminator, seed=0, **knobs)
    model.compile(keras.optimizers.SGD(learning_rate), keras.optimizers.SGD(learning_rate))
    return model


def some_images(count=8):
    """Images that are brighter than those of an untrained generator."""
    return np.random.default_rng(0).integers(200, 256, (count, 4, 4, 1)).astype("float32")


def arrays_of(weights):
    return [np.array(weight) for weight in weights]


@pytest.mark.parametrize(
    ("loss", "score", "expected"),
    [
        ("non_saturating", 0.0, (np.log(2), np.log(2), np.log(2))),
        ("non_saturating", 3.0, (np.log1p(np.exp(-3)), np.log1p(np.exp(3)), np.log1p(np.exp(-3)))),
        # log(1 - D), which the generator makes as small as it can.
        ("minimax", 3.0, (np.log1p(np.exp(-3)), np.log1p(np.exp(3)), -np.log1p(np.exp(3)))),
        ("hinge", 0.5, (0.5, 1.5, -0.5)),
        ("hinge", 2.0, (0.0, 3.0, -2.0)),
        ("least_squares", 0.5, (0.25, 0.25, 0.25)),
        ("least_squares", 2.0, (1.0, 4.0, 1.0)),
    ],
)
def test_losses_by_hand(loss, score, expected):
    losses = [float(part(tf.constant(score))) for part in LOSSES[loss]]

    assert losses == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_mixes_the_losses_of_real_and_fake():
    model = network(label_smoothing=0.25)
    real, fake = tf.constant([[2.0]]), tf.constant([[-1.0]])

    _, loss = model._losses_of(real, fake)

    expected = 0.75 * np.log1p(np.exp(-2)) + 0.25 * np.log1p(np.exp(2)) + np.log1p(np.exp(-1))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_score_of_an_image_is_that_of_its_code():
    model = network()
    model.discriminator = lambda images, training: tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    pair = {"image": tf.zeros((2, 4, 4, 1)), "code": tf.constant([2, 0])}

    assert model._scores(pair, training=True).numpy().tolist() == [[3.0], [4.0]]


def test_label_smoothing_is_refused_for_losses_without_labels():
    with pytest.raises(InputError, match="`label_smoothing` must be 0 with `loss` hinge"):
        network(loss="hinge", label_smoothing=0.1)


@pytest.mark.parametrize("steps", [1, 3])
def test_each_network_takes_its_steps(steps):
    model = network(discriminator_steps=steps)
    before = arrays_of(model.learner.trainable_variables), arrays_of(model.discriminator.weights)

    model.fit(some_images(), batch_size=8, verbose=0)

    after = model.learner.trainable_variables, model.discriminator.weights
    assert int(model.optimizer.iterations.numpy()) == 1
    assert int(model.discriminator_optimizer.iterations.numpy()) == steps
    for old, new in zip(before, after, strict=True):
        assert any((a != np.array(b)).any() for a, b in zip(old, new, strict=True))


def test_the_discriminator_learns_to_tell_and_the_generator_to_deceive():
    """Each of them against the other one at a learning rate of 0."""
    images = some_images(64)
    against_generator, against_discriminator = network(), network()
    against_generator.optimizer.learning_rate = 0.0
    against_discriminator.discriminator_optimizer.learning_rate = 0.0

    history = against_generator.fit(images, epochs=30, batch_size=16, verbose=0).history
    losses = history["discriminator_loss"]
    assert losses[-1] < losses[0] - 0.3
    history = against_discriminator.fit(images, epochs=60, batch_size=16, verbose=0).history
    losses = history["generator_loss"]
    assert losses[-1] < losses[0] - 0.1


def test_the_generator_is_the_moving_average_of_the_learner():
    model = network(ema_momentum=0.5)
    start = arrays_of(model.generator.weights)
    expected, momenta = start, (2 / 11, 3 / 12)

    for momentum in momenta:
        model.fit(some_images(), batch_size=8, verbose=0)
        learnt = arrays_of(model.learner.weights)
        expected = [
            momentum * old + (1 - momentum) * new for old, new in zip(expected, learnt, strict=True)
        ]

    for one, other in zip(model.generator.weights, expected, strict=True):
        np.testing.assert_allclose(np.array(one), other, rtol=1e-5, atol=1e-6)
    assert model.generator.predict(np.zeros((1, 2)), verbose=0)["image"].shape == (1, 4, 4, 1)


def test_replicas_take_the_step_of_one_device():
    """Without noise, so that replicas and one device get the same input."""
    weights = []
    for placement in ("one_device", "mirrored"):
        with create_strategy(placement).scope():
            model = network(noisy=False)
        model.fit(some_images(), batch_size=8, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "jit"), [("mixed_bfloat16", False), ("mixed_float16", False), ("float32", True)]
)
def test_it_learns_in_mixed_precision_and_compiled(precision, jit):
    keras.config.set_dtype_policy(precision)
    model = network()
    model.jit_compile = jit
    model.optimizer.learning_rate = 0.0

    history = model.fit(some_images(64), epochs=20, batch_size=16, verbose=0).history

    losses = history["discriminator_loss"]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(("size", "count"), [(6, 3), (7, 3), (2, 3), (5, 1)])
def test_parts_are_of_one_size_and_miss_nothing(size, count):
    parts = [part.numpy() for part in _parts(tf.range(size), count)]

    assert len(parts) == count
    assert len({len(part) for part in parts}) == 1
    assert set(np.concatenate(parts)) == set(range(size))


def test_a_discriminator_that_wins_ends_the_training():
    callback = StopWhenDiscriminatorWins()

    callback.on_epoch_end(0, {"real_probability": 0.995, "fake_probability": 0.2})
    with pytest.raises(Diverged, match=r"won epoch 2 outright.*--discriminator-learning-rate"):
        callback.on_epoch_end(1, {"real_probability": 0.995, "fake_probability": 0.004})


# --- by pairs ----------------------------------------------------------------------------------


def paired(conditional=True, optimizer=keras.optimizers.Adam, learning_rate=0.03, **knobs):
    """A small network that makes images of 4 x 4 pixels of others, against one of patches."""
    keras.utils.set_random_seed(0)
    condition, image = (keras.Input((4, 4, 1), name=name) for name in ("condition", "image"))
    x = layers.Conv2D(4, 3, padding="same", activation="tanh")(layers.Rescaling(1 / 255)(condition))
    x = 255 * keras.ops.sigmoid(layers.Conv2D(1, 3, padding="same")(x))
    generator = keras.Model(condition, {"image": x}, name="generator")
    judged = layers.Concatenate()([condition, image]) if conditional else image
    suspicious = keras.initializers.Constant(-0.5)  # of what is bright
    score = layers.Conv2D(1, 2, 2, kernel_initializer=suspicious, dtype="float32")
    scores = score(layers.Rescaling(1 / 255)(judged))
    inputs = {"condition": condition, "image": image} if conditional else image
    discriminator = keras.Model(inputs, scores, name="discriminator")
    model = PairedAdversarialNetwork(generator, discriminator, seed=0, **knobs)
    model.compile(optimizer(learning_rate), optimizer(learning_rate))
    return model


def some_pairs(count=16):
    """Images, and their negatives."""
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 1)).astype("uint8")
    return images, 255 - images


def test_the_difference_of_black_and_white_is_that_of_minus_one_and_one():
    black, grey = tf.zeros((2, 4, 4, 1)), tf.fill((2, 4, 4, 1), 127.5)

    assert float(mean_absolute_difference(black, 2 * grey)) == pytest.approx(2)
    assert float(mean_absolute_difference(grey, black)) == pytest.approx(1)


def test_the_generator_lowers_the_weighted_sum_of_both_parts():
    model = paired(reconstruction_weight=10.0, adversarial_weight=0.5)
    real = {name: tf.fill((2, 4, 4, 1), 255.0) for name in ("condition", "image")}
    fake = real | {"image": tf.fill((2, 4, 4, 1), 204.0)}

    loss = model._whole_loss(tf.constant(3.0), real, fake)

    assert float(loss) == pytest.approx(0.5 * 3 + 10 * 51 / 127.5)
    assert float(model.means["reconstruction_loss"].result()) == pytest.approx(51 / 127.5)


def test_an_image_is_judged_with_the_condition_that_it_was_made_from():
    model, (conditions, images) = paired(), some_pairs(3)
    judged = []
    scores_of = model._scores
    model._scores = lambda examples, training: (
        judged.append(examples) or scores_of(examples, training)
    )

    real = model._real(conditions, images)
    model._both_losses(model.learner, real, model._generator_inputs(real), training=True)

    true, made = judged
    np.testing.assert_array_equal(true["image"], images)
    np.testing.assert_array_equal(true["condition"], conditions)
    np.testing.assert_array_equal(made["condition"], conditions)
    assert (np.array(made["image"]) != images).any()
    assert scores_of(true, training=True).shape == (3, 2, 2, 1)


def test_a_discriminator_may_judge_images_alone():
    model, (conditions, images) = paired(conditional=False), some_pairs(4)

    scores = model._scores(model._real(conditions, images), training=True)

    expected = model.discriminator(images.astype("float32"))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_without_an_adversary_it_learns_the_images_of_the_pairs():
    model = paired(adversarial_weight=0.0)
    before = [np.array(weight) for weight in model.discriminator.trainable_weights]

    history = model.fit(*some_pairs(), batch_size=8, epochs=100, verbose=0).history

    assert history["reconstruction_loss"][-1] < history["reconstruction_loss"][0] / 2
    for old, new in zip(before, model.discriminator.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert list(model.objectives(some_pairs(2))) == ["generator"]


def test_without_a_reconstruction_it_learns_to_deceive():
    model = paired(reconstruction_weight=0.0)
    model.discriminator_optimizer.learning_rate = 0.0

    history = model.fit(*some_pairs(), batch_size=8, epochs=60, verbose=0).history

    assert history["generator_loss"][-1] < history["generator_loss"][0] - 0.1


def test_replicas_take_the_step_of_one_device_by_pairs():
    weights = []
    for placement in ("one_device", "mirrored"):
        with create_strategy(placement).scope():
            model = paired(optimizer=keras.optimizers.SGD, learning_rate=1e-3)
        model.fit(*some_pairs(), batch_size=8, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())

    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_a_step_takes_the_weight_of_its_examples():
    """Weights of targets that are images are of the rank of images."""
    steps = []
    for weight in (1.0, 0.0):
        model = paired()
        before = arrays_of(model.learner.trainable_variables)
        conditions, images = some_pairs(4)
        model.train_step((conditions, images, np.full((4, 1, 1, 1), weight, "float32")))
        after = arrays_of(model.learner.trainable_variables)
        steps.append(max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)))

    assert steps[0] > 0 and steps[1] == 0
