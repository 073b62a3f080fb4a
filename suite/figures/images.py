"""Figures of images and of convolution filters."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.data.images.files import tiled

LARGEST_SIDE = 16  # inches


def image_rows(rows: Mapping[str, np.ndarray]) -> Figure:
    """Draws named rows of images; grey images are inverted, so that bright strokes become dark.

    Args:
        rows: Images by name, `(n, height, width, channels)`, values in 0..255.
    """
    grid = np.concatenate(list(rows.values()))
    columns = len(grid) // len(rows)
    figure = image_grid(grid, columns)
    figure.set_figwidth(figure.get_figwidth() + 1.5)  # room for the names
    [axes] = figure.axes
    height = grid.shape[1]
    axes.axis("on")
    axes.set(xticks=[], yticks=(np.arange(len(rows)) + 0.5) * height, yticklabels=list(rows))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def image_grid(images: np.ndarray, columns: int | None = None) -> Figure:
    """Draws images side by side; grey images are inverted, so that bright strokes become dark.

    Args:
        images: `(n, height, width, channels)`, values in 0..255.
        columns: Images in a row; by default as many as rows, or one more.
    """
    grid = tiled(images, columns)
    height, width = grid.shape[:2]
    scale = min(0.02, LARGEST_SIDE / max(height, width))
    figure = Figure(figsize=(width * scale, height * scale), layout="constrained")
    draw_picture(figure.subplots(), grid)
    return figure


def draw_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draws one picture without axes; a grey one is inverted, so that bright strokes become dark.

    Args:
        axes: Where to draw.
        picture: `(height, width, channels)`, values in 0..255.
    """
    if picture.shape[-1] == 1:
        axes.imshow(picture[..., 0], cmap="gray_r", vmin=0, vmax=255)
    else:
        axes.imshow(np.rint(picture).astype(np.uint8))
    axes.axis("off")


def filters(kernel: np.ndarray) -> Figure:
    """Draws the filters of a first convolution: in colour, or averaged over other channels.

    Grey is a weight of 0; what is darker, or has less of a colour, is negative.

    Args:
        kernel: `(height, width, channels, filters)`; of three channels, red, green and blue.
    """
    if kernel.shape[2] != 3:
        kernel = kernel.mean(axis=2, keepdims=True)
    count = kernel.shape[-1]
    columns = min(8, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(0.8 * columns, 0.8 * rows + 0.3), layout="constrained")
    figure.suptitle("first-layer filters", fontsize=9)
    limit = np.abs(kernel).max()
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for index, axes in enumerate(figure.axes[:count]):
        shades = 0.5 + kernel[..., index] / (2 * limit) if limit else kernel[..., index] + 0.5
        axes.imshow(shades, cmap="gray", vmin=0, vmax=1)
    return figure
