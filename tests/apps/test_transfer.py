import dataclasses
import re
import types

import keras
import numpy as np
import PIL.Image
import pytest
from keras import layers

from apps import resnet, transfer
from apps.transfer import (
    Config,
    app,
    backbone_of,
    build_model,
    compile_head,
    compile_model,
    load_data,
    rows_per_class,
)
from suite import InputError, Run, train
from suite.app import load_app
from suite.cli import run
from suite.errors import Diverged
from suite.export.endpoints import to_logits
from suite.export.exported import ExportedModel
from tests.suite.training.test_fit import assert_same, train_twice

EMBEDDED = Run(data="embedded", quiet=True, figures=False)
FEW = {"dataset": "mnist", "batch_size": 32, "min_steps_per_epoch": 5, "labels_per_class": 10}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """A small ResNet that has seen some digits, as `<export_dir>/resnet/1`."""
    folder = tmp_path_factory.mktemp("resnet")
    recipe = resnet.app.recipe(epochs=1, blocks=(1, 1), filters=4, min_steps_per_epoch=20)
    here = dataclasses.replace(EMBEDDED, run_dir=folder / "run", export_dir=folder / "exports")
    return train(resnet.app, recipe, here).saved_model


def statistics(model):
    """The weights of all batch normalisations, running means and variances included."""
    return [
        weight
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
        for weight in layer.get_weights()
    ]


def kernels(model):
    """The weights of all convolutions."""
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    return [weight for layer in convolutions for weight in layer.get_weights()]


def images(count, shape):
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype("float32")


def differ(one, other):
    return [bool((a != b).any()) for a, b in zip(one, other, strict=True)]


# --- the backbone -----------------------------------------------------------------------------


def test_an_export_of_another_app_is_a_backbone(export):
    network = ExportedModel(export).built()
    pictures = images(3, (28, 28, 1))
    expected = keras.Model(network.input, network.get_layer("logits").input)(pictures)

    for name in (export, export.parent):  # this version; the newest
        model = build_model((28, 28, 1), 5, backbone=str(name))
        features = backbone_of({"transfer": model})(pictures)
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
        assert model.output_shape == (None, 5)


def test_an_export_takes_pictures_of_another_size_and_begins_at_random_if_asked_to(export):
    larger = build_model((40, 36, 1), backbone=str(export))
    fresh = build_model((28, 28, 1), backbone=str(export), weights="none")
    network = ExportedModel(export).built()

    assert larger(images(2, (40, 36, 1))).shape == (2, 10)
    assert not any(differ(larger.get_weights()[:-2], network.get_weights()[:-2]))
    assert all(differ(kernels(fresh), kernels(network)))


@pytest.mark.full
def test_a_transferred_network_is_a_backbone_in_turn(export, tmp_path):
    recipe = app.recipe(**FEW, epochs=1, fine_tuning_epochs=0, backbone=str(export))
    here = dataclasses.replace(EMBEDDED, export_dir=tmp_path / "exports")
    version = train(app, recipe, here).saved_model

    assert build_model((28, 28, 1), 3, backbone=str(version)).output_shape == (None, 3)


