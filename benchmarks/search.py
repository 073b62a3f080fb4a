"""Does a search find a better recipe than random search does?

    python -m benchmarks.search
    python -m benchmarks.search --app binary_addition --seeds 3 --trials 30 --minutes 10
    python -m benchmarks.search --app regression --seeds 2 --trials 100 -- --dataset diabetes

Every seed searches with each sampler. They are compared after all trials, and at equal time: when
the first of them had ended. The problem is made up and trains nothing, and its trials count as
equally long; or it is an application, whose hopeless trials are stopped early. The memory is that
of the process that searches, without those of the trials.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import cyclopts
import optuna
import psutil

from benchmarks.results import ROOT, publish
from suite.studies.shared_study import NAME, SamplerName, open_storage, open_study
from suite.studies.spaces import Choices, Range, Space

JOURNAL = "search.journal"
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
# Of a small network on a table: the spaces of the problem that is made up.
SPACES: Mapping[str, Space] = {
    "learning_rate": Range(low=1e-4, high=1.0, whole=False),
    "weight_decay": Range(low=1e-3, high=10.0, whole=False),
    "units": Range(low=4, high=512, whole=True),
    "dropout": Range(low=0.0, high=0.5, whole=False),
    "activation": Choices({name: name for name in ("relu", "tanh", "gelu", "sigmoid")}),
    "normalization": Choices({name: name for name in ("none", "batch", "layer")}),
}


def made_up(values: Mapping[str, Any]) -> float:
    """An error of a recipe, at least 0: the further from the best values, the larger.

    Wide networks want small learning rates, and each activation costs something of its own.
    """
    learning_rate = math.log10(values["learning_rate"]) + 1.5 + 0.5 * math.log10(values["units"])
    terms = (
        learning_rate,
        0.5 * (math.log10(values["weight_decay"]) - 0.3),
        0.5 * (math.log2(values["units"]) - 7) / 3,
        values["dropout"] - 0.2,
    )
    wrong = {"relu": 0.1, "tanh": 0.0, "gelu": 0.02, "sigmoid": 0.3}[values["activation"]]
    return sum(term**2 for term in terms) + wrong + 0.1 * (values["normalization"] != "batch")


def search_made_up(sampler: SamplerName, seed: int, trials: int, folder: Path) -> None:
    """Searches the made-up problem, by the loop of `suite.studies.search`."""
    with open_study(
        str(folder / JOURNAL),
        lambda: folder,
        larger_is_better=False,
        spaces=SPACES,
        record={"app": "made_up"},
        first={},
    ) as study:
        while asked := study.ask(sampler, seed, trials):
            study.tell(asked.number, made_up(asked.values), None)


def search_app(command: Sequence[str], folder: Path) -> list[int]:
    """Searches an application, and returns the bytes that its process held every second."""
    command = [sys.executable, "-m", *command, "--storage", str(folder / JOURNAL)]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)})
    memory = []
    while process.poll() is None:
        memory.append(psutil.Process(process.pid).memory_info().rss)
        time.sleep(1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return memory


def reached(folder: Path) -> tuple[bool, list[tuple[float, float]]]:
    """Whether the objective is maximised; and the best so far at the end of every trial.

    Returns:
        The direction, and rows of seconds since the first trial began and the best objective.
    """
    study = optuna.load_study(study_name=NAME, storage=open_storage(str(folder / JOURNAL)))
    larger = study.direction == optuna.study.StudyDirection.MAXIMIZE
    begin = min(trial.datetime_start for trial in study.trials)
    rows: list[tuple[float, float]] = []
    for trial in sorted(study.trials, key=lambda trial: trial.datetime_complete):
        if trial.state == optuna.trial.TrialState.COMPLETE:
            values = [trial.value, *(best for _, best in rows[-1:])]
            seconds = (trial.datetime_complete - begin).total_seconds()
            rows.append((seconds, max(values) if larger else min(values)))
    return larger, rows


def megabytes(samples: Sequence[int], share: float) -> float | None:
    """The memory after a share of the time; None where it was not sampled."""
    return samples[int(share * len(samples))] / 1e6 if samples else None


def main(
    *flags: str,
    app: str | None = None,
    seeds: int = 10,
    trials: int = 40,
    minutes: float = 20,
) -> None:
    """Compares the samplers.

    Args:
        flags: Of the application's command, after `--`; such as `-- --epochs 3`.
        app: The application; by default the problem that is made up.
        seeds: Number of searches with each sampler.
        trials: Of each search.
        minutes: After which a search of the application begins no trial any more.
    """
    rows = []
    better = {"tpe": 0, "evolution": 0}
    for seed in range(seeds):
        reached_by, memory = {}, {}
        for sampler in SAMPLERS:
            with tempfile.TemporaryDirectory() as folder:
                if app is None:
                    search_made_up(sampler, seed, trials, Path(folder))
                else:
                    command = [f"apps.{app}", "search", "--sampler", sampler, "--seed", str(seed)]
                    command += ["--trials", str(trials), "--minutes", str(minutes), *flags]
                    memory[sampler] = search_app(command, Path(folder))
                larger, reached_by[sampler] = reached(Path(folder))
        end = min(table[-1][0] for table in reached_by.values()) if memory else math.inf
        # A search that has nothing yet is worse than any other.
        nothing = -math.inf if larger else math.inf
        best = {
            sampler: [best for seconds, best in [(0.0, nothing), *table] if seconds <= end][-1]
            for sampler, table in reached_by.items()
        }
        for sampler, table in reached_by.items():
            if sampler != "random":
                is_better = (
                    best[sampler] > best["random"] if larger else best[sampler] < best["random"]
                )
                better[sampler] += is_better
            samples = memory.get(sampler, [])
            rows.append(
                {
                    "sampler": sampler,
                    "seed": seed,
                    "best": table[-1][1],
                    "best_at_equal_time": best[sampler],
                    "seconds": table[-1][0],
                    # Before the first trial there are imports, and after the last one figures.
                    "megabytes_after_a_fifth": megabytes(samples, 0.2),
                    "megabytes_before_the_end": megabytes(samples, 0.9),
                }
            )
    publish(
        f"search_{app}" if app else "search",
        rows,
        trials=trials,
        minutes=minutes,
        flags=flags,
        seeds=seeds,
        better_than_random=better,
    )


if __name__ == "__main__":
    cyclopts.run(main)
