import dataclasses
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure

from apps import unet
from suite import InputError, Run
from suite.app import Fitted
from suite.data import Examples, Source, supervised
from suite.data.pairs.masks import VOID, MaskPreparation
from suite.export.endpoints import as_endpoint, call
from suite.export.saved_model import write_saved_model
from suite.figures.images import LARGEST_SIDE
from suite.layers.views import average_pixel_views
from suite.tasks import segmentation as task

NAMES = ("dark", "bright")
CONFIG = task.Config(batch_size=4, min_steps_per_epoch=2)


def brightness():
    """A network that calls pixels brighter than 127.5 `bright`, the others `dark`."""
    image = keras.Input((None, None, 1), name="image")
    convolution = layers.Conv2D(2, 1, name="logits")
    model = keras.Model(image, convolution(image), name="unet")
    convolution.set_weights([np.float32([[[[0, 1]]]]), np.float32([127.5, 0])])
    return model


def bright_squares(count):
    """Pictures `(count, 16, 16, 1)` with a bright square, and their masks."""
    random = np.random.default_rng(0)
    masks = np.zeros((count, 16, 16), np.uint8)
    for mask, (top, left) in zip(masks, random.integers(0, 8, (count, 2)), strict=True):
        mask[top : top + 8, left : left + 8] = 1
    grain = random.integers(0, 90, masks.shape)
    return Examples((150 * masks + grain).astype(np.uint8)[..., None], masks)


def source(resized=False, **fields):
    squares = bright_squares(24)
    parts = {
        name: squares.rows(np.arange(*rows))
        for name, rows in {"train": (0, 12), "validation": (12, 16), "test": (16, 24)}.items()
    }
    preparation = MaskPreparation(
        layout="photo", height=16, width=16, channels=1, names=NAMES, values=(0, 1), resized=resized
    )
    return Source(
        **{"name": "arrays", "class_names": NAMES, "preparation": preparation, **parts, **fields}
    )


def fitted_on(one, config=CONFIG):
    data = supervised(one, batch_size=4, validation_split=0.2, seed=0, min_steps=2)
    network = task.compile_model(brightness(), config, 10)
    return Fitted(model=network, networks={"unet": network}, data=data, config=config, folder=None)


@pytest.fixture
def fitted():
    return fitted_on(source())


def png(pixels):
    return tf.io.encode_png(pixels.astype(np.uint8)).numpy()


# --- the loss -------------------------------------------------------------------------------------


def some_logits_and_classes():
    random = np.random.default_rng(1)
    classes = random.integers(0, 3, (2, 4, 5)).astype(np.uint8)
    classes[0, 0] = VOID
    return random.normal(size=(2, 4, 5, 3)).astype(np.float32), classes


def softmax(logits):
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def crossentropy_by_hand(logits, classes, weights=None):
    losses = []
    for number, (picture, mask) in enumerate(zip(softmax(logits), classes, strict=True)):
        known = np.argwhere(mask != VOID)
        of_pixels = [
            -np.log(picture[y, x, mask[y, x]]) * (1 if weights is None else weights[number, y, x])
            for y, x in known
        ]
        losses.append(np.sum(of_pixels) / len(known))
    return np.mean(losses)


def dice_by_hand(logits, classes):
    losses = []
    for picture, mask in zip(softmax(logits), classes, strict=True):
        known = mask != VOID
        shares = [
            (2 * picture[known & (mask == c), c].sum() + 1)
            / (picture[known, c].sum() + (mask == c).sum() + 1)
            for c in range(3)
        ]
        losses.append(1 - np.mean(shares))
    return np.mean(losses)


def test_losses_by_hand():
    logits, classes = some_logits_and_classes()

    losses = {
        kind: float(task.PixelLoss(kind)(classes, logits))
        for kind in ("crossentropy", "dice", "both")
    }

    expected = crossentropy_by_hand(logits, classes), dice_by_hand(logits, classes)
    assert losses["crossentropy"] == pytest.approx(expected[0], rel=1e-5)
    assert losses["dice"] == pytest.approx(expected[1], rel=1e-5)
    assert losses["both"] == pytest.approx(sum(expected), rel=1e-5)


def test_pixels_at_a_border_weigh_more():
    logits, classes = some_logits_and_classes()
    weights = np.asarray(task.border_weights(classes, 3.0, 1.0))

    weighted = float(task.PixelLoss("crossentropy", 3.0, 1.0)(classes, logits))

    assert weighted == pytest.approx(crossentropy_by_hand(logits, classes, weights), rel=1e-5)


