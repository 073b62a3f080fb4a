import dataclasses
import io

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from keras import layers

from suite import InputError, Run
from suite.app import Fitted
from suite.export.endpoints import as_endpoint, call
from suite.export.saved_model import write_saved_model
from suite.tasks import image_classification as task
from suite.trainers.adversarial import AdversarialClassifier
from suite.trainers.crossentropy import SmoothCrossentropy
from suite.trainers.virtual_adversarial import VirtualAdversarial

CONFIG = task.Config(batch_size=8)


def build(input_shape=(28, 28, 1), num_classes=10, include_top=True, pooling=None):
    image = keras.Input(input_shape, name="image")
    x = layers.Conv2D(4, 3, 2)(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, task.head(x, num_classes, include_top, pooling), name="small")


@pytest.fixture
def fitted(tmp_path):
    data = task.load_data(CONFIG, Run(data="embedded"))
    model = task.compile_model(build(**data.model_arguments), CONFIG, 10)
    return Fitted(model=model, networks={"small": model}, data=data, config=CONFIG, folder=tmp_path)


def png(image):
    content = io.BytesIO()
    PIL.Image.fromarray(image.squeeze()).save(content, "PNG")
    return content.getvalue()


def test_the_data_say_how_many_classes_there_are_and_of_what_size(fitted):
    assert fitted.data.model_arguments == {"input_shape": (28, 28, 1), "num_classes": 10}


@pytest.mark.parametrize(
    ("knobs", "shape"),
    [
        ({}, (None, 10)),
        ({"include_top": False}, (None, 13, 13, 4)),
        ({"pooling": "avg"}, (None, 10)),
        ({"pooling": "max", "include_top": False}, (None, 4)),
    ],
)
def test_a_head_ends_in_logits_or_in_features(knobs, shape):
    assert build(**knobs).output_shape == shape


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_with_pooling_images_may_be_of_any_size(pooling):
    model = build((None, None, 3), pooling=pooling)

    for size in ((20, 30), (64, 64)):
        assert model(np.zeros((2, *size, 3))).shape == (2, 10)


def test_without_pooling_the_size_must_be_known():
    with pytest.raises(InputError, match="`pooling` must be avg or max for images of any size"):
        build((None, None, 3))
    assert build((None, None, 3), include_top=False).output_shape == (None, None, None, 4)


def test_dense_layers_and_another_name_of_the_logits():
    image = keras.Input((8, 8, 4))
    outputs = task.head(image, 10, True, "avg", units=(6, 5), dropout=0.5, name="auxiliary")
    network = keras.Model(image, outputs)

    assert [layer.units for layer in network.layers if isinstance(layer, layers.Dense)] == [
        6,
        5,
        10,
    ]
    assert [layer.rate for layer in network.layers if isinstance(layer, layers.Dropout)] == [
        0.5
    ] * 2
    assert network.output_names == ["auxiliary"]


def test_images_below_a_size_are_refused():
    task.refuse_images_below((None, 8, 1), 8)
    with pytest.raises(InputError, match="images must have at least 8 x 8 pixels; in a training"):
        task.refuse_images_below((None, 7, 1), 8)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_logits_stay_float32_in_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)

    assert build().output.dtype == "float32"


def test_endpoints_answer_with_names_and_take_files(fitted, tmp_path):
    images = fitted.data.splits["test"].inputs[:5]
    endpoints = task.endpoints(fitted)
    folder, difference = write_saved_model(
        tmp_path / "small", fitted.networks, endpoints, images, {}
    )
    signatures = tf.saved_model.load(str(folder)).signatures

    outputs = call(signatures["serve"], images)

    assert list(endpoints) == ["serve", "picture", "explain"] and difference < 1e-4
    assert set(outputs) == {"logits", "probabilities", "label", "name"}
    np.testing.assert_allclose(outputs["logits"], fitted.model(images), atol=1e-4)
    np.testing.assert_array_equal(outputs["label"], outputs["logits"].argmax(axis=1))
    assert [name.decode() for name in outputs["name"]] == list(map(str, outputs["label"]))

    files = [png(image) for image in images]
    of_files = call(signatures["picture"], np.array(files, object))
    prepared = np.stack([fitted.data.source.preparation(file) for file in files])
    expected = call(signatures["serve"], prepared)
    assert of_files.keys() == outputs.keys()
    np.testing.assert_allclose(of_files["logits"], expected["logits"], atol=1e-4)
    np.testing.assert_array_equal(of_files["name"], expected["name"])

    explained = call(signatures["explain"], np.array(files, object))
    assert set(explained) == {"heat_map", "label", "name", "probabilities"}
    assert explained["heat_map"].shape == (5, 28, 28)
    assert explained["heat_map"].min() >= 0 and explained["heat_map"].max() == pytest.approx(1)
    np.testing.assert_array_equal(explained["name"], of_files["name"])


