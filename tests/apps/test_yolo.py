import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from apps.yolo import (
    BOX_WEIGHT,
    COORDINATES_WEIGHT,
    NO_OBJECT_WEIGHT,
    app,
    build_model,
    compile_model,
    in_crowds,
    loss_of_first,
    loss_of_later,
    near_cells,
)
from suite import InputError
from suite.layers.boxes import Anchors, paired_iou
from suite.tasks import detection as task

SMALL = {"blocks": (1, 1, 1, 1, 1), "filters": 4, "head_filters": 8}
PADDING = [0, 0, 0, 0, -1, 0]


def things(*rows):
    return task.targets_of(tf.constant(np.float32([rows])))


def grid(side, stride, size=None):
    """Boxes about the cells of a grid of `side` x `side` cells, `(1, side * side, 4)`."""
    features = tf.zeros((1, side, side, 1))
    return Anchors(stride, [(size or stride, size or stride)])(features)


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "count"),
    [
        ({}, 8 * 12),
        ({"stride": 16}, 4 * 6),
        ({"anchors": (0.2, 0.4), "ratios": (1.0, 0.5, 2.0)}, 8 * 12 * 6),
        ({"first_version": True, "stride": 16}, 4 * 6 * 2),
    ],
)
def test_there_is_a_box_for_every_cell_or_anchor(knobs, count):
    model = build_model((64, 96, 3), 5, **knobs, **SMALL)

    outputs = model(np.zeros((2, 64, 96, 3), np.float32))

    assert outputs["boxes"].shape == (2, count, 4)
    assert outputs["scores"].shape == (2, count, 5)
    scores = ops.convert_to_numpy(outputs["scores"])
    assert (scores >= 0).all() and (scores <= 1).all()