@pytest.mark.parametrize(("name", "channels"), [("mobilenet", 1), ("VGG16", 3)])
def test_raw_pictures_are_prepared_as_the_network_of_keras_expects(name, channels):
    """`mobilenet` takes -1..1; VGG takes blue first, less a mean."""
    model = build_model((32, 32, channels), 4, backbone=name, weights="none")
    pictures = images(2, (32, 32, channels))
    module = getattr(keras.applications, name.lower())
    network = getattr(module, {"mobilenet": "MobileNet"}.get(name, name))(
        include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3)
    )
    network.set_weights(model.get_weights()[:-2])

    prepared = module.preprocess_input(np.repeat(pictures, 3 // channels, axis=-1).copy())
    expected = network(prepared)

    features = backbone_of({"transfer": model})
    np.testing.assert_allclose(features(pictures), expected, rtol=1e-3, atol=1e-5)
    again = keras.Model.from_config(model.get_config())  # as an export is loaded
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again(pictures), model(pictures), rtol=1e-4, atol=1e-5)


def test_names_may_be_spelt_as_keras_does_or_with_underscores():
    for name in ("efficientnet_v2_b0", "EfficientNetV2B0", "resnet50", "mobilenet_v2"):
        assert transfer.spelt(name) in transfer.KERAS_NETWORKS


def test_pictures_of_any_size_go_in():
    model = build_model((None, None, 3))

    for size in (16, 23):
        assert model(np.zeros((1, size, size, 3))).shape == (1, 10)


def test_the_first_line_says_what_is_used(caplog, export):
    caplog.set_level("INFO", logger="suite")

    build_model()
    build_model((28, 28, 1), backbone=str(export))

    first, second = caplog.messages
    assert "random weights, so nothing is transferred" in first
    assert second == f"The backbone is {export} with its weights."


# --- the training -----------------------------------------------------------------------------


def test_while_the_head_is_trained_nothing_else_changes(export):
    recipe = app.recipe(**FEW, epochs=2, fine_tuning_epochs=0, backbone=str(export))
    trained = train(app, recipe, EMBEDDED, until="judge")

    before, after = ExportedModel(export).built().get_weights(), trained.model.get_weights()
    assert not any(differ(before[:-2], after[:-2]))
    assert len(trained.history["loss"]) == 2
    assert 0 <= trained.metrics["test_accuracy"] <= 1  # of the whole model, from pictures


@pytest.mark.parametrize("train_batch_norm", [False, True])
def test_batch_normalisation_stays_frozen_to_the_bit(export, train_batch_norm):
    recipe = app.recipe(
        **FEW,
        epochs=1,
        fine_tuning_epochs=2,
        train_batch_norm=train_batch_norm,
        backbone=str(export),
        weight_average=0.9,
    )
    trained = train(app, recipe, EMBEDDED, until="fit")

    network = ExportedModel(export).built()
    changed = differ(statistics(network), statistics(trained.model))
    assert len(changed) > 4
    assert all(changed) if train_batch_norm else not any(changed)
    # The convolutions are fine-tuned.
    assert all(differ(kernels(network), kernels(trained.model)))


def test_frozen_batch_normalisation_uses_its_statistics_in_training_too(export):
    model = build_model((28, 28, 1), backbone=str(export), dropout=0.0)
    compile_model(model, Config(), 10)
    pictures = images(4, (28, 28, 1))

    np.testing.assert_allclose(
        model(pictures, training=True), model(pictures, training=False), rtol=1e-5, atol=1e-5
    )


def test_a_share_of_the_last_layers_is_unfrozen():
    model = build_model()
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]

    for share, expected in ((0.0, [0, 0, 0]), (0.34, [0, 0, 1]), (1.0, [1, 1, 1])):
        compile_model(model, Config(unfrozen=share), 10)
        assert [layer.trainable for layer in convolutions] == expected
        assert model.get_layer("logits").trainable


def test_a_whitening_stays_frozen_and_is_where_a_training_from_scratch_begins():
    knobs = {"blocks": (1,), "filters": 4, "stem": "whitening", "downsampling": "pooling"}
    network = resnet.build_model((16, 16, 1), 3, **knobs)
    image = keras.Input((16, 16, 1))

    for pretrained in (True, False):
        model = keras.Model(image, transfer.copied(network, image, pretrained))
        compile_model(model, Config(), 10)
        whitening = model.get_layer("backbone_whitening")
        np.testing.assert_array_equal(whitening.kernel, network.get_layer("whitening").kernel)
        assert not whitening.trainable
        others = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)][1:]
        assert others and all(layer.trainable for layer in others)


