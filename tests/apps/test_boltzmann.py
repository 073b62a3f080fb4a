import dataclasses

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps.boltzmann import app, build_model, compile_model, log_odds, phases
from suite import InputError, Run, cli, train
from suite.app import Fitted
from suite.memories.boltzmann import inputs_of, machines_of

QUIET = Run(data="embedded", quiet=True, figures=False)
TINY = {**app.tiny, "ais_steps": 50, "ais_chains": 20}


def fitted_of(trained, config):
    return Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=config,
        folder=trained.folder,
    )


@pytest.mark.parametrize("shape", [(28, 28, 1), (5, 4, 3)])
def test_builder(shape):
    network = build_model(shape, (6, 3))

    assert {name: tensor.shape for name, tensor in network.output.items()} == {
        "hidden_1": (None, 6),
        "hidden_2": (None, 3),
        "reconstruction": (None, *shape),
    }
    assert [machine.units for machine in machines_of(network)] == [6, 3]
    assert network.count_params() == np.prod(shape) * 7 + 6 + 6 * 4 + 3


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_probabilities_stay_float32(precision):
    keras.config.set_dtype_policy(precision)

    assert {tensor.dtype for tensor in build_model(units=(4, 2)).outputs} == {"float32"}


def test_a_machine_at_a_time_learns():
    config = app.recipe(units=(4, 3)).config
    network = build_model((4, 4, 1), (4, 3))
    lower, upper = machines_of(network)

    for number in (0, 1):
        compile_model(network, config, 10, number)
        assert [lower.trainable, upper.trainable] == [number == 0, number == 1]
    assert [phase.name for phase in phases(config)] == ["machine_1", "machine_2"]


def test_the_bias_begins_with_the_log_odds_of_the_mean_picture():
    opened = train(app, app.recipe(**TINY), QUIET, until="open")
    fitted = fitted_of(opened, app.recipe(**TINY).config)
    images = opened.data.splits["train"].in_memory().inputs

    odds = log_odds(fitted, 0)

    means = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(means, images.reshape(len(images), -1).mean(0) / 255, atol=1e-3)
    assert np.isfinite(odds).all()


def test_it_learns_draws_and_answers(capsys):
    recipe = app.recipe(epochs=3, min_steps_per_epoch=50, batch_size=50, sample_steps=20)
    run = Run(data="embedded", quiet=True)
    untrained = train(app, recipe, run, until="open")

    before = app.evaluate(fitted_of(untrained, recipe.config))
    trained = train(app, recipe, run)

    metrics = trained.report["metrics"]
    assert metrics["test_log_likelihood"] > before["test_log_likelihood"] + 100
    assert metrics["test_log_likelihood"] < 0
    assert metrics["log_partition_error"] is None
    likelihoods = trained.history["val_pseudo_likelihood"]
    assert likelihoods[-1] > likelihoods[0]
    pictures = {path.name for path in (trained.folder / "figures").iterdir()}
    assert pictures == {
        "learning_curves.png", "reconstructions.png", "samples.png", "weights.png",
    }  # fmt: skip

    signatures = tf.saved_model.load(str(trained.saved_model)).signatures
    assert {"serve", "picture", "sample"} <= set(signatures)
    images = signatures["sample"](num=tf.constant(3), seed=tf.constant(0, tf.int64))["image"]
    other = signatures["sample"](num=tf.constant(3), seed=tf.constant(1, tf.int64))["image"]
    assert images.shape == (3, 28, 28, 1) and 0 <= np.min(images) <= np.max(images) <= 255
    assert (np.asarray(images) != np.asarray(other)).any()
    answers = signatures["serve"](image=images)
    assert answers["features"].shape == (3, 16)

    assert cli.run(app, ["sample", "--num", "10", "--output", "grid.png"]) == 0
    with PIL.Image.open("grid.png") as picture:
        assert picture.size == (4 * 28, 3 * 28)
    capsys.readouterr()
    assert cli.run(app, ["evaluate"]) == 0
    now, at_export = capsys.readouterr().out.split("At export")
    likelihood = f"{metrics['test_log_likelihood']:.4f}"
    assert likelihood in now and likelihood in at_export


def test_the_estimate_is_near_the_exact_likelihood(monkeypatch):
    recipe = app.recipe(**{**TINY, "ais_steps": 500, "ais_chains": 100})
    trained = train(app, recipe, QUIET, until="judge")
    monkeypatch.setattr("apps.boltzmann.MOST_UNITS", 2)

    estimated = app.evaluate(fitted_of(trained, recipe.config))

    exact = trained.metrics
    assert exact["log_partition_error"] is None and estimated["log_partition_error"] > 0
    assert estimated["test_log_likelihood"] == pytest.approx(exact["test_log_likelihood"], abs=0.5)


def test_a_deep_belief_network_is_trained_machine_by_machine():
    recipe = app.recipe(**{**TINY, "units": (8, 5)})

    trained = train(app, recipe, QUIET, until="judge")

    [network] = trained.networks.values()
    assert len(trained.history["val_pseudo_likelihood"]) == 2
    images = trained.data.splits["test"].in_memory().inputs[:20]
    features = np.asarray(inputs_of(network, 1)(images))
    assert features.shape == (20, 8)
    assert np.isfinite(trained.metrics["test_log_likelihood"])
    assert trained.metrics["log_partition_error"] is None


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Kills the training at the begin of an epoch, counted over all phases."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Killed


CHAINED = app.recipe(**{**TINY, "units": (6, 4), "epochs": 2, "persistent": True, "chains": 10})
DETERMINISTIC = Run(data="embedded", quiet=True, figures=False, deterministic=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return train(app, CHAINED, dataclasses.replace(DETERMINISTIC, run_dir=folder), until="fit")


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_chains_and_machines_survive_a_kill(epoch, undisturbed, tmp_path):
    run = dataclasses.replace(DETERMINISTIC, run_dir=tmp_path / "run")
    with pytest.raises(Killed):
        train(app, CHAINED, run, until="fit", callbacks=[Kill(epoch)])
    resumed = train(app, CHAINED, dataclasses.replace(run, resume=True), until="fit")

    for a, b in zip(undisturbed.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_replicas_share_the_chains():
    recipe = app.recipe(**{**TINY, "persistent": True, "chains": 10})
    run = Run(data="embedded", quiet=True, figures=False, strategy="mirrored")

    trained = train(app, recipe, run, until="judge")

    chains = keras.ops.convert_to_numpy(trained.model.chains)
    assert chains.shape == (10, 784) and set(np.unique(chains)) == {0, 1}
    assert chains[:5].any() and chains[5:].any()
    assert (chains[:5] != chains[5:]).any()
    with pytest.raises(InputError, match="`chains` must be a multiple"):
        train(app, app.recipe(**{**TINY, "persistent": True, "chains": 9}), run, until="open")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--units", "0"], "--units"),
        (["--units", *["8"] * 9], "--units"),
        (["--gibbs-steps", "0"], "--gibbs-steps "),
        (["--learning-rate", "0"], "--learning-rate "),
        (["--momentum", "1"], "--momentum "),
        (["--weight-scale", "0"], "--weight-scale "),
        (["--ais-chains", "1"], "--ais-chains "),
        (["--data", "missing"], "--data "),
        (["sample", "--num", "0"], "--num "),
        (["sample"], "an exported model is needed"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
