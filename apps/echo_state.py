"""An echo state network that forecasts a series: a random reservoir, and a readout in closed form.

Hundreds of recurrent units with fixed random weights echo the past of the series. What is learnt is
a linear readout of them that predicts the next value, by ridge regression. Fed back to the network,
its predictions go on with the series: with Mackey and Glass's chaotic one, a sine, or your own.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase, no_compilation
from suite.cli import main
from suite.data import Data, Examples, supervised
from suite.data.series import Formula, Windows, load_series, read_series
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.knobs import BatchSize, Steps, Units
from suite.memories.reservoirs import (
    EchoStateCell,
    Readout,
    echo_state_network,
    features_of,
    forecaster,
)

# Under `suite`, whose messages a training shows.
log = logging.getLogger("suite.echo_state")

# Penalties that are tried on the validation windows, if none is given.
RIDGES = tuple(float(f"1e{power}") for power in range(-20, -2, 2))
FAR_OFF = 0.4  # standard deviations of the series: a forecast that is farther off is of no use
WINDOWS_SHOWN = 4


@settings
class Config:
    """The settings of the training.

    Args:
        dataset: The series that is made here, unless `--data` names a file.
        length: Values of a series that is made here.
        delay: Delay of Mackey and Glass's equation; its series is chaotic from 17 on.
        column: Column of your own CSV file; by default the last one.
        washout: Values at the begin of a window from which nothing is learnt: until they are read,
            the reservoir still depends on the state that it began with. A forecast reads as many.
        window: Further values of a window, from which the readout learns.
        horizon: Steps of a forecast. `test_nrmse` is the error of the last one.
        ridge: Penalty of the squared weights of the readout, added to the mean squared error.
            Defaults to the one of several with the best forecasts of the validation windows.
        batch_size: Windows that are read at a time.
    """

    dataset: Formula = "mackey_glass"
    length: Annotated[int, Field(ge=10, le=1_000_000)] = 12_000
    delay: Annotated[int, Field(ge=1, le=1000)] = 17
    column: str | None = None
    washout: Steps = 500
    window: Steps = 500
    horizon: Steps = 84
    ridge: Annotated[float, Field(gt=0, le=1e6)] | None = None
    batch_size: BatchSize = 8


def load_data(config: Config, run: Run) -> Data:
    """Windows `(time, 1)` of a series, and the next values, `(time, 1)`, float64."""
    name, series = load_series(run, config.dataset, config.length, config.delay, config.column)
    cut = Windows(washout=config.washout, window=config.window, horizon=config.horizon)
    return supervised(
        cut.source(name, series),
        batch_size=config.batch_size,
        validation_split=0.5,  # not used: the source has all splits
        seed=run.seed,
        min_steps=1,
        model_arguments=lambda train: statistics(train.in_memory()),
    )


def statistics(train: Examples) -> dict[str, float]:
    """Mean and standard deviation of the training windows; 1 if they are constant."""
    return {"mean": float(train.inputs.mean()), "scale": float(train.inputs.std()) or 1.0}


@checked
def build_model(
    mean: float = 0.0,
    scale: Annotated[float, Field(gt=0)] = 1.0,
    *,
    units: Units = 400,
    spectral_radius: Annotated[float, Field(gt=0, le=10)] = 0.8,
    leak: Annotated[float, Field(gt=0, le=1)] = 0.4,
    connections: Annotated[int, Field(ge=1, le=65_536)] = 10,
    input_scale: Annotated[float, Field(gt=0, le=1000)] = 0.25,
    bias_scale: Annotated[float, Field(ge=0, le=1000)] = 0.2,
) -> keras.Model:
    """Builds the network: from a series to its next value, at every step.

    Args:
        mean: Mean of the series.
        scale: Standard deviation of the series.
        units: Units of the reservoir.
        spectral_radius: Largest absolute eigenvalue of its recurrent weights. Below 1 the reservoir
            forgets how it began; the nearer to 1, the longer it remembers.
        leak: Share of a state that is replaced in a step: the smaller, the slower the reservoir.
        connections: Units that each unit reads.
        input_scale: Largest weight of the standardised series.
        bias_scale: Largest bias.

    Returns:
        A functional model, `series` `(batch, time, 1)` to a dict of `next` `(batch, time, 1)` and
        the last `state` `(batch, units)`, all float64.

    Raises:
        InputError: An argument is out of range, or there are more connections than units.

    Reference:
        Jaeger, 2001, The "Echo State" Approach to Analysing and Training Recurrent Neural Networks,
        https://www.ai.rug.nl/minds/uploads/EchoStatesTechRep.pdf
        Jaeger, Lukosevicius, Popovici and Siewert, 2007, Optimization and Applications of Echo
        State Networks with Leaky-Integrator Neurons, https://doi.org/10.1016/j.neunet.2007.04.016
    """
    cell = EchoStateCell(
        units,
        spectral_radius=spectral_radius,
        leak=leak,
        connections=connections,
        input_scale=input_scale,
        bias_scale=bias_scale,
        dtype="float64",
        name="cell",
    )
    return echo_state_network(cell, mean, scale, name="echo_state")


def phases(config: Config) -> list[Phase]:
    """The closed form; it is computed on one device."""
    return [Phase(name="solve", begin=solve)]


def solve(fitted: Fitted) -> None:
    """Sets the readout by ridge regression on the training windows."""
    [network] = fitted.networks.values()
    config, layer = fitted.config, network.get_layer("readout")
    train = fitted.data.splits["train"].in_memory()
    mean, scale = (fitted.data.model_arguments[name] for name in ("mean", "scale"))
    targets = (train.targets[:, config.washout :].reshape(-1) - mean) / scale
    features = features_of(network, train.inputs, config.washout, config.batch_size)
    readout = Readout(features, targets)
    forecast = tf.function(forecaster(network, config.horizon), reduce_retracing=True)
    ridges = RIDGES if config.ridge is None else (config.ridge,)
    errors = {}
    for ridge in ridges:
        layer.set_weights(readout.weights(ridge))
        errors[ridge] = float(nrmse(*forecasts(fitted, forecast, "validation"), scale)[-1])
    best = min(errors, key=lambda ridge: errors[ridge])
    layer.set_weights(readout.weights(best))
    log.info(
        "ridge %.0e: NRMSE %.2e of %d steps ahead on the validation windows",
        best,
        errors[best],
        config.horizon,
    )


def forecasts(fitted: Fitted, forecast: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts from the begins of the windows of a split, and what came: `(windows, horizon)`.

    Args:
        fitted: Has the windows.
        forecast: From `forecaster`.
        split: Validation or test.
    """
    series, washout = fitted.data.splits[split].in_memory().inputs, fitted.config.washout
    size = fitted.config.batch_size
    predicted = [
        forecast(tf.constant(series[start : start + size, :washout])).numpy()
        for start in range(0, len(series), size)
    ]
    return np.concatenate(predicted), series[:, washout:, 0]


