"""Whose picture is it? Linear codes of pictures, and the nearest point or subspace among them."""

from typing import Any, Literal, NamedTuple

import keras
import numpy as np
from keras import ops

from suite.errors import InputError
from suite.linear.components import of_rows

Method = Literal["eigenfaces", "fisherfaces", "subspaces"]
Comparison = Literal["pictures", "means"]
Similarity = Literal["euclidean", "cosine"]


class Sizes(NamedTuple):
    """The sizes of a linear recogniser.

    Args:
        components: Principal components that come first.
        discriminants: Directions among these that set classes apart; 0 to keep the components.
        places: Points or subspaces that codes are compared with.
        dimensions: Dimensions of each; 0 for points.
    """

    components: int
    discriminants: int
    places: int
    dimensions: int


class Recognizer(NamedTuple):
    """What tells people apart by linear codes of their pictures.

    Args:
        kernel: Of the principal components, `(columns, components)`.
        bias: `(components,)`.
        discriminants: `(components, code)`; None if the components are the code.
        centres: Points, `(places, code)`.
        axes: Orthonormal directions at every point, `(places, code, dimensions)`.
        labels: The class that every point belongs to, `(places,)`.
        variance: Of a number in the code of a picture about the mean of its class.
    """

    kernel: np.ndarray
    bias: np.ndarray
    discriminants: np.ndarray | None
    centres: np.ndarray
    axes: np.ndarray
    labels: np.ndarray
    variance: float


@keras.saving.register_keras_serializable(package="suite")
class NearestSubspaces(keras.layers.Layer):
    """Scores classes by the squared distance of a code to the nearest of their points or subspaces.

    The layer takes codes `(batch, code)` and returns logits `(batch, num_classes)`: the logarithm
    of a normal density about the nearest place of the class, but for a constant. Its weights are
    not trained: `set_recognizer` sets them.

    Args:
        num_classes: Number of classes.
        places: Number of points or subspaces of all classes. If there are as many as classes, the
            first belongs to the first class, and so on.
        dimensions: Dimensions of the subspaces, which lie flat through their points; 0 for points.
    """

    def __init__(self, num_classes: int, places: int, dimensions: int = 0, **layer: Any) -> None:
        super().__init__(**layer)
        self.num_classes, self.places, self.dimensions = num_classes, places, dimensions
        self.trainable = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        size: Any = input_shape[-1]

        def weight(name: str, shape: tuple[int, ...], initializer: str) -> Any:
            return self.add_weight(shape=shape, initializer=initializer, trainable=False, name=name)

        self.centres = weight("centres", (self.places, size), "random_normal")
        self.variance = weight("variance", (), "ones")
        if self.dimensions:
            shape = (self.places, size, self.dimensions)
            self.axes = weight("axes", shape, "random_normal")
        if self.places != self.num_classes:
            self.owners = weight("owners", (self.places, self.num_classes), "zeros")

    def call(self, inputs: Any) -> Any:
        centres = ops.convert_to_tensor(self.centres)
        size = centres.shape[1]
        distances = (
            ops.sum(ops.square(inputs), axis=1, keepdims=True)
            - 2 * ops.matmul(inputs, ops.transpose(centres))
            + ops.sum(ops.square(centres), axis=1)
        )
        if self.dimensions:
            axes = ops.convert_to_tensor(self.axes)
            beside = ops.reshape(ops.transpose(axes, (1, 0, 2)), (size, -1))
            begins = ops.reshape(ops.sum(ops.expand_dims(centres, 2) * axes, axis=1), (1, -1))
            along = ops.matmul(inputs, beside) - begins
            along = ops.reshape(along, (-1, self.places, self.dimensions))
            distances = distances - ops.sum(ops.square(along), axis=2)
        scores = -ops.maximum(distances, 0.0) / (2 * self.variance)
        if self.places == self.num_classes:
            return scores
        classes = ops.argmax(self.owners, axis=1)
        best = ops.segment_max(ops.transpose(scores), classes, num_segments=self.num_classes)
        return ops.transpose(best)

    def set_recognizer(self, recognizer: Recognizer) -> None:
        """Sets all weights."""
        self.centres.assign(recognizer.centres)
        self.variance.assign(recognizer.variance)
        if self.dimensions:
            self.axes.assign(recognizer.axes)
        if self.places != self.num_classes:
            self.owners.assign(np.eye(self.num_classes)[recognizer.labels])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_classes": self.num_classes,
            "places": self.places,
            "dimensions": self.dimensions,
        }


def sizes_of(
    method: Method,
    comparison: Comparison,
    *,
    components: int | None,
    dimensions: int,
    columns: int,
    num_rows: int,
    num_classes: int,
) -> Sizes:
    """The sizes of a recogniser.

    Args:
        method: How codes are made.
        comparison: Whether codes are compared with those of pictures or of means of classes;
            `subspaces` have a subspace for every class.
        components: Principal components that come first; None for as many as there can be.
        dimensions: Dimensions of a class in `subspaces`.
        columns: Pixels of a picture.
        num_rows: Pictures to learn from.
        num_classes: Number of people.
    """
    # Rows about their mean lie in one dimension less.
    first = components or max(1, min(num_rows - 1, columns))
    places = num_rows if comparison == "pictures" else num_classes
    if method == "fisherfaces":
        return Sizes(first, min(first, num_classes - 1), places, 0)
    if method == "eigenfaces":
        return Sizes(first, 0, places, 0)
    return Sizes(first, 0, num_classes, min(dimensions, first))


