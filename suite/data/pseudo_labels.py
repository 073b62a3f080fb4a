"""Labels for images that have none: the clusters of similar images."""

from collections.abc import Callable

import numpy as np
import threadpoolctl
from keras import ops

from suite.data.examples import Examples, Split

COMPONENTS = 50  # principal components that k-means clusters
MAX_ITERATIONS = 60  # of k-means
IMAGES_AT_ONCE = 4096  # bounds the memory of `deskew`


def fit_clusters(split: Split, num: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Clusters images by k-means on the principal components of the deskewed images.

    Args:
        split: Images `(examples, height, width, channels)`; the targets are not used.
        num: Number of clusters, at most; none is empty. There are fewer for images that hardly
            differ.
        seed: Seed of the initial cluster centres.

    Returns:
        A function that maps images to the indices of their clusters `(examples,)`, int32.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline

    features = _features(split.in_memory().inputs)
    pipeline = make_pipeline(
        PCA(min(COMPONENTS, *features.shape), random_state=seed),
        KMeans(
            min(num, len(np.unique(features, axis=0))),
            n_init=1,
            max_iter=MAX_ITERATIONS,
            random_state=seed,
        ),
    )
    # Several threads add up in varying order; one thread gives the same sums every time.
    with threadpoolctl.threadpool_limits(1):
        pipeline.fit(features)
        clusters = pipeline[-1]
        taken = np.unique(pipeline.predict(features))
        clusters.cluster_centers_ = clusters.cluster_centers_[taken]

    def predict_clusters(images: np.ndarray) -> np.ndarray:
        with threadpoolctl.threadpool_limits(1):
            return pipeline.predict(_features(images)).astype(np.int32)

    return predict_clusters


def label_shares(split: Examples) -> tuple[float, ...]:
    """The share of the examples with each label, in the order of the labels."""
    return tuple((np.bincount(split.targets) / split.num_examples).tolist())


def deskew(images: np.ndarray) -> np.ndarray:
    """Shears images until their strokes are upright, and centres them.

    Args:
        images: `(n, height, width, channels)`, bright strokes on a dark background.

    Returns:
        Grey images `(n, height, width)`, float32, the means of the channels.
    """
    grey = images.astype(np.float32).mean(axis=-1)
    height, width = grey.shape[1:]
    ink = grey / np.maximum(grey.sum(axis=(1, 2), keepdims=True), 1e-9)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row, column = (ink * rows).sum(axis=(1, 2)), (ink * columns).sum(axis=(1, 2))
    down = rows - row[:, None, None]
    variance = (ink * down**2).sum(axis=(1, 2))
    lean = (ink * down * (columns - column[:, None, None])).sum(axis=(1, 2)) / (variance + 1e-9)
    one, zero = np.ones_like(lean), np.zeros_like(lean)
    # The position in the input of each pixel of the output: x' = x + lean y + ..., y' = y + ...
    offset = column - middle_column - lean * middle_row
    transforms = np.stack([one, lean, offset, zero, one, row - middle_row, zero, zero], axis=1)
    deskewed = ops.image.affine_transform(grey[..., None], transforms, data_format="channels_last")
    return ops.convert_to_numpy(deskewed)[..., 0]


def _features(images: np.ndarray) -> np.ndarray:
    """The deskewed images as vectors of length 1, `(n, height * width)`, float32."""
    starts = range(0, len(images), IMAGES_AT_ONCE)
    parts = [deskew(images[start : start + IMAGES_AT_ONCE]) for start in starts]
    flat = np.concatenate(parts).reshape(len(images), -1)
    # Scaled to length 1, so that the thickness of the strokes counts little.
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
