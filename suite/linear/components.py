"""Principal components: the layer that has them, and how they follow from covariances and rows."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from suite.errors import InputError

NAME = "components"  # of the layer in a network
SMALLEST = 1e-10  # share of the largest variance below which a component has none


class Components(NamedTuple):
    """What describes rows by few numbers, in float64.

    Args:
        mean: Mean of every column, `(columns,)`.
        scale: What centred columns are divided by, `(columns,)`.
        axes: Orthonormal columns, `(columns, components)`, those of most variance first. The entry
            of an axis that is largest in size is positive.
        variances: Variance of the rows along every axis, `(components,)`.
        total: Variance of all columns together.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    total: float

    def explained(self) -> np.ndarray:
        """The share of the variance along every axis, `(components,)`."""
        return self.variances / self.total

    def rank(self) -> int:
        """The number of axes along which there is any variance."""
        return int((self.variances > SMALLEST * self.variances.max()).sum())


@keras.saving.register_keras_serializable(package="suite")
class PrincipalComponents(keras.layers.Layer):
    """Describes rows by their principal components, and makes rows of these again.

    The layer takes rows `(batch, columns)` and returns the codes `(batch, units)` and the rows
    `(batch, columns)` that the codes stand for. Its weights are not trained: `set_components` sets
    them. Before that, the axes are random.

    Args:
        units: Number of components.
        whiten: Whether every component has variance 1.

    Reference:
        Pearson, 1901, On Lines and Planes of Closest Fit to Systems of Points in Space,
        https://doi.org/10.1080/14786440109462720
        Hotelling, 1933, Analysis of a Complex of Statistical Variables into Principal Components,
        https://doi.org/10.1037/h0071325
    """

    def __init__(self, units: int, whiten: bool = False, **layer: Any) -> None:
        super().__init__(**layer)
        self.units, self.whiten = units, whiten
        self.trainable = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        columns: Any = input_shape[-1]

        def weight(name: str, shape: tuple[int, ...], initializer: Any) -> Any:
            return self.add_weight(shape=shape, initializer=initializer, trainable=False, name=name)

        self.mean = weight("mean", (columns,), "zeros")
        self.scale = weight("scale", (columns,), "ones")
        self.axes = weight("axes", (columns, self.units), "orthogonal")
        self.variances = weight("variances", (self.units,), "ones")
        self.total = weight("total", (), keras.initializers.Constant(self.units))

    def call(self, inputs: Any) -> tuple[Any, Any]:
        codes = ops.matmul((inputs - self.mean) / self.scale, self.axes)
        if self.whiten:
            codes = codes / ops.sqrt(self.variances)
        return codes, self.decode(codes)

    def decode(self, codes: Any) -> Any:
        """The rows `(batch, columns)` of codes `(batch, units)`."""
        if self.whiten:
            codes = codes * ops.sqrt(self.variances)
        return ops.matmul(codes, ops.transpose(self.axes)) * self.scale + self.mean

    def set_components(self, components: Components) -> None:
        """Sets all weights.

        Raises:
            InputError: The rows do not differ at all, or in fewer directions than there are
                components to whiten, which would be nothing but rounding.
        """
        if not components.total > 0:
            raise InputError("`data` must have rows that differ", "rows that are all alike")
        if self.whiten and components.rank() < self.units:
            raise InputError(
                f"`components` must be at most {components.rank()} with `whiten`: the rows vary in "
                "no more directions",
                self.units,
            )
        self.mean.assign(components.mean)
        self.scale.assign(components.scale)
        self.axes.assign(components.axes)
        self.variances.assign(components.variances)
        self.total.assign(components.total)

    def components(self) -> Components:
        """What `set_components` has set, as precisely as the weights have it."""
        mean, scale, axes, variances, total = (
            np.asarray(ops.convert_to_numpy(weight), np.float64)
            for weight in (self.mean, self.scale, self.axes, self.variances, self.total)
        )
        return Components(mean, scale, axes, variances, float(total))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units, "whiten": self.whiten}


def of_covariance(
    covariance: np.ndarray, mean: np.ndarray, scale: np.ndarray, count: int
) -> Components:
    """The components of a covariance matrix, by its largest eigenvalues.

    Args:
        covariance: Of the centred columns divided by their scale, `(columns, columns)`, float64.
        mean: Mean of every column, `(columns,)`.
        scale: Scale of every column, `(columns,)`.
        count: Number of components.
    """
    import scipy.linalg

    last = len(covariance) - 1
    variances, axes = scipy.linalg.eigh(covariance, subset_by_index=(last - count + 1, last))
    return Components(
        mean=mean,
        scale=scale,
        axes=with_positive_peaks(axes[:, ::-1]),
        variances=np.maximum(variances[::-1], 0.0),
        total=float(np.trace(covariance)),
    )


def of_rows(rows: np.ndarray, count: int, *, standardize: bool = False) -> Components:
    """The components of rows, by a singular value decomposition of all of them at once.

    Args:
        rows: `(rows, columns)`, two rows or more.
        count: Number of components, at most that of rows and of columns.
        standardize: Whether columns are divided by their standard deviation, 1 for constant ones.

    Raises:
        InputError: There is one row only.
    """
    import scipy.linalg

    if len(rows) < 2:
        raise InputError("there must be two rows or more to train on", len(rows))

    rows = np.array(rows, np.float64)  # a copy, which is changed
    mean = rows.mean(axis=0)
    rows -= mean
    deviation = np.sqrt((rows**2).mean(axis=0)) if standardize else np.ones(rows.shape[1])
    scale = np.where(deviation > 0, deviation, 1.0)
    rows /= scale
    total = float((rows**2).sum()) / (len(rows) - 1)
    _, values, axes = scipy.linalg.svd(rows, full_matrices=False, overwrite_a=True)
    return Components(
        mean=mean,
        scale=scale,
        axes=with_positive_peaks(axes[:count].T),
        variances=values[:count] ** 2 / (len(rows) - 1),
        total=total,
    )


def with_positive_peaks(axes: np.ndarray) -> np.ndarray:
    """Axes `(columns, components)`, turned so that the entry largest in size is positive."""
    peaks = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return axes * np.where(peaks < 0, -1.0, 1.0)
