import dataclasses

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from scipy.special import expit, logsumexp

from apps.autoencoder import (
    CURVE_POINTS,
    PLANES,
    THICKNESS,
    Config,
    app,
    build_model,
    codes_of,
    compile_classifier,
    compile_layer,
    compile_model,
    load_data,
    phases,
    principal_plane,
    true_steps,
)
from suite import InputError, Run, cli, train
from suite.data import Examples, Source
from suite.studies.cross_validation import cross_validate
from suite.studies.gradient_check import TOLERANCE, check_gradients
from tests.suite.training.test_fit import assert_same, train_twice

EMBEDDED = Run(data="embedded", quiet=True, figures=False)
SMALL = {"units": (16, 8), "batch_size": 40, "min_steps_per_epoch": 10}


def images(count=5, shape=(2, 2, 1)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype("float32")


def weights_of(layer):
    return {v.name: keras.ops.convert_to_numpy(v).copy() for v in layer.variables}


def changed(before, layer):
    return {name for name, values in weights_of(layer).items() if (values != before[name]).any()}


# --- the network ------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_codes_and_reconstructions_by_hand(tied):
    network = build_model((2, 2, 1), (3, 2), tied=tied)
    one, two = (weights_of(network.get_layer(f"dense_{number}")) for number in (1, 2))

    outputs = network(images())

    def back(weights):
        return weights["kernel"].T if tied else weights["reverse_kernel"]

    hidden = expit(images().reshape(5, 4) / 255 @ one["kernel"] + one["bias"])
    code = expit(hidden @ two["kernel"] + two["bias"])
    decoded = expit(code @ back(two) + two["reverse_bias"])
    pixels = expit(decoded @ back(one) + one["reverse_bias"])
    np.testing.assert_allclose(outputs["code"], code, rtol=1e-4)
    expected = 255 * pixels.reshape(5, 2, 2, 1)
    np.testing.assert_allclose(outputs["reconstruction"], expected, rtol=1e-4)


def test_tied_layers_share_all_but_their_biases():
    tied, untied = (build_model((2, 2, 1), (3, 2), tied=tied).count_params() for tied in (1, 0))

    assert tied == 4 * 3 + 3 + 4 + 3 * 2 + 2 + 3
    assert untied == tied + 4 * 3 + 3 * 2


def test_a_linear_code_has_no_bounds_and_a_linear_picture_has():
    network = build_model((2, 2, 1), (3, 2), linear_code=True, output="linear", activation="relu")
    for layer in (network.get_layer("dense_1"), network.get_layer("dense_2")):
        layer.kernel.assign(-20 * np.ones(layer.kernel.shape))
        layer.bias.assign(1000 * np.ones(layer.bias.shape))

    outputs = {name: np.asarray(values) for name, values in network(images()).items()}

    assert outputs["code"].max() < -1000
    assert outputs["reconstruction"].min() >= 0 and outputs["reconstruction"].max() <= 255


def test_a_classifier_is_there_if_there_are_classes():
    assert set(build_model().output) == {"code", "reconstruction"}
    assert build_model(num_classes=7).output["logits"].shape == (None, 7)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_what_comes_out_stays_float32(precision):
    keras.config.set_dtype_policy(precision)

    network = build_model(units=(5, 3), num_classes=2, normalization="batch")

    assert {tensor.dtype for tensor in network.outputs} == {"float32"}


# --- the phases -------------------------------------------------------------------------------


def test_one_phase_for_each_layer_then_all_then_labels():
    planned = phases(Config(units=(5, 4, 3), pretraining_epochs=2, epochs=3, classifier_epochs=4))

    assert [(phase.name, phase.epochs) for phase in planned] == [
        ("layer_1", 2), ("layer_2", 2), ("layer_3", 2), ("all", 3), ("classifier", 4),
    ]  # fmt: skip
    assert [phase.features is None for phase in planned] == [True, False, False, True, True]
    assert [phase.name for phase in phases(Config(pretraining_epochs=0))] == ["all"]


def test_a_layer_alone_is_trained_alone():
    network = build_model((2, 2, 1), (3, 2), num_classes=2)
    layers = {name: network.get_layer(name) for name in ("dense_1", "dense_2", "logits")}
    config = Config(units=(3, 2))
    for number, name in ((1, "dense_1"), (2, "dense_2")):
        before = {key: weights_of(layer) for key, layer in layers.items()}
        below = images()
        if number == 2:
            below = codes_of({"autoencoder": network}, number=1)(images())
        trainer = compile_layer(network, config, 10, number=number)

        trainer.fit(below, epochs=3, verbose=0)

        assert [key for key, layer in layers.items() if changed(before[key], layer)] == [name]
        assert changed(before[name], layers[name]) == {"kernel", "bias", "reverse_bias"}


def test_all_layers_are_trained_together():
    network = build_model((2, 2, 1), (3, 2), num_classes=2)
    layers = [network.get_layer(name) for name in ("dense_1", "dense_2", "logits")]
    before = [weights_of(layer) for layer in layers]

    compile_model(network, Config(units=(3, 2)), 10).fit(images(), epochs=3, verbose=0)

    everything = {"kernel", "bias", "reverse_bias"}
    assert list(map(changed, before, layers)) == [everything, everything, set()]


@pytest.mark.parametrize("virtual_epsilon", [0.0, 0.1])
def test_labels_train_encoder_and_classifier_alone(virtual_epsilon):
    network = build_model((2, 2, 1), (3, 2), num_classes=2, tied=False)
    layers = [network.get_layer(name) for name in ("dense_1", "dense_2", "logits")]
    before = [weights_of(layer) for layer in layers]
    model = compile_classifier(network, Config(units=(3, 2), virtual_epsilon=virtual_epsilon), 10)

    model.fit(images(), np.arange(5) % 2, epochs=3, verbose=0)

    assert list(map(changed, before, layers)) == [{"kernel", "bias"}] * 3


@pytest.mark.parametrize("when", [{"epoch": 1}, {"epoch": 2, "batch": 2}, {"epoch": 3}])
def test_it_is_resumed_in_later_phases(when):
    """The contract has it resumed after the first layer."""
    recipe = app.recipe(**SMALL, pretraining_epochs=1, epochs=3)

    assert_same(*train_twice(app, recipe, EMBEDDED, when))


@pytest.mark.parametrize(
    "knobs",
    [
        {"contraction": 0.1},
        {"sparsity_weight": 1.0, "noise": "salt"},
        {"sparsity_weight": 1.0, "sparsity": "l1", "noise": "gaussian"},
        {"tied": False, "linear_code": True, "normalization": "layer", "output": "linear"},
        {"normalization": "batch", "virtual_epsilon": 0.1},
    ],
)
def test_gradients_of_penalties_and_variants(knobs):
    recipe = app.recipe(**{**app.tiny, **knobs})

    derivatives = check_gradients(app, recipe, app.data(recipe.config, EMBEDDED), weights=1)

    assert [d for d in derivatives if not d.error <= TOLERANCE] == []


# --- points of a plane ------------------------------------------------------------------------


def test_points_of_the_plane_are_cross_validated():
    recipe = app.recipe("plane", epochs=1, units=(8,), points=200)

    results = cross_validate(app, recipe, EMBEDDED, folds=2)

    assert results["cv_squared_error_mean"] < 1


def test_the_callers_points_are_points_whatever_their_name():
    random = np.random.default_rng(0)
    source = Source(name="stars", train=Examples(random.normal(size=(200, 2)).astype("float32")))
    recipe = app.recipe("plane", epochs=1, units=(8,), dataset="mnist")

    trained = train(app, recipe, Run(quiet=True), data=source)

    assert "test_score_cosine" not in trained.metrics  # their density is not known
    assert (trained.folder / "figures" / "field.png").exists()


@pytest.mark.parametrize("name", PLANES)
def test_steps_lead_up_the_log_density_of_noisy_points(name):
    config = Config(dataset=name, noise="gaussian", noise_level=0.2)
    points = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    centres = PLANES[name](np.linspace(0, 1, CURVE_POINTS))

    def log_density(x):
        squares = ((x[:, None] - centres) ** 2).sum(axis=2)
        return logsumexp(-squares / (2 * (0.2**2 + THICKNESS**2)), axis=1)

    numeric = [
        (log_density(points + step) - log_density(points - step)) / 2e-5
        for step in 1e-5 * np.eye(2)
    ]

    expected = 0.2**2 * np.stack(numeric, axis=1)
    np.testing.assert_allclose(true_steps(config, points), expected, rtol=1e-4, atol=1e-6)


def test_a_denoising_autoencoder_learns_the_gradient_of_the_log_density():
    recipe = app.recipe("plane", epochs=15, units=(64, 64), points=2000)

    trained = train(app, recipe, dataclasses.replace(EMBEDDED, figures=True), until="judge")

    assert trained.data.description.source == "synthetic:spiral"
    assert trained.metrics["test_score_cosine"] > 0.8
    assert trained.metrics["test_score_error"] < 0.6
    names = {path.name for path in (trained.folder / "figures").iterdir()}
    assert names == {"field.png", "learning_curves.png"}


def test_without_gaussian_noise_there_is_no_gradient_to_compare_with():
    recipe = app.recipe("plane", epochs=1, units=(8,), points=200, noise_level=0.0)

    trained = train(app, recipe, EMBEDDED)

    assert set(trained.metrics) == {
        "test_squared_error", "test_variance_explained", "test_activity"
    }  # fmt: skip
    answer = tf.saved_model.load(str(trained.saved_model)).signatures["serve"](
        point=tf.zeros((3, 2))
    )
    assert answer["reconstruction"].shape == (3, 2) and answer["code"].shape == (3, 8)


def test_points_are_the_same_for_every_seed():
    config = Config(dataset="ring", points=50)

    one, other = (load_data(config, Run(seed=seed)).splits["test"].inputs for seed in (1, 2))

    np.testing.assert_array_equal(one, other)
    assert np.linalg.norm(one, axis=1) == pytest.approx(0.7, abs=6 * THICKNESS)


# --- all of it --------------------------------------------------------------------------------


def test_it_learns_without_labels_and_answers(capsys):
    recipe = app.recipe(units=(64, 16), pretraining_epochs=1, epochs=4, learning_rate=0.01)

    trained = train(app, recipe, dataclasses.replace(EMBEDDED, figures=True))

    metrics = trained.metrics
    assert metrics["test_variance_explained"] > 0.3
    assert "test_accuracy" not in metrics
    names = {path.stem for path in (trained.folder / "figures").iterdir()}
    assert names == {"codes", "filters", "learning_curves", "reconstructions"}

    signatures = tf.saved_model.load(str(trained.saved_model)).signatures
    assert {"serve", "decode", "picture", "nearest"} <= set(signatures)
    shown = trained.data.splits["test"].inputs[:3].astype("float32")
    answer = signatures["serve"](image=tf.constant(shown))
    decoded = signatures["decode"](code=answer["code"])["reconstruction"]
    np.testing.assert_allclose(answer["reconstruction"], decoded, rtol=1e-4, atol=1e-2)

    known = trained.data.splits["train"].inputs[:3]
    answer = signatures["nearest"](image=tf.constant(known.astype("float32")))
    np.testing.assert_array_equal(answer["index"][:, 0], np.arange(3))
    np.testing.assert_array_equal(answer["picture"][:, 0], known)

    digit = np.zeros((40, 30), np.uint8)
    digit[5:35, 14:17] = 255
    PIL.Image.fromarray(digit).save("one.png")
    assert cli.run(app, ["nearest", "one.png"]) == 0
    assert cli.run(app, ["reconstruct", "one.png", "one.png"]) == 0
    with PIL.Image.open("reconstruction.png") as picture:
        assert picture.size == (2 * 28, 2 * 28)
    capsys.readouterr()
    assert cli.run(app, ["predict", "one.png"]) == 2
    assert "--classifier-epochs must be 1 or more" in capsys.readouterr().err
    assert cli.run(app, ["evaluate"]) == 0
    now, at_export = capsys.readouterr().out.split("At export")
    error = f"{metrics['test_squared_error']:.4f}"
    assert error in now and error in at_export


def test_codes_are_sorted_into_classes(capsys):
    knobs = {"units": (64, 32), "pretraining_epochs": 1, "epochs": 0, "classifier_epochs": 4}
    recipe = app.recipe(**knobs, learning_rate=0.01, classifier_rate=0.01)

    trained = train(app, recipe, EMBEDDED)

    assert trained.metrics["test_accuracy"] > 0.85
    assert trained.history["val_accuracy"][-1] > 0.85
    digit = np.zeros((40, 30), np.uint8)
    digit[5:35, 14:17] = 255
    PIL.Image.fromarray(digit).save("one.png")
    capsys.readouterr()
    assert cli.run(app, ["predict", "one.png"]) == 0
    assert capsys.readouterr().out.startswith("one.png: ")


def test_pictures_without_labels_will_do():
    pictures = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    recipe = app.recipe(**SMALL, pretraining_epochs=1, epochs=1)

    trained = train(app, recipe, Run(quiet=True), until="judge", data={"train": (pictures,)})

    names = {path.stem for path in (trained.folder / "figures").iterdir()}
    assert names == {"filters", "learning_curves", "reconstructions"}


def test_two_directions_of_codes_are_drawn():
    random = np.random.default_rng(0)
    codes = random.normal(size=(500, 3)) * [1.0, 5.0, 3.0]

    first, second = principal_plane(codes).T

    assert abs(np.corrcoef(first, codes[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(second, codes[:, 2])[0, 1]) > 0.99


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--units 0", "--units"),
        ("--units", "--units must have at least 1 item"),
        ("--pretraining-epochs -1", "--pretraining-epochs"),
        ("--pretraining-epochs 0 --epochs 0", "--pretraining-epochs, --epochs or "),
        ("--noise salt_and_pepper", "--noise"),
        ("--noise-level 1", "--noise-level must be below 1"),
        ("--noise salt --activation relu", "--noise must be gaussian or masking"),
        ("--noise salt --output linear", "--noise must be gaussian or masking"),
        ("--sparsity-weight 1 --activation relu", "--sparsity must be l1"),
        ("--sparsity-weight 1 --linear-code", "--sparsity must be l1"),
        ("--contraction 1 --normalization batch", "--normalization must be layer or none"),
        ("--dataset spiral", "--output must be linear for points"),
        ("--recipe plane --classifier-epochs 1", "--classifier-epochs must be 0"),
        ("--recipe plane --points 3", "--points"),
        ("reconstruct one.png", "an image file is needed. Received: one.png, which is not there"),
        ("predict one.png", "an exported model is needed"),
    ],
)
def test_bad_input_is_one_sentence(words, message, capsys, tmp_path):
    source = ["--data", "embedded", "--quiet"] if words.startswith("--") else []

    assert cli.run(app, [*words.split(), *source]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error, error
    assert not list(tmp_path.iterdir())


def test_an_export_of_points_reads_no_pictures(capsys):
    train(app, app.recipe("plane", epochs=1, units=(8,), points=200), EMBEDDED)
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save("one.png")

    for command in ("reconstruct", "nearest"):
        assert cli.run(app, [command, "one.png"]) == 2
        error = capsys.readouterr().err
        assert "of pictures is needed; python -m apps.autoencoder makes one" in error


def test_points_have_no_sigmoids():
    with pytest.raises(InputError, match="`output` must be linear for points of a plane"):
        build_model((2,), (3,))


@pytest.mark.parametrize(
    "knobs",
    [
        {"virtual_epsilon": 2.0},
        {"pretraining_epochs": 0, "epochs": 0, "classifier_epochs": 1, "contraction": 0.1},
        {"pretraining_epochs": 0, "epochs": 0, "classifier_epochs": 1, "sparsity_weight": 0.1},
    ],
    ids=str,
)
def test_knobs_of_phases_that_are_left_out_are_refused(knobs):
    knob = list(knobs)[-1]
    of_layers = "`pretraining_epochs` or `epochs`"
    epochs = "`classifier_epochs`" if knob == "virtual_epsilon" else of_layers
    with pytest.raises(InputError, match=f"`{knob}` must be 0 unless {epochs} is 1 or more"):
        app.phases(app.config(**knobs))
