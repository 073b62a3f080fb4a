r"""Figures of texts: what attention looks at; results by position and length; embeddings.

Text is drawn in any script for which the machine has a font. What no font can draw, and what
nobody would see, such as the end of a line, is written as Python escapes it: `\n`, `\u96e8`.
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import font_manager, ft2font
from matplotlib.figure import Figure

from suite.figures.classes import AS_TEXT
from suite.figures.sequences import principal_plane

MOST_LABELS = 60  # on an axis, and in a plane; of more, some are left out, evenly
MOST_BARS = 8
PLACEHOLDERS = "Last Resort"  # matplotlib's font that has a box for every character


@matplotlib.rc_context(AS_TEXT)
def attention_map(weights: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Attention as shades: the darker, the more a row's piece of text looks at a column's.

    Args:
        weights: Weights of attention, `(rows, columns)`, without padding.
        rows: The pieces that look, such as those of a translation.
        columns: The pieces that are looked at, such as those of the source.

    Raises:
        ValueError: There is not one weight for every row and column.
    """
    if weights.shape != (len(rows), len(columns)):
        raise ValueError(
            f"weights must be of shape {(len(rows), len(columns))}. Received: {weights.shape}"
        )
    labels, fonts = drawable([*rows, *columns])
    shown = [range(0, size, math.ceil(size / MOST_LABELS) or 1) for size in weights.shape]
    height, width = (1.5 + 0.24 * min(size, MOST_LABELS) for size in weights.shape)
    figure = Figure(figsize=(max(width + 0.8, 3), max(height, 2)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights.astype(np.float32), cmap="Greys", vmin=0, aspect="auto")
    figure.colorbar(image, label="weight")
    axes.xaxis.tick_top()
    axes.set_yticks(shown[0], [labels[n] for n in shown[0]], fontfamily=fonts)
    axes.set_xticks(
        shown[1], [labels[len(rows) + n] for n in shown[1]], fontfamily=fonts, rotation=90
    )
    return figure


def by_length(values: np.ndarray, lengths: np.ndarray, name: str = "BLEU") -> Figure:
    """Means of a value by the length of the text, with 95 % intervals.

    Neighbouring lengths share a bar, so that about as many texts stand behind every bar.

    Args:
        values: One for each text, `(texts,)`, such as the BLEU of each sentence.
        lengths: Lengths of the texts, in pieces or words, `(texts,)`.
        name: Name of the value.
    """
    quantiles = np.quantile(lengths, np.linspace(0, 1, MOST_BARS + 1)[1:], method="inverted_cdf")
    groups = np.searchsorted(np.unique(quantiles), lengths)
    means, errors, labels = [], [], []
    for group in np.unique(groups):
        members, of_length = values[groups == group], lengths[groups == group]
        means.append(members.mean())
        deviation = members.std(ddof=1) if len(members) > 1 else 0.0
        errors.append(1.96 * deviation / math.sqrt(len(members)))
        least, most = of_length.min(), of_length.max()
        lengths_of_bar = f"{least}" if least == most else f"{least} to {most}"
        labels.append(f"{lengths_of_bar}\nn = {len(members)}")
    figure = Figure(figsize=(1.5 + 0.75 * len(means), 3.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(labels, means, yerr=errors, capsize=3, color="tab:blue", alpha=0.7)
    axes.tick_params(axis="x", labelsize=8)
    axes.set(xlabel="length", ylabel=name)
    return figure


@matplotlib.rc_context(AS_TEXT)
def embedding_plane(vectors: np.ndarray, names: Sequence[str]) -> Figure:
    """Vectors in the plane of their first two principal components, with their names.

    Args:
        vectors: Embeddings, `(names, units)`.
        names: Their pieces of text; at most `MOST_LABELS`, the first ones, are written.
    """
    return plane_of_texts(principal_plane(vectors), names, ("first component", "second component"))


@matplotlib.rc_context(AS_TEXT)
def plane_of_texts(points: np.ndarray, names: Sequence[str], titles: tuple[str, str]) -> Figure:
    """Points of the plane, with their names.

    Args:
        points: `(names, 2)`.
        names: Their pieces of text; at most `MOST_LABELS`, the first ones, are written.
        titles: What both axes are.
    """
    labels, fonts = drawable(names[:MOST_LABELS])
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=4, color="lightgrey")
    for point, label in zip(points, labels, strict=False):
        axes.annotate(label, point, fontfamily=fonts, fontsize=9, ha="center", va="center")
    axes.set(xlabel=titles[0], ylabel=titles[1])
    return figure


@matplotlib.rc_context(AS_TEXT)
def perplexity_by_position(losses: np.ndarray | Mapping[str, np.ndarray]) -> Figure:
    """Perplexity at every position of a text, the more predictable, the lower.

    Args:
        losses: Losses in nats, `(texts, positions)`, NaN where a text has no such position; or
            such arrays by the names of models, a line for each.
    """
    lines = losses if isinstance(losses, Mapping) else {"": losses}
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, values in lines.items():
        exists = np.isfinite(values)
        counts = exists.sum(axis=0)
        positions = np.flatnonzero(counts)
        sums = np.where(exists, values, 0).sum(axis=0, dtype=np.float64)[positions]
        axes.plot(positions + 1, np.exp(sums / counts[positions]), linewidth=1, label=name)
    axes.set(xlabel="position", ylabel="perplexity", yscale="log")
    axes.yaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    axes.yaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axes.grid(alpha=0.3)
    if isinstance(losses, Mapping):
        axes.legend(frameon=False)
    return figure


def drawable(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The texts with what cannot be drawn escaped, and the families of fonts that draw them.

    Matplotlib takes every character from the first of the families that has it. Beside its own font
    these are installed ones, of which as few are taken as draw the most.

    Args:
        texts: Texts in any script.
    """
    standard = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    families = [standard.family_name]
    wanted = {char for char in "".join(texts) if char.isprintable()}
    missing = {ord(char) for char in wanted} - standard.get_charmap().keys()
    covered = _coverage(missing) if missing else {}
    while covered:
        best = max(covered, key=lambda family: len(covered[family] & missing))
        gained = covered.pop(best) & missing
        if not gained:
            break
        families.append(best)
        missing -= gained
    drawn = wanted - {chr(code) for code in missing}

    def escaped(text: str) -> str:
        return "".join(
            char if char in drawn else char.encode("unicode_escape").decode() for char in text
        )

    return [escaped(text) for text in texts], families


def _coverage(codes: set[int]) -> dict[str, set[int]]:
    """Which of these characters the regular fonts of each installed family have."""
    covered: dict[str, set[int]] = {}
    for font in font_manager.fontManager.ttflist:
        regular = font.style == "normal" and font.weight in (400, "normal", "regular")
        if not regular or font.name.startswith(PLACEHOLDERS):
            continue
        try:
            characters = ft2font.FT2Font(font.fname).get_charmap().keys()
        except (OSError, RuntimeError):  # a font that has gone, or that FreeType cannot read
            continue
        if both := codes & characters:
            covered[font.name] = both
    return covered
