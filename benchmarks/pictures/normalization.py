"""Which normalisation works at which batch size?

    python -m benchmarks.pictures.normalization

A small residual network sees the same number of Fashion-MNIST images at every batch size. The
learning rate is the one with the best validation accuracy of the first seed; if that is the largest
or the smallest of those that were tried, more are tried beyond it. The test accuracy with it is the
mean of all seeds. Draws `docs/pictures/normalization.png`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from matplotlib.figure import Figure

from apps.resnet import app
from benchmarks.results import PICTURES, publish
from suite import Run, train
from suite.errors import Diverged
from suite.figures.comparisons import deviation
from suite.figures.curves import write

# Groups of 16 channels would be layers: the network has 8 and 16.
NORMALIZATIONS = ("batch", "layer", "instance", "none")
BATCH_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
LEARNING_RATES = (1e-3, 4e-3, 1.6e-2)
FACTOR, MOST_RATES = 4.0, 6  # between the rates that are tried beyond these, and of all together
NUM_IMAGES, EPOCHS = 4096, 2
NETWORK = {"blocks": (1, 1), "filters": 8}
UNDISTORTED = {"rotation": 0.0, "shift": 0.0, "zoom": 0.0}
CLASSES = 10
PICTURE = PICTURES / "normalization.png"


def main(*, seeds: int = 3) -> None:
    """Measures and draws all normalisations at all batch sizes.

    Args:
        seeds: Trainings with the chosen rate.
    """
    config = app.config(dataset="fashion_mnist")
    splits = app.data(config, Run(quiet=True)).splits
    examples = splits["train"].rows(np.arange(NUM_IMAGES)).in_memory()
    data = {"train": tuple(examples)}
    data |= {name: tuple(splits[name].in_memory()) for name in ("validation", "test")}
    rows = []
    for normalization in NORMALIZATIONS:
        for size in BATCH_SIZES:
            rows.append(
                {
                    "normalization": normalization,
                    "batch_size": size,
                    **measured(normalization, size, data, seeds),
                }
            )
            print(rows[-1], flush=True)
    write(draw(rows), PICTURE)
    publish(
        "normalization", rows, data="fashion_mnist", images=NUM_IMAGES, epochs=EPOCHS, seeds=seeds
    )


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Test accuracy by batch size, a line for each normalisation."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for normalization in NORMALIZATIONS:
        line = [row for row in rows if row["normalization"] == normalization]
        means, spreads = ([row[name] for row in line] for name in ("test_accuracy", "std"))
        axes.errorbar(BATCH_SIZES, means, spreads, marker="o", markersize=3, label=normalization)
    axes.set(xscale="log", xlabel="batch size", ylabel="test accuracy")
    axes.set_xticks(BATCH_SIZES, list(map(str, BATCH_SIZES)))
    axes.minorticks_off()
    axes.legend(frameon=False)
    return figure


def measured(
    normalization: str, batch_size: int, data: dict[str, tuple], seeds: int
) -> dict[str, float]:
    """The chosen `learning_rate`, and mean and spread of the `test_accuracy` with it."""
    knobs: dict[str, Any] = {"batch_size": batch_size, "normalization": normalization}
    tried: dict[float, float] = {}
    best: Any = None
    rates = list(LEARNING_RATES)
    while rates:
        trained = fitted(knobs, rates[0], 0, data)
        accuracy = validation_accuracy(trained)
        if accuracy > max(tried.values(), default=-np.inf):
            best = trained
        tried[rates.pop(0)] = accuracy
        chosen = max(tried, key=tried.__getitem__)
        if not rates and len(tried) < MOST_RATES:
            beyond = {min(tried): chosen / FACTOR, max(tried): chosen * FACTOR}
            rates = [beyond[chosen]] if chosen in beyond else []
    networks = [best, *(fitted(knobs, chosen, seed, data) for seed in range(1, seeds))]
    accuracies = [
        network.model.evaluate(network.data.test, verbose=0, return_dict=True)["accuracy"]
        if network
        else 1 / CLASSES
        for network in networks
    ]
    return {
        "learning_rate": chosen,
        "test_accuracy": float(np.mean(accuracies)),
        "std": deviation(np.array(accuracies)),
    }


def fitted(knobs: dict[str, Any], rate: float, seed: int, data: dict[str, tuple]) -> Any:
    """The trained network; None if its loss is no longer a number."""
    recipe = app.recipe(
        **{"epochs": EPOCHS, "min_steps_per_epoch": 1, "learning_rate": rate},
        **NETWORK,
        **UNDISTORTED,
        **knobs,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run(quiet=True, seed=seed, run_dir=Path(folder) / "run")
        try:
            return train(app, recipe, run, data=data, until="fit")
        except Diverged:
            return None


def validation_accuracy(trained: Any) -> float:
    """That of the last epoch; -1 without a network."""
    return trained.history["val_accuracy"][-1] if trained else -1.0


if __name__ == "__main__":
    cyclopts.run(main)
