"""Figures of what the filters of a network respond to."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from suite.figures.images import draw_picture


def filter_inputs(
    filters: Sequence[int], made: np.ndarray, strongest: np.ndarray, title: str
) -> Figure:
    """A row for each filter: the input made to excite it, and the pictures that excite it most.

    Args:
        filters: Indices of the filters, one for each row.
        made: The inputs, `(rows, height, width, channels)`, values in 0..255.
        strongest: The pictures, `(rows, pictures, height, width, channels)`, values in 0..255.
        title: Title of the figure.
    """
    columns = 1 + strongest.shape[1]
    figure = Figure(figsize=(1.1 * columns + 0.4, 1.15 * len(made) + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(len(made), columns, squeeze=False)
    for row, number, picture, pictures in zip(panels, filters, made, strongest, strict=True):
        for axes, image in zip(row, (picture, *pictures), strict=True):
            draw_picture(axes, image)
        # A frame, since an input may be as even as the page.
        row[0].axis("on")
        row[0].set(xticks=[], yticks=[])
        row[0].text(
            -0.1, 0.5, str(number), transform=row[0].transAxes, fontsize=8, ha="right", va="center"
        )
    panels[0, 0].set_title("made", fontsize=8)
    panels[0, 1].set_title("of the test split", fontsize=8, loc="left")
    return figure
