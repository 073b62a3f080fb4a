"""Pictures to learn super-resolution from, whole or in patches, with low-resolution copies."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from suite.data.examples import Examples, Source, Split
from suite.data.folders import files_in, split_folders
from suite.data.images.bicubic import shrink
from suite.data.images.files import is_picture, read_opaque
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

EMBEDDED = "embedded:photographs"
ROWS, COLUMNS = 3, 4  # of the parts into which a photograph of scikit-learn's is cut


def load_whole_pictures(run: "Run") -> Source:
    """Loads pictures in colour as they are; by default parts of scikit-learn's two photographs.

    Args:
        run: The run, for its `data`, `skip_broken` and `arrays`. `data` is a folder of pictures of
            any sizes, which may have `train`, `validation` and `test` inside.

    Returns:
        A source without targets, with inputs `(n, height, width, 3)`, uint8. Where the sizes of the
        pictures differ, they are a `tf.RaggedTensor` of that shape.

    Raises:
        InputError: There are no pictures, or one cannot be read, or is transparent; or classes are
            asked for.
    """
    if run.min_per_class > 1:
        raise InputError("`min_per_class` must be 1 where there are no classes", run.min_per_class)
    if run.arrays is not None:
        return _checked(run.arrays)
    if run.data in ("auto", "embedded"):
        return photographs()
    # Not with methods of Path, which raise for long names and unknown users.
    folder = os.path.expanduser(run.data)  # noqa: PTH111
    if not os.path.isdir(folder):  # noqa: PTH112
        raise InputError("`data` must be auto, embedded or a folder of pictures", run.data)
    return read_whole_pictures(Path(folder), run.skip_broken)


def photographs() -> Source:
    """The two photographs that come with scikit-learn, each cut into 12 parts of 142 x 160 pixels.

    They are JPEGs, so metrics on them are not comparable with those on other pictures.
    """
    from sklearn.datasets import load_sample_images

    parts: list[np.ndarray] = []
    for photograph in load_sample_images().images:
        height, width = photograph.shape[0] // ROWS, photograph.shape[1] // COLUMNS
        parts += [
            photograph[row * height : (row + 1) * height, column * width : (column + 1) * width]
            for row in range(ROWS)
            for column in range(COLUMNS)
        ]
    return Source(name=EMBEDDED, train=Examples(stacked(parts)), comparable=False)


def read_whole_pictures(path: Path, skip_broken: bool = False) -> Source:
    """Reads all pictures in a folder and below it; or in its folders `train`, `test` and `val`.

    Args:
        path: The folder.
        skip_broken: Whether to leave out, with a warning, what cannot be read or is transparent.

    Raises:
        InputError: There are no pictures; or one cannot be read, or is transparent.
    """
    splits: dict[str, Any] = {}
    for split, folder in {"train": path, **split_folders(path)}.items():
        pictures = []
        files = [file for file in files_in(folder) if is_picture(file)]
        for file in files:
            try:
                pixels = read_opaque(file)
                pictures.append(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
            except InputError:
                if not skip_broken:
                    raise
        if not pictures:
            raise InputError(f"{folder} must hold image files", "none that can be read")
        if len(pictures) < len(files):
            left_out = len(files) - len(pictures)
            log.warning(
                "%d of %d files in %s are left out, since they cannot be used.",
                left_out,
                len(files),
                folder,
            )
        splits[split] = Examples(stacked(pictures))
    return Source(name=str(path), **splits)


def stacked(pictures: Sequence[np.ndarray]) -> np.ndarray | tf.RaggedTensor:
    """Pictures `(height, width, 3)` as one array, or as a ragged tensor if their sizes differ."""
    if len({picture.shape for picture in pictures}) == 1:
        return np.stack(pictures)
    rows = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
    heights = np.array([picture.shape[0] for picture in pictures])
    widths = np.repeat([picture.shape[1] for picture in pictures], heights)
    lines = tf.RaggedTensor.from_row_lengths(rows, widths)
    return tf.RaggedTensor.from_row_lengths(lines, heights)


def unstacked(pictures: np.ndarray | tf.RaggedTensor) -> list[np.ndarray]:
    """The pictures of an array or a ragged tensor by `stacked`, `(height, width, 3)` each."""
    if not isinstance(pictures, tf.RaggedTensor):
        return list(pictures)
    return [pictures[row].to_tensor().numpy() for row in range(int(pictures.nrows()))]


def pictures_of(split: Split) -> list[np.ndarray]:
    """The pictures of a split, `(height, width, 3)` each."""
    return unstacked(split.in_memory().inputs)


def whole_pairs(pictures: Iterable[np.ndarray], scale: int) -> Examples:
    """Whole pictures as targets, and their low-resolution copies as inputs.

    Args:
        pictures: `(height, width, 3)`, uint8, of any sizes.
        scale: How many times smaller the inputs are.
    """
    small, original = zip(*(shrink(picture, scale) for picture in pictures), strict=True)
    return Examples(stacked(small), stacked(original))


def patch_pairs(pictures: Iterable[np.ndarray], scale: int, size: int) -> Examples:
    """Patches of pictures as targets, and the same patches at low resolution as inputs.

    Neighbouring patches overlap by half. The pictures are made smaller before they are cut, so that
    inputs are not affected by the edges of patches.

    Args:
        pictures: `(height, width, 3)`, uint8, at least `scale * size` pixels high and wide.
        scale: How many times smaller the inputs are.
        size: Height and width of an input.

    Returns:
        Inputs `(patches, size, size, 3)` and targets `(patches, scale * size, scale * size, 3)`,
        uint8.
    """
    small_patches, patches = [], []
    for picture in pictures:
        small, original = shrink(picture, scale)
        for top in range(0, small.shape[0] - size + 1, size // 2):
            for left in range(0, small.shape[1] - size + 1, size // 2):
                small_patches.append(small[top : top + size, left : left + size])
                rows, columns = (slice(scale * s, scale * (s + size)) for s in (top, left))
                patches.append(original[rows, columns])
    return Examples(np.stack(small_patches), np.stack(patches))


def refuse_small_pictures(splits: dict[str, list[np.ndarray]], smallest: int, name: str) -> None:
    """Refuses pictures with a side of fewer than `smallest` pixels.

    Raises:
        InputError: A picture is too small; the message has its split and its number.
    """
    for split, pictures in splits.items():
        for number, picture in enumerate(pictures, 1):
            if min(picture.shape[:2]) < smallest:
                height, width = picture.shape[:2]
                raise InputError(
                    f"pictures in {name} must be at least {smallest} x {smallest} pixels, "
                    "`patch_size` times `scale`",
                    f"{height} x {width}, picture {number} of {split}",
                )


def _checked(source: Source) -> Source:
    """A source of the caller's arrays, if they are pictures in colour."""
    for split, part in source.splits().items():
        inputs = part.inputs if isinstance(part, Examples) else None
        shape: tuple[int, ...] = getattr(inputs, "shape", ())
        dtype = getattr(inputs, "dtype", None)
        if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
            raise InputError(
                "`data` must be pictures (n, height, width, 3) of type uint8",
                f"{tuple(shape)} of {dtype} in {split}",
            )
    return source
