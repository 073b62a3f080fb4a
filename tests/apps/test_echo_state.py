import numpy as np
import pytest
import tensorflow as tf

from apps.echo_state import Config, app, build_model, load_data, nrmse
from suite import Run, cli, train

QUIET = Run(quiet=True, figures=False)
SMALL = {"length": 3000, "washout": 100, "window": 100, "horizon": 20, "units": 100}


def trained(run=QUIET, until="judge", data=None, **knobs):
    return train(app, app.recipe(**{**SMALL, **knobs}), run, until=until, data=data)


def test_all_of_it_is_float64():
    model = build_model(units=20)

    assert {tensor.dtype for tensor in [*model.inputs, *model.outputs]} == {"float64"}
    assert {weight.dtype for weight in model.weights} == {"float64", "int32"}
    assert model.output["next"].shape == (None, None, 1)
    assert model.output["state"].shape == (None, 20)


def test_statistics_are_those_of_the_training_windows():
    data = load_data(Config(length=3000, washout=100, window=100, horizon=20), Run())

    inputs = data.splits["train"].inputs
    assert data.model_arguments == {"mean": inputs.mean(), "scale": inputs.std()}
    assert inputs.dtype == np.float64


def test_errors_by_hand():
    predicted, truth = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 4.0], [3.0, 2.0]])

    np.testing.assert_allclose(nrmse(predicted, truth, 2.0), [0, 1])


def test_it_goes_on_with_a_chaotic_series():
    result = trained()
    metrics, series = result.metrics, result.data.splits["test"].inputs[..., 0]
    # What the value before would be off by, if it were the forecast.
    step = np.sqrt(np.square(np.diff(series, axis=1)).mean()) / series.std()

    assert metrics["test_nrmse_next"] < step / 20
    assert metrics["test_nrmse"] < 0.1
    assert metrics["test_steps"] > 19


def test_a_sine_goes_on():
    metrics = trained(dataset="sine", units=30).metrics

    assert metrics["test_nrmse"] < 1e-3


@pytest.mark.parametrize("name", [None, *app.recipes])
def test_the_series_of_every_recipe_is_long_enough(name):
    data = load_data(app.recipe(name).config, QUIET)

    assert all(data.splits[split].num_examples for split in ("train", "validation", "test"))


def test_the_readout_is_learnt_from_the_past():
    """Noise cannot be forecast: the best forecast is the mean, which is off by one deviation."""
    noise = np.random.default_rng(0).normal(size=3000)

    metrics = trained(data=(noise,)).metrics

    assert metrics["test_nrmse_next"] == pytest.approx(1, abs=0.5)


def test_a_large_penalty_forecasts_the_mean():
    result = trained(ridge=1e6)

    [network] = result.networks.values()
    [kernel, _] = network.get_layer("readout").get_weights()
    assert abs(kernel).max() < 1e-3
    assert result.metrics["test_nrmse_next"] == pytest.approx(1, abs=0.5)


def test_the_penalty_is_chosen_by_the_validation_windows():
    given, chosen = trained(ridge=1e-2), trained()

    assert chosen.metrics["test_nrmse"] < given.metrics["test_nrmse"]


def test_a_file_is_learnt_exported_and_gone_on_with(tmp_path, capsys):
    times = np.arange(2000)
    values = 100 + 7 * np.sin(times / 9)
    lines = [f"{time},{value!r}" for time, value in zip(times, values.tolist(), strict=True)]
    (tmp_path / "tide.csv").write_text("\n".join(["hour,height", *lines]))
    run = Run(data="tide.csv", quiet=True)

    result = trained(run, until="publish", units=50)

    assert result.metrics["test_nrmse"] < 0.01
    figures = {path.name for path in (result.folder / "figures").iterdir()}
    assert figures == {"forecasts.png", "errors.png"}
    signatures = tf.saved_model.load(str(result.saved_model)).signatures
    forecast = signatures["serve"](series=tf.constant(values[None, :150], tf.float32))["forecast"]
    np.testing.assert_allclose(forecast[0], values[150:170], atol=0.1)
    following = signatures["read"](series=tf.constant(values[None, :150, None]))["next"]
    np.testing.assert_allclose(following[0, -1, 0], forecast[0, 0], rtol=1e-4)

    assert cli.run(app, ["forecast", "tide.csv", "--column", "height"]) == 0
    printed = [float(line) for line in capsys.readouterr().out.split()]
    np.testing.assert_allclose(printed, 100 + 7 * np.sin(np.arange(2000, 2020) / 9), atol=0.1)
    (tmp_path / "short.csv").write_text("1\n2\n3\n")
    assert cli.run(app, ["forecast", "short.csv"]) == 2
    assert "must have at least the 100 values of the wash-out" in capsys.readouterr().err
    assert cli.run(app, ["evaluate"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--spectral-radius", "0"], "--spectral-radius "),
        (["--leak", "0"], "--leak "),
        (["--ridge", "0"], "--ridge "),
        (["--units", "5"], "--connections must be at most --units"),
        (["--washout", "100000"], "--washout must be shorter"),
        (["--data", "missing.csv"], "--data must be auto, or the path of a CSV file"),
        (["--data", "series.csv", "--column", "b"], "--column must be a column of series.csv: a"),
        (["--data", "series.csv"], "--washout must be shorter"),
        (["--data", "constant.csv"], "--data must be a series that varies"),
        (["--data", "gap.csv"], "gap.csv, row 3, must be a finite number"),
        (["forecast", "missing.csv"], "--data must be a CSV file"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    (tmp_path / "series.csv").write_text("a\n1\n2\n")
    (tmp_path / "constant.csv").write_text("a\n1\n1\n")
    (tmp_path / "gap.csv").write_text("a\n1\nNaN\n")
    before = sorted(tmp_path.rglob("*"))

    code = cli.run(app, [*words, "--quiet"] if words[0].startswith("--") else words)

    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