def fit_recognizer(
    rows: np.ndarray,
    labels: np.ndarray,
    sizes: Sizes,
    *,
    similarity: Similarity = "euclidean",
    shrinkage: float = 0.1,
) -> Recognizer:
    """Fits a recogniser to pictures, in closed form.

    Args:
        rows: Pictures `(n, columns)`.
        labels: Who they show, `(n,)`; classes from 0, two pictures or more of each.
        sizes: From `sizes_of`, which decide the method: principal components for eigenfaces; for
            Fisherfaces the directions among these with the largest scatter between classes relative
            to that within classes; for subspaces the principal components of every class.
        similarity: `cosine` brings all codes to length 1.
        shrinkage: Share of the scatter within classes that is taken to be alike in all directions,
            for Fisherfaces; above 0, unless there are fewer components than pictures less classes.

    Reference:
        Turk and Pentland, 1991, Eigenfaces for Recognition,
        https://doi.org/10.1162/jocn.1991.3.1.71
        Belhumeur, Hespanha and Kriegman, 1997, Eigenfaces vs. Fisherfaces,
        https://doi.org/10.1109/34.598228. Differs from the paper: all principal components may
        stay, since the scatter within classes is shrunk.
        Oja, 1983, Subspace Methods of Pattern Recognition
        Friedman, 1989, Regularized Discriminant Analysis,
        https://doi.org/10.1080/01621459.1989.10478752
    """
    order = np.argsort(labels, kind="stable")
    rows, labels = rows[order].astype(np.float64), labels[order]
    components = of_rows(rows, sizes.components)
    kernel, bias = components.axes, -components.mean @ components.axes
    turn: np.ndarray | None = None
    codes = rows @ kernel + bias
    if sizes.discriminants:
        turn = discriminants(codes, labels, sizes.discriminants, shrinkage)
        codes = codes @ turn
    if similarity == "cosine":
        codes /= np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    classes = np.unique(labels)
    means = np.stack([codes[labels == label].mean(axis=0) for label in classes])
    centred = codes - means[np.searchsorted(classes, labels)]
    freedom = max(len(rows) - len(classes), 1) * codes.shape[1]
    by_pictures = sizes.places == len(rows) and not sizes.dimensions
    centres = codes if by_pictures else means
    axes = np.zeros((*centres.shape, 0))
    if sizes.dimensions:
        axes = np.stack([_axes(centred[labels == label], sizes.dimensions) for label in classes])
    return Recognizer(
        kernel=kernel,
        bias=bias,
        discriminants=turn,
        centres=centres,
        axes=axes,
        labels=labels if by_pictures else classes,
        variance=max(float((centred**2).sum()) / freedom, 1e-12),
    )


def discriminants(
    codes: np.ndarray, labels: np.ndarray, count: int, shrinkage: float
) -> np.ndarray:
    """Fisher's discriminants `(columns, count)`, along which classes scatter alike, by 1.

    Args:
        codes: `(n, columns)`.
        labels: `(n,)`.
        count: Number of discriminants, fewer than classes.
        shrinkage: Share of the scatter within classes that is taken to be alike in all directions.
            At 0 the scatter must have as many dimensions as there are columns.

    Raises:
        InputError: Within every class, all codes are the same.

    Reference:
        Fisher, 1936, The Use of Multiple Measurements in Taxonomic Problems,
        https://doi.org/10.1111/j.1469-1809.1936.tb02137.x
    """
    import scipy.linalg

    classes, places, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([codes[labels == label].mean(axis=0) for label in classes])
    centred = codes - means[places]
    within = centred.T @ centred / max(len(codes) - len(classes), 1)
    columns = len(within)
    if not np.trace(within) > 0:
        raise InputError("`data` must have two different pictures of a person", "none")
    even = np.trace(within) / columns * np.eye(columns)
    within = (1 - shrinkage) * within + shrinkage * even
    apart = means - codes.mean(axis=0)
    between = (apart.T * sizes) @ apart / len(codes)
    _, axes = scipy.linalg.eigh(between, within, subset_by_index=(columns - count, columns - 1))
    return axes[:, ::-1]


def _axes(centred: np.ndarray, dimensions: int) -> np.ndarray:
    """The first principal axes of one class, `(columns, dimensions)`; zeros where it has none."""
    axes = np.zeros((centred.shape[1], dimensions))
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    known = int((values > 1e-9 * max(values.max(), 1e-300)).sum())
    kept = min(dimensions, known)
    axes[:, :kept] = directions[:kept].T
    return axes


def scores(
    recognizer: Recognizer, rows: np.ndarray, num_classes: int, similarity: Similarity
) -> np.ndarray:
    """What `NearestSubspaces` answers about rows `(n, columns)`, in float64: `(n, num_classes)`."""
    codes = rows.astype(np.float64) @ recognizer.kernel + recognizer.bias
    if recognizer.discriminants is not None:
        codes = codes @ recognizer.discriminants
    if similarity == "cosine":
        codes /= np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    apart = codes[:, None] - recognizer.centres
    distances = (apart**2).sum(axis=2)
    distances -= (np.einsum("npc,pcd->npd", apart, recognizer.axes) ** 2).sum(axis=2)
    best = np.full((len(rows), num_classes), np.inf)
    for place, label in enumerate(recognizer.labels):
        best[:, label] = np.minimum(best[:, label], distances[:, place])
    return -best / (2 * recognizer.variance)
