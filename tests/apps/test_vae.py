import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps.vae import app, build_decoder, build_encoder, build_model
from suite import Run, cli, train
from suite.app import Fitted

SMALL = {"filters": (4, 8), "units": (16,), "latent_dim": 2}


@pytest.mark.parametrize("network", ["convolutional", "mlp"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (30, 17, 3)])
def test_encoder_and_decoder_fit_together(network, shape):
    knobs = {"network": network, "latent_dim": 5, "filters": (4, 8), "units": (16, 12)}
    knobs |= {"activation": "relu"}

    encoder, decoder = build_encoder(shape, **knobs), build_decoder(shape, **knobs)

    assert {name: t.shape for name, t in encoder.output.items()} == {
        "mean": (None, 5),
        "log_variance": (None, 5),
    }
    assert decoder.input_shape == (None, 5)
    assert {t.shape for t in decoder.outputs} == {(None, *shape)}
    networks = build_model(shape, **knobs)
    assert list(networks) == ["encoder", "decoder"]
    assert networks["encoder"].output_shape == encoder.output_shape
    assert networks["decoder"].output_shape == decoder.output_shape


def test_reconstructions_are_grey_values():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1))

    networks = build_model(**SMALL)

    means = networks["encoder"](images)["mean"]
    reconstructions = keras.ops.convert_to_numpy(networks["decoder"](means)["image"])

    assert reconstructions.shape == images.shape
    assert reconstructions.min() >= 0
    assert reconstructions.mean() == pytest.approx(255 / 2, abs=5)


@pytest.mark.parametrize("network", ["convolutional", "mlp"])
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_what_is_said_of_probabilities_stays_float32(precision, network):
    keras.config.set_dtype_policy(precision)
    networks = build_model(network=network, **SMALL)

    outputs = [tensor for part in networks.values() for tensor in part.outputs]
    assert {tensor.dtype for tensor in outputs} == {"float32"}


@pytest.mark.parametrize(
    "recipe", [{"objective": "iwae", "num_samples": 3}, {"likelihood": "continuous_bernoulli"}]
)
def test_other_bounds_and_likelihoods_are_learnt(recipe):
    knobs = {"epochs": 1, "learning_rate": 1e-2, "nll_samples": 5, "min_steps_per_epoch": 40}
    recipe = app.recipe(batch_size=40, **knobs, **recipe, **SMALL)
    run = Run(data="embedded", quiet=True)
    untrained = train(app, recipe, run, until="open")
    fitted = Fitted(
        model=untrained.model,
        networks=untrained.networks,
        data=untrained.data,
        config=recipe.config,
        folder=untrained.folder,
    )

    before = app.evaluate(fitted)
    after = train(app, recipe, run, until="judge").metrics

    assert after["test_nll"] < before["test_nll"] - 20
    assert after["test_nll"] <= -after["test_elbo"]


def test_it_learns_draws_and_answers(capsys):
    recipe = app.recipe(epochs=2, nll_samples=10, learning_rate=1e-2, **SMALL)

    trained = train(app, recipe, Run(data="embedded", quiet=True))

    history, metrics = trained.history, trained.report["metrics"]
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert metrics["nll_samples"] == 10
    pictures = {path.name for path in (trained.folder / "figures").iterdir()}
    assert pictures == {
        "interpolation.png", "latents.png", "learning_curves.png", "manifold.png",
        "reconstructions.png", "samples.png", "training.gif",
    }  # fmt: skip
    assert "figures/training.gif" in (trained.folder / "REPORT.md").read_text()

    signatures = tf.saved_model.load(str(trained.saved_model)).signatures
    assert {"serve", "encode", "decode", "sample", "picture"} <= set(signatures)
    images = signatures["sample"](num=tf.constant(3), seed=tf.constant(0, tf.int64))["image"]
    assert images.shape == (3, 28, 28, 1)
    posterior = signatures["encode"](image=images)
    expected = signatures["decode"](latent=posterior["mean"])["image"]
    reconstruction = signatures["serve"](image=images)["reconstruction"]
    np.testing.assert_allclose(reconstruction, expected, rtol=1e-4, atol=1e-2)

    digit = np.zeros((40, 30), np.uint8)
    digit[5:35, 14:17] = 255
    PIL.Image.fromarray(digit).save("one.png")
    assert cli.run(app, ["sample", "--num", "10", "--output", "grid.png"]) == 0
    assert cli.run(app, ["reconstruct", "one.png", "one.png"]) == 0
    for name, size in (("grid.png", (4 * 28, 3 * 28)), ("reconstruction.png", (2 * 28, 2 * 28))):
        with PIL.Image.open(name) as picture:
            assert picture.size == size

    capsys.readouterr()
    assert cli.run(app, ["evaluate"]) == 0
    now, at_export = capsys.readouterr().out.split("At export")
    assert f"{metrics['test_nll']:.4f}" in now and f"{metrics['test_nll']:.4f}" in at_export


def test_pictures_of_a_single_class_will_do():
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = np.zeros(40, int)
    np.savez("ones.npz", x_train=pictures, y_train=labels, x_test=pictures[:5], y_test=labels[:5])
    recipe = app.recipe(**app.tiny)

    trained = train(app, recipe, Run(data="ones.npz", quiet=True))

    assert (trained.folder / "figures" / "interpolation.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latent-dim", "0"], "--latent-dim"),
        (["--objective", "mmd"], "objective"),
        (["--likelihood", "poisson"], "likelihood"),
        (["--network", "transformer"], "network"),
        (["--num-samples", "0"], "--num-samples "),
        (["--beta", "-1"], "beta"),
        (["--objective", "iwae", "--free-bits", "1"], "--free-bits "),
        (["--filters", "0"], "--filters"),
        (["--num-samples", "100000"], "--num-samples "),
        (["--filters", *["8"] * 9], "--filters"),
        (["sample", "--num", "0"], "--num "),
        (["sample", "--num", "1000000"], "--num "),
        (["sample", "--output", f"{'x' * 300}.png"], "must be writable"),
        (["sample", "--output", "grid.txt"], "must end in"),
        (["sample"], "an exported model is needed"),
        (["reconstruct"], "one image file or more"),
        (["reconstruct", "missing.png"], "missing.png"),
        (["reconstruct", "empty.png"], "not a readable image"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    (tmp_path / "empty.png").touch()
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
