import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from suite import InputError
from suite.explanations import heat_maps
from suite.studies.explain import part_map

ALL = ("grad_cam", "cam", "saliency", "integrated_gradients", "occlusion")
OF_PARTS = ("lime", "shap")  # which hide superpixels
SIDE, SQUARE = 20, 6


def network(*tail, side=SIDE, channels=1, activation="relu"):
    """Convolutions, normalisation and pooling, and what `tail` makes of the features."""
    image = keras.Input((side, side, channels), name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(6, 3, padding="same", use_bias=False)(x)
    x = layers.Activation(activation)(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(8, 3, padding="same", activation=activation)(x)
    for layer in tail:
        x = layer(x)
    return keras.Model(image, x, name="network")


def pooled(**knobs):
    return network(
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(3, name="logits"),
        **knobs,
    )


def flat(**knobs):
    return network(layers.Flatten(), layers.Dense(3, name="logits"), **knobs)


def noise(count=4, channels=1, side=SIDE):
    return np.random.default_rng(1).uniform(0, 255, (count, side, side, channels)).astype("f4")


def planted(count, seed=0):
    """Pictures of noise, half of them with a bright square; its corners; whether it is there."""
    random = np.random.default_rng(seed)
    images = random.uniform(0, 100, (count, SIDE, SIDE, 1)).astype("f4")
    corners = random.integers(0, SIDE - SQUARE + 1, (count, 2))
    labels = np.arange(count) % 2
    for image, (top, left), label in zip(images, corners, labels, strict=True):
        if label:
            image[top : top + SQUARE, left : left + SQUARE] += 155
    return images, corners, labels


def maps_of(name, model, images, classes):
    """Heat maps in a graph, which is faster than eagerly."""
    if name in OF_PARTS:
        answer = tf.function(model, autograph=False, reduce_retracing=True)
        return np.stack(
            [
                part_map(name, image, lambda inputs, k=k: answer(tf.constant(inputs))[:, k].numpy())
                for image, k in zip(images, classes, strict=True)
            ]
        )
    function = getattr(heat_maps, name)
    traced = tf.function(lambda *inputs: function(model, *inputs), autograph=False)
    return traced(tf.constant(images), tf.constant(classes)).numpy()


@pytest.fixture(scope="module")
def detector():
    """A network that was trained to tell pictures with a bright square from those without."""
    keras.utils.set_random_seed(0)
    images, _, labels = planted(512)
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    logits = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, logits)
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(images, labels, batch_size=32, epochs=15, verbose=0).history
    assert history["accuracy"][-1] == 1
    return model


@pytest.mark.parametrize("name", ALL)
def test_maps_have_the_size_of_the_pictures_and_are_the_same_in_a_graph(name):
    model, images = pooled(channels=3, side=12), noise(channels=3, side=12)
    classes = np.argmax(model(images), axis=1)

    eager = getattr(heat_maps, name)(model, images, classes)
    traced = maps_of(name, model, images, classes)

    assert eager.shape == (4, 12, 12) and eager.dtype == tf.float32
    np.testing.assert_allclose(eager, traced, rtol=1e-3, atol=1e-5)
    assert np.abs(eager).max(axis=(1, 2)).min() > 0


def test_cam_is_grad_cam_up_to_scale_where_there_is_global_average_pooling():
    model, images, classes = pooled(), noise(), np.array([0, 1, 2, 1])

    cam = heat_maps.cam(model, images, classes)
    grad_cam = heat_maps.grad_cam(model, images, classes)

    assert (np.asarray(cam) < 0).any() and (np.asarray(cam) > 0).any()
    pixels = (SIDE // 2) ** 2  # of the features, over which the pooling averages
    np.testing.assert_allclose(grad_cam * pixels, np.maximum(cam, 0), rtol=1e-4, atol=1e-5)


def test_cam_adds_up_to_the_logit_without_bias():
    """Where nothing is resized, since the features are as large as the picture."""
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    images = noise(side=8)

    maps = np.asarray(heat_maps.cam(model, images, np.array([0, 1, 2, 0])))

    expected = np.asarray(model(images))[range(4), [0, 1, 2, 0]]
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), expected, rtol=1e-4)


def test_cam_needs_global_pooling_before_one_dense_layer():
    message = r"`method` must not be cam for a network without global average .*Received: network"
    for model in (
        flat(),
        network(layers.GlobalMaxPooling2D(), layers.Dense(3)),
        network(layers.GlobalAveragePooling2D(), layers.Dense(4, "relu"), layers.Dense(3)),
    ):
        with pytest.raises(InputError, match=message):
            heat_maps.cam(model, noise(), np.zeros(4, int))


def test_grad_cam_needs_a_convolution():
    image = keras.Input((8, 8, 1), name="image")
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(image)), name="dense")

    assert not heat_maps.has_convolution(model)
    with pytest.raises(InputError, match="grad_cam for a network without convolutions"):
        heat_maps.grad_cam(model, noise(side=8), np.zeros(4, int))


def test_features_are_taken_behind_an_activation_and_not_too_small():
    """A convolution whose outputs are normalised and rectified later is passed over."""
    image = keras.Input((16, 16, 1), name="image")
    first = layers.Activation("relu")(layers.Conv2D(3, 3, padding="same")(image))
    x = layers.MaxPooling2D()(layers.Conv2D(5, 3, 2, padding="same")(first))
    x = layers.MaxPooling2D(2)(layers.Activation("relu")(layers.BatchNormalization()(x)))
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    linear = keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Conv2D(4, 3, 4)(image))))

    assert x.shape[1:3] == (2, 2)
    assert heat_maps._features(model).shape == (None, 4, 4, 5)
    assert heat_maps._features(linear).shape == (None, 4, 4, 4)


