"""Figures of explanations: heat maps over pictures, and the shares of features."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from suite.figures.classes import AS_TEXT
from suite.figures.images import draw_picture

MOST_BARS = 20
FOR, AGAINST = "tab:red", "tab:blue"
OPACITY = 0.75  # of the pixel with the largest value


@matplotlib.rc_context(AS_TEXT)
def overlays(images: np.ndarray, maps: np.ndarray, titles: Sequence[str], method: str) -> Figure:
    """Pictures in a row each, alone and under their heat maps: red speaks for the class, blue not.

    Args:
        images: `(n, height, width, channels)`, values in 0..255; one channel is drawn inverted.
        maps: `(n, height, width)`; each is drawn in relation to its largest absolute value.
        titles: What the pictures show, one for each.
        method: The name of the method, the title of the maps.
    """
    height, width = images.shape[1:3]
    figure = Figure(figsize=(6, 0.4 + 3.2 * len(images) * height / width), layout="constrained")
    panels = figure.subplots(len(images), 2, squeeze=False)
    for row, image, heat, title in zip(panels, images, maps, titles, strict=True):
        draw_picture(row[0], image)
        grey = image.mean(axis=-1)
        if image.shape[-1] == 1:
            grey = 255 - grey
        relative = heat / max(np.abs(heat).max(), np.finfo(np.float32).tiny)
        # Paler than the picture alone, so that the colours of the map stand out.
        row[1].imshow(128 + grey / 2, cmap="gray", vmin=0, vmax=255)
        row[1].imshow(relative, cmap="bwr", vmin=-1, vmax=1, alpha=OPACITY * np.abs(relative))
        row[0].set_title(title, fontsize=10)
        row[1].set_title(method, fontsize=10)
        for axes in row:
            axes.axis("off")
    return figure


@matplotlib.rc_context(AS_TEXT)
def shares(names: Sequence[str], values: np.ndarray, title: str, xlabel: str) -> Figure:
    """Bars of what each feature contributes; red if positive.

    Beside the largest `MOST_BARS`, one bar is the sum of all others.

    Args:
        names: Names of the features.
        values: Their shares, `(features,)`.
        title: Title of the figure.
        xlabel: What the shares are, with their unit.
    """
    by_size = np.argsort(-np.abs(values), kind="stable")
    largest, others = np.sort(by_size[:MOST_BARS]), by_size[MOST_BARS:]
    labels, lengths = [names[index] for index in largest], values[largest].tolist()
    if len(others):
        labels.append(f"{len(others)} others")
        lengths.append(float(values[others].sum()))
    figure = Figure(figsize=(6, 1.3 + 0.35 * len(labels)), layout="constrained")
    axes = figure.subplots()
    colours = [FOR if length > 0 else AGAINST for length in lengths]
    bars = axes.barh(range(len(labels)), lengths, color=colours)
    axes.invert_yaxis()
    axes.bar_label(bars, fmt="%+.1f", padding=3, fontsize=8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.margins(x=0.15)
    axes.set(
        yticks=range(len(labels)),
        yticklabels=labels,
        title=title,
        xlabel=xlabel,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure
