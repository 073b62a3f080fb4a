"""How probable does `apps.boltzmann` find binarised MNIST, and how well is that known?

    python -m benchmarks.foundations.boltzmann exact
    python -m benchmarks.foundations.boltzmann mnist

`exact` trains a machine of 16 hidden units, and compares the log likelihood by annealed importance
sampling with that by the sum over all states, several times. `mnist` trains `--recipe best`, 500
hidden units, and reports the mean log likelihood of the 10,000 test images in nats, by annealed
importance sampling in float64, beside the seconds of `fit`.
"""

import tempfile
from pathlib import Path
from typing import Any

import cyclopts

from benchmarks.results import publish

commands = cyclopts.App()


def trained_on(data: str, recipe: Any, seed: int = 0) -> Any:
    """The training of a recipe, with a report."""
    from apps.boltzmann import app
    from suite import Run, train

    with tempfile.TemporaryDirectory() as folder:
        places = {"run_dir": Path(folder, "run"), "export_dir": Path(folder, "exports")}
        run = Run(data=data, seed=seed, quiet=True, figures=False, **places)
        return train(app, recipe, run)


@commands.command
def exact(*, data: str = "tfds", repeats: int = 5, steps: int = 10_000, chains: int = 500) -> None:
    """Compares the estimate of the partition function with the sum.

    Args:
        data: Where the digits come from, as in training.
        repeats: Estimates, with seeds counted from 0.
        steps: Of the annealing.
        chains: Of the annealing.
    """
    from apps.boltzmann import app, log_odds
    from suite.app import Fitted
    from suite.memories.boltzmann import machines_of
    from suite.memories.partition import (
        Parameters,
        estimated_log_partition,
        exact_log_partition,
    )

    recipe = app.recipe()
    trained = trained_on(data, recipe)
    fitted = Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=recipe.config,
        folder=trained.folder,
    )
    [network] = trained.networks.values()
    [machine] = machines_of(network)
    parameters, base = Parameters.of(machine), log_odds(fitted, 0)
    log_partition = exact_log_partition(parameters)
    rows = []
    for seed in range(repeats):
        estimate, error = estimated_log_partition(
            parameters, base, steps=steps, chains=chains, seed=seed
        )
        rows.append({"seed": seed, "difference": estimate - log_partition, "error": error})
    publish(
        "boltzmann_exact",
        rows,
        hidden_units=machine.units,
        steps=steps,
        chains=chains,
        log_partition=log_partition,
        test_log_likelihood=trained.metrics["test_log_likelihood"],
        largest_difference=max(abs(row["difference"]) for row in rows),
    )


@commands.command
def mnist(*, recipe: str = "best", data: str = "tfds", seed: int = 0) -> None:
    """Trains a recipe on MNIST, and judges it.

    Args:
        recipe: Its name.
        data: Where the digits come from, as in training.
        seed: Of the training.
    """
    trained = trained_on(data, recipe, seed)
    publish(
        "boltzmann_mnist",
        [
            {
                "recipe": recipe,
                "test_log_likelihood": trained.metrics["test_log_likelihood"],
                "log_partition_error": trained.metrics["log_partition_error"],
                "seconds_of_fit": trained.report["seconds"]["fit"],
                "seconds_of_evaluation": trained.report["seconds"]["evaluate"],
                "examples_per_second": trained.report["examples_per_second"],
            }
        ],
        data=trained.data.description.source,
        seed=seed,
    )


if __name__ == "__main__":
    commands()