def test_the_test_and_the_export_answer_after_the_same_views(fitted):
    config = dataclasses.replace(CONFIG, views="mirrored")
    looking_twice = dataclasses.replace(fitted, config=config)
    images = fitted.data.splits["test"].inputs[:40]
    logits = (fitted.model(images) + fitted.model(images[:, :, ::-1])) / 2

    serve = as_endpoint(task.endpoints(looking_twice)["serve"])
    outputs = serve.function(tf.constant(images, tf.float32))
    metrics = task.evaluate(looking_twice)
    everything = task.with_views(looking_twice).outputs()

    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(everything[:40], logits, atol=1e-4)
    labels = fitted.data.splits["test"].targets
    assert metrics["test_accuracy"] == pytest.approx(np.mean(everything.argmax(axis=1) == labels))
    assert metrics["test_loss"] != task.evaluate(fitted)["test_loss"]
    assert task.with_views(looking_twice) is task.with_views(looking_twice)  # one prediction


def test_a_moving_average_is_one_of_the_callbacks_if_it_is_asked_for(fitted):
    averaging = dataclasses.replace(CONFIG, weight_average=0.9)

    assert task.callbacks(fitted) == []
    [callback] = task.callbacks(dataclasses.replace(fitted, config=averaging))
    assert callback.decay == 0.9


def test_a_network_without_a_convolution_is_not_explained(fitted):
    image = keras.Input((28, 28, 1), name="image")
    dense = keras.Model(image, layers.Dense(10, name="logits")(layers.Flatten()(image)))

    endpoints = task.endpoints(dataclasses.replace(fitted, networks={"dense": dense}))

    assert list(endpoints) == ["serve", "picture"]


def test_the_raw_input_is_described(fitted):
    notes = fitted.data.description.notes

    assert notes["inputs"] == (
        "drawings of 28 x 28 pixels, grey, strokes of up to 255 on a background of 0"
    )
    assert notes["preparation"]["layout"] == "drawing"


def test_where_nothing_is_to_be_prepared_there_is_no_picture_endpoint(fitted):
    source = dataclasses.replace(fitted.data.source, preparation=None)
    data = dataclasses.replace(fitted.data, source=source)

    endpoints = task.endpoints(dataclasses.replace(fitted, data=data))

    assert list(endpoints) == ["serve"]
    assert [spec.name for spec in as_endpoint(endpoints["serve"]).inputs] == ["image"]


def test_accuracy_is_told_of_every_class(fitted):
    """Here of a network that answers every image with 3."""
    kernel, _ = fitted.model.layers[-1].get_weights()
    fitted.model.layers[-1].set_weights([0 * kernel, np.eye(10)[3]])
    test = fitted.data.splits["test"]
    test = test.rows(np.flatnonzero(test.targets != 7))
    splits = {**fitted.data.splits, "test": test}
    fitted = dataclasses.replace(fitted, data=dataclasses.replace(fitted.data, splits=splits))

    metrics = task.evaluate(fitted)

    by_class = metrics["test_accuracy_by_class"]
    assert by_class == {str(n): float(n == 3) for n in range(10)} | {"7": None}
    assert metrics["test_accuracy"] == pytest.approx(np.mean(test.targets == 3))
    assert metrics["test_loss"] > 0


def test_figures_show_mistakes_and_filters(fitted):
    assert list(task.draw(fitted)) == ["confusion_matrix", "worst_mistakes", "filters"]


def test_labels_must_be_there(monkeypatch, fitted):
    unlabelled = dataclasses.replace(fitted.data.source, class_names=())
    monkeypatch.setattr(task.pictures, "load_pictures", lambda *arguments: unlabelled)

    with pytest.raises(InputError, match="`data` must have two classes or more"):
        task.load_data(CONFIG, Run(data="embedded"))


def test_noise_is_on_the_labels_of_the_training_alone():
    true, noisy, random = (
        task.load_data(task.Config(label_noise=share), Run(data="embedded", seed=3)).splits
        for share in (0.0, 0.5, 1.0)
    )

    for name in ("validation", "test"):
        np.testing.assert_array_equal(noisy[name].targets, true[name].targets)
    right = (noisy["train"].targets == true["train"].targets).mean()
    assert right == pytest.approx(0.5 + 0.5 / 10, abs=0.05)
    right = (random["train"].targets == true["train"].targets).mean()
    assert right == pytest.approx(1 / 10, abs=0.04)
    assert noisy["train"].targets.dtype == true["train"].targets.dtype
    np.testing.assert_array_equal(noisy["train"].inputs, true["train"].inputs)


def test_the_training_sees_the_noisy_labels():
    config = task.Config(label_noise=1.0, rotation=0.0, shift=0.0, zoom=0.0)
    data = task.load_data(config, Run(data="embedded"))
    rows = {image.tobytes(): label for image, label in zip(*data.splits["train"], strict=True)}

    images, labels = next(iter(data.train(0)))

    assert [rows[image.tobytes()] for image in images.numpy()] == labels.numpy().tolist()


