"""Figures of a classifier's results: counts, mistakes, and the decision regions of a plane."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from suite.figures.images import LARGEST_SIDE, draw_picture

CLASS_LIMIT = 30  # with more classes, no counts; a legend names at most this many, or is left out
MOST_PAIRS = 6  # of features, with a panel each
MOST_NUMBERS = 10_000_000  # in the inputs of points of a panel, predicted at a time
# Names of classes and features are text, not formulas.
AS_TEXT: Any = {"text.parse_math": False}


@matplotlib.rc_context(AS_TEXT)
def confusion_matrix(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Counts of true against predicted classes; only the mistakes are shaded.

    Args:
        labels: True classes, `(n,)`.
        predicted: Predicted classes, `(n,)`.
        class_names: Names of the classes, in the order of their indices.
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
            axes.text(
                column,
                row,
                matrix[row, column],
                ha="center",
                va="center",
                fontsize=8,
                color="gray" if row == column else "black",
            )
    return figure


@matplotlib.rc_context(AS_TEXT)
def worst_mistakes(
    images_of: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    count: int = 24,
) -> Figure:
    """The wrongly classified images whose true class has the smallest probability.

    Args:
        images_of: The images of some rows, `(rows, height, width, channels)`, values in 0..255; one
            channel is drawn inverted.
        labels: True classes, `(n,)`.
        probabilities: `(n, classes)`.
        class_names: Names of the classes, in the order of their indices.
        count: Largest number of images to show.
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
    images = images_of(worst) if len(worst) else ()
    for axes, index, image in zip(figure.axes, worst, images, strict=False):
        draw_picture(axes, image)
        guess, true = class_names[predicted[index]], class_names[labels[index]]
        axes.set_title(f"{guess} ({true})", fontsize=8)
    return figure


@matplotlib.rc_context(AS_TEXT)
def plane(points: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """A scatter plot of points in a plane, coloured by class.

    Args:
        points: `(n, 2)`.
        labels: Classes, `(n,)`.
        class_names: Names of the classes, in the order of their indices.
        title: Title of the figure.
    """
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab10"]
    handles = []
    for label in range(len(class_names)):
        x, y = points[labels == label].T
        handles.append(axes.scatter(x, y, s=3, color=colours(label % 10)))
    axes.set(title=title, aspect="equal")
    # Not by labels of the points: Matplotlib takes no name into a legend that begins with _.
    figure.legend(
        handles[:CLASS_LIMIT],
        class_names[:CLASS_LIMIT],
        loc="outside right center",
        frameon=False,
        markerscale=4,
    )
    return figure


@matplotlib.rc_context(AS_TEXT)
def decision_regions(
    predict: Callable[[np.ndarray], np.ndarray],
    inputs: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    feature_names: Sequence[str],
) -> Figure:
    """Predicted classes over pairs of features, at most `MOST_PAIRS` of them.

    The other features are predicted from the pair by least squares. At their means, most points
    would be unlike all examples of the data.

    Args:
        predict: Maps inputs `(n, features)` to classes `(n,)`.
        inputs: Examples to draw, `(n, features)`.
        labels: Classes of the examples, `(n,)`.
        class_names: Names of the classes, in the order of their indices.
        feature_names: Names of the features, in the order of their columns.
    """
    all_pairs = ((i, j) for i in range(len(feature_names)) for j in range(i))
    pairs = list(itertools.islice(all_pairs, MOST_PAIRS))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    count = len(class_names)
    if count <= 10:
        colours = matplotlib.colormaps["tab10"](range(count))
    else:
        colours = matplotlib.colormaps["turbo"](np.linspace(0, 1, count))
    palette = matplotlib.colors.ListedColormap(colours)
    scale = {"cmap": palette, "vmin": -0.5, "vmax": len(class_names) - 0.5}
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    margin = 0.08 * (high - low)
    grids = [np.linspace(a, b, 120) for a, b in zip(low - margin, high + margin, strict=True)]
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (y, x) in zip(panels, pairs, strict=False):
        grid_x, grid_y = np.meshgrid(grids[x], grids[y])
        ones = np.ones(len(inputs))
        fit, *_ = np.linalg.lstsq(np.stack([inputs[:, x], inputs[:, y], ones], 1), inputs)
        points = np.stack([grid_x.ravel(), grid_y.ravel(), np.ones(grid_x.size)], 1)
        # A wide table would take gigabytes for all points at once.
        parts = np.array_split(points, -(-grid_x.size * inputs.shape[1] // MOST_NUMBERS))
        regions = np.concatenate([predict((part @ fit).astype(np.float32)) for part in parts])
        regions = regions.reshape(120, 120)
        axes.pcolormesh(grid_x, grid_y, regions, alpha=0.25, shading="nearest", **scale)
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


def moving_regions(
    frames: Mapping[str, np.ndarray],
    side: np.ndarray,
    points: np.ndarray,
    labels: np.ndarray,
    most: int = 6,
) -> Figure:
    """The regions of two classes over a square of the plane, as they move: a panel for each time.

    Args:
        frames: Scores over the square by the time, in order, `(len(side), len(side))`: above 0 for
            class 1. Of many, some are drawn, the first and the last among them.
        side: Coordinates along both axes.
        points: Examples to draw, `(n, 2)`.
        labels: Their classes, 0 or 1, `(n,)`.
        most: Largest number of panels.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, most).round().astype(int))
    names = [list(frames)[index] for index in chosen]
    figure = Figure(figsize=(2.2 * len(names), 2.6), layout="constrained")
    palette = matplotlib.colors.ListedColormap(matplotlib.colormaps["tab10"](range(2)))
    scale = {"cmap": palette, "vmin": -0.5, "vmax": 1.5}
    panels = figure.subplots(1, len(names), squeeze=False).flat
    for axes, name in zip(panels, names, strict=True):
        regions = (frames[name] > 0).astype(int)
        axes.pcolormesh(side, side, regions, alpha=0.25, shading="nearest", **scale)
        axes.scatter(*points.T, c=labels, s=40, edgecolors="white", **scale)
        axes.set(title=name, aspect="equal", xticks=[0, 1], yticks=[0, 1])
    return figure
