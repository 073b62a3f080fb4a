"""Which gates does Rosenblatt's rule learn, which a hidden layer, and how often?

    python -m benchmarks.foundations.logic_gates

Every gate is learnt from 100 seeds by the default settings. A seed begins with the weights and the
order of the rows that `python -m apps.logic_gates --seed N` begins with. All seeds of a gate
are trained in this process, by one compiled model. The seconds of the commands are those of the
whole process, with Python, its imports, report, figures and export: the median of several.
"""

import statistics
import time
from typing import Any

import cyclopts
import keras

from apps.logic_gates import StopWhenSolved, app
from benchmarks.results import publish
from benchmarks.turns import open_app, run_app
from suite import Run

CASES: tuple[dict[str, Any], ...] = (
    {"unit": "rosenblatt", "gate": "and", "bits": 2},
    {"unit": "rosenblatt", "gate": "or", "bits": 2},
    {"unit": "rosenblatt", "gate": "nand", "bits": 2},
    {"unit": "rosenblatt", "gate": "xor", "bits": 2, "epochs": 30},
    {"unit": "network", "gate": "xor", "bits": 2},
    {"unit": "network", "gate": "xor", "bits": 7},
)
REPEATS = 3  # of a command


def epochs_to_solve(knobs: dict[str, Any], seeds: int) -> list[int | None]:
    """The epochs until all rows are right, for every seed; None where they were not after the last.

    Args:
        knobs: Of the application.
        seeds: Number of seeds, counted from 0.
    """
    recipe = app.recipe(**knobs)
    fitted = open_app(app, recipe, Run(quiet=True))
    model, results = fitted.model, []
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        data = app.data(recipe.config, Run(seed=seed))
        model.set_weights(app.build(**data.model_arguments).get_weights())
        for variable in model.optimizer.variables:
            if variable is not model.optimizer.learning_rate:
                variable.assign(keras.ops.zeros_like(variable))
        history = model.fit(
            data.train(0),
            steps_per_epoch=data.steps_per_epoch,
            epochs=recipe.config.epochs,
            validation_data=data.validation,
            callbacks=[StopWhenSolved()],
            shuffle=False,
            verbose=0,
        ).history
        solved = history["val_accuracy"][-1] == 1
        results.append(len(history["loss"]) if solved else None)
    return results


def seconds_of_command(*flags: str) -> float:
    """The seconds of `python -m apps.logic_gates`, the median of `REPEATS`."""
    seconds = []
    for _ in range(REPEATS):
        with run_app("logic_gates", *flags) as run:
            seconds.append(run.seconds)
    return statistics.median(seconds)


def main(*, seeds: int = 100) -> None:
    """Measures all gates.

    Args:
        seeds: Number of seeds, counted from 0.
    """
    rows = []
    for knobs in CASES:
        started = time.perf_counter()
        results = epochs_to_solve(knobs, seeds)
        solved = [epochs for epochs in results if epochs is not None]
        rows.append(
            {
                "case": f"{knobs['unit']}: {knobs['gate']} of {knobs['bits']} bits",
                "solved": len(solved),
                "median_epochs": statistics.median(solved) if solved else 0,
                "most_epochs": max(solved, default=0),
                "seconds": time.perf_counter() - started,
            }
        )
        print(rows[-1], flush=True)
    publish(
        "logic_gates",
        rows,
        seeds=seeds,
        seconds_of_xor=seconds_of_command(),
        seconds_of_parity=seconds_of_command("--recipe", "parity"),
        seconds_of_rosenblatt=seconds_of_command("--recipe", "rosenblatt"),
    )


if __name__ == "__main__":
    cyclopts.run(main)
