"""Figures of boxes: pictures with names and scores, and precision against recall."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from suite.figures.classes import AS_TEXT, CLASS_LIMIT
from suite.figures.images import draw_picture
from suite.figures.text import drawable

PANEL = 2.6  # inches along a side
PANEL_LETTERS = 6.0  # points
POINTS_PER_INCH = 72
DOTS_PER_INCH = 128  # a power of two: dividing pixels by it and multiplying again loses nothing
LETTER_HEIGHTS = (8.0, 32.0)  # pixels, the smallest and the largest on a picture of any size


@matplotlib.rc_context(AS_TEXT)
def boxed_pictures(
    pictures: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    class_names: Sequence[str],
    *,
    scores: Sequence[np.ndarray] | None = None,
    truths: Sequence[np.ndarray] | None = None,
    columns: int = 4,
) -> Figure:
    """Pictures side by side, with boxes, their names, and their scores.

    Args:
        pictures: Arrays `(height, width, channels)`, values in 0..255, of any sizes.
        boxes: The boxes of each picture, `(boxes, 4)`: corners `x1 y1 x2 y2` in its pixels.
        labels: Their classes, `(boxes,)`.
        class_names: Names of the classes, in the order of their indices.
        scores: The scores of the boxes, `(boxes,)`, written after the names.
        truths: True boxes of each picture, `(truths, 4)`, drawn dashed and without names.
        columns: Largest number of pictures in a row.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(PANEL * columns, PANEL * rows), layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    names, fonts = drawable(class_names)
    for number, (axes, picture) in enumerate(zip(figure.axes, pictures, strict=False)):
        draw_picture(axes, picture)
        for box in () if truths is None else truths[number]:
            axes.add_patch(_outline(box, edgecolor="black", linestyle="--"))
        _draw_boxes(
            axes,
            boxes[number],
            labels[number],
            None if scores is None else scores[number],
            names,
            fonts,
            letter_size=PANEL_LETTERS,
            pixels_per_point=max(picture.shape[:2]) / (PANEL * POINTS_PER_INCH),
        )
    return figure


@matplotlib.rc_context(AS_TEXT)
def marked(
    picture: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    scores: np.ndarray | None = None,
) -> np.ndarray:
    """One picture at its size, in colour, with boxes, their names, and their scores.

    Args:
        picture: `(height, width, 1 or 3)`, values in 0..255.
        boxes: `(boxes, 4)`: corners `x1 y1 x2 y2` in pixels.
        labels: Their classes, `(boxes,)`.
        class_names: Names of the classes, in the order of their indices.
        scores: Their scores, `(boxes,)`, written after the names.

    Returns:
        `(height, width, 3)`, uint8. Pixels on which nothing is drawn keep their colours.
    """
    height, width = picture.shape[:2]
    figure = Figure(
        figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH, facecolor="none"
    )
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))  # rows from top to bottom
    pixels = float(np.clip(min(height, width) / 25, *LETTER_HEIGHTS))
    names, fonts = drawable(class_names)
    _draw_boxes(
        axes,
        boxes,
        labels,
        scores,
        names,
        fonts,
        letter_size=pixels * POINTS_PER_INCH / DOTS_PER_INCH,
        pixels_per_point=DOTS_PER_INCH / POINTS_PER_INCH,
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    overlay = np.asarray(canvas.buffer_rgba()).astype(np.float32)
    opacity = overlay[..., 3:] / 255
    return np.rint(opacity * overlay[..., :3] + (1 - opacity) * picture).astype(np.uint8)


def _draw_boxes(
    axes: Axes,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    names: Sequence[str],
    fonts: Sequence[str],
    *,
    letter_size: float,
    pixels_per_point: float,
) -> None:
    """Draws boxes over a picture, in the colours of their classes; the best scores lie on top.

    A name stands above its box, or inside where there is no room above.

    Args:
        axes: Where the picture is drawn.
        boxes: `(boxes, 4)`: corners `x1 y1 x2 y2` in pixels of the picture.
        labels: Their classes, `(boxes,)`.
        scores: Their scores, `(boxes,)`, written after the names; None for none.
        names: Names of the classes, as they can be drawn.
        fonts: Families of fonts that draw them.
        letter_size: In points.
        pixels_per_point: Pixels of the picture to a point of the figure.
    """
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    for number in order:
        label = int(labels[number])
        colour = matplotlib.colormaps["tab10"](label % 10)
        caption = names[label] if scores is None else f"{names[label]} {scores[number]:.2f}"
        axes.add_patch(_outline(boxes[number], edgecolor=colour, linewidth=letter_size / 5))
        left, top = boxes[number, :2]
        axes.text(
            max(left, 0) - 0.5,
            max(top, 0) - 0.5,
            caption,
            ha="left",
            va="bottom" if top >= 1.6 * letter_size * pixels_per_point else "top",
            color="white",
            fontsize=letter_size,
            fontfamily=fonts,
            clip_on=True,
            bbox={
                "facecolor": colour,
                "edgecolor": "none",
                "alpha": 0.8,
                "pad": 0.15 * letter_size,
            },
        )


def _outline(box: np.ndarray, **style: Any) -> Rectangle:
    """The outline of a box over a picture, whose first pixel has its centre at 0, not its corner.

    Args:
        box: Corners `x1 y1 x2 y2`, in pixels.
        style: What matplotlib's `Rectangle` takes.
    """
    left, top, right, bottom = (float(place) for place in box)
    return Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, **style)


@matplotlib.rc_context(AS_TEXT)
def precision_recall(precisions: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Precision against recall, a curve for every class, and the area under it in the legend.

    Args:
        precisions: By the name of the class, the best precision at any recall that is at least
            that of its index, for recalls from 0 to 1 in equal steps: COCO's 101 values. A class
            without true boxes has NaN, and no curve.
        title: Title of the figure, such as the smallest overlap of a right box.
    """
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    known = {name: values for name, values in precisions.items() if np.isfinite(values).all()}
    names, fonts = drawable(list(known))
    for number, (name, values) in enumerate(zip(names, known.values(), strict=True)):
        legend = f"{name}, AP {np.mean(values):.3f}" if number < CLASS_LIMIT else None
        colour = matplotlib.colormaps["tab10"](number % 10)
        axes.plot(np.linspace(0, 1, len(values)), values, color=colour, label=legend)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.3)
    if known:
        figure.legend(loc="outside right upper", frameon=False, prop={"family": fonts, "size": 8})
    return figure
