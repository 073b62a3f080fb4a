import keras
import numpy as np
import pytest
from keras import ops

from apps.rcnn import (
    HEAD,
    Config,
    app,
    build_model,
    compile_model,
    loss,
    loss_of_boxes,
    loss_of_proposals,
    loss_of_regions,
    phases,
)
from suite import InputError
from suite.cli import run
from suite.layers.boxes import match
from suite.tasks import detection as task

SMALL = {"blocks": (1, 1, 1), "filters": 4, "head_filters": 8, "units": 16, "proposals": 12}
THING = [4.0, 4.0, 20.0, 20.0]
ANCHORS = np.array([[THING, [40, 40, 56, 56], [4, 40, 20, 56]]], np.float32)
ROWS = np.array([[[*THING, 2, 0], [0, 0, 0, 0, -1, 0]]], np.float32)  # the second is padding


def right_answer():
    """The outputs of a network that is right about `ROWS`, and sure of it."""
    sure = np.array([[50, -50, -50]], np.float32)
    logits = np.full((1, 3, 4), -50, np.float32)
    logits[0, 0, 1 + 2] = logits[0, 1, 0] = logits[0, 2, 0] = 50
    offsets = np.zeros((1, 3, 4), np.float32)
    parts = {
        "anchors": ANCHORS,
        "anchor_offsets": offsets,
        "objectness": sure,
        "proposals": ANCHORS,
        "offsets": offsets,
        "logits": logits,
    }
    return {name: ops.convert_to_tensor(part) for name, part in parts.items()}


def changed(outputs, name, index, value):
    part = ops.convert_to_numpy(outputs[name]).copy()
    part[index] = value
    return {**outputs, name: ops.convert_to_tensor(part)}


def loss_of(outputs, rows=ROWS, **parts):
    values = ops.convert_to_numpy(loss(task.targets_of(rows), outputs, outputs, **parts))
    assert values.shape == (len(rows),)
    return float(values[0])


@pytest.mark.parametrize("shape", [(64, 64, 3), (32, 48, 1)])
def test_a_proposal_has_a_box_and_a_score_for_every_class(shape):
    model = build_model(shape, 5, **SMALL)

    outputs = model(np.zeros((2, *shape)))

    anchors = shape[0] // 8 * (shape[1] // 8) * 10
    assert {name: tuple(part.shape) for name, part in outputs.items()} == {
        "boxes": (2, 12, 4),
        "scores": (2, 12, 5),
        "anchors": (2, anchors, 4),
        "anchor_offsets": (2, anchors, 4),
        "objectness": (2, anchors),
        "proposals": (2, 12, 4),
        "logits": (2, 12, 6),
        "offsets": (2, 12, 4),
    }
    scores = ops.convert_to_numpy(outputs["scores"])
    assert (scores > 0).all() and (scores.sum(axis=-1) < 1).all()  # the rest is background


def test_objectness_and_anchors_have_one_order():
    """That of the shapes in a cell, and of the cells row by row."""
    model = build_model((32, 48, 3), **SMALL, sizes=(8, 16), ratios=(0.5, 2))
    layer = model.get_layer("objectness")
    kernel, bias = layer.get_weights()
    layer.set_weights([np.zeros_like(kernel), np.arange(len(bias), dtype=np.float32)])

    outputs = model(np.zeros((1, 32, 48, 3)))

    numbers = ops.convert_to_numpy(outputs["objectness"]).reshape(4, 6, 4)
    anchors = ops.convert_to_numpy(outputs["anchors"]).reshape(4, 6, 4, 4)
    assert (numbers == np.arange(4)).all()
    widths, heights = anchors[..., 2] - anchors[..., 0], anchors[..., 3] - anchors[..., 1]
    ratios, areas = np.broadcast_arrays([0.5, 2, 0.5, 2], numbers)[0], [64, 64, 256, 256]
    # Differences of float32 corners up to 60 pixels, whose last digit is 4e-6 of a pixel.
    np.testing.assert_allclose(widths / heights, ratios, rtol=4e-6)
    np.testing.assert_allclose(widths * heights, np.broadcast_to(areas, numbers.shape), rtol=4e-6)
    np.testing.assert_allclose(anchors[1, 2, 0, :2] + anchors[1, 2, 0, 2:], [40, 24], rtol=1e-6)


