"""Figures of maps: values of places, what is done there, and ways over the map."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

PANELS_IN_A_ROW = 4


class Map(NamedTuple):
    """A map of places in rows and columns.

    Args:
        title: Above the map.
        values: Decide the colours, `(rows, columns)`; NaN leaves a place blank.
        actions: The number of the action in every place, `(rows, columns)`, or None for no arrows.
        directions: Rows and columns by which each action moves, `(actions, 2)`; an action that
            moves nowhere is drawn as its number.
        ways: Places `(steps, 2)` by the name of what goes there.
    """

    title: str
    values: np.ndarray
    actions: np.ndarray | None = None
    directions: np.ndarray | None = None
    ways: Mapping[str, np.ndarray] = {}


def maps(panels: Sequence[Map]) -> Figure:
    """Draws maps side by side, in colours of one scale."""
    columns = min(len(panels), PANELS_IN_A_ROW)
    rows = -(-len(panels) // columns)
    height, width = panels[0].values.shape
    cell = min(0.6, 5.0 / max(height, width / 2))
    size = (columns * (width * cell + 0.6) + 1, rows * (height * cell + 0.8))
    figure = Figure(figsize=size, layout="constrained")
    finite = np.concatenate([panel.values[np.isfinite(panel.values)] for panel in panels])
    scale = {"vmin": finite.min(initial=0), "vmax": finite.max(initial=0)}
    palette = matplotlib.colormaps["viridis"].with_extremes(bad="lightgrey")
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(every, panels, strict=False):
        image = axes.imshow(panel.values, cmap=palette, **scale)
        axes.set(title=panel.title, xticks=[], yticks=[])
        if panel.actions is not None and panel.directions is not None:
            _draw_actions(axes, panel.values, panel.actions, panel.directions)
        for number, (name, way) in enumerate(panel.ways.items()):
            shift = 0.12 * (number - (len(panel.ways) - 1) / 2)  # ways may lie on one another
            axes.plot(
                way[:, 1] + shift,
                way[:, 0] + shift,
                linewidth=2.5,
                label=name,
                color=f"C{number + 1}",
            )
        if panel.ways:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False, ncols=3)
    for axes in every[len(panels) :]:
        axes.axis("off")
    figure.colorbar(image, ax=figure.axes, shrink=0.7, label="value")
    return figure


def _draw_actions(
    axes: matplotlib.axes.Axes, values: np.ndarray, actions: np.ndarray, directions: np.ndarray
) -> None:
    for row, column in np.argwhere(np.isfinite(values)):
        action = actions[row, column]
        down, right = directions[action]
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": "white", "fontsize": 9}
        if not down and not right:
            axes.text(column, row, str(action), **style)
            continue
        axes.annotate(
            "",
            xytext=(column - 0.3 * right, row - 0.3 * down),
            xy=(column + 0.3 * right, row + 0.3 * down),
            arrowprops={"arrowstyle": "->", "color": "white", "linewidth": 1.4},
        )
