"""Are grid worlds solved, how exactly, and how fast is learning?

    python -m benchmarks.decisions.grid_world

Every method that learns, in all seeds, with the recipe of the task but for what `knobs_of` changes;
then dynamic programming. All returns are exact: computed from the probabilities of the environment,
not from episodes. A policy is right if it brings at most 0.001 less than the best policy does
within the limit of steps. Policies that do not depend on the steps left, with a discount close to
1, stand beside: on FrozenLake they bring less, whatever they learn.

The peer is the loop that tutorials have: one environment of Gymnasium, a table of NumPy, one update
of Q-learning after each step.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import gymnasium
import numpy as np

from apps.grid_world import app
from benchmarks.results import publish
from suite import Run, train

TASKS = ("frozen_lake", "frozen_lake_8x8", "taxi", "cliff", "blackjack")
METHODS = ("q_learning", "double_q_learning", "expected_sarsa", "sarsa", "monte_carlo")
SEVERAL = cyclopts.Parameter(consume_multiple=True)
NEAR = 1e-3
PEER_STEPS = 100_000
SARSA: dict[str, dict[str, Any]] = {
    "cliff": {"epsilon": 0.0},
    "taxi": {"epsilon": 0.0, "initial_value": 20.0},  # the largest reward
    "frozen_lake_8x8": {"epsilon": 0.05, "learning_rate_decay": 0.5, "epochs": 30},
}
DOUBLE: dict[str, dict[str, Any]] = {"cliff": {"learning_rate_decay": 0.0, "epochs": 4}}
MONTE_CARLO: dict[str, dict[str, Any]] = {
    "frozen_lake": {"timed": False},
    "frozen_lake_8x8": {"timed": False},
    "taxi": {"learning_rate_decay": 0.65, "epochs": 30},
    "cliff": {"epsilon": 1.0, "epochs": 30},
}
PLANNED: dict[str, dict[str, Any]] = {
    "value_iteration": {"method": "value_iteration", "timed": True, "discount": 1.0},
    "policy_iteration": {"method": "policy_iteration", "timed": True, "discount": 1.0},
    # The steps left have no part in it.
    "stationary": {"method": "policy_iteration", "timed": False, "discount": 0.999_999},
}


def recipe_of(task: str, **knobs: Any) -> Any:
    """The recipe of a task; the default one is FrozenLake's."""
    return app.recipe(None if task == "frozen_lake" else task, **knobs)


def knobs_of(task: str, method: str) -> dict[str, Any]:
    """What differs from the recipe for a method.

    Sarsa and Monte Carlo value what they do, so they must stop exploring in the end. Where nothing
    is by chance, Sarsa need not explore at all: of a table that begins above all values, every
    action that was not yet taken seems the best. With many steps left, the values of the large lake
    follow those with fewer late: larger moves, for longer, make up for it. Double Q-learning moves
    one of two tables at a time, so that the cliff's few epochs are doubled, and its moves stay
    large, since nothing there is by chance. Monte Carlo needs the mean of many episodes, and those
    of the cliff never end without exploring; what it learns with so many steps left, it learns from
    no other episodes, so that on the lakes its values do not depend on them.
    """
    if method == "q_learning":
        return {}
    if method == "double_q_learning":
        return DOUBLE.get(task, {})
    if method == "monte_carlo":
        return MONTE_CARLO.get(task, {}) | {"final_epsilon": 0.0}
    return SARSA.get(task, {"epsilon": 0.05}) | {"final_epsilon": 0.0}


def measure(task: str, seed: int = 0, **knobs: Any) -> dict[str, Any]:
    """Trains once, and returns what its report says."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            seed=seed,
            quiet=True,
            figures=False,
            run_dir=Path(folder, "run"),
            export_dir=Path(folder, "exports"),
        )
        report = train(app, recipe_of(task, **knobs), run).report
    names = ("eval_return", "best_return", "eval_gap")
    return {name: report["metrics"][name] for name in names} | {
        "steps_per_second": report["examples_per_second"],
        "fit_seconds": report["seconds"]["fit"],
    }


def peer(name: str = "FrozenLake-v1") -> float:
    """Learning steps a second of one environment and a table of NumPy, by epsilon-greedy."""
    environment, random = gymnasium.make(name), np.random.default_rng(0)
    table = np.zeros((environment.observation_space.n, environment.action_space.n))
    state, _ = environment.reset(seed=0)
    started = time.perf_counter()
    for _ in range(PEER_STEPS):
        explores = random.random() < 0.1
        action = int(random.integers(table.shape[1]) if explores else table[state].argmax())
        following, reward, terminated, truncated, _ = environment.step(action)
        target = reward + 0.99 * (not terminated) * table[following].max()
        table[state, action] += 0.1 * (target - table[state, action])
        state = environment.reset()[0] if terminated or truncated else following
    return PEER_STEPS / (time.perf_counter() - started)


def main(
    *,
    seeds: int = 10,
    tasks: Annotated[tuple[str, ...], SEVERAL] = TASKS,
    methods: Annotated[tuple[str, ...], SEVERAL] = METHODS,
) -> None:
    """Measures dynamic programming, then learning.

    Args:
        seeds: Number of seeds, counted from 0.
        tasks: Recipes of `apps.grid_world`, and `frozen_lake` for the default one.
        methods: Methods that learn.
    """
    peer_rates = []
    for task in tasks:
        rows = []
        for method in methods:
            knobs = knobs_of(task, method)
            results = []
            for seed in range(seeds):
                results.append(measure(task, seed, method=method, **knobs))
                if method == methods[0]:  # in turns
                    peer_rates.append(peer())
            gaps = [result["eval_gap"] for result in results]
            rows.append(
                {
                    "what": f"{task}: {method}",
                    "eval_return": statistics.median(r["eval_return"] for r in results),
                    "best_return": results[0]["best_return"],
                    "largest_gap": max(gaps),
                    "gaps": gaps,
                    "right": sum(gap <= NEAR for gap in gaps),
                    "steps_per_second": statistics.median(r["steps_per_second"] for r in results),
                    "fit_seconds": statistics.median(r["fit_seconds"] for r in results),
                }
            )
            print(rows[-1])
        for name, knobs in PLANNED.items():
            result = measure(task, **knobs)
            rows.append(
                {
                    "what": f"{task}: {name}",
                    "eval_return": result["eval_return"],
                    "best_return": result["best_return"],
                    "largest_gap": result["eval_gap"],
                    "gaps": [result["eval_gap"]],
                    "right": int(result["eval_gap"] <= NEAR),
                    "steps_per_second": None,
                    "fit_seconds": result["fit_seconds"],
                }
            )
            print(rows[-1])
        peer_rate = statistics.median(peer_rates)
        publish(f"grid_world_{task}", rows, seeds=seeds, peer_steps_per_second=peer_rate)


if __name__ == "__main__":
    cyclopts.run(main)
