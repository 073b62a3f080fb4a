"""Figures of sequences."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def trajectories(states: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Plots hidden states in the plane of their first two principal components.

    All states are drawn as points, coloured by label; at most fifteen sequences also as paths in
    time.

    Args:
        states: `(sequences, time, units)`.
        labels: Labels of the states, `(sequences, time)`.
        names: Names of the labels.
    """
    plane = principal_plane(states.reshape(-1, states.shape[-1]))
    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    for path in plane.reshape(*states.shape[:2], 2)[:: max(1, len(states) // 8)]:
        axes.plot(*path.T, color="gray", linewidth=0.3, alpha=0.6)
    for label, name in enumerate(names):
        x, y = plane[labels.ravel() == label].T
        axes.scatter(x, y, s=6, label=name)
    axes.set(xlabel="first component", ylabel="second component", title="Hidden states")
    axes.legend(frameon=False)
    return figure


def principal_plane(vectors: np.ndarray) -> np.ndarray:
    """Coordinates `(n, 2)` of vectors in the plane of their first two principal components.

    Args:
        vectors: `(n, units)`. Where one component is all there is, the other coordinate is 0.
    """
    # Half precision has no singular values in NumPy.
    centred = vectors.astype(np.float32) - vectors.mean(axis=0, dtype=np.float32)
    components = np.linalg.svd(centred, full_matrices=False)[2][:2]
    plane = np.zeros((len(vectors), 2))
    plane[:, : len(components)] = centred @ components.T
    return plane
