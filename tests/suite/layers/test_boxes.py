import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from suite.layers.boxes import (
    Anchors,
    Proposals,
    RegionFeatures,
    anchor_shapes,
    area,
    boxes_to_offsets,
    clip,
    gather_rows,
    intersections,
    iou,
    match,
    non_max_suppression,
    non_max_suppression_mask,
    offsets_to_boxes,
    paired_iou,
    region_features,
    to_centres,
    to_corners,
)


def random_boxes(random, *shape, side=60.0):
    """Boxes `(*shape, 4)` of at least 2 pixels inside of 100 x 100."""
    corners = random.uniform(0, 98 - side, (*shape, 2))
    sizes = random.uniform(2, side, (*shape, 2))
    return np.concatenate([corners, corners + sizes], axis=-1).astype(np.float32)


def overlap_by_hand(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)) - common
    return common / union if union else 0.0


# --- overlap --------------------------------------------------------------------------------------


def test_overlaps_are_those_of_a_loop():
    random = np.random.default_rng(0)
    boxes, others = random_boxes(random, 2, 7), random_boxes(random, 2, 5)

    computed = ops.convert_to_numpy(iou(boxes, others))

    pairs = zip(boxes, others, strict=True)
    expected = [[[overlap_by_hand(b, o) for o in m] for b in n] for n, m in pairs]
    np.testing.assert_allclose(computed, expected, atol=1e-6)
    assert computed.max() > 0.2


def test_boxes_for_all_pictures_are_broadcast():
    random = np.random.default_rng(1)
    anchors, truths = random_boxes(random, 6), random_boxes(random, 3, 2)

    computed = ops.convert_to_numpy(iou(anchors, truths))

    assert computed.shape == (3, 6, 2)
    expected = [[[overlap_by_hand(a, t) for t in of] for a in anchors] for of in truths]
    np.testing.assert_allclose(computed, expected, atol=1e-6)


def test_a_box_without_area_overlaps_nothing():
    nothing = np.zeros((1, 4), np.float32)

    assert ops.convert_to_numpy(iou(nothing, nothing)).tolist() == [[0.0]]
    assert ops.convert_to_numpy(paired_iou(nothing, nothing)).tolist() == [0.0]
    assert float(area(np.float32([5, 5, 3, 7]))) == 0


def test_pairs_overlap_as_the_diagonal_of_all():
    random = np.random.default_rng(2)
    boxes, others = random_boxes(random, 9), random_boxes(random, 9)

    paired = ops.convert_to_numpy(paired_iou(boxes, others))

    diagonal = np.diag(ops.convert_to_numpy(iou(boxes, others)))
    np.testing.assert_allclose(paired, diagonal, atol=1e-6)
    np.testing.assert_allclose(
        np.diag(ops.convert_to_numpy(intersections(boxes, boxes))),
        ops.convert_to_numpy(area(boxes)),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((0, 0, 10, 10), 1.0),
        ((20, 0, 30, 10), -100 / 300),  # a third of the box around both is of neither
        ((5, 0, 15, 10), 50 / 150),
        ((0, 0, 5, 5), 25 / 100),
    ],
)
def test_the_generalized_overlap_by_hand(other, expected):
    boxes = np.float32([[0, 0, 10, 10]])

    computed = paired_iou(boxes, np.float32([other]), generalized=True)

    np.testing.assert_allclose(ops.convert_to_numpy(computed), [expected], atol=1e-6)


def test_the_gradient_of_the_generalized_overlap_moves_boxes_together():
    box = tf.Variable([[20.0, 0.0, 30.0, 10.0]])
    with tf.GradientTape() as tape:
        value = paired_iou(box, np.float32([[0, 0, 10, 10]]), generalized=True)

    gradient = tape.gradient(value, box).numpy()[0]

    assert gradient[0] + gradient[2] < 0  # a shift to the left


# --- offsets and anchors --------------------------------------------------------------------------


def test_boxes_are_encoded_and_decoded():
    random = np.random.default_rng(3)
    boxes, anchors = random_boxes(random, 2, 20), random_boxes(random, 2, 20)

    offsets = boxes_to_offsets(boxes, anchors)

    np.testing.assert_allclose(
        ops.convert_to_numpy(offsets_to_boxes(offsets, anchors)), boxes, rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(boxes_to_offsets(anchors, anchors)), 0, atol=1e-5
    )


def test_offsets_by_hand():
    anchors, boxes = np.float32([[0, 0, 10, 20]]), np.float32([[1, 0, 11, 40]])

    offsets = ops.convert_to_numpy(boxes_to_offsets(boxes, anchors))

    expected = [[0.1 / 0.1, 0.5 / 0.1, 0, np.log(2) / 0.2]]
    np.testing.assert_allclose(offsets, expected, rtol=1e-5, atol=1e-6)


def test_offsets_of_nothing_and_of_too_much_stay_finite():
    anchors = np.float32([[0, 0, 10, 10]])

    assert np.isfinite(
        ops.convert_to_numpy(boxes_to_offsets(np.zeros((1, 4), np.float32), anchors))
    ).all()
    assert np.isfinite(
        ops.convert_to_numpy(offsets_to_boxes(np.float32([[0, 0, 1e6, 1e6]]), anchors))
    ).all()


