"""How good are the factors of `apps.nmf` beside scikit-learn's `NMF`, at equal iterations?

    python -m benchmarks.foundations.nmf
    python -m benchmarks.foundations.nmf --steps 500 --components 49

All contestants begin with the same codes and parts, from singular vectors, and take as many steps
over the same training rows: of the digits that are embedded, and of faces that are made by code.
Scikit-learn computes in float64. The residual is the length of what is missing as a share of the
length of the rows; the violation is that of the conditions of Karush, Kuhn and Tucker
(`suite.linear.factors.kkt_violation`). Seconds are those of the steps, ours with their tracing.
"""

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish

commands = cyclopts.App()

OURS: dict[str, dict[str, Any]] = {
    "multiplicative": {"solver": "multiplicative"},
    "coordinate": {"solver": "coordinate"},
    "coordinate, 5 repeats": {"solver": "coordinate", "inner_steps": 5},
}
PEERS = {"scikit-learn, mu": "mu", "scikit-learn, cd": "cd"}


@commands.default
def main(
    *, components: int = 32, steps: int = 1000, datasets: tuple[str, ...] = ("mnist", "faces")
) -> None:
    """Compares all contestants.

    Args:
        components: Number of parts.
        steps: Steps of each contestant.
        datasets: As `apps.nmf` takes them; its embedded data stand for those that are not here.
    """
    rows = []
    for dataset in datasets:
        for name, knobs in OURS.items():
            trained, seconds = ours(dataset, components, steps, knobs)
            metrics = trained.metrics
            rows.append(
                {
                    "contestant": f"{dataset}: {name}",
                    "residual": metrics["train_residual"],
                    "violation": metrics["kkt_violation"],
                    "seconds": seconds,
                }
            )
        inputs = trained.data.splits["train"].in_memory().inputs
        numbers = inputs.reshape(len(inputs), -1).astype(np.float64) / 255
        for name, solver in PEERS.items():
            results = peer(numbers, components, steps, solver)
            rows.append({"contestant": f"{dataset}: {name}", **results})
    publish("nmf", rows, components=components, steps=steps)


def ours(dataset: str, components: int, steps: int, knobs: dict[str, Any]) -> tuple[Any, float]:
    """A training in one epoch of so many steps, and its seconds."""
    from apps.nmf import app
    from suite import Run, train

    recipe = app.recipe(
        dataset=dataset, components=components, epochs=1, steps_per_epoch=steps, **knobs
    )
    with tempfile.TemporaryDirectory() as folder:
        places = {"run_dir": Path(folder, "run"), "export_dir": Path(folder, "exports")}
        trained = train(app, recipe, Run(data="embedded", quiet=True, figures=False, **places))
    return trained, trained.report["seconds"]["fit"]


def peer(rows: np.ndarray, components: int, steps: int, solver: str) -> dict[str, float]:
    """Scikit-learn's residual, violation and seconds."""
    from sklearn.decomposition import NMF

    from suite.linear.factors import begin_by_singular_vectors, kkt_violation

    started = time.perf_counter()
    codes, parts = begin_by_singular_vectors(rows.astype(np.float32), components)
    model = NMF(components, init="custom", solver=solver, max_iter=steps, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged, since it may not stop early
        codes = model.fit_transform(rows, W=codes, H=parts)
    seconds = time.perf_counter() - started
    parts = model.components_
    return {
        "residual": float(np.linalg.norm(rows - codes @ parts) / np.linalg.norm(rows)),
        "violation": kkt_violation(rows, codes, parts),
        "seconds": seconds,
    }


if __name__ == "__main__":
    commands()
