"""Figures of gradients and activations, by layer and by step."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

CURVES = 5  # steps that have a curve over the depth
MOST_LABELS = 40  # layers that are named along an axis; of more, some are


def by_step(quantities: Mapping[str, np.ndarray], layers: Sequence[str]) -> Figure:
    """Draws a heat map for each quantity: a row for each layer, the first on top, over the steps.

    Colours are logarithmic. What is 0, or not finite, is left white.

    Args:
        quantities: Values `(steps, layers)` by the title of the panel.
        layers: Names of the layers, from the input to the output.
    """
    height = 1.4 + 0.2 * min(len(layers), MOST_LABELS)
    figure = Figure(figsize=(4.8 * len(quantities) + 1.5, height), layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False, sharey=True).flat
    for axes, (title, values) in zip(panels, quantities.items(), strict=True):
        shown = _positive(values.T)
        image = axes.imshow(
            shown,
            aspect="auto",
            interpolation="none",
            norm=LogNorm(*_limits(shown)),
            extent=(0.5, len(values) + 0.5, len(layers) - 0.5, -0.5),
        )
        figure.colorbar(image, ax=axes)
        axes.set(title=title, xlabel="step")
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    numbers = _labelled(layers)
    figure.axes[0].set_yticks(numbers, [layers[number] for number in numbers], fontsize=7)
    return figure


def over_depth(quantities: Mapping[str, np.ndarray], layers: Sequence[str]) -> Figure:
    """Plots each quantity over the layers, a curve for the first step, the last and some between.

    Args:
        quantities: Values `(steps, layers)` by the title of the panel.
        layers: Names of the layers, from the input to the output.
    """
    figure = Figure(figsize=(4.8 * len(quantities), 4.6), layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False).flat
    numbers = _labelled(layers)
    for axes, (title, values) in zip(panels, quantities.items(), strict=True):
        steps = np.unique(np.linspace(0, len(values) - 1, CURVES).round().astype(int))
        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(steps)))
        for step, color in zip(steps, colors, strict=True):
            axes.plot(
                _positive(values[step]),
                color=color,
                marker="o",
                markersize=3,
                label=f"step {step + 1}",
            )
        axes.set(title=title, yscale="log")
        axes.set_xticks(numbers, [layers[number] for number in numbers], rotation=90, fontsize=7)
        axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _positive(values: np.ndarray) -> np.ma.MaskedArray:
    """The values, of which those that have no finite logarithm are masked."""
    return np.ma.masked_where(~(np.isfinite(values) & (values > 0)), values)


def _limits(values: np.ma.MaskedArray) -> tuple[float, float]:
    """The ends of a logarithmic range that holds the values."""
    if not values.count():
        return 0.1, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low / 2, high * 2)


def _labelled(layers: Sequence[str]) -> list[int]:
    """The numbers of the layers that are named along an axis."""
    return list(range(0, len(layers), -(-len(layers) // MOST_LABELS)))
