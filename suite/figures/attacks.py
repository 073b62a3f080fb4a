"""Figures of attacks on a classifier of pictures."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from suite.figures.classes import AS_TEXT
from suite.figures.images import draw_picture


@matplotlib.rc_context(AS_TEXT)
def changes(
    pictures: np.ndarray, changed: np.ndarray, before: Sequence[str], after: Sequence[str]
) -> Figure:
    """Each picture, its change enlarged until it fills the range of a pixel, and the result.

    Args:
        pictures: `(n, height, width, channels)`, values in 0..255.
        changed: The same pictures after the attack.
        before: What the network says to each picture.
        after: What it says to each changed picture.
    """
    count = len(pictures)
    figure = Figure(figsize=(6.6, 2.4 * count), layout="constrained")
    panels = figure.subplots(count, 3, squeeze=False)
    for number, row in enumerate(panels):
        difference = changed[number].astype(np.float32) - pictures[number]
        factor = 127.5 / max(np.abs(difference).max(), 1e-6)
        draw_picture(row[0], pictures[number])
        draw_picture(row[1], 127.5 + factor * difference)
        draw_picture(row[2], changed[number])
        titles = (before[number], f"change x {factor:.1f}", after[number])
        if not difference.any():
            titles = (before[number], "no change", after[number])
        for axes, title in zip(row, titles, strict=True):
            axes.set_title(title, fontsize=9)
    return figure


@matplotlib.rc_context(AS_TEXT)
def fooling(picture: np.ndarray, answer: str) -> Figure:
    """One picture, and what the network says to it.

    Args:
        picture: `(height, width, channels)`, values in 0..255.
        answer: Name and confidence.
    """
    figure = Figure(figsize=(3, 3.2), layout="constrained")
    axes = figure.subplots()
    draw_picture(axes, picture)
    axes.set_title(answer, fontsize=10)
    return figure


def accuracy(curve: Mapping[float, float], title: str) -> Figure:
    """Accuracy against the size of the change.

    Args:
        curve: Accuracies in 0..1 by epsilon.
        title: What attacked which pictures.
    """
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(list(curve), list(curve.values()), marker="o")
    axes.set(xlabel="epsilon, share of the range of a pixel", ylabel="accuracy", ylim=(-0.02, 1.02))
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure
