import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps.dcgan import app, build_discriminator, build_generator, build_model
from suite import Run, cli, train
from suite.trainers import gan

SMALL = {"generator_filters": (16, 8), "discriminator_filters": (8, 16), "latent_dim": 8}


@pytest.mark.parametrize("shape", [(28, 28, 1), (30, 17, 3)])
@pytest.mark.parametrize("filters", [(4,), (16, 8, 4)])
def test_generator_and_discriminator_fit_together(shape, filters):
    generator = build_generator(shape, latent_dim=5, filters=filters)
    discriminator = build_discriminator(shape, filters=filters)

    assert generator.input_shape == (None, 5)
    assert generator.output["image"].shape == discriminator.input_shape == (None, *shape)
    assert discriminator.output_shape == (None, 1)
    networks = build_model(
        shape, latent_dim=5, generator_filters=filters, discriminator_filters=filters[::-1]
    )
    assert list(networks) == ["generator", "discriminator"]
    for name, alone in (("generator", generator), ("discriminator", discriminator)):
        assert networks[name].input_shape == alone.input_shape
        assert networks[name].output_shape == alone.output_shape


def test_the_last_numbers_choose_the_code():
    """A tiny step that makes another one the largest is a leap for the generator."""
    generator = build_generator(code_shares=(0.5, 0.5), latent_dim=2, filters=(8,))
    latent = np.float32([[0, 0, 1e-4, 0], [0, 0, 0, 1e-4], [0, 9, 0, 1e-4], [0, 9 + 1e-4, 0, 1e-4]])

    outputs = {n: keras.ops.convert_to_numpy(part) for n, part in generator(latent).items()}

    def leap(one, other):
        return np.abs(outputs["image"][one] - outputs["image"][other]).max()

    assert list(outputs["code"]) == [0, 1, 1, 1]
    assert leap(0, 1) > 100 * leap(2, 3)


def test_clusters_are_found_and_both_networks_are_conditioned_on_them():
    data = app.data(app.config(num_codes=5), Run(data="embedded", quiet=True))
    networks = app.build(**data.model_arguments)
    images, codes = next(data.train(0).as_numpy_iterator())

    assert sum(data.model_arguments["code_shares"]) == pytest.approx(1)
    assert len(images) == len(codes) and set(codes) <= set(range(5))
    assert networks["generator"].input_shape == (None, 64 + 5)
    assert networks["discriminator"].output_shape == (None, 5)


def test_pictures_on_disk_are_clustered_too(tmp_path):
    for number in range(40):
        picture = np.zeros((28, 28), np.uint8)
        picture[6 : 12 + number % 7, 5 : 9 + number % 9] = 255
        path = tmp_path / "letters" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(picture).save(path)

    run = Run(data=str(tmp_path / "letters"), in_memory="no", quiet=True)
    data = app.data(app.config(num_codes=3, batch_size=8), run)

    _, codes = next(data.train(0).as_numpy_iterator())
    assert set(codes) <= set(range(3)) and len(data.model_arguments["code_shares"]) == 3


def test_without_codes_the_labels_are_left_alone():
    data = app.data(app.config(num_codes=0), Run(data="embedded", quiet=True))

    assert data.model_arguments == {"input_shape": (28, 28, 1)}
    assert set(data.splits["train"].targets) == set(range(10))


def test_nothing_hidden_is_fully_connected_and_nothing_is_pooled():
    layers = [layer for network in build_model().values() for layer in network._flatten_layers()]

    names = {type(layer).__name__ for layer in layers}
    assert {"Conv2D", "Conv2DTranspose", "BatchNormalization", "LeakyReLU"} <= names
    assert not {name for name in names if "Pool" in name or "Dense" in name}


def test_drawn_images_are_grey_values():
    latent = np.random.default_rng(0).normal(size=(20, 8))

    images = keras.ops.convert_to_numpy(
        build_generator(latent_dim=8, filters=(16, 8))(latent)["image"]
    )

    assert images.shape == (20, 28, 28, 1)
    assert 0 <= images.min() < images.max() <= 255


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_images_and_scores_stay_float32(precision):
    keras.config.set_dtype_policy(precision)
    networks = build_model(**SMALL)

    assert networks["discriminator"].output.dtype == "float32"
    assert networks["generator"].output["image"].dtype == "float32"


def test_it_learns_draws_and_answers(capsys):
    recipe = app.recipe(epochs=3, batch_size=16, discriminator_steps=2, num_codes=64, **SMALL)

    trained = train(app, recipe, Run(data="embedded", quiet=True))

    distances = trained.history["val_frechet_distance"]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0] / 2
    metrics = trained.report["metrics"]
    assert metrics["frechet_distance"] > metrics["frechet_distance_of_train"]
    pictures = {path.name for path in (trained.folder / "figures").iterdir()}
    assert pictures == {
        "arithmetic.png", "interpolation.png", "learning_curves.png", "nearest.png",
        "samples.png", "training.gif",
    }  # fmt: skip

    signatures = tf.saved_model.load(str(trained.saved_model)).signatures
    images = signatures["sample"](num=tf.constant(3), seed=tf.constant(0, tf.int64))["image"]
    assert images.shape == (3, 28, 28, 1)
    assert signatures["discriminate"](image=images)["score"].shape == (3,)
    assert signatures["serve"](latent=tf.zeros((2, 8 + 64)))["image"].shape == (2, 28, 28, 1)

    assert cli.run(app, ["sample", "--num", "10", "--output", "grid.png"]) == 0
    assert cli.run(app, ["interpolate", "--num", "3", "--steps", "5"]) == 0
    for name, size in (("grid.png", (4 * 28, 3 * 28)), ("interpolation.png", (5 * 28, 3 * 28))):
        with PIL.Image.open(name) as picture:
            assert picture.size == size

    capsys.readouterr()
    assert cli.run(app, ["evaluate"]) == 0
    now, at_export = capsys.readouterr().out.split("At export")
    distance = f"{metrics['frechet_distance']:.4f}"
    assert distance in now and distance in at_export


def test_a_lost_game_is_given_up_with_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(gan, "WON", 0.6)
    words = ["--data", "embedded", "--quiet", "--epochs", "1", "--generator-filters", "16", "8"]

    code = cli.run(app, [*words, "--learning-rate", "1e-7"])

    error = capsys.readouterr().err
    assert code == 1
    assert "won epoch 1 outright" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latent-dim", "0"], "--latent-dim"),
        (["--num-codes", "-1"], "--num-codes "),
        (["--loss", "wishful"], "loss"),
        (["--loss", "hinge"], "--label-smoothing "),
        (["--discriminator-steps", "0"], "--discriminator-steps "),
        (["--label-smoothing", "1"], "--label-smoothing "),
        (["--ema-momentum", "1"], "--ema-momentum "),
        (["--generator-filters", "0"], "--generator-filters"),
        (["--discriminator-filters", *["8"] * 9], "--discriminator-filters"),
        (["sample", "--num", "0"], "--num "),
        (["sample", "--num", "1000000"], "--num "),
        (["sample", "--output", "grid.txt"], "must end in"),
        (["sample"], "an exported model is needed"),
        (["interpolate", "--steps", "1"], "--steps "),
        (["interpolate", "--num", "101"], "--num "),
        (["interpolate"], "an exported model is needed"),
        (["--data", "empty.npz"], "empty.npz"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    (tmp_path / "empty.npz").touch()
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
