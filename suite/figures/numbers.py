"""Figures of predicted numbers and of the intervals around them."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.figures.classes import AS_TEXT

MOST_POINTS = 2000


def predictions(
    targets: np.ndarray, mean: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> Figure:
    """Targets against predictions, with the intervals as bars; a perfect prediction is on the line.

    Args:
        targets: True numbers, `(n,)`; at most `MOST_POINTS` of them are drawn.
        mean: Predictions, `(n,)`.
        lower: Lower ends of the intervals, `(n,)`.
        upper: Upper ends, `(n,)`.
    """
    rows = _drawn(len(targets))
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.vlines(mean[rows], lower[rows], upper[rows], color="tab:blue", alpha=0.15, linewidth=1)
    _points(axes, mean, targets, (lower <= targets) & (targets <= upper), rows)
    ends = [mean.min(), mean.max()]
    axes.plot(ends, ends, color="gray", linewidth=1)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


@matplotlib.rc_context(AS_TEXT)
def curve(
    inputs: np.ndarray,
    targets: np.ndarray,
    mean: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    xlabel: str,
) -> Figure:
    """Targets, predictions and the band of the intervals against the only feature.

    Args:
        inputs: The feature, `(n,)`.
        targets: True numbers, `(n,)`; at most `MOST_POINTS` of them are drawn.
        mean: Predictions, `(n,)`.
        lower: Lower ends of the intervals, `(n,)`.
        upper: Upper ends, `(n,)`.
        xlabel: Name of the feature.
    """
    order = np.argsort(inputs)
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    inside = (lower <= targets) & (targets <= upper)
    _points(axes, inputs, targets, inside, _drawn(len(targets)))
    axes.fill_between(inputs[order], lower[order], upper[order], alpha=0.2, color="tab:blue")
    axes.plot(inputs[order], mean[order], color="tab:blue")
    axes.set(xlabel=xlabel, ylabel="target")
    return figure


def _drawn(count: int) -> np.ndarray:
    """The rows of a figure: all, or as many as it can show, evenly spaced."""
    return np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int)


def _points(
    axes: Axes, x: np.ndarray, targets: np.ndarray, inside: np.ndarray, rows: np.ndarray
) -> None:
    """Draws the rows as dots: black within their interval, red outside of it."""
    colours = np.where(inside[rows], "black", "tab:red")
    axes.scatter(x[rows], targets[rows], c=list(colours), s=4, linewidths=0)
    axes.set_title(f"{inside.mean():.1%} of {len(targets)} in their interval")
