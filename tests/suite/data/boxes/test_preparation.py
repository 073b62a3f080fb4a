import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from suite.data.boxes.preparation import FILL, BoxPreparation
from suite.data.images.preparation import prepare_all

PREPARATION = BoxPreparation(height=64, width=96, channels=3, names=("cat", "dog"))


def test_a_picture_of_the_size_is_not_changed():
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)

    np.testing.assert_array_equal(PREPARATION.prepare(picture), picture)


@pytest.mark.parametrize(
    "size, fitted",
    [
        ((128, 192), (64, 96)),
        ((128, 96), (64, 48)),
        ((16, 96), (16, 96)),
        ((32, 8), (64, 16)),
        ((1, 1000), (1, 96)),
    ],
)
def test_a_picture_is_fitted_at_the_top_left(size, fitted):
    picture = np.full((*size, 3), 200, np.uint8)

    prepared = PREPARATION.prepare(picture).numpy()

    height, width = fitted
    assert PREPARATION.fitted(tf.constant(size)).numpy().tolist() == list(fitted)
    assert prepared.shape == (64, 96, 3)
    assert (prepared[:height, :width] == 200).all()
    assert (prepared[height:] == FILL).all() and (prepared[:, width:] == FILL).all()


def test_grey_inputs():
    preparation = BoxPreparation(height=32, width=32, channels=1)

    prepared = prepare_all([np.full((32, 16, 1), 50, np.uint8)], preparation)

    assert prepared.shape == (1, 32, 32, 1)
    assert (prepared[0, :, :16] == 50).all() and (prepared[0, :, 16:] == FILL).all()


def test_a_box_stays_on_its_thing():
    picture = np.zeros((120, 100, 3), np.uint8)
    picture[40:80, 20:70] = 255

    prepared = PREPARATION.prepare(picture).numpy()
    [box] = PREPARATION.to_input(tf.constant([[20.0, 40, 70, 80]]), tf.constant([120, 100])).numpy()

    rows, columns = np.nonzero(prepared[..., 0] > 127)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(box, edges, atol=0.75)


def test_boxes_of_a_batch_come_back_and_are_cut():
    sizes = tf.constant([[120, 100], [30, 90]])
    boxes = tf.constant([[[20.0, 40, 70, 80], [0, 0, 100, 120]], [[1, 2, 3, 4], [5, 6, 80, 20]]])

    inside = PREPARATION.to_input(boxes, sizes)

    assert inside.shape == (2, 2, 4)
    np.testing.assert_allclose(PREPARATION.to_picture(inside, sizes), boxes, rtol=1e-5, atol=1e-4)
    whole = tf.constant([[[-9.0, -9, 96, 64]]] * 2)
    cut = PREPARATION.to_picture(whole, sizes)
    np.testing.assert_allclose(cut[:, 0], [[0, 0, 100, 120], [0, 0, 90, 30]], rtol=1e-5)


def test_it_survives_json():
    again = BoxPreparation(**json.loads(json.dumps(dataclasses.asdict(PREPARATION))))

    assert again == PREPARATION and hash(again) == hash(PREPARATION)
