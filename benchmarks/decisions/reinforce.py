"""What is a baseline worth? CartPole by REINFORCE, without one and with two.

    python -m benchmarks.decisions.reinforce
    python -m benchmarks.decisions.reinforce --seeds 3

All train with the default recipe but for `--baseline`. The variance of an update's gradient is that
of the policy of each epoch, with every baseline on the same episodes; its ratio to that without a
baseline is the geometric mean over the epochs before it is solved, since episodes that all last to
the end have returns without a variance. Solved is a mean return of 475 over the 100 episodes after
an epoch. Each training is a process of its own.
"""

import statistics
from typing import Any

import cyclopts
import numpy as np

from apps.reinforce import BASELINES
from benchmarks.decisions.a2c import SOLVED_AT
from benchmarks.results import publish
from benchmarks.turns import run_app


def main(*, seeds: int = 10) -> None:
    """Measures all baselines.

    Args:
        seeds: Number of seeds, counted from 0.
    """
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        for baseline in BASELINES:
            with run_app("reinforce", "--baseline", baseline, seed=seed) as run:
                metrics, log = run.report["metrics"], run.log
            variances = {
                name: np.array([row[f"gradient_variance_{name}"] for row in log])
                for name in BASELINES
            }
            unsolved = np.cumsum([row["val_return"] >= SOLVED_AT for row in log]) == 0
            ratio = (variances[baseline] / variances["none"])[unsolved]
            rows.append(
                {
                    "baseline": baseline,
                    "seed": seed,
                    "seconds_to_solve": metrics.get("seconds_to_solve"),
                    "steps_to_solve": metrics.get("env_steps_to_solve"),
                    "return_at_the_end": metrics["eval_return_mean"],
                    "ratio_of_variance": float(np.exp(np.log(ratio).mean()))
                    if ratio.size
                    else None,
                }
            )
            print(rows[-1], flush=True)
    facts: dict[str, Any] = {}
    for baseline in BASELINES:
        of_baseline = [row for row in rows if row["baseline"] == baseline]
        facts[f"solved with {baseline}"] = sum(
            row["steps_to_solve"] is not None for row in of_baseline
        )
        facts[f"ratio of variance with {baseline}"] = statistics.median(
            row["ratio_of_variance"] for row in of_baseline if row["ratio_of_variance"] is not None
        )
    publish("reinforce", rows, seeds=seeds, **facts)


if __name__ == "__main__":
    cyclopts.run(main)
