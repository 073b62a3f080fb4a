import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from apps import resnet
from apps.ssd import app, build_model, compile_model, hardest, loss
from suite import InputError
from suite.layers.boxes import Anchors, boxes_to_offsets
from suite.tasks import detection as task

SMALL = {"blocks": (1, 1, 1, 1, 1), "filters": 4, "head_filters": 8}


def test_default_boxes_grow_from_map_to_map():
    model = build_model((64, 96, 3), 4, ratios=(1.0, 4.0), **SMALL)

    layers = [layer for layer in model.layers if isinstance(layer, Anchors)]
    by_stride = sorted((layer.stride, layer.shapes) for layer in layers)

    assert [stride for stride, _ in by_stride] == [8, 16, 32]
    sides = np.linspace(0.12, 0.6, 4) * 64
    for (_, shapes), side, following in zip(by_stride, sides[:-1], sides[1:], strict=True):
        np.testing.assert_allclose(shapes[0], (side, side))
        np.testing.assert_allclose(shapes[1], (2 * side, side / 2))
        np.testing.assert_allclose(shapes[2], [np.sqrt(side * following)] * 2)
    count = 3 * (8 * 12 + 4 * 6 + 2 * 3)
    assert model.output["boxes"].shape == (None, count, 4)
    assert model.output["scores"].shape == (None, count, 4)
    assert model.output["logits"].shape == (None, count, 5)


@pytest.mark.parametrize("pyramid", [True, False])
@pytest.mark.parametrize("maps", [1, 2])
def test_the_answer_has_a_score_and_a_box_for_every_default_box(pyramid, maps):
    model = build_model((64, 64, 1), 3, maps=maps, pyramid=pyramid, **SMALL)

    outputs = model(np.zeros((2, 64, 64, 1), np.float32))

    scores = ops.convert_to_numpy(outputs["scores"])
    assert scores.shape[-1] == 3 and (scores.sum(axis=-1) < 1).all()
    assert outputs["boxes"].shape == outputs["anchors"].shape == outputs["offsets"].shape


@pytest.mark.parametrize(
    ("shape", "knobs", "message"),
    [
        ((64, 80, 3), {}, r"`image_size` must be a multiple of 32 .* Received: 80"),
        ((64, 64, 3), {"maps": 6}, r"`maps` must be at most the 5 stages .* Received: 6"),
        ((64, 64, 3), {"smallest_box": 0.7}, r"`smallest_box` must be below .* Received: 0.7"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(shape, knobs, message):
    with pytest.raises(InputError, match=message):
        build_model(shape, **knobs)


# --- the loss -------------------------------------------------------------------------------------

ANCHORS = np.float32(
    [[0, 0, 10, 10], [0, 0, 9, 10], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70]]
)


def outputs_of(logits, offsets=None):
    return {
        "anchors": tf.constant(ANCHORS[None]),
        "offsets": tf.constant(np.zeros((1, 5, 4), np.float32) if offsets is None else offsets),
        "logits": tf.constant(np.float32(logits)[None]),
    }


def things(*rows):
    return task.targets_of(tf.constant(np.float32([rows])))


def cross_entropy_by_hand(logits, label):
    exponentials = np.exp(np.asarray(logits, np.float64))
    return -np.log(exponentials[label] / exponentials.sum())


def test_the_loss_by_hand():
    """One thing, on the first two anchors; three of the others count, and there are only three."""
    random = np.random.default_rng(0)
    logits, offsets = random.normal(size=(5, 3)), random.normal(size=(1, 5, 4)) * 2
    outputs = outputs_of(logits, offsets.astype(np.float32))
    thing = [1, 0, 10, 10, 1, 0]

    [value] = ops.convert_to_numpy(loss(things(thing), outputs, outputs))

    true_offsets = ops.convert_to_numpy(boxes_to_offsets(np.float32([thing[:4]] * 2), ANCHORS[:2]))
    distances = np.abs(offsets[0, :2] - true_offsets)
    of_offsets = np.where(distances < 1 / 9, 4.5 * distances**2, distances - 1 / 18).sum()
    of_things = sum(cross_entropy_by_hand(row, 2) for row in logits[:2])
    of_background = sum(cross_entropy_by_hand(row, 0) for row in logits[2:])
    assert value == pytest.approx((of_offsets + of_things + of_background) / 2, rel=1e-4)


def test_only_the_hardest_of_the_background_counts():
    easy, hard = [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]
    padding = [0, 0, 0, 0, -1, 0]
    logits = [easy, hard, easy, hard, hard]

    [value] = ops.convert_to_numpy(loss(things(padding), outputs_of(logits), outputs_of(logits)))

    assert value == pytest.approx(3 * cross_entropy_by_hand(hard, 0), rel=1e-4)


def test_the_hardest_are_chosen_by_the_fixed_outputs():
    easy, hard = [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]
    padding = [0, 0, 0, 0, -1, 0]
    logits, fixed = [hard, hard, easy, easy, easy], [easy, easy, hard, hard, hard]

    [value] = ops.convert_to_numpy(loss(things(padding), outputs_of(logits), outputs_of(fixed)))

    assert value == pytest.approx(3 * cross_entropy_by_hand(easy, 0), rel=1e-2)


def test_the_hardest_are_candidates_with_the_largest_values():
    losses = tf.constant([[5.0, 1.0, 4.0, 3.0], [1.0, 2.0, 3.0, 4.0]])
    candidates = tf.constant([[False, True, True, True], [True, False, False, False]])

    chosen = hardest(losses, candidates, tf.constant([2.0, 3.0])).numpy()

    assert chosen.tolist() == [[False, False, True, True], [True, False, False, False]]


def test_training_moves_a_box_onto_a_thing():
    """A bright square on black, one picture: after a few steps the best box is around it."""
    keras.utils.set_random_seed(1)
    picture = np.zeros((1, 64, 64, 1), np.float32)
    picture[:, 12:30, 20:44] = 255
    rows = np.float32([[[20, 12, 44, 30, 1, 0]]])
    config = task.Config(learning_rate=0.005, weight_decay=0.0, warmup=0.1)
    model = compile_model(
        build_model((64, 64, 1), 2, normalization="none", **SMALL), config, steps=120
    )

    losses = [float(model.train_on_batch(picture, rows)) for _ in range(120)]

    kept = task.detector(model.network, config)(tf.constant(picture))
    assert losses[-1] < losses[0] / 4
    assert int(kept.labels[0, 0]) == 1
    np.testing.assert_allclose(kept.boxes[0, 0], rows[0, 0, :4], atol=4)


# --- a backbone that has learnt something ---------------------------------------------------------


def test_it_begins_with_the_weights_of_a_classifier():
    classifier = resnet.build_model((32, 32, 3), 10, blocks=(1, 1, 1), filters=4)
    network = build_model((64, 64, 3), 3, **SMALL)

    copied = task.copy_first_weights(classifier, network)

    convolutions = [layer for layer in classifier.layers if isinstance(layer, keras.layers.Conv2D)]
    layers_of_ssd = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert copied == 2 * len(convolutions) == 14  # and their normalisations
    for one, other in zip(convolutions, layers_of_ssd, strict=False):
        np.testing.assert_array_equal(one.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("recipe", app.recipes)
def test_recipes_can_be_built(recipe):
    chosen = app.recipe(recipe)

    model = build_model((chosen.config.image_size or 128,) * 2 + (3,), 3, **chosen.architecture)

    assert compile_model(model, chosen.config, 10).optimizer is not None