def test_weights_fall_off_with_the_distance_to_a_border():
    line = np.zeros((1, 3, 40), np.int32)
    line[..., 20:] = 2

    [weights] = np.asarray(task.border_weights(line, 5.0, 2.0))

    distances = np.concatenate([np.arange(19, -1, -1), np.arange(20)])
    expected = 1 + 5 * np.where(distances <= 6, np.exp(-(distances**2) / 8), 0)
    np.testing.assert_allclose(weights, np.stack([expected] * 3), rtol=1e-5)
    assert (np.asarray(task.border_weights(np.ones_like(line), 5.0, 2.0)) == 1).all()
    line[..., :20] = VOID  # a pixel without a class is a neighbour of no class
    assert (np.asarray(task.border_weights(line, 5.0, 2.0)) == 1).all()


@pytest.mark.parametrize("kind", ["crossentropy", "dice", "both"])
def test_void_pixels_have_no_gradient(kind):
    logits, classes = some_logits_and_classes()
    variable = tf.Variable(logits)

    with tf.GradientTape() as tape:
        loss = task.PixelLoss(kind, 2.0)(classes, variable)
    gradient = tape.gradient(loss, variable).numpy()

    assert (gradient[0, 0] == 0).all() and (gradient[0, 1:] != 0).any()
    nothing = np.full_like(classes, VOID)
    assert np.isfinite(float(task.PixelLoss(kind)(nothing, logits)))


def test_weights_of_examples_weigh_pictures():
    logits, classes = some_logits_and_classes()
    loss = task.PixelLoss("both")
    alone = [float(loss(classes[n : n + 1], logits[n : n + 1])) for n in range(2)]

    weighted = float(loss(classes, logits, np.float32([2, 0.5]).reshape(2, 1, 1)))

    assert weighted == pytest.approx((2 * alone[0] + 0.5 * alone[1]) / 2, rel=1e-5)


# --- the data -------------------------------------------------------------------------------------


def test_the_data_say_what_is_built_and_how_much_is_judged_at_once():
    config = task.Config(batch_size=4, crop=8, min_steps_per_epoch=2)

    data = task.load_data(config, Run(arrays=source()))

    arguments = {"input_shape": (16, 16, 1), "num_classes": 2, "crop": 8}
    assert data.model_arguments == arguments
    assert data.evaluation_batch_size == 2
    images, masks = next(iter(data.train(0)))
    assert images.shape == (4, 8, 8, 1) and masks.shape == (4, 8, 8)
    # The mask went where its picture went.
    np.testing.assert_array_equal(images.numpy()[..., 0] >= 150, masks.numpy() == 1)


def test_a_part_is_no_larger_than_the_picture():
    with pytest.raises(InputError, match=r"`crop` must be at most the 16 pixels .* Received: 20"):
        task.load_data(task.Config(crop=20), Run(arrays=source()))


def test_only_a_square_is_turned():
    inputs, masks = bright_squares(24)
    wide = source(train=Examples(inputs[:, :12], masks[:, :12]))

    with pytest.raises(InputError, match=r"turn what is not square.* Received: .* 12 x 16"):
        task.load_data(task.Config(flip="turned"), Run(arrays=wide))
    task.load_data(task.Config(flip="turned", crop=8), Run(arrays=wide))


# --- pictures of any size -------------------------------------------------------------------------


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("units", [1, 3, 100])
def test_tiles_fit_the_network(depth, units):
    network = unet.build_model((None, None, 1), 2, depth=depth, filters=1)

    tile, overlap, drop = task.tiling(network, units * 2**depth)

    assert tile % 2**depth == overlap % 2**depth == 0
    assert 4 <= overlap <= tile // 2 and 2 * drop < overlap


@pytest.mark.parametrize("normalization", ["layer", "instance", "group"])
def test_what_normalises_a_whole_picture_sees_tiles_of_the_training_s_size(normalization):
    network = unet.build_model((None, None, 1), 2, depth=2, filters=4, normalization=normalization)

    assert task.tiling(network, 32) == (32, 16, 0)
    assert task.tiling(network, 12) == (12, 4, 0) and task.tiling(network, 4) == (8, 4, 0)


def test_a_loss_that_weighs_no_pixels_has_no_weight_of_borders():
    config = task.Config(loss="dice", border_weight=5.0)

    with pytest.raises(InputError, match=r"`border_weight` must be 0 .* Received: 5"):
        task.compile_model(brightness(), config, 1)


