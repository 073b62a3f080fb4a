import dataclasses
import types
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from keras import layers

from apps import super_resolution
from apps.super_resolution import (
    app,
    build_discriminator,
    build_model,
    charbonnier,
    enlarger,
    generator_of,
    mse,
    open_features,
)
from suite import InputError, Run, cli, train
from suite.data.images.bicubic import resize
from suite.layers.reach import reach_of

QUIET = Run(data="embedded", quiet=True)
SMALL = {"filters": (8,), "width": 4, "blocks": 1, "discriminator_filters": (4, 4)}


def some_pictures(count=2, height=9, width=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("network", ["espcn", "srresnet"])
def test_pictures_of_any_size_are_enlarged_by_the_scale(network, scale):
    model = build_model(scale, network=network, **SMALL)

    assert model.name == network
    assert model.input_shape == model.output_shape == (None, None, None, 3)
    for height, width in ((5, 8), (9, 7)):
        enlarged = model(some_pictures(2, height, width))
        assert enlarged.shape == (2, scale * height, scale * width, 3)
        assert enlarged.dtype == "float32"


@pytest.mark.parametrize("network", ["espcn", "srresnet"])
def test_without_detail_it_is_the_bicubic_enlargement(network):
    model = build_model(3, network=network, **SMALL)
    detail = model.get_layer("detail")
    detail.set_weights([np.zeros_like(weight) for weight in detail.get_weights()])
    pictures = some_pictures()

    np.testing.assert_allclose(array(model(pictures)), resize(pictures, 27, 36), atol=0.01)


def test_espcn_makes_the_luma_alone():
    """What is added is grey, the same in all channels."""
    model = build_model(2, **SMALL)
    pictures = some_pictures()

    added = array(model(pictures)) - resize(pictures, 18, 24)

    assert np.abs(added).max() > 0.01
    np.testing.assert_allclose(added, added[..., :1].repeat(3, axis=-1), atol=0.01)


def test_the_paper_s_espcn_has_its_layers():
    model = build_model(3)

    kernels = [layer.kernel.shape for layer in model.layers if isinstance(layer, layers.Conv2D)]
    assert [tuple(shape) for shape in kernels] == [(5, 5, 1, 64), (3, 3, 64, 32), (3, 3, 32, 9)]


@pytest.mark.parametrize("network", ["espcn", "srresnet"])
def test_in_half_precision_pictures_stay_float32(network):
    keras.config.set_dtype_policy("mixed_bfloat16")

    built = build_model(2, True, network=network, **SMALL)

    assert {output.dtype for model in built.values() for output in model.outputs} == {"float32"}


def test_the_discriminator_scores_pictures_of_any_size():
    discriminator = build_discriminator((4, 8))

    for side in (8, 13):
        assert discriminator(some_pictures(3, side, side)).shape == (3, 1)


def test_losses_by_hand():
    """A grey picture, 51 brighter: the luma differs by 51 * 219 / 255, the colours do not."""
    dark = np.full((1, 2, 2, 3), 100, "float32")

    difference = 51 * 219 / 255 / 255
    expected = (np.sqrt(difference**2 + 1e-6) + 2 * 1e-3) / 3
    np.testing.assert_allclose(array(charbonnier(dark, dark + 51)), expected, rtol=1e-4)
    np.testing.assert_allclose(array(mse(dark, dark + 51)), difference**2 / 3, rtol=1e-3)


def test_data_are_patches_to_learn_from_and_whole_pictures_to_test_on():
    data = app.data(app.config(scale=3, patch_size=20, batch_size=7), QUIET)

    inputs, targets = next(data.train(0).as_numpy_iterator())
    assert inputs.shape == (7, 20, 20, 3) and targets.shape == (7, 60, 60, 3)
    test = data.splits["test"]
    assert test.inputs.shape[1:] == (47, 53, 3) and test.targets.shape[1:] == (141, 159, 3)
    assert data.model_arguments == {"scale": 3, "adversary": False}
    counts = data.description.notes["pictures"]
    assert counts == {"train": 17, "validation": 2, "test": 5}
    # An input is its target made smaller, however both were turned.
    small = resize(targets, 20, 20)[:, 4:-4, 4:-4]
    assert np.abs(small - inputs[:, 4:-4, 4:-4]).max() < 1


@pytest.mark.parametrize("network", ["espcn", "srresnet"])
def test_tiles_leave_no_seam(network):
    """Away from the edge of the picture, where tiles see it mirrored, they change nothing."""
    model = build_model(2, network=network, **SMALL)
    detail = model.get_layer("detail")
    detail.set_weights([20 * weight for weight in detail.get_weights()])
    reach = reach_of(model)
    [picture] = some_pictures(1, 150, 170)

    in_tiles = enlarger(model, 2)(picture).numpy()

    whole = np.clip(array(model(picture[None]))[0], 0, 255)
    inside = slice(2 * reach, -2 * reach)
    difference = (in_tiles - whole)[inside, inside]
    assert in_tiles.shape == (300, 340, 3) and in_tiles.dtype == np.uint8
    assert np.abs(difference).max() < 0.51  # half a step of grey, by rounding


def test_a_figure_shows_the_square_of_the_most_contrast():
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[12:, 16:24] = 200

    assert super_resolution.place_of_contrast(picture, 8) == (8, 16)
    assert super_resolution.place_of_contrast(picture[:8, :8], 8) == (0, 0)


def test_it_learns_enlarges_and_answers(capsys):
    recipe = app.recipe(
        scale=2, filters=(16,), epochs=5, patch_size=16, batch_size=32, learning_rate=2e-3
    )

    trained = train(app, recipe, QUIET)

    metrics = trained.report["metrics"]
    assert trained.history["val_psnr"][-1] > trained.history["val_psnr"][0] - 0.01
    assert metrics["test_psnr_gain"] > 0.1
    assert metrics["test_psnr"] > metrics["test_bicubic_psnr"] > 20
    assert 1 > metrics["test_ssim"] > metrics["test_bicubic_ssim"] > 0.5
    assert (trained.folder / "figures" / "enlarged.png").exists()

    signatures = tf.saved_model.load(str(trained.saved_model)).signatures
    [picture] = some_pictures(1, 21, 33)
    answered = signatures["serve"](image=tf.constant(picture[None], tf.float32))["enlarged"]
    assert answered.shape == (1, 42, 66, 3)
    encoded = tf.io.encode_png(picture)[None]
    [answer] = signatures["picture"](picture=encoded)["enlarged"].numpy()
    enlarged = tf.io.decode_png(answer).numpy()
    inside = slice(12, -12)
    assert np.abs(enlarged - array(answered)[0])[inside, inside].max() < 0.51

    PIL.Image.fromarray(picture).save("small.png")
    assert cli.run(app, ["enlarge", "small.png", "--output", "large.png"]) == 0
    assert "66 x 42 pixels, from 33 x 21" in capsys.readouterr().out
    with PIL.Image.open("large.png") as large:
        np.testing.assert_array_equal(np.asarray(large), enlarged)

    assert cli.run(app, ["evaluate"]) == 0
    now, at_export = capsys.readouterr().out.split("At export")
    assert f"{metrics['test_psnr']:.4f}" in now and f"{metrics['test_psnr']:.4f}" in at_export


def test_own_pictures_of_several_sizes_are_learnt_from():
    for number in range(6):
        [picture] = some_pictures(1, 32 + number, 40, number)
        Path("own").mkdir(exist_ok=True)
        PIL.Image.fromarray(picture).save(f"own/{number}.png")

    trained = train(app, app.recipe(**app.tiny), dataclasses.replace(QUIET, data="own"))

    assert trained.report["data"]["notes"]["pictures"] == {"train": 3, "validation": 1, "test": 2}
    assert np.isfinite(trained.report["metrics"]["test_psnr"])


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Ends a training as a kill does, in the first step of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise Killed


ADVERSARIAL = {**app.tiny, "network": "srresnet", "adversarial_epochs": 2, "adversarial_rate": 1e-3}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run = dataclasses.replace(QUIET, deterministic=True, run_dir=folder)
    return train(app, app.recipe(**ADVERSARIAL), run, until="judge")


@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_and_resumed_against_the_adversary_it_ends_with_the_same_bytes(
    epoch, undisturbed, tmp_path
):
    """Once at the beginning of the second phase, and once in its middle."""
    recipe = app.recipe(**ADVERSARIAL)
    run = dataclasses.replace(QUIET, deterministic=True, run_dir=tmp_path / "run")

    with pytest.raises(Killed):
        train(app, recipe, run, until="judge", callbacks=[Kill(epoch)])
    resumed = train(app, recipe, dataclasses.replace(run, resume=True), until="judge")

    assert list(undisturbed.networks) == ["srresnet", "discriminator"]
    assert len(undisturbed.history["val_psnr"]) == 3
    for name, network in undisturbed.networks.items():
        for a, b in zip(network.get_weights(), resumed.networks[name].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert undisturbed.metrics == resumed.metrics


def test_two_replicas_train_against_the_adversary_and_the_export_is_evaluated(capsys):
    recipe = app.recipe(**{**ADVERSARIAL, "adversarial_epochs": 1})

    trained = train(app, recipe, dataclasses.replace(QUIET, strategy="mirrored"))

    assert all(np.isfinite(value) for value in trained.report["metrics"].values())
    assert cli.run(app, ["evaluate"]) == 0
    now, _ = capsys.readouterr().out.split("At export")
    assert f"{trained.report['metrics']['test_psnr']:.4f}" in now


def classifier(channels=3, dtype="float32"):
    image = keras.Input((8, 8, channels), name="image")
    scaled = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, padding="same", dtype=dtype, name="first")(scaled)
    x = layers.Conv2D(6, 3, 2, padding="same", dtype=dtype, name="second")(layers.ReLU()(x))
    logits = layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    return keras.Model(image, logits, name="classifier")


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def exported(request, monkeypatch):
    """Stands for the export of a classifier, whatever its folder is called."""
    network = classifier(dtype=request.param)
    monkeypatch.setattr(
        super_resolution, "open_folder", lambda _: types.SimpleNamespace(built=lambda: network)
    )
    return network


def test_features_are_the_convolutions_of_an_export_for_pictures_of_any_size(exported):
    pictures = some_pictures(2, 8, 8).astype("float32")
    parts = [exported.get_layer(name).output for name in ("first", "second")]

    features = open_features("saved_models/classifier")

    for one, other in zip(
        features(pictures), keras.Model(exported.input, parts)(pictures), strict=True
    ):
        assert one.dtype == "float32"
        np.testing.assert_allclose(array(one), array(other), rtol=1e-5, atol=1e-5)
    assert [tuple(part.shape) for part in features(some_pictures(1, 12, 20))] == [
        (1, 12, 20, 4),
        (1, 6, 10, 6),
    ]
    assert not features.trainable_variables


@pytest.mark.parametrize("exported", ["float32"], indirect=True)
def test_features_are_compared_and_judged_by(exported):
    recipe = app.recipe(**{**ADVERSARIAL, "adversarial_epochs": 1}, features="saved_models/some")
    before = exported.get_weights()

    trained = train(app, recipe, QUIET, until="judge")

    assert trained.metrics["test_feature_distance"] > 0
    assert trained.metrics["test_bicubic_feature_distance"] > 0
    for a, b in zip(before, exported.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("knob", ["adversarial_rate", "adversarial_weight", "ema_momentum"])
def test_settings_of_an_adversary_want_an_adversary(knob):
    recipe = app.recipe(**app.tiny, **{knob: 0.5})

    with pytest.raises(InputError, match=f"`{knob}` must be left out without `adversarial_epochs`"):
        train(app, recipe, QUIET, until="fit")


def test_features_of_grey_pictures_are_refused(monkeypatch):
    grey = types.SimpleNamespace(built=lambda: classifier(1))
    monkeypatch.setattr(super_resolution, "open_folder", lambda _: grey)

    with pytest.raises(InputError, match="takes pictures in colour"):
        open_features("saved_models/mnist_cnn")


def test_the_generator_is_found_in_any_order():
    built = build_model(2, True, **SMALL)

    assert generator_of(dict(sorted(built.items()))).name == "espcn"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "1"], "--scale "),
        (["--scale", "7"], "--scale "),
        (["--network", "edsr"], "network"),
        (["--loss", "mae"], "loss"),
        (["--filters", "0"], "--filters"),
        (["--blocks", "0"], "--blocks "),
        (["--patch-size", "4"], "--patch-size "),
        (["--patch-size", "100"], "--patch-size times --scale"),
        (["--adversarial-epochs", "1", "--features", "nowhere/at_all"], "exported model is needed"),
        (["--data", "nowhere"], "--data "),
        (["--data", "glass"], "must be opaque"),
        (["--data", "few"], "at least 3 examples"),
        (["enlarge"], "requires an argument"),
        (["enlarge", "missing.png"], "missing.png"),
        (["enlarge", "glass/glass.png"], "must be opaque"),
        (["enlarge", "few/one.png"], "an exported model is needed"),
        (["enlarge", "few/one.png", "--output", "large.txt"], "must end in"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    for folder in ("glass", "few"):
        Path(folder).mkdir()
    [picture] = some_pictures(1, 80, 80)
    PIL.Image.fromarray(picture).save("few/one.png")
    half = np.full((80, 80, 1), 128, np.uint8)
    PIL.Image.fromarray(np.concatenate([picture, half], axis=2)).save("glass/glass.png")
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