def test_noise_is_the_same_for_every_seed():
    one, other = (
        task.load_data(task.Config(label_noise=0.5), Run(data="embedded", seed=seed))
        for seed in (1, 2)
    )

    assert one.description.fingerprint == other.description.fingerprint


def test_a_constant_learning_rate_stays():
    constant, one_cycle = (
        task.compile_model(build(), task.Config(schedule=schedule, learning_rate=0.25), 10)
        for schedule in ("constant", "one_cycle")
    )

    assert float(constant.optimizer.learning_rate) == 0.25
    assert float(one_cycle.optimizer.learning_rate) == pytest.approx(0.025)


def test_gradients_are_clipped_as_the_settings_say():
    clipped = task.compile_model(build(), task.Config(clip_norm=2.0), 10).optimizer

    assert clipped.global_clipnorm == 2.0 and clipped.clipvalue is None
    assert task.compile_model(build(), task.Config(clip_value=0.5), 10).optimizer.clipvalue == 0.5


def test_a_training_without_progress_ends_with_its_best_weights(fitted):
    patient = dataclasses.replace(fitted, config=task.Config(patience=3))

    [stopping] = task.callbacks(patient)

    assert isinstance(stopping, keras.callbacks.EarlyStopping)
    assert (stopping.monitor, stopping.patience, stopping.restore_best_weights) == (
        "val_accuracy",
        3,
        True,
    )
    assert task.callbacks(fitted) == []


def test_an_early_end_and_an_average_are_refused_together():
    with pytest.raises(InputError, match="`patience` must be left out with `weight_average`"):
        task.compile_model(build(), task.Config(patience=3, weight_average=0.9), 10)


def first_batch(**knobs):
    """The images, as pixels from 0 to 255, and the targets of the first training batch."""
    still = {"rotation": 0, "shift": 0, "zoom": 0}
    data = task.load_data(task.Config(batch_size=16, **still | knobs), Run(data="embedded"))
    return (part.numpy() for part in next(iter(data.train(0)))[:2])


def test_a_flip_mirrors_some_pictures():
    plain, _ = first_batch()
    flipped, _ = first_batch(flip=True)

    is_mirrored = (flipped == plain[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 0 < is_mirrored.sum() < 16
    np.testing.assert_array_equal(flipped[~is_mirrored], plain[~is_mirrored])


def test_a_crop_shifts_pictures():
    plain, _ = first_batch()
    cropped, _ = first_batch(crop=3)

    assert (cropped != plain).any(axis=(1, 2, 3)).sum() > 12
    inner, pixels = cropped[0, 10:18, 10:18, 0], plain[0, :, :, 0]
    places = [(y, x) for y in range(7, 14) for x in range(7, 14)]
    assert any((pixels[y : y + 8, x : x + 8] == inner).all() for y, x in places)


def test_a_cutout_blanks_a_square():
    plain, _ = first_batch()
    cut, _ = first_batch(cutout=12)

    changed = cut != plain
    assert changed.any() and (cut[changed] == 0).all()
    rows, columns = np.flatnonzero(changed[0].any((1, 2))), np.flatnonzero(changed[0].any((0, 2)))
    assert np.ptp(rows) < 12 and np.ptp(columns) < 12


def test_mixtures_have_two_labels_and_a_loss_for_them():
    _, labels = first_batch()
    _, targets = first_batch(mixup=True)

    assert labels.shape == (16,) and targets.shape == (16, 3)
    smoothed, mixed, plain = (
        task.compile_model(build(), task.Config(**knobs), 10).loss
        for knobs in ({"label_smoothing": 0.1}, {"mixup": True}, {})
    )
    assert isinstance(smoothed, SmoothCrossentropy) and isinstance(mixed, SmoothCrossentropy)
    assert not isinstance(plain, SmoothCrossentropy)


def test_an_attack_is_that_of_the_settings():
    knobs = {"attack_steps": 7, "attack_share": 0.5, "attack_step_size": 0.06}

    compiled = task.compile_model(build(), task.Config(attack_epsilon=0.3, **knobs), 10)

    assert isinstance(compiled, AdversarialClassifier)
    assert (compiled.epsilon, compiled.steps, compiled.share) == (0.3, 7, 0.5)
    assert compiled.step_size == 0.06
    with pytest.raises(InputError, match="`mixup` must be left out with `attack_epsilon`"):
        task.compile_model(build(), task.Config(attack_epsilon=0.3, mixup=True), 10)


def test_pictures_are_attacked_in_one_way():
    compiled = task.compile_model(build(), task.Config(virtual_epsilon=2.0), 10)

    assert isinstance(compiled, VirtualAdversarial) and compiled.epsilon == 2.0
    with pytest.raises(InputError, match="`virtual_epsilon` must be 0 with `attack_epsilon`"):
        task.compile_model(build(), task.Config(virtual_epsilon=2.0, attack_epsilon=0.1), 10)