def test_a_network_within_a_network_has_features():
    backbone = network()
    image = keras.Input((SIDE, SIDE, 1), name="image")
    pool = layers.GlobalAveragePooling2D()
    model = keras.Model(image, layers.Dense(3)(pool(backbone(image))))

    assert heat_maps.has_convolution(model)
    assert heat_maps.grad_cam(model, noise(), np.zeros(4, int)).shape == (4, SIDE, SIDE)


def test_frozen_networks_and_half_precision_are_explained():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = pooled()
    model.trainable = False

    maps = heat_maps.grad_cam(model, noise(), np.array([0, 1, 2, 1]))

    assert maps.dtype == tf.float32 and np.asarray(maps).any()


def test_of_several_outputs_the_logits_are_explained():
    model = pooled()
    other = layers.Dense(3, name="other")(layers.Flatten()(model.input))
    several = keras.Model(model.input, {"other": other, "logits": model.output})

    for name in ALL:
        one, other = (maps_of(name, net, noise(), np.ones(4, int)) for net in (several, model))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_saliency_is_the_gradient_of_a_linear_network():
    image = keras.Input((4, 4, 2), name="image")
    dense = layers.Dense(3)
    model = keras.Model(image, dense(layers.Flatten()(image)))
    kernel = np.random.default_rng(0).normal(size=(32, 3)).astype("f4")
    dense.set_weights([kernel, np.zeros(3)])

    maps = heat_maps.saliency(model, noise(2, channels=2, side=4), np.array([2, 0]))

    expected = np.abs(kernel.T.reshape(3, 4, 4, 2)).max(axis=-1)
    np.testing.assert_allclose(maps, expected[[2, 0]], rtol=1e-5)


@pytest.mark.parametrize("background", [0.0, 90.0])
def test_integrated_gradients_are_complete(background):
    model, images, classes = flat(), noise(), np.array([0, 1, 2, 1])

    maps = heat_maps.integrated_gradients(model, images, classes, background, steps=300)

    before = np.asarray(model(np.full_like(images, background)))[range(4), classes]
    after = np.asarray(model(images))[range(4), classes]
    largest = np.abs(after - before).max()
    sums = np.asarray(maps).sum(axis=(1, 2))
    np.testing.assert_allclose(sums, after - before, rtol=0.01, atol=0.01 * largest)


def test_occlusion_of_a_linear_network_is_the_weight_under_the_patches():
    """With one patch per pixel: a picture of 7 x 7 pixels."""
    image = keras.Input((7, 7, 1), name="image")
    dense = layers.Dense(2)
    model = keras.Model(image, dense(layers.Flatten()(image)))
    images = noise(2, side=7)

    maps = heat_maps.occlusion(model, images, np.array([1, 0]), background=10.0)

    kernel = dense.get_weights()[0].T.reshape(2, 7, 7)[[1, 0]]
    np.testing.assert_allclose(maps, kernel * (images[..., 0] - 10), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ALL + OF_PARTS)
def test_maps_change_with_the_weights(name):
    model, images = pooled(), noise()
    classes = np.argmax(model(images), axis=1)
    before = maps_of(name, model, images, classes)

    random = np.random.default_rng(5)
    model.set_weights([random.permuted(w.ravel()).reshape(w.shape) for w in model.get_weights()])
    after = maps_of(name, model, images, classes)

    sizes = np.linalg.norm(before) * np.linalg.norm(after)
    assert before.any() and np.vdot(before, after) <= 0.95 * sizes


@pytest.mark.parametrize("name", [name for name in ALL + OF_PARTS if name != "saliency"])
def test_the_largest_value_lies_on_the_object_that_decides(name, detector):
    """Not of the gradient, which tells how much a pixel matters and not where the object is."""
    images, corners, labels = planted(100 if name in OF_PARTS else 400, seed=1)
    images, corners = images[labels == 1], corners[labels == 1]

    maps = maps_of(name, detector, images, np.ones(len(images), int))

    places = np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), (SIDE, SIDE)), 1)
    hits = ((places >= corners) & (places < corners + SQUARE)).all(axis=1)
    assert hits.mean() >= 0.99


@pytest.mark.parametrize("name", ALL + OF_PARTS)
def test_the_most_important_pixels_move_the_logit_faster_than_in_random_order(name, detector):
    """Whether they are deleted from the picture, or inserted into one without it."""
    images, _, labels = planted(40, seed=2)
    images = images[labels == 1]
    maps = maps_of(name, detector, images, np.ones(len(images), int))

    def mean_logit(order, deleted):
        """Over pictures, and over shares of pixels that are the mean of the noise."""
        logits = []
        for count in range(0, SIDE * SIDE, 20):
            pixels = images.reshape(len(images), -1).copy()
            blank = order[:, :count] if deleted else order[:, count:]
            np.put_along_axis(pixels, blank, 50.0, axis=1)
            logits.append(np.asarray(detector(pixels.reshape(images.shape)))[:, 1])
        return np.mean(logits)

    by_importance = np.argsort(-maps.reshape(len(maps), -1), axis=1)
    by_chance = np.random.default_rng(0).permuted(by_importance, axis=1)
    assert mean_logit(by_importance, deleted=True) < mean_logit(by_chance, deleted=True)
    assert mean_logit(by_importance, deleted=False) > mean_logit(by_chance, deleted=False)


def test_normalized_maps_end_at_one():
    maps = tf.constant([[[0.0, 2.0]], [[-4.0, 1.0]], [[0.0, 0.0]]])

    np.testing.assert_allclose(heat_maps.normalized(maps), [[[0, 1]], [[-1, 0.25]], [[0, 0]]])