def test_a_large_photo_is_answered_as_a_whole_without_a_seam():
    """By a whole U-Net, whose outputs depend on pixels far beyond the edges of a tile."""
    keras.utils.set_random_seed(0)
    network = unet.build_model((None, None, 1), 3, depth=2, filters=4)
    photo = np.random.default_rng(0).integers(0, 256, (301, 410, 1)).astype(np.uint8)
    preparation = dataclasses.replace(source().preparation, height=32, width=32)
    border = 64  # more than the network looks, and a multiple of its stride
    padding = [(0, 0), (border, border + 3), (border, border + 2), (0, 0)]
    mirrored = np.pad(photo[None], padding, "symmetric")
    whole = np.asarray(network(mirrored))[0, border:-border, border:-border][:301, :410]

    endpoint = task.picture_endpoint(network, preparation, ("a", "b", "c"), side=32)
    [content] = endpoint.function(tf.constant([png(photo)]))["mask"]

    mask = tf.io.decode_png(content).numpy()[..., 0]
    assert 0.1 < np.mean(mask == 0) < 0.9
    assert np.mean(mask != whole.argmax(axis=-1)) < 1e-4  # where two classes are nearly as likely


@pytest.mark.parametrize("shape", [(40, 50), (7, 9), (16, 16)])
def test_a_picture_is_answered_at_its_own_size(fitted, shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 1))
    endpoint = as_endpoint(task.endpoints(fitted)["picture"])

    outputs = endpoint.function(tf.constant([png(picture)]))

    mask = tf.io.decode_png(outputs["mask"][0]).numpy()[..., 0]
    np.testing.assert_array_equal(mask, picture[..., 0] > 127.5)
    overlay = tf.io.decode_png(outputs["overlay"][0]).numpy()
    expected = (np.repeat(picture, 3, axis=-1) + task.COLOURS[mask]) / 2
    np.testing.assert_allclose(overlay, expected, atol=1)
    np.testing.assert_allclose(outputs["shares"], [[1 - mask.mean(), mask.mean()]], atol=1e-6)
    assert outputs["names"].numpy().tolist() == [[b"dark", b"bright"]]
    assert outputs["colours"].numpy().tolist() == [[b"#1f77b4", b"#ff7f0e"]]


def test_where_pictures_were_resized_the_network_gets_pictures_at_the_scale_of_the_training():
    """Stripes of one pixel are grey at a quarter of the size, and bright on the whole."""
    fitted = fitted_on(source(resized=True))
    picture = np.full((64, 96, 1), 100)
    picture[::2] = 255
    picture[:, 48:] = 0
    endpoint = as_endpoint(task.endpoints(fitted)["picture"])

    outputs = endpoint.function(tf.constant([png(picture)]))

    mask = tf.io.decode_png(outputs["mask"][0]).numpy()[..., 0]
    assert mask.shape == (64, 96)
    assert mask[:, :44].all() and not mask[:, 52:].any()


def test_classes_at_a_larger_size_are_those_of_interpolated_probabilities():
    probabilities = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)

    classes = task.most_likely_at(tf.constant(probabilities), tf.constant([23, 31]), 3)

    expected = tf.image.resize(probabilities, (23, 31)).numpy().argmax(axis=-1)
    np.testing.assert_array_equal(classes, expected)


def test_every_class_has_a_colour_of_its_own_that_is_no_grey():
    colours = task.COLOURS[:VOID]

    apart = np.abs(colours[:, None] - colours[None]).max(axis=-1) + 255 * np.eye(VOID)
    assert apart[:50, :50].min() > 15 and apart.min() >= 1
    assert np.ptp(colours, axis=1).min() > 60
    assert not task.COLOURS[VOID].any()


def test_void_is_black_in_an_overlay():
    overlay = task.overlay(np.full((1, 2, 3), 200), np.array([[0, VOID]])).numpy()

    assert overlay[0, 1].tolist() == [100, 100, 100]
    assert overlay[0, 0].tolist() == ((200 + task.COLOURS[0]) / 2).astype(np.uint8).tolist()


def test_an_overlay_has_the_hues_of_the_classes_alone():
    red, grey = np.full((1, 1, 3), (255, 0, 0)), np.full((1, 1, 3), 76)

    overlay = [task.overlay(picture, np.array([[1]])).numpy() for picture in (red, grey)]

    np.testing.assert_array_equal(*overlay)