def nrmse(predicted: np.ndarray, truth: np.ndarray, scale: float) -> np.ndarray:
    """The root of the mean squared error over the deviation of the series, `(horizon,)`.

    Args:
        predicted: `(windows, horizon)`.
        truth: The same.
        scale: Standard deviation of the series.
    """
    errors: np.ndarray = np.sqrt(((predicted - truth) ** 2).mean(axis=0)) / scale
    return errors


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `series` `(batch, time)` to `forecast` `(batch, horizon)`, both float32.

    `read`: `series` `(batch, time, 1)` to the `next` value of every step, and the last `state`, all
    float64. `serve` computes in float64, too, but Keras gives its layers float32.
    """
    [network] = fitted.networks.values()
    forecast = forecaster(network, fitted.config.horizon)

    def serve(series: tf.Tensor) -> dict[str, tf.Tensor]:
        values = forecast(tf.cast(series, tf.float64)[..., None])
        return {"forecast": tf.cast(values, tf.float32)}

    inputs = [tf.TensorSpec((None, None), tf.float32, "series")]
    return {"serve": Endpoint(serve, inputs), "read": network}


def example(fitted: Fitted) -> np.ndarray:
    """The begins of the first test windows, at most 64, `(windows, washout)`."""
    inputs: np.ndarray = fitted.data.splits["test"].in_memory().inputs
    return inputs[:64, : fitted.config.washout, 0]


def evaluate(fitted: Fitted) -> Metrics:
    """Errors of the forecasts of the test windows, in deviations of the series.

    `test_nrmse` is that of the last step of the horizon, `test_nrmse_next` of the first one;
    `test_steps` is for how many steps a forecast is of use, on average.
    """
    predicted, truth = forecasts_of_test(fitted)
    scale = fitted.data.model_arguments["scale"]
    errors = nrmse(predicted, truth, scale)
    far_off = abs(predicted - truth) > FAR_OFF * scale
    useful = np.where(far_off.any(axis=1), far_off.argmax(axis=1), far_off.shape[1])
    return {
        "test_nrmse": float(errors[-1]),
        "test_nrmse_next": float(errors[0]),
        "test_steps": float(useful.mean()),
    }


def forecasts_of_test(fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """The forecasts of the test windows, and what came, computed once."""
    [network] = fitted.networks.values()

    def compute() -> tuple[np.ndarray, np.ndarray]:
        forecast = tf.function(forecaster(network, fitted.config.horizon), reduce_retracing=True)
        return forecasts(fitted, forecast, "test")

    result: tuple[np.ndarray, np.ndarray] = fitted.once("forecasts", compute)
    return result


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws forecasts of the first test windows, and the error by the steps ahead."""
    predicted, truth = forecasts_of_test(fitted)
    shown = min(WINDOWS_SHOWN, len(truth))
    steps = np.arange(1, truth.shape[1] + 1)
    figure = Figure(figsize=(7, 1.6 * shown), layout="constrained")
    panels = figure.subplots(shown, 1, sharex=True, squeeze=False).flat
    for axes, answer, values in zip(panels, predicted, truth, strict=False):
        axes.plot(steps, values, color="black", linewidth=1, label="series")
        axes.plot(steps, answer, color="tab:red", linewidth=1, linestyle="--", label="forecast")
    figure.axes[0].legend(frameon=False)
    figure.axes[-1].set(xlabel="steps ahead")
    errors = Figure(figsize=(5, 3.5), layout="constrained")
    axes = errors.subplots()
    axes.plot(steps, nrmse(predicted, truth, fitted.data.model_arguments["scale"]))
    axes.set(xlabel="steps ahead", ylabel="NRMSE", yscale="log")
    return {"forecasts": figure, "errors": errors}


