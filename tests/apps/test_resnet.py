import types

import keras
import numpy as np
import pytest

from apps import resnet
from apps.resnet import app, block_errors, build_model, draw_errors
from suite import InputError, Run, train
from suite.cli import run

IMAGENET = ((224, 224, 3), 1000)


@pytest.mark.parametrize(
    ("data", "knobs", "weights"),
    [
        (((32, 32, 3), 10), {}, 269_722),
        (((32, 32, 3), 10), app.recipes["resnet56"], 853_018),
        (IMAGENET, app.recipes["resnet18"], 11_689_512),
        (IMAGENET, app.recipes["resnet50"], 25_557_032),
    ],
    ids=["20", "56", "18", "50"],
)
def test_it_has_the_paper_s_number_of_weights(data, knobs, weights):
    architecture = app.recipe(**knobs).architecture
    model = build_model(*data, **architecture)

    assert sum(weight.value.shape.num_elements() for weight in model.trainable_weights) == weights


def test_the_recipe_for_clothes_is_small():
    architecture = app.recipe("fashion").architecture

    assert build_model((28, 28, 1), 10, **architecture).count_params() < 500_000


def test_with_zero_weights_a_block_passes_its_input_on():
    model = build_model((8, 8, 1), include_top=False, blocks=(1,), filters=4)
    *_, last = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    last.gamma.assign(np.zeros(4))
    activations = [layer for layer in model.layers if type(layer).__name__ == "ReLU"]
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 1)).astype("float32")

    pooled = np.asarray(model(images))
    expected = np.asarray(keras.Model(model.input, activations[0].output)(images)).mean(axis=(1, 2))

    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)


def test_images_of_any_size_go_in():
    model = build_model((None, None, 3), blocks=(1, 1), filters=4)

    for size in (16, 23):
        assert model(np.zeros((1, size, size, 3))).shape == (1, 10)


def test_too_many_stages_are_refused():
    with pytest.raises(InputError, match="at most 3 stages"):
        build_model((7, 7, 1), blocks=(1, 1, 1, 1))
    whitened = {"stem": "whitening", "downsampling": "pooling"}  # takes a pixel before all halvings
    with pytest.raises(InputError, match="at most 2 stages"):
        build_model((8, 8, 1), blocks=(1, 1, 1), **whitened)
    with pytest.raises(InputError, match="at least 3 x 3 pixels"):
        build_model((2, 2, 1), blocks=(1,), **whitened)
    assert build_model((3, 3, 1), blocks=(1,), **whitened).output_shape == (None, 10)


def test_a_whitening_with_more_channels_than_the_first_block_has_filters_is_projected():
    model = build_model((8, 8, 3), stem="whitening", blocks=(1,), filters=4)

    assert model(np.zeros((1, 8, 8, 3))).shape == (1, 10)


def test_pooling_halves_every_stage_before_its_blocks():
    model = build_model(
        (17, 17, 3), blocks=(1, 2), filters=4, stem="whitening", downsampling="pooling"
    )
    shapes = [layer.output.shape[1:] for layer in model.layers if layer.name.startswith("block_")]

    assert shapes == [(8, 8, 4), (4, 4, 8), (4, 4, 8)]
    with pytest.raises(InputError, match="at most 4 stages"):
        build_model((17, 17, 3), blocks=(1,) * 5, downsampling="pooling")


def test_the_training_begins_with_whitened_pictures():
    recipe = app.recipe("fast", dataset="mnist", epochs=1, batch_size=16, blocks=(1, 1), filters=4)
    trained = train(app, recipe, Run(data="embedded", quiet=True), until="fit")
    images = trained.data.splits["train"].inputs[:500].astype("float32")
    whitening = trained.model.get_layer("whitening")
    outputs = keras.Model(trained.model.input, whitening.output).predict(images, verbose=0)

    variances = outputs.reshape(-1, 8).var(axis=0)
    np.testing.assert_allclose(variances, np.ones(8), atol=0.3)
    assert not any(weight is whitening.kernel for weight in trained.model.trainable_weights)


def test_it_learns_digits():
    recipe = app.recipe(epochs=3, batch_size=16, blocks=(1, 1), filters=8)
    trained = train(app, recipe, Run(data="embedded", quiet=True, figures=False), until="judge")

    assert trained.metrics["test_accuracy"] > 0.9


@pytest.mark.parametrize("normalization", ["layer", "instance", "group", "none"])
def test_any_normalisation_takes_the_place_of_batch_normalisation(normalization):
    model = build_model((8, 8, 3), blocks=(1, 1), filters=4, normalization=normalization)

    assert not any(isinstance(x, keras.layers.BatchNormalization) for x in model.layers)
    assert np.isfinite(model(np.ones((1, 8, 8, 3)))).all()


def test_a_residual_network_does_without_a_block_of_zero_weights():
    model = build_model((8, 8, 1), blocks=(3, 2), filters=4)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization" and layer is not model.layers[3]:
            layer.gamma.assign(np.zeros_like(layer.gamma))
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1)).astype("float32")
    labels = np.asarray(model(images)).argmax(axis=1)

    errors = block_errors(model, images, labels)

    assert errors["whole"] == {"": 0.0}
    assert errors["left_out"] == {"block_1_2": 0.0, "block_1_3": 0.0, "block_2_2": 0.0}
    assert set(errors["shuffled"].values()) == {0.0}


def test_a_residual_and_a_plain_network_stand_in_one_picture():
    plain = {"whole": {"": 0.2}, "left_out": {"block_1_2": 0.9, "block_2_2": 0.8}, "shuffled": {}}
    residual = {
        "whole": {"": 0.1},
        "left_out": {"block_1_2": 0.12, "block_2_2": 0.11},
        "shuffled": {"0": 0.3, "1": 0.5},
    }

    [axes] = draw_errors({"residual": residual, "plain": plain}, 7).axes

    assert [round(bar.get_height(), 2) for bar in axes.patches] == [0.12, 0.11, 0.9, 0.8]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1.2", "2.2"]
    heights = {line.get_label(): line.get_ydata()[0] for line in axes.lines}
    assert heights["residual, blocks shuffled"] == pytest.approx(0.4)
    assert heights["plain, whole"] == 0.2 and "plain, blocks shuffled" not in heights


def test_both_networks_are_trained_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = app.data(app.recipe().config, Run(data="embedded"))
    knobs = []

    def untrained(app, recipe, run):
        knobs.append(recipe.architecture)
        network = build_model((28, 28, 1), **{**recipe.architecture, "filters": 2})
        return types.SimpleNamespace(networks={"resnet": network}, data=data)

    monkeypatch.setattr(resnet, "train_aside", untrained)

    assert run(app, ["blocks", "--dataset", "mnist", "--blocks", "1", "2", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "residual: error " in printed and "plain: error " in printed
    assert [chosen["residual"] for chosen in knobs] == [True, False]
    assert {chosen["blocks"] for chosen in knobs} == {(1, 2)}
    assert (tmp_path / "blocks.png").exists()
    assert run(app, ["blocks", "--blocks", "1", "1"]) == 2
    assert "--blocks must have a stage of two or more" in capsys.readouterr().err


def test_a_plain_network_misses_every_block():
    model = build_model((8, 8, 1), blocks=(3, 2), filters=8, residual=False)
    images = np.random.default_rng(0).integers(0, 255, (200, 8, 8, 1)).astype("float32")
    labels = np.asarray(model(images)).argmax(axis=1)

    errors = block_errors(model, images, labels)

    assert errors["whole"] == {"": 0.0}
    assert min(errors["left_out"].values()) > 0
    assert max(errors["shuffled"].values()) > 0
