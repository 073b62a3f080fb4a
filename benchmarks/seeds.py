"""How good is a recipe of an application, over several seeds?

    python -m benchmarks.seeds mnist_cnn
    python -m benchmarks.seeds mnist_cnn --recipe accurate
    python -m benchmarks.seeds iris --workers 1 2
    python -m benchmarks.seeds resnet --recipe fast --precision mixed_bfloat16

Each seed is a whole run of the application in a process of its own, one after the other, or with
`--jobs` side by side, which divides the cores: seconds are then those of a share. The test split is
used once, after the last epoch; the validation split, held out of the training images, chose the
recipe.
"""

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from benchmarks.results import publish
from benchmarks.turns import on_shares, run_app


def run_seeds(
    app: str,
    recipe: str | None,
    seeds: int,
    workers: int = 1,
    flags: Sequence[str] = (),
    jobs: int = 1,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Runs an application once for each seed, each in a process of its own.

    Args:
        app: Name of the application.
        recipe: Named recipe; None for the application's own.
        seeds: Number of seeds, counted from 0.
        workers: Processes that train together, as a cluster on this machine.
        flags: More flags of the command.
        jobs: Seeds that are run at a time, each on its share of the cores.

    Returns:
        A row for each seed: the test metrics, the validation metrics of the last epoch, and the
        seconds; and the report of the last run.
    """

    def results_of(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        with run_app(app, *flags, seed=seed, recipe=recipe, workers=workers, quiet=False) as run:
            report, last = run.report, run.log[-1] if run.log else {}
        seconds = report["seconds"]
        row = {
            "seed": seed,
            "examples_per_second": report["examples_per_second"],
            **_numbers(report["metrics"]),
            **{name: value for name, value in last.items() if name.startswith("val_")},
            "fit_seconds": seconds["fit"],
            "other_seconds": seconds["import"] + seconds["total"] - seconds["fit"],
        }
        return row, report

    results = list(on_shares([partial(results_of, seed) for seed in range(seeds)], jobs))
    return [row for row, _ in results], results[-1][1]


def main(
    app: str,
    /,
    *,
    recipe: str | None = None,
    seeds: int = 3,
    workers: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = (1,),
    precision: str = "float32",
    epochs: int | None = None,
    dataset: str | None = None,
    data: Path | None = None,
    jobs: int = 1,
) -> None:
    """Measures a recipe.

    Args:
        app: Name of the application.
        recipe: Named recipe; by default the app's own.
        seeds: Number of seeds, counted from 0.
        workers: Processes that train together, as a cluster on this machine; a record for each
            number.
        precision: Dtype policy of the layers.
        epochs: Epochs; by default the recipe's.
        dataset: Dataset; by default the recipe's.
        data: A file or folder of examples, in place of a dataset.
        jobs: Seeds that are run at a time, each on its share of the cores.
    """
    flags = ["--precision", precision]
    flags += ["--epochs", str(epochs)] if epochs else []
    flags += ["--dataset", dataset] if dataset else []
    flags += ["--data", str(data)] if data else []
    for processes in workers:
        rows, report = run_seeds(app, recipe, seeds, processes, flags, jobs)
        columns = {name: [row[name] for row in rows] for name in _numbers(report["metrics"])}
        record = f"seeds_{app}_{recipe or 'default'}"
        record += f"_{dataset}" if dataset else ""
        record += f"_{data.stem}" if data else ""
        record += f"_{epochs}_epochs" if epochs else ""
        record += f"_{jobs}_jobs" if jobs > 1 else ""
        publish(
            record if processes == 1 else f"{record}_{processes}_workers",
            rows,
            data=data.name if data else report["data"]["source"],
            parameters=report["parameters"],
            config=report["config"],
            architecture=report["architecture"],
            precision=precision,
            jobs=jobs,
            **{f"{name}_mean": statistics.mean(column) for name, column in columns.items()},
            **{
                f"{name}_std": statistics.stdev(column) if seeds > 1 else 0.0
                for name, column in columns.items()
            },
        )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics without tables, such as those by class, and without what is not available."""
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


if __name__ == "__main__":
    cyclopts.run(main)
