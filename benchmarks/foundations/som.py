"""Is the map of `apps.som` as good as MiniSom's, and how much faster?

    python -m benchmarks.foundations.som
    python -m benchmarks.foundations.som --data embedded

The same pictures, a square lattice, the same start on the plane of two principal components, the
same number of passes, and a radius that falls from the same first to the same last value: MiniSom's
falls to a third. Both errors of both maps are computed here, by one function, on the pictures that
the maps were trained on. The seconds are those of the training alone, without imports, reading and
tracing.
"""

import importlib
import time
from typing import Any

import cyclopts
import keras
import numpy as np

from apps.som import app, lay_on_plane
from benchmarks.results import publish
from benchmarks.turns import open_app
from suite import Run
from suite.trainers.self_organizing import ADJACENT, positions_of

AT_ONCE = 1000  # pictures whose distances are computed together


def errors(codes: np.ndarray, positions: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """The mean distance from the nearest code, and the share of two nearest that are no neighbours.

    Args:
        codes: `(units, features)`.
        positions: Where the units are, `(units, 2)`.
        rows: Examples, `(n, features)`.
    """
    distances, misplaced = [], []
    for begin in range(0, len(rows), AT_ONCE):
        part = rows[begin : begin + AT_ONCE]
        squared = (part**2).sum(1)[:, None] - 2 * part @ codes.T + (codes**2).sum(1)
        first, second = np.argsort(squared, axis=1)[:, :2].T
        distances.append(np.linalg.norm(part - codes[first], axis=1))
        misplaced.append(np.linalg.norm(positions[first] - positions[second], axis=1) > ADJACENT)
    return {
        "quantization_error": float(np.concatenate(distances).mean()),
        "topographic_error": float(np.concatenate(misplaced).mean()),
    }


def train_ours(knobs: dict[str, Any], run: Run) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Trains the map of the application.

    Returns:
        The codes before and after the training, its seconds, and the rows `(n, features)`.
    """
    recipe = app.recipe(**knobs)
    fitted = open_app(app, recipe, run)
    model, data = fitted.model, fitted.data
    fit = {"shuffle": False, "verbose": 0}
    # Traces the step; then everything is as before.
    model.fit(data.train(0), steps_per_epoch=model.steps_per_execution, **fit)
    for variable in (*model.variables, *model.optimizer.variables):
        if variable is not model.optimizer.learning_rate:
            variable.assign(keras.ops.zeros_like(variable))
    lay_on_plane(fitted)
    before = keras.ops.convert_to_numpy(model.codebook.codes).astype(float)
    started = time.perf_counter()
    model.fit(
        data.train(0), steps_per_epoch=data.steps_per_epoch, epochs=recipe.config.epochs, **fit
    )
    seconds = time.perf_counter() - started
    images = data.splits["train"].in_memory().inputs
    after = keras.ops.convert_to_numpy(model.codebook.codes).astype(float)
    return before, after, seconds, images.reshape(len(images), -1) / 255


def train_peer(
    rows: np.ndarray, before: np.ndarray, side: int, radius: float, passes: int
) -> tuple[np.ndarray, float]:
    """Trains MiniSom's map from the same codes; returns its codes and the seconds."""
    minisom = importlib.import_module("minisom")
    peer = minisom.MiniSom(side, side, rows.shape[1], sigma=radius, random_seed=0)
    peer._weights = before.reshape(side, side, -1).copy()
    started = time.perf_counter()
    # Not by epochs, after which alone its radius would be made smaller.
    peer.train(rows, passes * len(rows), random_order=True)
    seconds = time.perf_counter() - started
    return peer.get_weights().reshape(side * side, -1), seconds


def main(
    *,
    data: str = "tfds",
    side: int = 10,
    radius: float = 3.0,
    passes: int = 10,
    batch_size: int = 500,
) -> None:
    """Measures both on the same pictures.

    Args:
        data: Where the pictures come from, as in training.
        side: Rows and columns of the map.
        radius: Of the neighbourhood in the first step; the last one is a third of it.
        passes: Over the training pictures.
        batch_size: Pictures of a step of ours.
    """
    knobs = {"rows": side, "columns": side, "lattice": "square", "epochs": passes}
    knobs |= {"radius": radius, "final_radius": radius / 3, "batch_size": batch_size}
    before, codes, seconds, rows = train_ours(knobs, Run(data=data, quiet=True))
    peer_codes, peer_seconds = train_peer(rows, before, side, radius, passes)
    positions = positions_of(side, side, "square")
    results = [
        {
            "map": name,
            **errors(trained, positions, rows),
            "examples_per_second": passes * len(rows) / taken,
        }
        for name, trained, taken in (
            ("ours", codes, seconds),
            ("MiniSom", peer_codes, peer_seconds),
        )
    ]
    publish(
        "som",
        results,
        data=data,
        examples=len(rows),
        faster=peer_seconds / seconds,
        side=side,
        radius=radius,
        passes=passes,
        batch_size=batch_size,
    )


if __name__ == "__main__":
    cyclopts.run(main)