def test_corners_and_centres_are_each_other_s_inverse():
    boxes = random_boxes(np.random.default_rng(4), 5)

    np.testing.assert_allclose(
        ops.convert_to_numpy(to_corners(*to_centres(boxes))), boxes, rtol=1e-5
    )


def test_boxes_are_cut_at_the_borders():
    cut = clip(np.float32([[-3, -4, 50, 60], [1, 2, 3, 4]]), height=40, width=30)

    assert ops.convert_to_numpy(cut).tolist() == [[0, 0, 30, 40], [1, 2, 3, 4]]


def test_shapes_have_the_areas_of_their_sizes():
    shapes = anchor_shapes([10, 20], [1.0, 0.25])

    np.testing.assert_allclose(shapes, [(10, 10), (5, 20), (20, 20), (10, 40)])


def test_anchors_stand_about_the_centres_of_cells_in_the_order_of_convolutions():
    layer = Anchors(8, [(4, 2), (8, 8)])
    features = np.zeros((3, 2, 5, 7), np.float32)

    boxes = ops.convert_to_numpy(layer(features))

    assert boxes.shape == (3, 2 * 5 * 2, 4)
    cells = boxes[1].reshape(2, 5, 2, 4)
    assert cells[0, 0].tolist() == [[2, 3, 6, 5], [0, 0, 8, 8]]
    assert cells[1, 3, 1].tolist() == [24, 8, 32, 16]


def test_anchors_are_saved_with_a_network(tmp_path):
    image = keras.Input((16, 24, 1), name="image")
    model = keras.Model(image, Anchors(8, anchor_shapes([6.0], [1.0, 2.0]))(image))
    assert model.output.shape == (None, 16 * 24 * 2, 4)

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")

    pictures = np.zeros((2, 16, 24, 1), np.float32)
    np.testing.assert_array_equal(model(pictures), again(pictures))


def test_anchors_of_half_precision_features_are_whole():
    features = np.zeros((1, 40, 40, 2), np.float32)

    boxes = Anchors(8, [(8, 8)])(ops.cast(features, "bfloat16"))

    assert ops.convert_to_numpy(boxes)[0, -1].tolist() == [312, 312, 320, 320]


# --- matching -------------------------------------------------------------------------------------


def matched_by_a_loop(candidates, truths, positive, negative, force):
    """The index or None of the truth of every candidate, and whether it is background."""
    overlap = np.array([[overlap_by_hand(c, t) for t in truths] for c in candidates])
    index = [row.argmax() if row.max() >= positive else None for row in overlap]
    background = [row.max() < negative for row in overlap]
    if force:
        forced = {}
        for number in range(len(truths)):
            best = overlap[:, number].max()
            for candidate in np.flatnonzero(overlap[:, number] == best) if best > 0 else ():
                forced.setdefault(candidate, []).append(number)
        for candidate, numbers in forced.items():
            index[candidate] = max(numbers, key=lambda number: overlap[candidate, number])
            background[candidate] = False
    return index, background


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_matches_are_those_of_a_loop(force, seed):
    random = np.random.default_rng(seed)
    candidates, truths = random_boxes(random, 2, 40), random_boxes(random, 2, 6)

    matched = match(candidates, truths, positive=0.6, negative=0.3, force=force)

    index, positive, negative, overlap = (ops.convert_to_numpy(part) for part in matched)
    for number in range(2):
        expected, background = matched_by_a_loop(
            candidates[number], truths[number], 0.6, 0.3, force
        )
        assert positive[number].tolist() == [one is not None for one in expected]
        assert negative[number].tolist() == background
        for place, one in enumerate(expected):
            if one is not None:
                assert index[number, place] == one
                by_hand = overlap_by_hand(candidates[number, place], truths[number, one])
                assert overlap[number, place] == pytest.approx(by_hand, abs=1e-5)


def test_padding_matches_nothing_even_by_force():
    candidates = random_boxes(np.random.default_rng(0), 1, 4)

    matched = match(candidates, np.zeros((1, 3, 4), np.float32), force=True)

    assert not ops.convert_to_numpy(matched.positive).any()
    assert ops.convert_to_numpy(matched.negative).all()


def test_nothing_is_learnt_from_a_crowd():
    candidates = np.float32([[[0, 0, 10, 10], [50, 50, 60, 60], [52, 52, 58, 58]]])
    truths = np.float32([[[0, 0, 10, 10], [40, 40, 80, 80]]])

    matched = match(candidates, truths, crowds=np.array([[False, True]]), force=True)

    assert ops.convert_to_numpy(matched.positive).tolist() == [[True, False, False]]
    assert ops.convert_to_numpy(matched.negative).tolist() == [[False, False, False]]


