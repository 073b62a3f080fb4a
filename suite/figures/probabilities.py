"""Figures of the probabilities that a classifier gives: ROC curves, calibration, odds ratios."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from suite.figures.classes import AS_TEXT, CLASS_LIMIT

NUM_BINS = 10
MOST_FEATURES = 30


@matplotlib.rc_context(AS_TEXT)
def roc(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> Figure:
    """True against false positives as the threshold falls: of two classes for the second.

    Args:
        labels: True classes, `(n,)`.
        probabilities: `(n, classes)`.
        class_names: Names of the classes, in the order of their indices.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    names = []
    for name, positive, scores in _one_against_others(labels, probabilities, class_names):
        false_positives, true_positives, _ = roc_curve(positive, scores)
        names.append(f"{name}, area {roc_auc_score(positive, scores):.3f}")
        axes.plot(false_positives, true_positives)
    _name_lines(axes, names, "lower right")
    axes.set(xlabel="false positives", ylabel="true positives", aspect="equal")
    return figure


@matplotlib.rc_context(AS_TEXT)
def calibration(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """How often a class is right against its probability; on the diagonal, as often as it says.

    Rows are taken in at most ten groups of like probability and equal size.

    Args:
        labels: True classes, `(n,)`.
        probabilities: `(n, classes)`.
        class_names: Names of the classes, in the order of their indices.
    """
    from sklearn.calibration import calibration_curve

    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    names = []
    for name, positive, scores in _one_against_others(labels, probabilities, class_names):
        shares, means = calibration_curve(positive, scores, n_bins=NUM_BINS, strategy="quantile")
        names.append(name)
        axes.plot(means, shares, marker="o", markersize=3)
    _name_lines(axes, names, "upper left")
    axes.set(xlabel="probability", ylabel="share of rows", aspect="equal")
    return figure


def _name_lines(axes: Any, names: Sequence[str], place: str) -> None:
    """Names the lines, also by what begins with an underscore, and adds the diagonal."""
    if names:
        axes.legend(axes.lines, names, frameon=False, loc=place)
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1)


@matplotlib.rc_context(AS_TEXT)
def odds_ratios(ratios: Mapping[str, Mapping[str, float]]) -> Figure:
    """Odds ratios as bars on a logarithmic scale, the strongest features, a panel for each class.

    Args:
        ratios: By class, then by feature.
    """
    shown = dict(list(ratios.items())[:CLASS_LIMIT])
    count = min(MOST_FEATURES, max(len(by_feature) for by_feature in shown.values()))
    figure = Figure(figsize=(6, (0.22 * count + 0.8) * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, squeeze=False).flat
    for axes, (name, by_feature) in zip(panels, shown.items(), strict=True):
        logs = {feature: np.log10(ratio) for feature, ratio in by_feature.items()}
        strongest = sorted(logs, key=lambda feature: abs(logs[feature]))[-MOST_FEATURES:]
        values = np.array([logs[feature] for feature in strongest])
        colours = ["tab:red" if value > 0 else "tab:blue" for value in values]
        axes.barh(np.arange(len(strongest)), values, color=colours)
        axes.set_yticks(np.arange(len(strongest)), strongest, fontsize=7)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=name, xlabel="log10 of the odds ratio")
    return figure


def _one_against_others(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each class its name, whether rows belong to it, and its probability.

    Of two classes only the second; none beyond `CLASS_LIMIT`, and none that has no rows or all.
    """
    for index in range(1 if len(class_names) == 2 else 0, min(len(class_names), CLASS_LIMIT)):
        positive = labels == index
        if 0 < positive.sum() < len(positive):
            yield class_names[index], positive, probabilities[:, index]
