import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from suite.layers.boxes import region_features
from suite.layers.proposals import Proposals, RegionFeatures


def test_proposals_far_apart_come_first_and_the_others_fill_the_number():
    anchors = np.array(
        [[[0, 0, 10, 10], [1, 0, 11, 10], [15, 0, 40, 10], [0, 10, 10, 25], [2, 2, 3, 3]]],
        np.float32,
    )
    objectness = np.array([[3, 4, 2, 1, -9]], np.float32)
    nothing = np.zeros((1, 5, 4), np.float32)

    three, four = (
        ops.convert_to_numpy(Proposals(count, 4, 0.5, (20, 30))(objectness, nothing, anchors))
        for count in (3, 4)
    )

    # The first overlaps the second by 90 of 110 pixels, and the second is more certain.
    np.testing.assert_allclose(three[0], [[1, 0, 11, 10], [15, 0, 30, 10], [0, 10, 10, 20]])
    np.testing.assert_allclose(four[0, :3], three[0])
    np.testing.assert_allclose(four[0, 3], [0, 0, 10, 10])


def test_proposals_are_moved_by_their_offsets_and_stop_the_gradient():
    anchors = tf.constant([[[0.0, 0, 10, 10], [20, 20, 30, 40]]])
    offsets = tf.Variable([[[10.0, 0, 0, 0], [0, 0, 0, 0]]])  # by the width of the anchor
    objectness = tf.Variable([[1.0, 2.0]])

    with tf.GradientTape() as tape:
        chosen = Proposals(2, 2, 0.7, (64, 64))(objectness, offsets, anchors)

    np.testing.assert_allclose(chosen[0], [[20, 20, 30, 40], [10, 0, 20, 10]], rtol=1e-6)
    assert tape.gradient(chosen, [objectness, offsets]) == [None, None]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_boxes_keep_their_precision_whatever_features_have(precision):
    """A bfloat16 has 8 bits, too few for a place such as 101.3."""
    keras.config.set_dtype_policy(precision)
    layer = RegionFeatures(4, 3)
    features = ops.cast(np.random.default_rng(0).normal(size=(2, 64, 64, 5)), layer.compute_dtype)
    boxes = np.array([[[101.3, 5.1, 221.7, 90.2]]] * 2, np.float32)

    result = layer(features, boxes)

    assert result.dtype == layer.compute_dtype and result.shape == (2, 1, 3, 3, 5)
    expected = region_features(ops.cast(features, "float32"), ops.convert_to_tensor(boxes), 4, 3)
    tolerance = 1e-6 if precision == "float32" else 0.03
    np.testing.assert_allclose(ops.cast(result, "float32"), expected, atol=tolerance)


def test_networks_with_a_second_look_are_saved_and_loaded(tmp_path):
    image = keras.Input((32, 40, 3))
    scores, offsets, anchors = (keras.Input(shape) for shape in ((9,), (9, 4), (9, 4)))
    chosen = Proposals(4, 6, 0.7, (32, 40))(scores, offsets, anchors)
    model = keras.Model([image, scores, offsets, anchors], RegionFeatures(1, 2)(image, chosen))
    random = np.random.default_rng(0)
    corners = random.uniform(0, 16, (2, 9, 2))
    inputs = [
        random.normal(size=(2, 32, 40, 3)),
        random.normal(size=(2, 9)),
        random.normal(size=(2, 9, 4)),
        np.concatenate([corners, corners + 12], axis=-1),
    ]

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert model.output_shape == (None, 4, 2, 2, 3)
    np.testing.assert_allclose(loaded(inputs), model(inputs))