def test_rows_are_taken_picture_by_picture():
    values = np.arange(12).reshape(2, 3, 2)
    index = np.array([[2, 0], [1, 1]])

    assert ops.convert_to_numpy(gather_rows(values, index)).tolist() == [
        [[4, 5], [0, 1]],
        [[8, 9], [8, 9]],
    ]
    labels = ops.convert_to_numpy(gather_rows(values[..., 0], index))
    assert labels.tolist() == [[4, 0], [8, 8]]


# --- suppression ----------------------------------------------------------------------------------


def kept_by_a_loop(boxes, threshold):
    kept = []
    for number, box in enumerate(boxes):
        if all(overlap_by_hand(boxes[other], box) <= threshold for other in kept):
            kept.append(number)
    return kept


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_survivors_are_those_of_a_loop(seed, threshold):
    boxes = random_boxes(np.random.default_rng(seed), 3, 50, side=30.0)

    kept = ops.convert_to_numpy(non_max_suppression_mask(boxes, threshold))

    for number in range(3):
        assert np.flatnonzero(kept[number]).tolist() == kept_by_a_loop(boxes[number], threshold)
    assert 0 < kept.sum() < kept.size


def test_suppression_keeps_the_best_of_a_class_and_all_classes():
    boxes = tf.constant([[[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 1, 1]]])
    scores = tf.constant([[[0.9, 0.2], [0.8, 0.7], [0.3, 0.0], [0.01, 0.01]]])

    kept = non_max_suppression(boxes, scores, most=5, overlap=0.5, smallest_score=0.1)

    assert int(kept.count[0]) == 3
    assert kept.labels.numpy()[0, :3].tolist() == [0, 1, 0]
    np.testing.assert_allclose(kept.scores.numpy(), [[0.9, 0.7, 0.3, 0, 0]])
    assert kept.boxes.numpy()[0].tolist() == [
        [0, 0, 10, 10],
        [1, 0, 11, 10],
        [50, 50, 60, 60],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_every_class_may_have_a_box_of_its_own():
    boxes = tf.constant([[[[0.0, 0, 10, 10], [20, 20, 30, 30]]]])
    scores = tf.constant([[[0.9, 0.8]]])

    kept = non_max_suppression(boxes, scores, most=2, overlap=0.5, smallest_score=0.1)

    assert kept.boxes.numpy()[0].tolist() == [[0, 0, 10, 10], [20, 20, 30, 30]]


# --- features of regions --------------------------------------------------------------------------


def test_features_of_regions_are_those_of_crop_and_resize():
    random = np.random.default_rng(5)
    features = random.normal(size=(2, 12, 16, 3)).astype(np.float32)
    boxes = random_boxes(random, 2, 4, side=40.0)  # inside of 100 x 100; the map is 96 x 128
    side, stride = 5, 8

    regions = region_features(features, boxes, stride, side=side, samples=1)

    assert regions.shape == (2, 4, side, side, 3)
    # TensorFlow takes the first and the last point of a region; ours are half a cell further in.
    cells = (boxes[..., 2:] - boxes[..., :2]) / side / 2
    inner = np.concatenate([boxes[..., :2] + cells, boxes[..., 2:] - cells], axis=-1) / stride - 0.5
    inner = np.clip(inner, 0, [15, 11, 15, 11])
    normed = (inner[..., [1, 0, 3, 2]] / [11, 15, 11, 15]).reshape(-1, 4).astype(np.float32)
    pictures = np.repeat(np.int32([0, 1]), 4)
    expected = tf.image.crop_and_resize(features, normed, pictures, (side, side)).numpy()
    inside = (boxes[..., :2] - 4 >= 0).all(axis=-1) & (boxes[..., 2] <= 124) & (boxes[..., 3] <= 92)
    computed = ops.convert_to_numpy(regions)
    assert inside.sum() >= 4
    np.testing.assert_allclose(
        computed[inside], expected.reshape(computed.shape)[inside], rtol=1e-4, atol=1e-4
    )


def test_features_of_a_ramp_are_its_values_at_the_centres_of_cells():
    ramp = np.tile(np.arange(8, dtype=np.float32)[None, None, :, None] + 0.5, (1, 8, 1, 1))
    boxes = np.float32([[[2, 2, 6, 6]]])

    regions = ops.convert_to_numpy(region_features(ramp, boxes, stride=1, side=2))

    np.testing.assert_allclose(regions[0, 0, :, :, 0], [[3, 5], [3, 5]], rtol=1e-5)


def test_features_have_a_gradient_for_regions_as_well():
    random = np.random.default_rng(6)
    features = tf.constant(random.normal(size=(1, 8, 8, 2)).astype(np.float32))
    boxes = tf.constant([[[10.0, 12.0, 40.0, 50.0]]])
    with tf.GradientTape() as tape:
        tape.watch([features, boxes])
        total = ops.sum(region_features(features, boxes, stride=8, side=3) ** 2)

    by_features, by_boxes = tape.gradient(total, [features, boxes])

    assert np.abs(by_features).sum() > 0 and np.abs(by_boxes).sum() > 0


# --- proposals and their features -----------------------------------------------------------------


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


def test_networks_with_proposals_are_saved_and_loaded(tmp_path):
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
