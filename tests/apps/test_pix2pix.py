import types

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from keras import layers

from apps import pix2pix
from apps.pix2pix import (
    Config,
    app,
    build_discriminator,
    build_generator,
    build_model,
    compare_with_true,
    compile_model,
    halvings_of,
    in_rows,
    jittered,
    squares,
    tiles_endpoint,
    translated,
)
from suite import InputError, Run, cli, train
from suite.data.pairs.sources import PicturePairPreparation

EMBEDDED = Run(data="embedded", quiet=True)
SMALL = {"generator_filters": (4, 8, 8), "discriminator_filters": 4}


def some_pictures(count=6, side=32, seed=0):
    """Smooth pictures in colour."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 5, 5, 3))
    return tf.image.resize(coarse, (side, side), "bicubic").numpy().clip(0, 255).astype("uint8")


# --- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "channels"), [((32, 32, 3), 3), ((30, 17, 1), 3), ((16, 32, 3), 1)]
)
@pytest.mark.parametrize("filters", [(4,), (4, 8), (4, 6, 8, 8)])
@pytest.mark.parametrize("skips", [True, False])
def test_generator_and_discriminator_fit_together(shape, channels, filters, skips):
    networks = build_model(
        shape, channels, generator_filters=filters, discriminator_filters=4, skips=skips
    )
    generator, discriminator = networks["generator"], networks["discriminator"]

    target = (*shape[:2], channels)
    assert generator.input_shape == (None, *shape)
    assert generator.output["image"].shape == (None, *target)
    assert {name: tensor.shape[1:] for name, tensor in discriminator.input.items()} == {
        "condition": shape,
        "image": target,
    }
    rows, columns = (-(-side // 2) for side in shape[:2])
    assert discriminator.output_shape == (None, rows, columns, 1)
    joined = [layer for layer in generator.layers if isinstance(layer, layers.Concatenate)]
    assert len(joined) == (len(filters) - 1) * skips


def test_the_networks_of_the_paper_have_as_many_weights():
    """Those of its code in Lua and PyTorch for 256 x 256, but for normalisations and biases."""
    recipe = app.recipe("paper")
    networks = app.build((256, 256, 3), **recipe.architecture)

    def kernels(network):
        return sum(int(np.prod(w.shape)) for w in network.weights if w.name == "kernel")

    encoder = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512)
    decoder = 512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3
    assert kernels(networks["generator"]) == encoder + 16 * decoder
    discriminator = 6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512
    assert kernels(networks["discriminator"]) == 16 * discriminator


@pytest.mark.parametrize(("patch", "side"), [("1", 1), ("16", 16), ("70", 70)])
def test_a_score_is_one_of_a_patch(patch, side):
    network = build_discriminator((160, 160, 1), 1, filters=2, patch=patch, normalization="none")
    pixels = tf.random.stateless_uniform((1, 160, 160, 1), (0, 0), 0, 255)

    with tf.GradientTape() as tape:
        tape.watch(pixels)
        scores = network({"condition": pixels, "image": tf.identity(pixels)})
        score = scores[0, scores.shape[1] // 2, scores.shape[2] // 2, 0]
    is_used = tape.gradient(score, pixels).numpy()[0, :, :, 0] != 0

    assert [np.ptp(np.flatnonzero(is_used.any(axis=axis))) + 1 for axis in (0, 1)] == [side, side]


@pytest.mark.parametrize(
    ("patch", "side", "halvings"),
    [("16", 256, 1), ("70", 256, 3), ("whole", 256, 5), ("whole", 70, 3), ("whole", 16, 1)],
)
def test_patches_by_halvings(patch, side, halvings):
    assert halvings_of(patch, side) == halvings


def test_the_innermost_features_are_not_normalised_and_three_stages_have_dropout():
    generator = build_generator((64, 64, 3), filters=(4, 4, 4, 4, 4, 4))

    by_type = {kind: [x for x in generator.layers if isinstance(x, kind)] for kind in (
        layers.GroupNormalization, layers.Dropout,
    )}  # fmt: skip
    assert len(by_type[layers.GroupNormalization]) == 4 + 5
    assert [layer.output.shape[1] for layer in by_type[layers.Dropout]] == [2, 4, 8]
    assert min(x.output.shape[1] for x in by_type[layers.GroupNormalization]) == 2


def test_images_are_pixels_and_the_same_each_time():
    generator = build_generator((32, 32, 3), filters=(4, 8, 8))

    made = translated(generator, some_pictures(20))

    assert made.shape == (20, 32, 32, 3) and made.dtype == np.float32
    assert 0 <= made.min() < made.max() <= 255
    np.testing.assert_array_equal(made, translated(generator, some_pictures(20)))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_images_and_scores_stay_float32(precision):
    keras.config.set_dtype_policy(precision)
    networks = build_model((32, 32, 3), **SMALL)

    assert networks["discriminator"].output.dtype == "float32"
    assert networks["generator"].output["image"].dtype == "float32"


# --- training ----------------------------------------------------------------------------------


def test_the_rates_stay_and_then_fall_to_zero():
    trainer = compile_model(build_model((32, 32, 3), **SMALL), Config(learning_rate=0.01), 100)

    schedule = trainer.optimizer._learning_rate

    rates = [float(schedule(step)) for step in (0, 49, 75, 100)]
    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.0], abs=1e-8)


def test_a_generator_without_a_loss_is_refused():
    config = Config(l1_weight=0.0, adversarial_weight=0.0)

    with pytest.raises(InputError, match="`l1_weight` or `adversarial_weight` must be more than 0"):
        compile_model(build_model((32, 32, 3), **SMALL), config, 100)


def test_jitter_moves_both_pictures_of_a_pair_alike():
    inputs = some_pictures()
    augmentation = jittered(4, 32, 32)
    draws = tf.random.stateless_uniform((augmentation.num_draws, 6), (0, 0), -1, 1)

    moved, targets = augmentation.distort((inputs, 255 - inputs), draws)

    assert moved.shape == inputs.shape
    np.testing.assert_allclose(moved + targets, 255, atol=1e-3)
    assert not np.allclose(moved, inputs, atol=1)
    assert jittered(0, 32, 32) is None


# --- metrics -----------------------------------------------------------------------------------


def test_squares_lie_side_by_side():
    pictures = np.arange(2 * 9 * 13).reshape(2, 9, 13, 1)

    cut = squares(pictures)

    assert cut.shape == (2 * 4 * 6, 2, 2, 1)
    np.testing.assert_array_equal(cut[0, :, :, 0], pictures[0, :2, :2, 0])
    np.testing.assert_array_equal(cut[7, :, :, 0], pictures[0, 2:4, 2:4, 0])
    np.testing.assert_array_equal(cut[-1, :, :, 0], pictures[1, 6:8, 10:12, 0])


def test_pictures_are_compared_with_the_true_ones():
    true, others = some_pictures(40), some_pictures(60, seed=1)
    noisy = (true + np.random.default_rng(2).normal(scale=20, size=true.shape)).clip(0, 255)

    same = compare_with_true(true, true, others)
    worse = compare_with_true(noisy.astype("float32"), true, others)
    brighter = compare_with_true(np.full_like(true, 255), np.full_like(true, 204), others)

    assert same["l1"] == 0 and same["ssim"] == pytest.approx(1)
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-3)
    assert same["frechet_distance"] < same["frechet_distance_of_train"]
    assert worse["l1"] > 0 and worse["ssim"] < 0.95
    assert worse["frechet_distance"] > same["frechet_distance"]
    assert brighter["l1"] == pytest.approx(0.2)


# --- from pairs to an export -------------------------------------------------------------------


def test_both_directions_have_the_same_pairs():
    forwards, backwards = (
        app.data(Config(image_size=32, swap=swap), EMBEDDED).splits["test"].in_memory()
        for swap in (False, True)
    )

    np.testing.assert_array_equal(forwards.inputs, backwards.targets)
    np.testing.assert_array_equal(forwards.targets, backwards.inputs)
    assert (forwards.inputs != forwards.targets).any()


def test_it_learns_translates_and_answers(capsys):
    """From pictures to labels, of which one is right: light cannot be known from labels."""
    recipe = app.recipe(
        epochs=4, swap=True, image_size=32, batch_size=8, generator_filters=(8, 16, 32),
        discriminator_filters=4, learning_rate=2e-3, dropout=0.0,
    )  # fmt: skip

    trained = train(app, recipe, EMBEDDED)

    losses = trained.history["reconstruction_loss"]
    assert losses[-1] < 0.9 * losses[0]
    metrics = trained.report["metrics"]
    assert metrics["frechet_distance"] > 0 and 0 < metrics["l1"] < 0.5
    assert (trained.folder / "figures" / "pairs.png").stat().st_size > 1000
    with PIL.Image.open(trained.folder / "samples" / "epoch-0000004.png") as picture:
        assert picture.size == (8 * 32, 3 * 32)

    PIL.Image.fromarray(some_pictures(1, side=100)[0, :70]).save("photo.png")
    signatures = tf.saved_model.load(str(trained.saved_model)).signatures
    content = tf.constant([tf.io.read_file("photo.png").numpy()])
    for name, shape in (("picture", (32, 32, 3)), ("tiles", (70, 100, 3))):
        [answer] = signatures[name](picture=content)["image_bytes"].numpy()
        assert tf.io.decode_png(answer).shape == shape

    capsys.readouterr()
    assert cli.run(app, ["translate", "photo.png", "--output", "made.jpg"]) == 0
    assert cli.run(app, ["translate", "photo.png", "--tiles"]) == 0
    assert "translated.png: from photo.png" in capsys.readouterr().out
    for name, size in (("made.jpg", (32, 32)), ("translated.png", (100, 70))):
        with PIL.Image.open(name) as picture:
            assert picture.size == size

    assert cli.run(app, ["evaluate"]) == 0
    now, at_export = capsys.readouterr().out.split("At export")
    distance = f"{metrics['frechet_distance']:.4f}"
    assert distance in now and distance in at_export


@pytest.mark.parametrize("resized", [False, True])
def test_tiles_have_the_scale_of_the_training(resized):
    """Stripes of a pixel are grey at a third of the size."""
    image = keras.Input((16, 16, 3), name="condition")
    generator = keras.Model(image, {"image": keras.layers.Identity()(image)})
    preparation = PicturePairPreparation(
        layout="photo", height=16, width=16, channels=3, resized=resized
    )
    stripes = np.zeros((48, 60, 3), np.uint8)
    stripes[::2] = 255

    endpoint = tiles_endpoint(generator, preparation)
    [content] = endpoint.function(tf.constant([tf.io.encode_png(stripes).numpy()]))["image_bytes"]

    made = tf.io.decode_png(content).numpy()
    assert made.shape == stripes.shape
    np.testing.assert_allclose(made, np.full_like(made, 127) if resized else stripes, atol=30)


def test_without_squares_there_are_no_tiles(capsys, monkeypatch):
    monkeypatch.setattr("suite.training.fit._Fitting._fit", lambda *_: None)
    strips = some_pictures(20)[:, :16]
    recipe = app.recipe(epochs=1, batch_size=4, **SMALL)
    train(app, recipe, Run(quiet=True, figures=False), data=(strips, 255 - strips))
    PIL.Image.fromarray(strips[0]).save("photo.png")

    assert cli.run(app, ["translate", "photo.png", "--tiles"]) == 2
    assert "--tiles must be off where training pictures are no squares" in capsys.readouterr().err


def test_grey_and_coloured_pictures_stand_in_rows():
    grey, colour = np.ones((9, 4, 4, 1)), np.zeros((9, 4, 4, 3))

    assert [part.shape for part in in_rows(grey, colour)] == 2 * [(8, 4, 4, 3)]
    assert in_rows(grey)[0].shape == (8, 4, 4, 3)


def test_losses_are_compared_in_one_picture(capsys, monkeypatch):
    data = app.data(Config(image_size=32), EMBEDDED)
    trained = []

    def tiny(app, recipe, run):
        trained.append((recipe.config, recipe.architecture["skips"]))
        return types.SimpleNamespace(data=data, networks=build_model((32, 32, 3), **SMALL))

    monkeypatch.setattr(pix2pix, "train_aside", tiny)

    assert cli.run(app, ["losses", "--epochs", "2", "--output", "six.png"]) == 0

    assert [(config.l1_weight > 0, config.adversarial_weight > 0) for config, _ in trained] == 2 * [
        (True, False), (False, True), (True, True),
    ]  # fmt: skip
    assert [skips for _, skips in trained] == 3 * [True] + 3 * [False]
    assert {config.epochs for config, _ in trained} == {2}
    assert "adversary alone, no skips, l1 " in capsys.readouterr().out
    with PIL.Image.open("six.png") as picture:
        assert picture.size[0] > 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--patch", "71"], "--patch"),
        (["--l1-weight", "-1"], "--l1-weight "),
        (["--l1-weight", "0", "--adversarial-weight", "0"], "--adversarial-weight must be more"),
        (["--generator-filters", *["8"] * 9], "--generator-filters"),
        (["--image-size", "8"], "--image-size "),
        (["--image-size", "32"], "--generator-filters must halve pictures of 32 x 32 at most 5"),
        (["--dropout", "1"], "--dropout "),
        (["--jitter", "-1"], "--jitter "),
        (["--ema-momentum", "1"], "--ema-momentum "),
        (["--data", "nowhere"], "--data "),
        (["--data", "alone"], "alone"),
        (["translate", "nowhere.png"], "an image file is needed"),
        (["translate", "photo.png"], "an exported model is needed"),
        (["translate", "photo.png", "--output", "made.txt"], "must end in"),
        (["losses", "--output", "six.txt"], "must end in"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    (tmp_path / "alone").mkdir()
    for path in ("photo.png", "alone/1.png", "alone/2.png"):  # no doubles, since they are too high
        PIL.Image.fromarray(some_pictures(1)[0, :, :15]).save(path)
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
