"""Is `apps.pca` as exact as scikit-learn's `PCA`, as fast, and how much memory does it need?

    python -m benchmarks.foundations.pca
    python -m benchmarks.foundations.pca --components 100 --repeats 5

All contestants describe the training images of MNIST, or of the embedded digits where MNIST is not
prepared, each repeat in a process of its own:

- ours, `--solver covariance`, in batches: the seconds of a pass of `fit` with its solution, and
  those of the first call, which loads, builds, tries the export and traces;
- scikit-learn's `PCA(svd_solver="covariance_eigh")`, on the images as they come, uint8, which it
  makes float64 of, and on float32.

Memory is the most that a process had beside what it had before, with the images loaded. Exactness
is measured against a singular value decomposition in float64: the sine of the largest angle between
both subspaces, and relative differences of variances and of reconstructed images.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import output_of

commands = cyclopts.App()

CONTESTANTS = ("ours", "scikit-learn, uint8", "scikit-learn, float32")
RECONSTRUCTED = 1000  # images


@commands.default
def main(
    *,
    components: int = 50,
    batch_size: int = 1024,
    repeats: int = 3,
    contestant: str | None = None,
) -> None:
    """Compares all contestants.

    Args:
        components: Number of components.
        batch_size: Images in a batch of ours.
        repeats: Measurements of each contestant.
        contestant: Measure this one alone, and print the result as JSON.
    """
    if contestant is not None:
        print(json.dumps(measured(contestant, components, batch_size)))
        return
    given = ["--components", str(components), "--batch-size", str(batch_size)]
    rows = []
    measurements: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTESTANTS}
    for _ in range(repeats):
        for name, results in measurements.items():
            results.append(output_of("benchmarks.foundations.pca", *given, "--contestant", name))
    for name, results in measurements.items():
        seconds = [result["seconds"] for result in results]
        rows.append(
            {
                "contestant": name,
                "seconds": statistics.median(seconds),
                "all_seconds": [round(second, 2) for second in seconds],
                "first_call": statistics.median(result["first_call"] for result in results),
                "mebibytes": statistics.median(result["mebibytes"] for result in results),
                **{
                    name: max(result[name] for result in results)
                    for name in ("sine_of_angle", "variance", "reconstruction")
                },
            }
        )
    publish(
        "pca",
        rows,
        components=components,
        batch_size=batch_size,
        images=results[0]["images"],
        columns=results[0]["columns"],
        source=results[0]["source"],
    )


def measured(contestant: str, components: int, batch_size: int) -> dict[str, Any]:
    """Seconds, memory and exactness of one contestant."""
    import resource

    import psutil

    from suite import Run
    from suite.data.images.sources import load_pictures
    from suite.linear.components import of_rows

    source = load_pictures(Run(quiet=True))
    images, labels = source.train.in_memory()
    rows = images.reshape(len(images), -1)
    if contestant.endswith("float32"):
        rows = rows.astype(np.float32)
    before = psutil.Process().memory_info().rss
    if contestant == "ours":
        result = ours(images, labels, components, batch_size)
    else:
        result = peer(rows, components)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    axes, mean, variances = (result.pop(name) for name in ("axes", "mean", "variances"))
    expected = of_rows(rows, components)
    missing = axes - expected.axes @ (expected.axes.T @ axes)
    some = rows[:RECONSTRUCTED].astype(np.float64)
    again = (some - mean) @ axes @ axes.T + mean
    exact = (some - expected.mean) @ expected.axes @ expected.axes.T + expected.mean
    return {
        **result,
        "mebibytes": max(peak - before, 0) / 2**20,
        "sine_of_angle": float(np.linalg.norm(missing, 2)),
        "variance": float(np.abs(variances / expected.variances - 1).max()),
        "reconstruction": float(np.linalg.norm(again - exact) / np.linalg.norm(exact)),
        "images": len(rows),
        "columns": rows.shape[1],
        "source": source.name,
    }


def ours(
    images: np.ndarray, labels: np.ndarray, components: int, batch_size: int
) -> dict[str, Any]:
    """The app's components, and its seconds."""
    from apps.pca import app
    from suite import Run, train
    from suite.linear.moments import SolveAfterEveryPass

    held_out = (images[:100], labels[:100])
    recipe = app.recipe(components=components, batch_size=batch_size)
    splits = {"train": (images, labels), "validation": held_out, "test": held_out}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(quiet=True, figures=False, run_dir=Path(folder, "run"))
        started = time.perf_counter()
        trained = train(app, recipe, run, until="fit", data=splits)
        first_call = time.perf_counter() - started
    started = time.perf_counter()
    trained.model.fit(
        trained.data.train(0),
        steps_per_epoch=trained.data.steps_per_epoch,
        callbacks=[SolveAfterEveryPass()],
        shuffle=False,
        verbose=0,
    )
    seconds = time.perf_counter() - started
    computed = trained.networks["pca"].get_layer("components").components()
    return {
        "seconds": seconds,
        "first_call": first_call,
        "axes": computed.axes,
        "mean": computed.mean,
        "variances": computed.variances,
    }


def peer(rows: np.ndarray, components: int) -> dict[str, Any]:
    """Scikit-learn's components, and its seconds."""
    from sklearn.decomposition import PCA

    seconds = []
    for _ in range(2):  # as ours
        started = time.perf_counter()
        model = PCA(components, svd_solver="covariance_eigh").fit(rows)
        seconds.append(time.perf_counter() - started)
    return {
        "seconds": seconds[1],
        "first_call": seconds[0],
        "axes": model.components_.T.astype(np.float64),
        "mean": model.mean_.astype(np.float64),
        "variances": model.explained_variance_.astype(np.float64),
    }


if __name__ == "__main__":
    commands()
