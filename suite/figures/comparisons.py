"""Figures that compare trainings."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from suite.figures.classes import AS_TEXT

History = Mapping[str, Sequence[float | None]]
MANY = 10  # lines that have a colour of their own; more are coloured in their order


@matplotlib.rc_context(AS_TEXT)
def learning_curves(
    histories: Mapping[str, Sequence[History]], objective: str, best: str | None = None
) -> Figure:
    """Plots a metric by epoch: the mean of each line's trials, and one standard deviation about it.

    The metric of the training has a panel beside that of the validation, if it is logged. In an
    epoch that some trials did not reach, the others are averaged. Where no trial logs more than one
    epoch, a bar of the validation metric takes the place of each curve.

    Args:
        histories: Logs of the trials, values by name, for each line by its label.
        objective: Name of the validation metric, `val_<metric>`.
        best: Label of the line that is drawn thick.
    """
    titles = {objective: f"validation: {objective.removeprefix('val_')}"}
    if all(len(trial.get(objective, ())) <= 1 for row in histories.values() for trial in row):
        return _bars(histories, objective, titles[objective], best)
    training = objective.removeprefix("val_")
    if any(training in history for trials in histories.values() for history in trials):
        titles.setdefault(training, f"training: {training}")
    figure = Figure(figsize=(5.2 * len(titles), 3.6 + 0.11 * len(histories)), layout="constrained")
    panels = figure.subplots(1, len(titles), squeeze=False).flat
    palette = matplotlib.colormaps["tab10" if len(histories) <= MANY else "viridis"]
    colors = palette(
        np.arange(MANY) if len(histories) <= MANY else np.linspace(0, 1, len(histories))
    )
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for (label, trials), color in zip(histories.items(), colors, strict=False):
            values = _by_epoch(trials, name)
            epochs = np.arange(1, values.shape[1] + 1)
            mean, spread = values.mean(axis=0), deviation(values)
            axes.plot(
                epochs,
                mean,
                color=color,
                linewidth=3 if label == best else 1.2,
                label=label,
                zorder=3 if label == best else 2,
            )
            if len(values) > 1:
                axes.fill_between(
                    epochs, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0
                )
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    handles, labels = axes.get_legend_handles_labels()
    # As many as fit, for letters of a twelfth of an inch.
    columns = max(1, int(12 * figure.get_figwidth() / (8 + max(map(len, labels), default=0))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _bars(
    histories: Mapping[str, Sequence[History]], objective: str, title: str, best: str | None
) -> Figure:
    """Plots the mean of each line's trials as a bar, and one standard deviation about it."""
    figure = Figure(figsize=(6, 1 + 0.3 * len(histories)), layout="constrained")
    axes = figure.subplots()
    for label, trials in histories.items():
        values = _by_epoch(trials, objective)
        if values.count():
            color = "tab:orange" if label == best else "tab:blue"
            bars = axes.barh(label, values.mean(), xerr=deviation(values), color=color)
            axes.bar_label(bars, fmt="%.4g", padding=3)
    axes.margins(x=0.12)  # for the numbers
    axes.invert_yaxis()
    axes.set(title=title)
    return figure


def deviation(values: np.ndarray) -> np.ndarray:
    """The standard deviation of trials, the first axis; 0 of a single one."""
    return values.std(axis=0, ddof=min(1, len(values) - 1))


def _by_epoch(trials: Sequence[History], name: str) -> np.ma.MaskedArray:
    """A metric of some trials `(trials, epochs)`; what was not logged is masked."""
    rows = [np.asarray(trial[name], float) for trial in trials if name in trial]
    longest = max(map(len, rows), default=0)
    values = np.full((len(rows), longest), np.nan)
    for row, logged in zip(values, rows, strict=True):
        row[: len(logged)] = logged
    return np.ma.masked_invalid(values)
