"""Figures of curves, and functions that write figures to image files."""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import PIL.Image
from matplotlib.figure import Figure

from suite.data.images.files import write_picture
from suite.files import write_whole


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Writes each figure as `<folder>/<name>.png`, and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        write(figure, paths[-1])
    return paths


def write(figure: Figure, path: Path) -> None:
    """Writes a figure to an image file of any format of `writable_picture`, whole or not at all."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes, which is no reason to fail.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(content, format="png", dpi=120, bbox_inches="tight")
    if path.suffix.lower() == ".png":
        write_whole(path, content.getvalue())
    else:  # Matplotlib has fewer formats than Pillow
        write_picture(np.asarray(PIL.Image.open(content).convert("RGB")), path)


def learning_curves(history: Mapping[str, Sequence[float | None]]) -> Figure:
    """Plots every logged metric but `learning_rate` by epoch, a panel for each.

    Training and validation share a panel. A metric `<name>_std` is drawn as a band around `<name>`.

    Args:
        history: Values by metric and epoch; None for an epoch without a value.
    """
    values = {name: np.asarray(row, float) for name, row in history.items()}
    deviations = {name for name in values if name.removesuffix("_std") in values.keys() - {name}}
    plotted = [name for name in values if name != "learning_rate" and name not in deviations]
    names = list(dict.fromkeys(name.removeprefix("val_") for name in plotted))
    figure = Figure(figsize=(4.5 * len(names), 3.2), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in values:
                epochs = np.arange(1, len(values[key]) + 1)
                axes.plot(epochs, values[key], marker="o", markersize=3, label=label)
                if f"{key}_std" in deviations:
                    band = np.stack([-1, 1])[:, None] * values[f"{key}_std"]
                    axes.fill_between(epochs, *(values[key] + band), alpha=0.2)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.legend(frameon=False)
    return figure


def lines(series: Mapping[str, np.ndarray], xlabel: str) -> Figure:
    """Plots series of values against their index, a panel for each name.

    Args:
        series: Values by name, `(n, lines)`.
        xlabel: Label of the horizontal axis.
    """
    figure = Figure(figsize=(6, 2.2 * len(series)), layout="constrained")
    panels = figure.subplots(len(series), 1, sharex=True, squeeze=False).flat
    for axes, (name, values) in zip(panels, series.items(), strict=True):
        axes.plot(values, linewidth=1)
        axes.set(ylabel=name)
        if values.shape[1] > 1:
            axes.legend(
                range(values.shape[1]), frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
            )
    axes.set(xlabel=xlabel)
    return figure