def forecast_file(
    app: App, file: Path, *, column: str | None = None, exports: Exports = Exports()
) -> None:
    """Go on with the series of a CSV file.

    Args:
        file: CSV file with a value in each row.
        column: Name of the column; by default the last one.
    """
    series = read_series(file, column)
    exported = exports.open(app.name)
    config = app.config_from_record(exported.metadata("config")["config"])
    if len(series) < config.washout:
        raise InputError(
            f"{file} must have at least the {config.washout} values of the wash-out", len(series)
        )
    outputs = exported.call(series[None, -config.washout :])
    print("\n".join(f"{value:.6g}" for value in outputs["forecast"][0]))


app = App(
    name="echo_state",
    topic="sequences",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=no_compilation,
    objective="val_nrmse",
    objective_mode="min",
    phases=phases,
    endpoints=endpoints,
    example=example,
    evaluate=evaluate,
    figures=draw,
    commands={"forecast": forecast_file},
    recipes={
        "large": {"units": 1000, "length": 20_000},
        "sine": {"dataset": "sine", "units": 50, "length": 6000},
    },
    data_layouts="a CSV file with a value of the series in each row; `--column` names the column.",
    tiny={"length": 1500, "washout": 50, "window": 50, "horizon": 20, "units": 30},
)

if __name__ == "__main__":
    main(app)
