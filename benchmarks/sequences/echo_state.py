"""How far does `apps.echo_state` see into the future of Mackey and Glass's chaotic series?

    python -m benchmarks.sequences.echo_state

`--recipe large` is trained and tested on the series with a delay of 17, from several seeds, each a
process of its own. NRMSE is that after 84 steps of forecast, over all test windows. The seconds are
those of the whole `fit`, with the choice of the penalty, and those of the data.
"""

import json
import statistics
import tempfile
from pathlib import Path

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import output_of


def measured(recipe: str, seed: int) -> dict[str, float]:
    """Errors and seconds of one training."""
    from apps.echo_state import app
    from suite import Run, train

    with tempfile.TemporaryDirectory() as folder:
        places = {"run_dir": Path(folder, "run"), "export_dir": Path(folder, "exports")}
        trained = train(app, recipe, Run(seed=seed, quiet=True, figures=False, **places))
    seconds = trained.report["seconds"]
    return {
        "nrmse_84": trained.metrics["test_nrmse"],
        "nrmse_1": trained.metrics["test_nrmse_next"],
        "seconds_of_fit": seconds["fit"],
        "seconds_of_data": seconds["data"],
        "windows": trained.data.description.test,
    }


def main(*, recipe: str = "large", repeats: int = 5, seed: int | None = None) -> None:
    """Measures a recipe.

    Args:
        recipe: Its name.
        repeats: Trainings, with seeds counted from 0.
        seed: Measure this seed only, and print the results as JSON.
    """
    if seed is not None:
        print(json.dumps(measured(recipe, seed)))
        return
    rows = []
    for number in range(repeats):
        arguments = ["--recipe", recipe, "--seed", str(number)]
        rows.append({"seed": number, **output_of("benchmarks.sequences.echo_state", *arguments)})
        print(rows[-1], flush=True)
    publish(
        "echo_state",
        rows,
        recipe=recipe,
        median_nrmse_84=statistics.median(row["nrmse_84"] for row in rows),
        largest_nrmse_84=max(row["nrmse_84"] for row in rows),
        most_seconds=max(row["seconds_of_fit"] for row in rows),
    )


if __name__ == "__main__":
    cyclopts.run(main)