def test_cached_features_are_those_of_the_model(export):
    keras.utils.set_random_seed(0)
    data = load_data(Config(**FEW), EMBEDDED)
    model = build_model((28, 28, 1), backbone=str(export))

    cached = data.with_features(backbone_of({"transfer": model}))
    kernel, bias = model.get_layer("logits").get_weights()
    for split in ("train", "validation"):
        features, labels = cached.splits[split]
        expected = model.predict(data.splits[split].inputs, verbose=0)
        np.testing.assert_allclose(features @ kernel + bias, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(labels, data.splits[split].targets)
    assert "test" not in cached.splits


def test_it_is_resumed_in_the_fine_tuning():
    """The contract has it resumed while the head is trained."""
    recipe = app.recipe(**FEW, epochs=1, fine_tuning_epochs=2)

    assert_same(*train_twice(app, recipe, EMBEDDED, {"epoch": 1, "batch": 2}))


def test_the_head_on_frozen_features_is_as_good_as_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    knobs = {"epochs": 20, "fine_tuning_epochs": 0, "learning_rate": 0.05, "dropout": 0.0}
    recipe = app.recipe(dataset="mnist", labels_per_class=40, **knobs)
    trained = train(app, recipe, EMBEDDED, until="judge")
    backbone = backbone_of(trained.networks)
    features = {
        name: backbone.predict(split.inputs, verbose=0)
        for name, split in trained.data.splits.items()
    }
    targets = {name: split.targets for name, split in trained.data.splits.items()}
    regression = LogisticRegression(max_iter=2000).fit(features["train"], targets["train"])

    expected = regression.score(features["test"], targets["test"])
    assert expected > 0.8
    assert trained.metrics["test_accuracy"] > expected - 0.03


# --- few labels -------------------------------------------------------------------------------


def test_so_many_labels_of_each_class_are_trained_on():
    everything = load_data(Config(dataset="mnist"), EMBEDDED)
    few = load_data(Config(dataset="mnist", labels_per_class=3), EMBEDDED)

    assert np.bincount(few.splits["train"].targets).tolist() == [3] * 10
    assert few.description.train == 30
    for split in ("validation", "test"):
        np.testing.assert_array_equal(few.splits[split].inputs, everything.splits[split].inputs)


def test_an_export_is_judged_on_all_pictures_whatever_the_labels_it_learnt():
    data = load_data(Config(**FEW), EMBEDDED)
    recorded = dataclasses.asdict(data.source.preparation)
    again = load_data(
        Config(**FEW | {"labels_per_class": 1000}),
        dataclasses.replace(EMBEDDED, preparation=recorded),
    )

    assert data.splits["train"].num_examples == 100
    assert again.splits["train"].num_examples > 1000


def test_noise_of_labels_comes_once():
    true, noisy = (
        load_data(Config(dataset="mnist", labels_per_class=40, label_noise=noise), EMBEDDED)
        for noise in (0.0, 0.5)
    )

    labels = (data.splits["train"].targets for data in (true, noisy))
    assert np.mean(np.not_equal(*labels)) == pytest.approx(0.45, abs=0.08)  # of ten classes


def test_the_head_is_not_attacked():
    """It sees features, and an attack is on pictures."""
    model = build_model((28, 28, 1), 10)
    attacked = (
        Config(dataset="mnist", **{knob: 1.0}) for knob in ("attack_epsilon", "virtual_epsilon")
    )

    heads = [compile_head(model, config, 10) for config in (Config(dataset="mnist"), *attacked)]

    assert len({type(head) for head in heads}) == 1


def test_the_seed_draws_the_labels():
    labels = np.arange(40) % 2
    one, same, other = (rows_per_class(labels, "ab", 5, seed).tolist() for seed in (1, 1, 2))

    assert one == same != other
    assert np.bincount(labels[one]).tolist() == [5, 5]


def test_the_best_rate_on_the_validation_split_is_tested(monkeypatch):
    def trained(app, recipe, run):
        rate = recipe.config.fine_tuning_rate
        logs = {"accuracy": 1 - rate}  # on the test split the other one is better
        model = types.SimpleNamespace(evaluate=lambda *_, **__: logs)
        history, data = {"val_accuracy": [0.9, rate]}, types.SimpleNamespace(test=None)
        return types.SimpleNamespace(history=history, model=model, data=data)

    monkeypatch.setattr(transfer, "train_aside", trained)
    rates = [rates["fine_tuning_rate"] for rates in transfer.RATES]

    assert transfer.accuracy_of_best_rate(app, {}, EMBEDDED) == 1 - max(rates)


def test_a_rate_that_diverges_is_left_out_unless_all_do(monkeypatch, export):
    knobs = {**FEW, "backbone": str(export), **transfer.ways_to_train(2)["probe, then fine-tuned"]}
    diverging = {"learning_rate": 1e1, "fine_tuning_rate": 1e1}
    real = transfer.train_aside

    def trained(app, recipe, run):
        if recipe.config.learning_rate == 1e1:
            raise Diverged("the loss is no number")
        return real(app, recipe, run)

    monkeypatch.setattr(transfer, "train_aside", trained)
    monkeypatch.setattr(transfer, "RATES", (diverging, transfer.RATES[0]))
    assert 0 <= transfer.accuracy_of_best_rate(app, knobs, EMBEDDED) <= 1
    monkeypatch.setattr(transfer, "RATES", (diverging,))
    with pytest.raises(Diverged):
        transfer.accuracy_of_best_rate(app, knobs, EMBEDDED)


def test_four_ways_are_compared_and_drawn(monkeypatch, capsys):
    knobs = []

    def accuracy(app, chosen, run):
        app.recipe(**chosen)  # knobs that there are
        knobs.append(chosen)
        return 0.5 + 0.1 * run.seed

    monkeypatch.setattr(transfer, "accuracy_of_best_rate", accuracy)
    words = "labels --labels 1 5 --seeds 2 --backbone small --output drawn.png --epochs 5"
    words += " --dataset mnist --data embedded"

    assert run(app, words.split()) == 0

    about_backbone, *printed = capsys.readouterr().out.splitlines()
    assert "nothing is transferred" in about_backbone
    assert printed[0] == "scratch, 1 a class: 55.0%, spread 7.1%"
    assert printed[-1] == "drawn.png: scratch, probe, fine-tuned, probe, then fine-tuned"
    assert len(knobs) == 4 * 2 * 2
    assert all(chosen["epochs"] + chosen["fine_tuning_epochs"] == 5 for chosen in knobs)
    assert [chosen.get("weights") for chosen in knobs[::4]] == ["none", None, None, None]
    with PIL.Image.open("drawn.png") as picture:
        assert picture.width > picture.height > 100


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--backbone mobilnet", "--backbone must be small, the folder of an export"),
        ("--backbone mobilnet", "MobileNetV2, .*Xception. Received: mobilnet"),
        ("--backbone saved_models/resnet", "python -m apps.resnet makes one. Received: none under"),
        ("--weights imagenet", "--weights must be auto or none for a backbone that is not of"),
        ("--backbone mobilenet --weights none", "--image-size must be one that MobileNet takes"),
        ("--epochs 0 --fine-tuning-epochs 0", "--epochs or --fine-tuning-epochs must be 1 or more"),
        ("--labels-per-class 1000", "--labels-per-class must be at most the .* Received: 1000"),
        ("--unfrozen 2", "--unfrozen should be less than or equal to 1"),
        ("labels --output labels.txt", "must end in one of"),
        (
            "labels --labels 1 1000 --backbone mobilenet --dataset mnist --data embedded",
            "--labels-per-class must be at most the .* Received: 1000",
        ),
        ("--fine-tuning-epochs 0 --attack-epsilon 0.1", "--fine-tuning-epochs must be 1 or more"),
        ("--attack-epsilon 0.03 --mixup", "--mixup must be left out with --attack-epsilon"),
        ("--attack-epsilon 0.03 --virtual-epsilon 1", "--virtual-epsilon must be 0 with --attack"),
    ],
)
def test_bad_input_is_one_sentence(words, message, capsys, tmp_path):
    source = [] if words.startswith("labels") else ["--data", "embedded", "--quiet"]

    assert run(app, [*words.split(), *source]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert re.search(message, error), error


def test_a_download_that_is_not_possible_is_one_sentence(monkeypatch):
    def get_file(*_, **__):
        raise Exception("URL fetch failure on https://storage: None -- no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)

    with pytest.raises(InputError, match=r"^`weights` imagenet must .* no network"):
        build_model((32, 32, 3), backbone="mobilenet")


def test_weights_that_do_not_fit_are_one_sentence(monkeypatch):
    def load_weights(*_, **__):
        raise ValueError("Layer count mismatch when loading weights from file.")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: "some.h5")
    monkeypatch.setattr(keras.Model, "load_weights", load_weights)

    with pytest.raises(InputError, match=r"^`weights` imagenet must fit MobileNet: .* Layer count"):
        build_model((32, 32, 3), backbone="mobilenet")


def test_a_backbone_is_a_classifier_of_pictures(monkeypatch):
    vector, picture = keras.Input((4,)), keras.Input((8, 8, 1))
    parts = {"code": layers.Flatten()(picture), "image": picture}
    for network, message in (
        (keras.Model(vector, layers.Dense(2)(vector)), "with one network of pictures"),
        (keras.Model(picture, parts), "of a classifier of pictures"),
    ):
        exported = types.SimpleNamespace(built=lambda network=network: network)
        monkeypatch.setattr(transfer, "open_folder", lambda folder, exported=exported: exported)
        with pytest.raises(InputError, match=rf"`backbone` must be an export {message}"):
            build_model((8, 8, 1), backbone="saved_models/other/1")


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg", "inception", "highway", "mnist_cnn"])
def test_the_features_of_every_classifier_are_a_backbone(name, monkeypatch):
    other = load_app(name)
    network = other.build((28, 28, 1), 10, **other.recipe(**other.tiny).architecture)
    export = types.SimpleNamespace(built=lambda: network, folder=name)
    monkeypatch.setattr(transfer, "open_folder", lambda folder: export)
    classifier, pictures = to_logits(network), images(4, (28, 28, 1))
    dense = [layer for layer in classifier.layers if isinstance(layer, layers.Dense)][-1]

    model = build_model((28, 28, 1), 3, backbone=f"saved_models/{name}")

    features = keras.Model(classifier.input, dense.input)(pictures)
    ours = backbone_of({"transfer": model})(pictures)
    np.testing.assert_allclose(ours, features, rtol=1e-4, atol=1e-4)


def test_colour_pictures_for_a_grey_backbone_are_refused(export):
    with pytest.raises(InputError, match=r"`channels` must be 1 for this backbone\. Received: 3"):
        build_model((28, 28, 3), backbone=str(export))
