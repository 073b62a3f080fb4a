"""How soon is CartPole solved, here and by Stable-Baselines3?

    pip install '.[benchmark]'
    python -m benchmarks.decisions.a2c
    python -m benchmarks.decisions.a2c --recipe efficient     # few steps instead of few seconds

Solved is a mean return of 475 over 100 episodes without exploring, which are measured from time
to time while the clock stands still: ours after each epoch, the peer after each 2,500 steps. The
clock starts with the first step of an environment. The peer is Stable-Baselines3's A2C with the
settings that its zoo found for CartPole (8 environments, no reward for entropy), stopped at
500,000 steps. Each seed is a process of its own; both take turns.
"""

import json
import statistics
import time
from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import output_of, run_app

MOST_STEPS, STEPS_BETWEEN_EVALUATIONS, SOLVED_AT = 500_000, 2_500, 475


def peer(seed: int) -> dict[str, Any]:
    """Trains Stable-Baselines3's A2C until CartPole is solved, or for `MOST_STEPS`.

    Returns:
        Steps a second, and the seconds and steps to the solution, or None without one.
    """
    from stable_baselines3 import A2C
    from stable_baselines3.common.env_util import make_vec_env

    from suite.rl.environments import Environments
    from suite.rl.episodes import EPISODES
    from suite.rl.evaluation import returns_of

    model = A2C("MlpPolicy", make_vec_env("CartPole-v1", 8, seed), ent_coef=0.0, seed=seed)
    environments = Environments("CartPole-v1", EPISODES)
    seconds, steps, mean = 0.0, 0, 0.0
    while mean < SOLVED_AT and steps < MOST_STEPS:
        started = time.perf_counter()
        model.learn(STEPS_BETWEEN_EVALUATIONS, reset_num_timesteps=False)
        seconds += time.perf_counter() - started
        steps = model.num_timesteps
        returns = returns_of(
            lambda observations: model.predict(observations, deterministic=True)[0],
            environments,
            seed,
        )
        mean = float(returns.mean())
    return {
        "steps_per_second": steps / seconds,
        "seconds_to_solve": seconds if mean >= SOLVED_AT else None,
        "steps_to_solve": steps if mean >= SOLVED_AT else None,
    }


def ours(seed: int, recipe: str | None) -> dict[str, Any]:
    """Runs the application in a process of its own, and returns what its report says."""
    with run_app("a2c", seed=seed, recipe=recipe) as run:
        metrics = run.report["metrics"]
    return {
        "steps_per_second": metrics["env_steps_per_second"],
        "seconds_to_solve": metrics.get("seconds_to_solve"),
        "steps_to_solve": metrics.get("env_steps_to_solve"),
        "return_at_the_end": metrics["eval_return_mean"],
        "env_steps": metrics["env_steps"],
        "seconds_of_the_process": run.seconds,
    }


def main(*, seeds: int = 10, recipe: str | None = None, only: int | None = None) -> None:
    """Measures both, in turns.

    Args:
        seeds: Number of seeds, counted from 0.
        recipe: Of ours; by default the application's own.
        only: Measure the peer with this seed, and print the result as JSON.
    """
    if only is not None:
        print(json.dumps(peer(only)))
        return
    rows = []
    for seed in range(seeds):
        rows.append({"contestant": "ours", "seed": seed, **ours(seed, recipe)})
        result = output_of("benchmarks.decisions.a2c", "--only", str(seed))
        missing = {"return_at_the_end": None, "env_steps": None, "seconds_of_the_process": None}
        rows.append({"contestant": "Stable-Baselines3", "seed": seed, **result, **missing})
        print(*rows[-2:], sep="\n")
    our_columns, peer_columns = (
        {
            name: [row[name] for row in rows if row["contestant"] == who]
            for name in ("steps_per_second", "seconds_to_solve", "steps_to_solve")
        }
        for who in ("ours", "Stable-Baselines3")
    )

    def median(values: list[float | None]) -> float:
        return statistics.median(float("inf") if value is None else value for value in values)

    publish(
        f"a2c_{recipe}" if recipe else "a2c",
        rows,
        **{
            f"ratio_of_{name}": median(our_columns[name]) / median(peer_columns[name])
            for name in our_columns
        },
        solved=sum(value is not None for value in our_columns["seconds_to_solve"]),
        solved_by_the_peer=sum(value is not None for value in peer_columns["seconds_to_solve"]),
    )


if __name__ == "__main__":
    cyclopts.run(main)
