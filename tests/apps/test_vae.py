import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps.vae import app, build_decoder, build_encoder, build_model
from suite import Run, cli, train

SMALL = {"filters": (4, 8), "units": (16,), "latent_dim": 2}


@pytest.mark.parametrize("network", ["convolutional", "mlp"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (30, 17, 3)])
def test_encoder_and_decoder_fit_together(network, shape):
    knobs = {"network": network, "latent_dim": 5, "filters": (4, 8), "units": (16, 12)}

    encoder, decoder = build_encoder(shape, **knobs), build_decoder(shape, **knobs)

    assert {name: t.shape for name, t in encoder.output.items()} == {
        "mean": (None, 5),
        "log_variance": (None, 5),
    }
    assert decoder.input_shape == (None, 5)
    assert {t.shape for t in decoder.outputs} == {(None, *shape)}
    assert build_model(shape, **knobs).output_shape == (None, *shape)


def test_reconstructions_are_grey_values():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1))

    drawn = keras.ops.convert_to_numpy(build_model(**SMALL)(images))

    assert drawn.shape == images.shape
    assert drawn.min() >= 0
    assert drawn.mean() == pytest.approx(255 / 2, abs=5)


@pytest.mark.parametrize("network", ["convolutional", "mlp"])
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_what_is_said_of_probabilities_stays_float32(precision, network):
    keras.config.set_dtype_policy(precision)
    model = build_model(network=network, **SMALL)

    outputs = [
        *model.get_layer("encoder").outputs,
        *model.get_layer("decoder").outputs,
        model.output,
    ]
    assert {tensor.dtype for tensor in outputs} == {"float32"}


@pytest.mark.parametrize(
    "recipe", [{"objective": "iwae", "num_samples": 3}, {"likelihood": "continuous_bernoulli"}]
)
def test_other_bounds_and_likelihoods_are_learnt(recipe):
    config = app.config(learning_rate=1e-2, nll_samples=5, **recipe)
    data = app.data(config, Run(data="embedded"))
    model = app.compile(build_model(**SMALL), config, 40)

    before = app.evaluate(model, data, config)
    model.fit(data.train(0), steps_per_epoch=40, shuffle=False, verbose=0)
    after = app.evaluate(model, data, config)

    assert after["test_nll"] < before["test_nll"] - 20
    assert after["test_nll"] <= -after["test_elbo"]


def test_it_learns_draws_and_answers(capsys):
    config = app.config(epochs=2, nll_samples=10, learning_rate=1e-2)

    trained = train(app, config, Run(data="embedded", quiet=True), SMALL)

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
    assert {"serve", "encode", "decode", "sample"} <= set(signatures)
    drawn = signatures["sample"](num=tf.constant(3), seed=tf.constant(0, tf.int64))["image"]
    assert drawn.shape == (3, 28, 28, 1)
    said = signatures["encode"](image=drawn)
    again = signatures["decode"](latent=said["mean"])["image"]
    reconstruction = signatures["serve"](image=drawn)["reconstruction"]
    np.testing.assert_allclose(reconstruction, again, rtol=1e-4, atol=1e-2)

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
    config = app.config(epochs=1, batch_size=8, nll_samples=1)

    trained = train(app, config, Run(data="ones.npz", quiet=True), SMALL)

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

    said = capsys.readouterr().err
    assert code == 2
    assert message in said and said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