def test_a_right_answer_costs_nothing():
    assert loss_of(right_answer()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "index", "value", "part"),
    [
        ("objectness", (0, 0), -5, "of_proposals"),
        ("objectness", (0, 1), 5, "of_proposals"),
        ("anchor_offsets", (0, 0, 2), 1, "of_proposals"),
        ("logits", (0, 0, 1), 60, "of_regions"),
        ("logits", (0, 1, 3), 60, "of_regions"),
        ("offsets", (0, 0, 0), 1, "of_regions"),
    ],
)
def test_what_is_wrong_costs_in_its_part(name, index, value, part):
    wrong = changed(right_answer(), name, index, value)

    other = {"of_proposals": "of_regions", "of_regions": "of_proposals"}[part]
    assert loss_of(wrong) > 0.1
    assert loss_of(wrong, **{other: False}) == pytest.approx(loss_of(wrong))
    assert loss_of(wrong, **{part: False}) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["anchor_offsets", "offsets"])
def test_boxes_of_the_background_need_not_lie_anywhere(name):
    assert loss_of(changed(right_answer(), name, (0, 1), 9)) == pytest.approx(0, abs=1e-5)


def test_things_and_background_weigh_half_each():
    """However many more there are of the background: the loss of a logit of 0 is log 2."""
    outputs = changed(right_answer(), "objectness", slice(None), 0)

    assert loss_of(outputs, of_regions=False) == pytest.approx(np.log(2))
    only_background = changed(outputs, "objectness", (0, 0), 50)
    assert loss_of(only_background, of_regions=False) == pytest.approx(np.log(2) / 2)


def test_the_loss_of_boxes_is_quadratic_only_close_by():
    targets = task.targets_of(ROWS)
    matched = match(ANCHORS, targets.boxes)

    def distance(offset):
        offsets = np.zeros((1, 3, 4), np.float32)
        offsets[0, 0, 0] = offset
        return float(loss_of_boxes(targets, matched, ANCHORS, offsets)[0])

    assert distance(0.02) == pytest.approx(4 * distance(0.01), rel=1e-3)
    assert distance(3) - distance(2) == pytest.approx(1 / 4, rel=1e-3)  # of four borders, one


def test_a_proposal_without_area_is_background():
    outputs = changed(right_answer(), "proposals", (0, 1), [64, 3, 64, 9])

    assert loss_of(outputs) == pytest.approx(0, abs=1e-5)


def test_nothing_is_learnt_from_a_crowd():
    rows = ROWS.copy()
    rows[0, 0, 5] = 1
    outputs = right_answer()

    for name, index in (("objectness", (0, 0)), ("logits", (0, 0, 1)), ("offsets", (0, 0, 1))):
        assert loss_of(changed(outputs, name, index, 60), rows) == pytest.approx(0, abs=1e-5)


def test_a_picture_without_things_teaches_the_background():
    rows = np.array([[[0, 0, 0, 0, -1, 0]]], np.float32)
    outputs = right_answer()

    for part in (loss_of_proposals, loss_of_regions):
        sure_of_a_thing = part(task.targets_of(rows), outputs, outputs)
        assert np.isfinite(sure_of_a_thing).all() and sure_of_a_thing[0] > 1
    outputs = changed(outputs, "objectness", (0, 0), -50)
    outputs = changed(outputs, "logits", (0, 0), [50, -50, -50, -50])
    assert loss_of(outputs, rows) == pytest.approx(0, abs=1e-5)


