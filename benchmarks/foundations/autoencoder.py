"""When does layer-wise pretraining help an autoencoder, and how good are classifiers of its codes?

    python -m benchmarks.foundations.autoencoder pretraining
    python -m benchmarks.foundations.autoencoder classifier

`pretraining` trains encoders of 1, 3 and 5 layers to codes of 32 units, without noise: with
sigmoids, with rectified units, and with these and batch normalisation. A pretrained one spends some
epochs on each layer alone, and then trains all; the other one trains all from the start, for as
many epochs in all. The error is the mean over the pixels, from 0 to 1, of the validation pictures
after every epoch of all layers, against the seconds since the beginning of `fit`, compilation and
the layers alone included. Each training is a process of its own. Draws
`docs/pictures/pretraining.png`.

`classifier` runs the recipes that sort MNIST's digits by their codes, after pretraining and without
it: the share of wrong test pictures, and the seconds of `fit`.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
import keras
from matplotlib.figure import Figure

from benchmarks.results import PICTURES, publish
from benchmarks.seeds import run_seeds
from benchmarks.turns import output_of
from suite.figures.curves import write

PICTURE = PICTURES / "pretraining.png"
UNITS: dict[int, tuple[int, ...]] = {
    1: (32,),
    3: (500, 250, 32),
    5: (1000, 500, 250, 100, 32),
}
KINDS: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": "sigmoid"},
    "ReLU": {"activation": "relu"},
    "ReLU, batch normalisation": {"activation": "relu", "normalization": "batch"},
}
CLASSIFIERS: dict[str, tuple[str, ...]] = {
    "classifier": (),
    "classifier, not pretrained": ("--pretraining-epochs", "0"),
    "stacked": (),
    "stacked, not pretrained": ("--pretraining-epochs", "0"),
}

commands = cyclopts.App(help=__doc__)


class Clock(keras.callbacks.Callback):
    """Notes seconds and the validation error after every epoch of all layers, as `curve`."""

    def __init__(self) -> None:
        super().__init__()
        self.curve: list[tuple[float, float]] = []
        self.started: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.started is None:  # it begins once for each phase
            self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.model.name == "all" and self.started is not None:
            seconds = time.perf_counter() - self.started
            self.curve.append((seconds, float((logs or {})["val_squared_error"])))


@commands.command
def pretraining(
    *,
    pretraining_epochs: int = 5,
    epochs: int = 20,
    seeds: int = 3,
    data: str = "tfds",
    only: str | None = None,
) -> None:
    """Measures all trainings, one after the other.

    Args:
        pretraining_epochs: Of each layer of a pretrained network.
        epochs: Of all its layers together.
        seeds: Number of seeds, counted from 0.
        data: Where the pictures come from, as in training.
        only: Train this one only, a JSON of the knobs with a `seed`, and print its result as JSON.
    """
    if only is not None:
        print(json.dumps(trained(json.loads(only), data)))
        return
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    for kind, architecture in KINDS.items():
        for depth, units in UNITS.items():
            for way, alone in (("pretrained", pretraining_epochs), ("from the start", 0)):
                name = f"{kind}, {depth} layers, {way}"
                knobs = {
                    **architecture,
                    "units": units,
                    "noise_level": 0.0,
                    "pretraining_epochs": alone,
                    "epochs": epochs + (pretraining_epochs - alone) * depth,
                }
                for seed in range(seeds):
                    result = output_of(
                        "benchmarks.foundations.autoencoder",
                        "pretraining",
                        *("--data", data, "--only", json.dumps({**knobs, "seed": seed})),
                    )
                    curves.setdefault(name, []).append(result.pop("curve"))
                    rows.append({"contestant": name, "seed": seed, **result})
                    print(f"{name}, seed {seed}: {result['test_squared_error']:.5f}")
    write(error_by_seconds(curves), PICTURE)
    publish(
        "autoencoder_pretraining",
        rows,
        pretraining_epochs=pretraining_epochs,
        epochs=epochs,
        data=data,
        curves=curves,
    )


def trained(knobs: dict[str, Any], data: str) -> dict[str, Any]:
    """Trains one autoencoder; its test error, seconds and validation errors on the way."""
    from apps.autoencoder import app
    from suite import Run, train

    seed, clock = knobs.pop("seed"), Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(data=data, seed=seed, quiet=True, figures=False, run_dir=Path(folder, "run"))
        result = train(app, app.recipe(**knobs), run, until="judge", callbacks=[clock])
    return {
        "test_squared_error": result.metrics["test_squared_error"],
        "seconds": clock.curve[-1][0],
        "curve": clock.curve,
    }


def error_by_seconds(curves: dict[str, list[list[tuple[float, float]]]]) -> Figure:
    """Draws the curves of all seeds: a row for each kind of units, a column for each depth.

    Args:
        curves: Seconds and errors of each seed, by the name of the contestant.
    """
    size = (4 * len(UNITS), 3 * len(KINDS))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(KINDS), len(UNITS), squeeze=False)
    for row, kind in zip(panels, KINDS, strict=True):
        for axes, depth in zip(row, UNITS, strict=True):
            for colour, way in (("C0", "pretrained"), ("C1", "from the start")):
                for number, curve in enumerate(curves[f"{kind}, {depth} layers, {way}"]):
                    label = way if number == 0 else None
                    axes.plot(*zip(*curve, strict=True), color=colour, label=label)
            layers = "1 layer" if depth == 1 else f"{depth} layers"
            axes.set(title=f"{kind}, {layers}", xlabel="seconds", yscale="log")
            axes.legend(frameon=False)
        row[0].set_ylabel("squared error of a pixel")
    return figure


@commands.command
def classifier(*, seeds: int = 3, data: str = "tfds") -> None:
    """Measures the classifiers of codes.

    Args:
        seeds: Number of seeds, counted from 0.
        data: Where the pictures come from, as in training.
    """
    rows = []
    for name, flags in CLASSIFIERS.items():
        recipe = name.partition(",")[0]
        runs, report = run_seeds("autoencoder", recipe, seeds, flags=["--data", data, *flags])
        for run in runs:
            rows.append(
                {
                    "contestant": name,
                    "seed": run["seed"],
                    "test_error": 1 - run["test_accuracy"],
                    "fit_seconds": run["fit_seconds"],
                    "parameters": report["parameters"],
                }
            )
    publish("autoencoder_classifier", rows, data=report["data"]["source"])


if __name__ == "__main__":
    commands()
