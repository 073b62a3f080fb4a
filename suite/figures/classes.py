"""Pictures that more than one app draws. All of them are Matplotlib figures, made off screen."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from suite.data.pictures import tiled
from suite.files import write_whole

CLASS_LIMIT = 30  # more are drawn without their counts
# Names of classes and features are text, not formulas.
AS_TEXT: Any = {"text.parse_math": False}
LARGEST_SIDE = 16  # inches


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Writes each figure as `<folder>/<name>.png`, and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path, content = folder / f"{name}.png", io.BytesIO()
        with warnings.catch_warnings():
            # A name may be in a script that the font lacks: drawn as boxes, it is still a figure.
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            figure.savefig(content, dpi=120, bbox_inches="tight")
        write_whole(path, content.getvalue())
        paths.append(path)
    return paths


def learning_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Every logged metric against the epoch, training and validation in one panel.

    Where there is a `<name>_std`, it is drawn as the spread of `<name>`.

    Args:
        history: Values by metric and epoch, as `keras.callbacks.History` holds them.
    """
    spreads = {name for name in history if name.removesuffix("_std") in history.keys() - {name}}
    drawn = [name for name in history if name != "learning_rate" and name not in spreads]
    names = list(dict.fromkeys(name.removeprefix("val_") for name in drawn))
    figure = Figure(figsize=(4.5 * len(names), 3.2), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history:
                epochs = np.arange(1, len(history[key]) + 1)
                axes.plot(epochs, history[key], marker="o", markersize=3, label=label)
                if f"{key}_std" in spreads:
                    spread = np.stack([-1, 1])[:, None] * history[f"{key}_std"]
                    axes.fill_between(epochs, *(history[key] + spread), alpha=0.2)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes.legend(frameon=False)
    return figure


@matplotlib.rc_context(AS_TEXT)
def confusion_matrix(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Counts of true against predicted classes, the diagonal shaded apart.

    Args:
        labels: True classes, `(n,)`.
        predicted: Predicted classes, `(n,)`.
        class_names: By class index.
    """
    count = len(class_names)
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (labels, predicted), 1)
    wrong = matrix * (1 - np.eye(count, dtype=int))
    side = min(max(3.5, 0.45 * count + 1.5), LARGEST_SIDE)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.ma.masked_equal(wrong, 0), cmap="Reds", vmin=0, vmax=1.6 * max(1, wrong.max()))
    ticks = np.arange(count)
    axes.set(
        xticks=ticks,
        yticks=ticks,
        xticklabels=class_names,
        yticklabels=class_names,
        xlabel="predicted",
        ylabel="true",
        title=f"{np.trace(matrix)} of {matrix.sum()} right",
    )
    if count > 10 or max(map(len, class_names)) > 3:
        axes.tick_params(axis="x", rotation=45)
    if count <= CLASS_LIMIT:
        for row, column in np.argwhere(matrix):
            right = row == column
            axes.text(
                column,
                row,
                matrix[row, column],
                ha="center",
                va="center",
                fontsize=8,
                color="gray" if right else "black",
            )
    return figure


@matplotlib.rc_context(AS_TEXT)
def worst_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    count: int = 24,
) -> Figure:
    """The wrongly classified images in which the true class got the least probability.

    Args:
        images: `(n, height, width, 1)`.
        labels: True classes, `(n,)`.
        probabilities: `(n, classes)`.
        class_names: By class index.
        count: How many to show at most.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(probabilities[wrong, labels[wrong]])][:count]
    columns = 8
    rows = max(1, -(-len(worst) // columns))
    figure = Figure(figsize=(1.1 * columns, 1.4 * rows + 0.4), layout="constrained")
    figure.suptitle(f"{len(wrong)} of {len(labels)} wrong; predicted (true)", fontsize=9)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes in panels:
        axes.axis("off")
    for axes, index in zip(figure.axes, worst, strict=False):
        axes.imshow(images[index, ..., 0], cmap="gray_r")
        guess, true = class_names[predicted[index]], class_names[labels[index]]
        axes.set_title(f"{guess} ({true})", fontsize=8)
    return figure


def image_rows(rows: Mapping[str, np.ndarray]) -> Figure:
    """Rows of images, dark for ink, each with its name.

    Args:
        rows: By name, `(n, height, width, 1)` grey values in 0..255 each, `n` in all of them.
    """
    grid = np.concatenate(list(rows.values()))
    columns = len(grid) // len(rows)
    figure = image_grid(grid, columns)
    figure.set_figwidth(figure.get_figwidth() + 1.5)  # for the names
    [axes] = figure.axes
    height = grid.shape[1]
    axes.axis("on")
    axes.set(xticks=[], yticks=(np.arange(len(rows)) + 0.5) * height, yticklabels=list(rows))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def image_grid(images: np.ndarray, columns: int | None = None) -> Figure:
    """Images side by side, dark for ink.

    Args:
        images: `(n, height, width, 1)`, grey values in 0..255.
        columns: Images in a row; by default as many as rows, or one more.
    """
    grid = tiled(images, columns)
    height, width = grid.shape[:2]
    scale = min(0.02, LARGEST_SIDE / max(height, width))
    figure = Figure(figsize=(width * scale, height * scale), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid[..., 0], cmap="gray_r", vmin=0, vmax=255)
    axes.axis("off")
    return figure


@matplotlib.rc_context(AS_TEXT)
def plane(points: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Points of a plane, coloured by class.

    Args:
        points: `(n, 2)`.
        labels: Classes, `(n,)`.
        class_names: By class index.
        title: What the plane is.
    """
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab10"]
    for label, name in enumerate(class_names):
        shown = name if label < CLASS_LIMIT else None
        x, y = points[labels == label].T
        axes.scatter(x, y, s=3, color=colours(label % 10), label=shown)
    axes.set(title=title, aspect="equal")
    figure.legend(loc="outside right center", frameon=False, markerscale=4)
    return figure


def lines(series: Mapping[str, np.ndarray], xlabel: str) -> Figure:
    """Values in their order, a panel for each name.

    Args:
        series: By name, `(n, lines)`.
        xlabel: What the order is.
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


def filters(kernel: np.ndarray) -> Figure:
    """The filters of a first convolution on grey images, dark for negative weights.

    Args:
        kernel: `(height, width, 1, filters)`.
    """
    count = kernel.shape[-1]
    columns = min(8, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(0.8 * columns, 0.8 * rows + 0.3), layout="constrained")
    figure.suptitle("first-layer filters", fontsize=9)
    limit = np.abs(kernel).max()
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for index, axes in enumerate(figure.axes[:count]):
        axes.imshow(kernel[:, :, 0, index], cmap="gray", vmin=-limit, vmax=limit)
    return figure


@matplotlib.rc_context(AS_TEXT)
def decision_regions(
    predict: Callable[[np.ndarray], np.ndarray],
    inputs: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    feature_names: Sequence[str],
) -> Figure:
    """Predicted classes over each pair of features.

    The other features take the values that go with the pair in the data, by least squares: at
    their means they would make up examples of a kind that does not exist.

    Args:
        predict: Classes `(n,)` of inputs `(n, features)`.
        inputs: Examples to draw, `(n, features)`.
        labels: Their classes, `(n,)`.
        class_names: By class index.
        feature_names: By column.
    """
    pairs = [(i, j) for i in range(len(feature_names)) for j in range(i)][:6]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    count = len(class_names)
    few = matplotlib.colormaps["tab10"](range(count))
    colours = few if count <= 10 else matplotlib.colormaps["turbo"](np.linspace(0, 1, count))
    palette = matplotlib.colors.ListedColormap(colours)
    scale = {"cmap": palette, "vmin": -0.5, "vmax": len(class_names) - 0.5}
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    margin = 0.08 * (high - low)
    grids = [np.linspace(a, b, 120) for a, b in zip(low - margin, high + margin, strict=True)]
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (y, x) in zip(panels, pairs, strict=False):
        across, up = np.meshgrid(grids[x], grids[y])
        ones = np.ones(len(inputs))
        fit, *_ = np.linalg.lstsq(np.stack([inputs[:, x], inputs[:, y], ones], 1), inputs)
        plane = np.stack([across.ravel(), up.ravel(), np.ones(across.size)], 1) @ fit
        regions = predict(plane.astype(np.float32)).reshape(120, 120)
        axes.pcolormesh(across, up, regions, alpha=0.25, shading="nearest", **scale)
        axes.scatter(inputs[:, x], inputs[:, y], c=labels, s=12, edgecolors="white", **scale)
        axes.set(xlabel=feature_names[x], ylabel=feature_names[y])
    handles = [
        matplotlib.lines.Line2D([], [], marker="o", linestyle="", color=colour, label=name)
        for colour, name in zip(colours, class_names, strict=False)
    ]
    if count <= CLASS_LIMIT:
        columns = min(count, 3 * columns)
        figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    return figure


def trajectories(states: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Hidden states in the plane of their two main components, joined in the order of time.

    Args:
        states: `(sequences, time, units)`.
        labels: What each state should know, `(sequences, time)`.
        names: By label.
    """
    flat = states.reshape(-1, states.shape[-1])
    centred = flat - flat.mean(axis=0)
    # One unit has one component: the other axis stays empty.
    axes_of_change = np.linalg.svd(centred, full_matrices=False)[2][:2]
    plane = np.zeros((len(flat), 2))
    plane[:, : len(axes_of_change)] = centred @ axes_of_change.T
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    for path in plane.reshape(*states.shape[:2], 2)[:: max(1, len(states) // 8)]:
        axes.plot(*path.T, color="gray", linewidth=0.3, alpha=0.6)
    for label, name in enumerate(names):
        x, y = plane[labels.ravel() == label].T
        axes.scatter(x, y, s=6, label=name)
    axes.set(xlabel="first component", ylabel="second component", title="Hidden states")
    axes.legend(frameon=False)
    return figure