def test_it_learns_boxes_of_its_pictures():
    random = np.random.default_rng(0)
    pictures, rows = np.zeros((8, 32, 32, 1), np.float32), np.zeros((8, 2, 6), np.float32)
    rows[..., 4] = -1
    for picture, row in zip(pictures, rows, strict=True):
        x, y = random.integers(0, 16, 2)
        picture[y : y + 14, x : x + 14] = 255
        row[0] = [x, y, x + 14, y + 14, 1, 0]
    network = build_model((32, 32, 1), 2, **SMALL)
    model = compile_model(network, Config(learning_rate=0.01), steps=150)

    losses = model.fit(pictures, rows, batch_size=8, epochs=150, verbose=0).history["loss"]

    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def trainable_layers(network):
    return {layer.name for layer in network.layers if layer.trainable_weights}


def test_alternating_trains_one_part_after_the_other_and_then_both():
    network = build_model((32, 32, 1), 2, **SMALL)
    config = Config(epochs=4, alternate=3)
    everything = trainable_layers(network)
    head = {name for name in everything if name.startswith(HEAD)}
    parts = phases(config)

    trained = []
    for phase in parts:
        (phase.compile or app.compile)(network, config, 10)
        trained.append(trainable_layers(network))

    assert [(phase.name, phase.epochs) for phase in parts] == [
        ("proposals", 3),
        ("regions", 3),
        ("both", 4),
    ]
    assert trained == [everything - head, head, everything]
    assert head == {f"{HEAD}1", f"{HEAD}2", f"{HEAD}logits", f"{HEAD}offsets"}


def test_a_step_of_the_region_head_leaves_everything_else_as_it_is():
    network = build_model((32, 32, 1), 2, **SMALL)
    config = Config(epochs=3, alternate=1)
    model = phases(config)[1].compile(network, config, 10)
    model.run_eagerly = True
    before = {weight.path: np.array(weight) for weight in network.weights}
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)

    model.train_on_batch(pictures, np.array([[[2, 2, 16, 16, 1, 0]]] * 2, np.float32))

    moved = {w.path for w in network.weights if (np.array(w) != before[w.path]).any()}
    assert moved and all(HEAD in path for path in moved)


def test_it_is_saved_and_loaded(tmp_path):
    network = build_model((32, 32, 1), 2, **SMALL)
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)

    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")

    for name, part in network(pictures).items():
        np.testing.assert_allclose(loaded(pictures)[name], part, rtol=1e-5, atol=1e-5)


def test_without_alternating_there_is_one_phase():
    [phase] = phases(Config(epochs=2))

    assert (phase.epochs, phase.compile) == (2, None)


@pytest.mark.parametrize(
    ("arguments", "knobs", "message"),
    [
        (((100, 128, 3),), {}, r"`image_size` must be a multiple of 16"),
        (((32, 32, 3),), {"proposals": 161}, r"`proposals` must be at most the 160 anchors"),
        ((), {"blocks": (1, 1)}, r"`blocks` must have at least 3 items"),
        ((), {"sizes": ()}, r"`sizes` must have at least 1 item"),
        ((), {"sizes": (0.0,)}, r"`sizes` should be greater than or equal to 1"),
        ((), {"ratios": (-1.0,)}, r"`ratios` should be greater than"),
        (((64, 64, 3), 0), {}, r"`num_classes` should be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(arguments, knobs, message):
    with pytest.raises(InputError, match=message):
        build_model(*arguments, **knobs)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_boxes_and_logits_stay_float32_in_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)

    outputs = build_model((32, 32, 3), **SMALL).output

    assert {tensor.dtype for tensor in outputs.values()} == {"float32"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--proposals", "0"], "--proposals "),
        (["--blocks", "1", "1"], "--blocks "),
        (["--units", "0"], "--units "),
        (["--region-side", "0"], "--region-side "),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))

    code = run(app, [*words, "--data", "embedded", "--scenes", "8", "--quiet"])

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
