import types

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from keras import layers, ops

from suite import InputError
from suite.app import Fitted
from suite.data import Examples, Source, supervised
from suite.data.boxes.annotations import NO_LABEL
from suite.data.boxes.preparation import BoxPreparation
from suite.export.endpoints import as_endpoint
from suite.export.exported import Exports
from suite.export.saved_model import write_saved_model
from suite.layers.boxes import Anchors
from suite.tasks import detection as task

NAMES = ("bright", "grey")
CONFIG = task.Config(batch_size=4, min_steps_per_epoch=2)


def brightness():
    """Finds bright squares of 8 x 8 pixels on a grid of 8 pixels."""
    image = keras.Input((32, 32, 1), name="image")
    convolution = layers.Conv2D(1, 1, name="brightness")
    squares = convolution(layers.AveragePooling2D(8)(image))
    scores = ops.sigmoid(layers.Reshape((16, 1))(squares))
    outputs = {
        "boxes": Anchors(8, [(8, 8)])(squares),
        "scores": ops.concatenate([scores, 0.001 * scores], axis=-1),
    }
    model = keras.Model(image, outputs, name="squares")
    convolution.set_weights([np.float32([[[[0.05]]]]), np.float32([-0.05 * 127.5])])
    return model


def squares(count):
    """Pictures `(count, 32, 32, 1)` with one or two bright squares on the grid, and targets."""
    random = np.random.default_rng(0)
    pictures = np.zeros((count, 32, 32, 1), np.uint8)
    targets = np.zeros((count, 2, 6), np.float32)
    targets[..., 4] = NO_LABEL
    for picture, rows in zip(pictures, targets, strict=True):
        cells = random.choice(16, random.integers(1, 3), replace=False)
        for row, cell in zip(rows, cells, strict=False):
            top, left = 8 * (cell // 4), 8 * (cell % 4)
            picture[top : top + 8, left : left + 8] = 255
            row[:] = (left, top, left + 8, top + 8, 0, 0)
    return Examples(pictures, targets)


def mean_score(targets, outputs, fixed):
    return ops.mean(outputs["scores"], axis=(1, 2))


def fitted_on(examples, loss=mean_score, config=CONFIG):
    source = Source(
        name="arrays",
        train=examples,
        class_names=NAMES,
        preparation=BoxPreparation(height=32, width=32, channels=1, names=NAMES),
    )
    data = supervised(source, batch_size=4, validation_split=0.2, seed=0, min_steps=2)
    network = brightness()
    model = task.compile_model(network, config, 10, loss)
    return Fitted(model=model, networks={"squares": network}, data=data, config=config, folder=None)


@pytest.fixture
def fitted():
    return fitted_on(squares(20))


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


# --- targets and losses ---------------------------------------------------------------------------


def test_padding_and_crowds_are_distinguished():
    rows = np.float32([[[1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 0, 1], [0, 0, 0, 0, NO_LABEL, 0]]])

    targets = task.targets_of(tf.constant(rows))

    np.testing.assert_array_equal(targets.boxes, rows[..., :4])
    assert targets.labels.numpy().tolist() == [[5, 0, 0]]
    assert targets.exists.numpy().tolist() == [[True, True, False]]
    assert targets.crowd.numpy().tolist() == [[False, True, False]]


def test_the_loss_is_the_mean_over_pictures_by_their_weights():
    def first_corner(targets, outputs, fixed):
        return targets.boxes[:, 0, 0]

    model = task.compile_model(brightness(), CONFIG, 10, first_corner)
    rows = tf.reshape(tf.constant([1.0, 5.0]), (2, 1, 1)) * tf.ones((2, 2, 6))
    outputs = model(tf.zeros((2, 32, 32, 1)))

    plain = model.compute_loss(None, rows, outputs)
    weighted = model.compute_loss(None, rows, outputs, tf.reshape([2.0, 0.0], (2, 1, 1)))

    assert (float(plain), float(weighted)) == (3.0, 1.0)


def test_what_candidates_learn_by_has_no_gradient():
    def product(targets, outputs, fixed):
        return ops.mean(outputs["scores"] * fixed["scores"], axis=(1, 2))

    def square(targets, outputs, fixed):
        return ops.mean(outputs["scores"] ** 2, axis=(1, 2))

    examples = squares(4)
    gradients = []
    for loss in (product, square):
        model = task.compile_model(brightness(), CONFIG, 10, loss)
        with tf.GradientTape() as tape:
            outputs = model(tf.cast(examples.inputs, tf.float32), training=True)
            value = model.compute_loss(None, tf.constant(examples.targets), outputs)
        gradients.append(tape.gradient(value, model.trainable_variables)[1].numpy())

    np.testing.assert_allclose(2 * gradients[0], gradients[1], rtol=1e-5)


def test_an_objective_keeps_what_candidates_learn_by():
    def product(targets, outputs, fixed):
        return ops.mean(outputs["scores"] * fixed["scores"], axis=(1, 2))

    examples = squares(4)
    model = task.compile_model(brightness(), CONFIG, 10, product)
    objective = model.objectives((tf.constant(examples.inputs), tf.constant(examples.targets)))[
        "loss"
    ]
    before = model(examples.inputs)["scores"].numpy()
    np.testing.assert_allclose(objective.loss(), np.mean(before**2), rtol=1e-5)

    bias = model.network.get_layer("brightness").bias
    bias.assign(bias - 6.0)

    after = model(examples.inputs)["scores"].numpy()
    np.testing.assert_allclose(objective.loss(), np.mean(before * after), rtol=1e-5)


# --- judgement ------------------------------------------------------------------------------------


def test_a_perfect_detector_has_an_average_precision_of_1(fitted):
    metrics = task.evaluate(fitted)

    assert metrics["test_ap"] == pytest.approx(1)
    assert metrics["test_ap_by_class"] == {"bright": pytest.approx(1), "grey": None}
    assert np.isfinite(metrics["test_loss"])


def test_boxes_in_wrong_places_have_an_average_precision_of_0():
    examples = squares(20)
    moved = examples.targets.copy()
    moved[..., :4] += 4 * (moved[..., 4:5] >= 0)

    metrics = task.evaluate(fitted_on(Examples(examples.inputs, moved)))

    assert metrics["test_ap"] == pytest.approx(0, abs=1e-6)


def test_the_validation_split_is_evaluated_after_every_epoch(fitted):
    [callback] = task.callbacks(fitted)
    logs = {"loss": 1.0}

    callback.on_epoch_end(0, logs)

    assert logs["loss"] == 1.0
    assert [logs[f"val_{name}"] for name in ("ap", "ap_50", "ap_75")] == pytest.approx([1, 1, 1])


def test_answers_are_drawn(fitted):
    figures = task.draw(fitted)

    assert set(figures) == {"answers", "precision_and_recall"}


# --- endpoints ------------------------------------------------------------------------------------


def test_an_image_is_answered_in_its_pixels_and_padded(fitted):
    endpoint = as_endpoint(task.endpoints(fitted)["serve"])
    picture = np.zeros((1, 32, 32, 1), np.float32)
    picture[0, 8:16, 24:32] = 255

    outputs = endpoint.function(tf.constant(picture))

    assert outputs["count"].numpy().tolist() == [1]
    assert outputs["boxes"].shape == (1, CONFIG.most_boxes, 4)
    assert outputs["boxes"].numpy()[0, :2].tolist() == [[24, 8, 32, 16], [0, 0, 0, 0]]
    assert outputs["names"].numpy()[0, :2].tolist() == [b"bright", b""]
    assert outputs["scores"].numpy()[0, 0] > 0.99 and not outputs["scores"].numpy()[0, 1:].any()
    assert outputs["labels"].dtype == tf.int64


def test_pictures_of_any_size_are_answered_in_their_pixels(fitted):
    endpoint = as_endpoint(task.endpoints(fitted)["picture"])
    large, wide = np.zeros((64, 64, 1), np.uint8), np.zeros((16, 32, 1), np.uint8)
    large[16:32, 48:64] = 255
    wide[0:8, 8:16] = 255

    outputs = endpoint.function(tf.constant([png(large), png(wide)]))

    # Below the wide picture the input is grey, which is no square that is bright enough.
    certain = outputs["scores"].numpy() > 0.9
    assert certain.sum(axis=1).tolist() == [1, 1]
    np.testing.assert_allclose(outputs["boxes"].numpy()[0, 0], [48, 16, 64, 32], atol=1e-3)
    np.testing.assert_allclose(outputs["boxes"].numpy()[1, 0], [8, 0, 16, 8], atol=1e-3)


# --- weights of an export -------------------------------------------------------------------------


def stack(*filters):
    image = x = keras.Input((8, 8, 1))
    for count in filters:
        x = layers.Conv2D(count, 3)(x)
    return keras.Model(image, x)


def test_weights_are_copied_up_to_the_first_difference():
    source, target = stack(2, 3, 4), stack(2, 3, 5)
    last = [array.copy() for array in target.layers[-1].get_weights()]

    assert task.copy_first_weights(source, target) == 2

    for one, other in zip(source.layers[1:3], target.layers[1:3], strict=True):
        np.testing.assert_array_equal(one.get_weights()[0], other.get_weights()[0])
    np.testing.assert_array_equal(target.layers[-1].get_weights()[0], last[0])


def exported(fitted, folder):
    [network] = fitted.networks.values()
    metadata = {
        "app": "squares",
        "config": {},
        "source": "arrays",
        "metrics": {"test_ap": 1.0},
        "class_names": list(NAMES),
    }
    example = task.example(fitted)
    version, _ = write_saved_model(
        folder / "squares", network, task.endpoints(fitted), example, metadata
    )
    return version


def test_a_training_begins_with_the_weights_of_an_export(fitted, tmp_path):
    version = exported(fitted, tmp_path / "exports")
    fresh = fitted_on(squares(20))
    [network] = fresh.networks.values()
    network.set_weights([np.zeros_like(array) for array in network.get_weights()])

    [phase] = task.phases(task.Config(weights=version))
    phase.begin(fresh)

    assert network.get_weights()[0].item() == pytest.approx(0.05)


def test_an_export_of_other_layers_is_refused(fitted, tmp_path):
    version = exported(fitted, tmp_path / "exports")
    other = stack(2)
    fresh = Fitted(
        model=other, networks={"one": other}, data=fitted.data, config=CONFIG, folder=tmp_path
    )

    with pytest.raises(InputError, match=r"^`weights` must be an export whose first layers"):
        task.begin_with(fresh, version)


def test_without_an_export_nothing_is_done_before_the_training():
    [phase] = task.phases(CONFIG)

    assert phase.begin is None and phase.epochs == CONFIG.epochs


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    exported(fitted_on(squares(20)), folder)
    return Exports(export_dir=folder)


APP = types.SimpleNamespace(name="squares")


def bright_square(size=64):
    picture = np.zeros((size, size, 3), np.uint8)
    picture[size // 4 : size // 2, size // 2 : 3 * size // 4] = 255
    return PIL.Image.fromarray(picture)


def test_a_photo_is_drawn_with_its_boxes(exports, tmp_path, capsys):
    bright_square().save(tmp_path / "photo.png")

    task.predict(APP, tmp_path / "photo.png", output=tmp_path / "boxes.png", exports=exports)

    printed = capsys.readouterr().out
    assert "boxes.png: bright 99" in printed
    boxed = np.asarray(PIL.Image.open(tmp_path / "boxes.png"))
    assert boxed.shape == (64, 64, 3)
    assert (boxed != np.asarray(bright_square())).any()


def test_a_photo_of_nothing_says_so(exports, tmp_path, capsys):
    PIL.Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")

    task.predict(APP, tmp_path / "photo.png", output=tmp_path / "boxes.png", exports=exports)

    assert capsys.readouterr().out.endswith("boxes.png: nothing\n")


def test_a_folder_of_frames_is_watched(exports, tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    for number in range(3):
        bright_square().save(tmp_path / "frames" / f"{number}.png")

    task.watch(APP, tmp_path / "frames", output=tmp_path / "boxes.gif", exports=exports)

    assert "3 frames, " in (printed := capsys.readouterr().out)
    assert "frames a second" in printed
    with PIL.Image.open(tmp_path / "boxes.gif") as boxed:
        assert boxed.size == (64, 64)


def test_an_animation_is_watched_up_to_a_number_of_frames(exports, tmp_path, capsys):
    frames = [bright_square(), PIL.Image.new("RGB", (64, 64)), bright_square()]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:])

    task.watch(
        APP, tmp_path / "in.gif", output=tmp_path / "out.gif", most_frames=2, exports=exports
    )

    assert "out.gif: 2 frames" in capsys.readouterr().out


def test_a_video_is_watched(exports, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(
        str(tmp_path / "in.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64)
    )
    for _ in range(2):
        writer.write(np.array(bright_square()))
    writer.release()

    task.watch(APP, tmp_path / "in.avi", output=tmp_path / "out.gif", exports=exports)

    assert "out.gif: 2 frames" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.avi", "empty", "text.avi"])
def test_what_holds_no_frames_is_refused(name, exports, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.avi").write_text("no video")

    with pytest.raises(InputError, match=r"^`frames` must"):
        task.watch(APP, tmp_path / name, output=tmp_path / "out.gif", exports=exports)


def test_frames_of_two_sizes_are_refused(exports, tmp_path):
    (tmp_path / "frames").mkdir()
    bright_square(64).save(tmp_path / "frames" / "0.png")
    bright_square(32).save(tmp_path / "frames" / "1.png")

    with pytest.raises(InputError, match="`frames` must all have one size"):
        task.watch(APP, tmp_path / "frames", output=tmp_path / "out.gif", exports=exports)
