"""Kinds of images that nobody has named, found by what the images look like."""

from collections.abc import Callable

import numpy as np
import threadpoolctl
from keras import ops

from suite.data.examples import Split

COMPONENTS = 50
ROUNDS = 60
AT_ONCE = 4096


def kinds(split: Split, num: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Finds kinds of images, by k-means over the principal components of upright images.

    Args:
        split: Images `(examples, height, width, channels)` to find them in; the labels are not
            looked at.
        num: How many kinds; no more are found than there are different images.
        seed: Decides where the search begins.

    Returns:
        A function from any images to their kinds `(examples,)`, int32.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline

    flat = _flat(split.inputs)
    search = make_pipeline(
        PCA(min(COMPONENTS, *flat.shape), random_state=seed),
        KMeans(
            min(num, len(np.unique(flat, axis=0))), n_init=1, max_iter=ROUNDS, random_state=seed
        ),
    )
    # Threads add up in any order; of one the sums are the same every time.
    with threadpoolctl.threadpool_limits(1):
        search.fit(flat)

    def kinds_of(images: np.ndarray) -> np.ndarray:
        with threadpoolctl.threadpool_limits(1):
            return search.predict(_flat(images)).astype(np.int32)

    return kinds_of


def shares(split: Split) -> tuple[float, ...]:
    """How frequent each label is."""
    return tuple((np.bincount(split.labels) / split.num_examples).tolist())


def upright(images: np.ndarray) -> np.ndarray:
    """Images sheared until what is drawn does not lean, and moved into the middle.

    Args:
        images: `(n, height, width, channels)`, what is drawn being bright.

    Returns:
        `(n, height, width)`, the mean of the channels, float32.
    """
    grey = images.astype(np.float32).mean(axis=-1)
    height, width = grey.shape[1:]
    ink = grey / np.maximum(grey.sum(axis=(1, 2), keepdims=True), 1e-9)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row, column = (ink * rows).sum(axis=(1, 2)), (ink * columns).sum(axis=(1, 2))
    down = rows - row[:, None, None]
    spread = (ink * down**2).sum(axis=(1, 2))
    lean = (ink * down * (columns - column[:, None, None])).sum(axis=(1, 2)) / (spread + 1e-9)
    one, none = np.ones_like(lean), np.zeros_like(lean)
    # Where each pixel of the result comes from: x' = x + lean y + ..., y' = y + ...
    along = column - middle_column - lean * middle_row
    transforms = np.stack([one, lean, along, none, one, row - middle_row, none, none], axis=1)
    moved = ops.image.affine_transform(grey[..., None], transforms, data_format="channels_last")
    return ops.convert_to_numpy(moved)[..., 0]


def _flat(images: np.ndarray) -> np.ndarray:
    parts = [upright(images[n : n + AT_ONCE]) for n in range(0, len(images), AT_ONCE)]
    flat = np.concatenate(parts).reshape(len(images), -1)
    # Of length 1: how bold it is drawn says little about what an image is.
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