def test_the_first_version_has_its_boxes_in_the_order_of_its_cells():
    model = build_model((64, 64, 1), 2, first_version=True, stride=16, **SMALL)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 1)).astype(np.float32)

    outputs = {name: ops.convert_to_numpy(x)[0] for name, x in model(picture).items()}

    for cell in (0, 5, 15):
        for number in range(2):
            x, y, width, height, confidence = outputs["parts"][cell, number]
            middle = [16 * (cell % 4 + x), 16 * (cell // 4 + y)]
            half = np.array([64 * width**2, 64 * height**2]) / 2
            expected = [*(middle - half), *(middle + half)]
            np.testing.assert_allclose(
                outputs["boxes"][2 * cell + number], expected, rtol=1e-4, atol=1e-3
            )
            score = np.clip(confidence, 0, 1) * np.clip(outputs["classes"][cell], 0, 1)
            np.testing.assert_allclose(outputs["scores"][2 * cell + number], score, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "knobs", "message"),
    [
        ((64, 64, 3), {"stride": 12}, r"`stride` must be one of: 2, 4, 8, 16, 32, .* Received: 12"),
        ((64, 80, 3), {}, r"`image_size` must be a multiple of 32 .* Received: 80"),
        (
            (64, 64, 3),
            {"first_version": True, "anchors": (0.2,)},
            r"`anchors` must be left out of the first version",
        ),
        ((64, 64, 3), {"ratios": (0.5,)}, r"`ratios` must be left out without `anchors`"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(shape, knobs, message):
    with pytest.raises(InputError, match=message):
        build_model(shape, **knobs)


# --- which cell stands for what -------------------------------------------------------------------


def test_cells_near_the_centre_of_a_thing_stand_for_it():
    cells = grid(6, 8)  # with centres at 4, 12, 20, 28, 36 and 44
    targets = things([0, 0, 40, 40, 1, 0], PADDING)  # its centre is that of the cell (2, 2)

    index, stands = near_cells(cells, targets, 8, reach=1.5)

    expected = np.zeros((6, 6), bool)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(stands.numpy().reshape(6, 6), expected)
    assert (index.numpy()[stands.numpy()] == 0).all()


def test_a_small_thing_has_at_least_its_cell_and_no_more_than_it_covers():
    targets = things([18, 18, 21, 21, 1, 0])

    _, stands = near_cells(grid(6, 8), targets, 8, reach=1.5)

    assert np.argwhere(stands.numpy().reshape(6, 6)).tolist() == [[2, 2]]


def test_of_two_things_a_cell_stands_for_the_nearer_one():
    targets = things([0, 0, 40, 40, 1, 0], [8, 0, 48, 40, 2, 0])  # centres at x = 20 and 28

    index, stands = near_cells(grid(6, 8), targets, 8, reach=1.5)

    row = index.numpy().reshape(6, 6)[2], stands.numpy().reshape(6, 6)[2]
    assert row[1].tolist() == [False, True, True, True, True, False]
    assert row[0][1:5].tolist() == [0, 0, 1, 1]


def test_no_cell_stands_for_a_crowd_or_is_background_in_it():
    targets = things([0, 0, 24, 24, 0, 1])

    _, stands = near_cells(grid(6, 8), targets, 8, reach=1.5)
    inside = in_crowds(grid(6, 8), targets, 8)

    assert not stands.numpy().any()
    assert np.argwhere(inside.numpy().reshape(6, 6)).max() == 2
    assert inside.numpy().sum() == 9


@pytest.mark.parametrize("crowd", [[17, 17, 23, 23], [0, 19, 48, 21], [20, 20, 20.5, 20.5]])
def test_a_crowd_may_be_small_or_thin(crowd):
    """Whatever the size of the boxes that stand about the centres of the cells."""
    cells = grid(6, 8) + tf.constant([-12.0, -12, 12, 12])

    inside = in_crowds(cells, things([*crowd, 0, 1]), 8).numpy().reshape(6, 6)

    assert inside[2].any() and not inside[0].any() and not inside[5].any()


def test_a_centre_on_a_border_is_that_of_one_cell():
    targets = things([14, 14, 18, 18, 0, 0])  # its centre is a corner of four cells

    _, stands = near_cells(grid(6, 8), targets, 8, reach=0.5)

    assert stands.numpy().sum() == 1


# --- losses ---------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_loss_of_cells_by_hand():
    """One thing over the first of four cells; its box covers half of the thing."""
    cells = grid(2, 8)
    boxes = tf.tile(tf.constant([[[0.0, 0, 4, 8]]]), (1, 4, 1))
    objectness = np.float32([[0.3, -1.0, 0.5, 2.0]])
    logits = np.random.default_rng(0).normal(size=(1, 4, 3)).astype(np.float32)
    outputs = {
        "cells": cells,
        "boxes": boxes,
        "objectness": tf.constant(objectness),
        "logits": tf.constant(logits),
    }

    [value] = loss_of_later(things([0, 0, 8, 8, 2, 0], PADDING), outputs, outputs, 8).numpy()

    chance = sigmoid(objectness[0])
    of_objectness = -0.5 * np.log(chance[0]) - 0.5 * np.log(1 - chance[0])
    of_objectness -= np.log(1 - chance[1:]).sum()
    of_class = -np.log(np.exp(logits[0, 0, 2]) / np.exp(logits[0, 0]).sum())
    assert value == pytest.approx(BOX_WEIGHT * 0.5 + of_class + of_objectness, rel=1e-5)


def test_the_loss_of_anchors_counts_those_that_overlap():
    cells = grid(2, 8)
    outputs = {
        "cells": cells,
        "boxes": cells,
        "objectness": tf.constant([[20.0, -20, -20, -20]]),
        "logits": tf.constant([[[20.0, 0]] * 4]),
    }
    thing, other = [0, 0, 8, 8, 0, 0], [8, 8, 16, 16, 0, 0]

    [right] = loss_of_later(things(thing), outputs, outputs, None).numpy()
    [wrong] = loss_of_later(things(other), outputs, outputs, None).numpy()

    assert right == pytest.approx(0, abs=1e-5)
    assert wrong == pytest.approx(40, abs=1e-3)  # the wrong one is certain, and the right one not


def test_objectness_is_the_overlap_of_the_thing_with_the_fixed_box():
    cells = grid(2, 8)
    outputs = {
        "cells": cells,
        "boxes": cells,
        "objectness": tf.constant([[1.0, 0, 0, 0]]),
        "logits": tf.constant([[[1.0, 0]] * 4]),
    }
    targets, far = things([0, 0, 8, 8, 0, 0]), {**outputs, "boxes": cells + 100.0}

    [covered] = loss_of_later(targets, outputs, outputs, 8).numpy()
    [missed] = loss_of_later(targets, outputs, far, 8).numpy()

    assert missed - covered == pytest.approx(1, abs=1e-5)  # the logit of the one cell


def test_the_loss_of_the_first_version_by_hand():
    random = np.random.default_rng(1)
    parts = random.uniform(0.1, 0.9, (1, 4, 2, 5)).astype(np.float32)
    classes = random.uniform(0, 1, (1, 4, 3)).astype(np.float32)
    cells = grid(2, 16)
    corners = cells.numpy()[:, :, None, :2]
    middles, sizes = corners + 16 * parts[..., :2], 32 * parts[..., 2:4] ** 2
    boxes = np.concatenate([middles - sizes / 2, middles + sizes / 2], axis=-1)
    outputs = {
        "cells": cells,
        "boxes": tf.constant(boxes.reshape(1, 8, 4)),
        "parts": tf.constant(parts),
        "classes": tf.constant(classes),
    }
    thing = [14, 2, 30, 12, 1, 0]  # centre (22, 7): in the second cell

    [value] = loss_of_first(things(thing, PADDING), outputs, outputs, 16, (32, 32)).numpy()

    truths = np.float32([thing[:4]] * 2)
    overlap = ops.convert_to_numpy(paired_iou(boxes[0, 1], truths))
    best = overlap.argmax()
    true_places = [(22 - 16) / 16, 7 / 16, np.sqrt(16 / 32), np.sqrt(10 / 32)]
    of_places = ((parts[0, 1, best, :4] - true_places) ** 2).sum()
    confidences = parts[0, ..., 4]
    nothing = (confidences**2).sum() - confidences[1, best] ** 2
    expected = (
        COORDINATES_WEIGHT * of_places
        + (confidences[1, best] - overlap[best]) ** 2
        + NO_OBJECT_WEIGHT * nothing
        + ((classes[0, 1] - [0, 1, 0]) ** 2).sum()
    )
    assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "knobs",
    [{}, {"anchors": (0.3, 0.5)}, {"first_version": True, "stride": 16}],
    ids=["cells", "anchors", "first"],
)
def test_training_moves_a_box_onto_a_thing(knobs):
    """A bright square on black, one picture: after a few steps the best box is around it."""
    keras.utils.set_random_seed(1)
    picture = np.zeros((1, 64, 64, 1), np.float32)
    picture[:, 12:30, 20:44] = 255
    rows = np.float32([[[20, 12, 44, 30, 1, 0]]])
    config = task.Config(learning_rate=0.003, weight_decay=0.0, warmup=0.1)
    network = build_model((64, 64, 1), 2, normalization="none", **knobs, **SMALL)
    model = compile_model(network, config, steps=300)

    losses = [float(model.train_on_batch(picture, rows)) for _ in range(300)]

    kept = task.detector(network, config)(tf.constant(picture))
    assert losses[-1] < losses[0] / 3
    assert int(kept.labels[0, 0]) == 1
    np.testing.assert_allclose(kept.boxes[0, 0], rows[0, 0, :4], atol=5)


@pytest.mark.parametrize("recipe", app.recipes)
def test_recipes_can_be_built(recipe):
    chosen = app.recipe(recipe)

    model = build_model((chosen.config.image_size or 128,) * 2 + (3,), 3, **chosen.architecture)

    assert compile_model(model, chosen.config, 10).optimizer is not None