def test_exported_it_answers_arrays_and_files(fitted, tmp_path):
    images = task.example(fitted)
    folder, difference = write_saved_model(
        tmp_path / "unet", fitted.networks, task.endpoints(fitted), images, {}
    )
    signatures = tf.saved_model.load(str(folder)).signatures

    outputs = call(signatures["serve"], images)
    of_files = call(signatures["picture"], np.array([png(image) for image in images], object))

    assert len(images) == 4 and difference < 1e-4
    assert set(outputs) == {"probabilities", "mask"}
    np.testing.assert_array_equal(outputs["mask"], images[..., 0] > 127.5)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=-1), 1, rtol=1e-5)
    assert set(of_files) == {"mask", "overlay", "names", "colours", "shares"}
    for content, mask in zip(of_files["mask"], outputs["mask"], strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(content)[..., 0], mask)


@pytest.mark.parametrize("views", ["mirrored", "turned"])
def test_the_test_and_the_export_answer_after_the_same_views(fitted, views):
    [network] = fitted.networks.values()
    convolution = keras.layers.Conv2D(2, 3, padding="same")
    network = keras.Model(network.input, convolution(network.output), name="unet")
    config = dataclasses.replace(CONFIG, views=views)
    fitted = dataclasses.replace(fitted, model=network, networks={"unet": network}, config=config)
    test = fitted.data.splits["test"].in_memory()
    expected = average_pixel_views(network, views)(test.inputs.astype("float32")).numpy()
    assert np.any(expected.argmax(axis=-1) != network.predict(test.inputs).argmax(axis=-1))

    endpoints = task.endpoints(fitted)
    served = as_endpoint(endpoints["serve"]).function(tf.constant(test.inputs, tf.float32))
    files = endpoints["picture"].function(tf.constant([png(image) for image in test.inputs]))
    metrics = task.evaluate(fitted)

    np.testing.assert_array_equal(served["mask"], expected.argmax(axis=-1))
    masks = [tf.io.decode_png(mask).numpy()[..., 0] for mask in files["mask"]]
    np.testing.assert_array_equal(masks, expected.argmax(axis=-1))
    np.testing.assert_array_equal(task.answers(fitted), expected.argmax(axis=-1))
    loss = task.PixelLoss("both")(test.targets, expected)
    assert metrics["test_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_without_a_preparation_there_is_no_endpoint_for_files():
    assert list(task.endpoints(fitted_on(source(preparation=None)))) == ["serve"]


# --- the judgement --------------------------------------------------------------------------------


def test_scores_are_of_the_pixels_of_the_test_split(fitted):
    metrics = task.evaluate(fitted)

    test = fitted.data.splits["test"]
    assert metrics["test_iou"] == metrics["test_dice"] == metrics["test_accuracy"] == 1
    assert metrics["test_largest_class"] == pytest.approx(1 - test.targets.mean())
    assert metrics["test_iou_by_class"] == {"dark": 1, "bright": 1}
    assert metrics["test_loss"] == pytest.approx(0, abs=1e-3)
    assert task.findings(fitted) == {"answered_classes": ["dark", "bright"]}


def test_an_answer_of_one_class_is_warned_of(fitted, caplog):
    fitted.model.get_layer("logits").set_weights([np.zeros((1, 1, 1, 2)), np.float32([1, 0])])

    with caplog.at_level(logging.WARNING):
        metrics = task.evaluate(fitted)

    assert "one class: dark" in caplog.text
    assert metrics["test_accuracy"] == metrics["test_largest_class"]
    assert task.findings(fitted) == {"answered_classes": ["dark"]}


def test_the_worst_answer_is_drawn_first(fitted, monkeypatch):
    test = fitted.data.splits["test"]
    wrong = test.rows(np.array([5])).with_targets(1 - test.targets[5:6])
    order = [0, 1, 2, 3, 4, 6, 7, 5]  # the picture with the wrong mask comes last
    masks = np.concatenate([test.targets[order[:-1]], wrong.targets])
    shown = {}
    monkeypatch.setattr(task.figures, "image_rows", lambda rows: shown.update(rows) or Figure())
    test = dataclasses.replace(
        fitted.data, splits={**fitted.data.splits, "test": Examples(test.inputs[order], masks)}
    )

    task.draw(dataclasses.replace(fitted, data=test))

    np.testing.assert_array_equal(shown["picture"][0][..., :1], wrong.inputs[0])


def test_figures_show_answers_and_every_class(fitted):
    drawings = task.draw(fitted)

    assert set(drawings) == {"worst_answers", "scores_by_class"}
    assert drawings["worst_answers"].get_figwidth() <= LARGEST_SIDE + 2
    assert [axes.get_title() for axes in drawings["scores_by_class"].axes] == ["IoU", "Dice"]
    for axes in drawings["scores_by_class"].axes:
        assert [bar.get_width() for bar in axes.patches] == [1, 1]
