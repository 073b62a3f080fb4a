"""Figures of a search for hyperparameters."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from suite.figures.classes import AS_TEXT


@matplotlib.rc_context(AS_TEXT)
def history(
    objectives: Sequence[float | None],
    finished: Sequence[bool],
    name: str,
    larger_is_better: bool,
) -> Figure:
    """The objective of every trial, and the best so far.

    Args:
        objectives: Of the trials in their order; None for one that reached none.
        finished: Whether each trial trained to its end, and was not stopped as hopeless.
        name: Name of the objective.
        larger_is_better: Whether the best is the largest.
    """
    values = np.array(objectives, float)  # None becomes NaN
    whole = np.array(finished, bool)
    numbers = np.arange(1, len(values) + 1)
    worst = -np.inf if larger_is_better else np.inf
    best = (np.maximum if larger_is_better else np.minimum).accumulate(
        np.where(whole, values, worst)
    )
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.scatter(numbers[whole], values[whole], s=18, label="trained to the end")
    axes.scatter(
        numbers[~whole], values[~whole], s=18, facecolors="none", edgecolors="grey", label="stopped"
    )
    known = np.isfinite(best)
    axes.step(numbers[known], best[known], where="post", color="C1", label="best so far")
    axes.set(xlabel="trial", ylabel=name)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    return figure


@matplotlib.rc_context(AS_TEXT)
def importances(shares: Mapping[str, float]) -> Figure:
    """How much each knob decides what a trial reaches, the most important one on top.

    Args:
        shares: Share of each knob by name; they sum to 1.
    """
    names = sorted(shares, key=lambda name: shares[name])
    figure = Figure(figsize=(6, 0.8 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [shares[name] for name in names])
    axes.set(xlabel="importance", xlim=(0, 1))
    return figure
