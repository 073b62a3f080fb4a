"""Which normalisation works at which batch size?

    python -m benchmarks.pictures.normalization

A small residual network sees the same number of Fashion-MNIST images at every batch size. Of
several learning rates the one with the best validation accuracy is tested. Draws
`docs/pictures/normalization.png`.
"""

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from apps.resnet import app
from benchmarks.results import PICTURES, publish
from suite import Run, train
from suite.figures.curves import write

NORMALIZATIONS = ("batch", "layer", "instance", "none")
BATCH_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
LEARNING_RATES = (1e-3, 4e-3, 1.6e-2)
NUM_IMAGES, EPOCHS = 4096, 2
NETWORK = {"blocks": (1, 1), "filters": 8}
UNDISTORTED = {"rotation": 0.0, "shift": 0.0, "zoom": 0.0}
PICTURE = PICTURES / "normalization.png"


def main() -> None:
    """Measures and draws all normalisations at all batch sizes."""
    config = app.config(dataset="fashion_mnist")
    splits = app.data(config, Run(quiet=True)).splits
    rows = splits["train"].rows(np.arange(NUM_IMAGES)).in_memory()
    data = {"train": tuple(rows)}
    data |= {name: tuple(splits[name].in_memory()) for name in ("validation", "test")}
    accuracies = {
        normalization: [accuracy(normalization, size, data) for size in BATCH_SIZES]
        for normalization in NORMALIZATIONS
    }
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for normalization, values in accuracies.items():
        axes.plot(BATCH_SIZES, values, marker="o", markersize=3, label=normalization)
    axes.set(xscale="log", xlabel="batch size", ylabel="test accuracy")
    axes.set_xticks(BATCH_SIZES, list(map(str, BATCH_SIZES)))
    axes.minorticks_off()
    axes.legend(frameon=False)
    write(figure, PICTURE)
    publish(
        "normalization",
        [
            {"normalization": name, "batch_size": size, "test_accuracy": value}
            for name, values in accuracies.items()
            for size, value in zip(BATCH_SIZES, values, strict=True)
        ],
        data="fashion_mnist",
        images=NUM_IMAGES,
        epochs=EPOCHS,
    )


def accuracy(normalization: str, batch_size: int, data: dict[str, tuple]) -> float:
    """The test accuracy with the learning rate that is best on the validation split."""
    knobs = {"batch_size": batch_size, "epochs": EPOCHS, "min_steps_per_epoch": 1}
    best, trained = -1.0, None
    for rate in LEARNING_RATES:
        recipe = app.recipe(
            **knobs, **NETWORK, **UNDISTORTED, learning_rate=rate, normalization=normalization
        )
        with tempfile.TemporaryDirectory() as folder:
            run = Run(quiet=True, run_dir=Path(folder) / "run")
            fitted = train(app, recipe, run, data=data, until="fit")
        if fitted.history["val_accuracy"][-1] > best:
            best, trained = fitted.history["val_accuracy"][-1], fitted
    return trained.model.evaluate(trained.data.test, verbose=0, return_dict=True)["accuracy"]


if __name__ == "__main__":
    main()
