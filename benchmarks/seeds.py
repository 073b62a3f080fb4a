"""How accurate is a recipe of mnist_cnn, over several seeds?

    python -m benchmarks.mnist_accuracy
    python -m benchmarks.mnist_accuracy --recipe accurate

Each seed is a whole run of the application in a process of its own. The test split is looked at
once, after the last epoch; the validation split, held out of the training images, chose the
recipe.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cyclopts

from benchmarks.results import publish


def main(*, recipe: str | None = None, seeds: int = 3) -> None:
    """Runs the application once for each seed.

    Args:
        recipe: Named recipe; by default the app's own.
        seeds: Number of seeds, counted from 0.
    """
    rows = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "apps.mnist_cnn", "--seed", str(seed)]
            words += ["--recipe", recipe] if recipe else []
            words += ["--run-dir", f"{folder}/run", "--export-dir", f"{folder}/saved_models"]
            subprocess.run(words, check=True)
            report = json.loads(Path(folder, "run", "report.json").read_text())
            log = Path(folder, "run", "log.csv").read_text().splitlines()
        last = dict(zip(log[0].split(","), map(float, log[-1].split(",")), strict=True))
        seconds = report["seconds"]
        rows.append(
            {
                "seed": seed,
                "test_accuracy": report["metrics"]["test_accuracy"],
                "val_accuracy": last["val_accuracy"],
                "fit_seconds": seconds["fit"],
                "other_seconds": seconds["import"] + seconds["total"] - seconds["fit"],
            }
        )
    accuracies = [row["test_accuracy"] for row in rows]
    publish(
        f"mnist_accuracy_{recipe or 'default'}",
        rows,
        data=report["data"]["source"],
        parameters=report["parameters"],
        config=report["config"],
        architecture=report["architecture"],
        test_accuracy_mean=statistics.mean(accuracies),
        test_accuracy_std=statistics.stdev(accuracies) if seeds > 1 else 0.0,
    )


if __name__ == "__main__":
    cyclopts.run(main)
