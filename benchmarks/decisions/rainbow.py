"""What does every extension of deep Q-learning bring, alone and all together?

    python -m benchmarks.decisions.rainbow
    python -m benchmarks.decisions.rainbow --seeds 1 --environment Acrobot-v1

Deep Q-learning as it was first published, `--recipe first`, is trained with every extension of
Rainbow, and with all of them; nothing else differs, and nothing was tuned for any of them. The
return after each epoch is the mean of 100 episodes without exploring. Its mean over all epochs says
how soon it was learnt, its lowest over the last half how steadily it was kept.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import run_app

CARTPOLE = "CartPole-v1"
VARIANTS = {
    "as first published": "",
    "double": "--double",
    "dueling": "--dueling",
    "n-step": "--n-step 3",
    "prioritized": "--prioritized",
    "noisy": "--noisy --initial-epsilon 0 --epsilon 0",
    "distributional": "--distributional",
    "all": "--double --dueling --n-step 3 --prioritized --noisy --initial-epsilon 0 --epsilon 0 "
    "--distributional",
}


def returns_of_epochs(seed: int, flags: Sequence[str]) -> dict[str, Any]:
    """Trains in a process of its own: the returns after the epochs, and the cost."""
    flags = ["--validation-episodes", "100", *flags]
    with run_app("dqn", *flags, seed=seed, recipe="first") as run:
        metrics, returns = run.report["metrics"], [row["val_return"] for row in run.log]
    return {
        "return_mean_of_epochs": statistics.mean(returns),
        "lowest_of_the_last_half": min(returns[len(returns) // 2 :]),
        "return_at_the_end": metrics["eval_return_mean"],
        "steps_to_solve": metrics.get("env_steps_to_solve"),
        "steps_per_second": metrics["env_steps_per_second"],
    }


def main(*, seeds: int = 5, environment: str = CARTPOLE) -> None:
    """Trains all variants.

    Args:
        seeds: Number of seeds, counted from 0.
        environment: What is played.
    """
    rows = []
    for seed in range(seeds):
        for name, words in VARIANTS.items():
            flags = ["--environment", environment, *words.split()]
            rows.append({"variant": name, "seed": seed, **returns_of_epochs(seed, flags)})
            print(rows[-1], flush=True)
    rows.sort(key=lambda row: list(VARIANTS).index(row["variant"]))
    facts: dict[str, Any] = {}
    for name in VARIANTS:
        of_variant = [row for row in rows if row["variant"] == name]
        returns = [row["return_mean_of_epochs"] for row in of_variant]
        facts[f"solved by {name}"] = sum(row["steps_to_solve"] is not None for row in of_variant)
        facts[f"return of {name}"] = statistics.mean(returns)
    name = "rainbow" if environment == CARTPOLE else f"rainbow_{environment}"
    publish(name, rows, environment=environment, seeds=seeds, **facts)


if __name__ == "__main__":
    cyclopts.run(main)
