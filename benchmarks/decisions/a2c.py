"""How soon is CartPole solved, here and by Stable-Baselines3?

    pip install '.[benchmark]'
    python -m benchmarks.decisions.a2c
    python -m benchmarks.decisions.a2c --recipe efficient     # few steps instead of few seconds
    python -m benchmarks.decisions.a2c --question speed

Solved is a mean return of 475 over 100 episodes without exploring, which are measured from time
to time while the clock stands still: ours after each epoch, the peer after each 2,500 steps. The
clock starts with the first step of an environment: what ours compiles before does not count, and
the seconds of the whole processes, imports and all, stand beside. The peer is Stable-Baselines3's
A2C with the settings that its zoo found for CartPole (8 environments, no reward for entropy),
stopped at 500,000 steps. Each seed is a process of its own; both take turns.

The question `speed` is how many steps of environments a second both play and learn from: ours by
its default recipe, with 128 copies; the peer with the zoo's 8 copies and with 128 copies and as
many steps of each for an update as ours, with one thread and with two.
"""

import json
import statistics
import time
from typing import Any, Literal

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import output_of, run_app

SPEED_STEPS = 200_000  # of the peer, where its speed is measured
PEERS = {f"{copies} x {threads}": (copies, threads) for copies in (8, 128) for threads in (1, 2)}
MOST_STEPS, STEPS_BETWEEN_EVALUATIONS, SOLVED_AT = 500_000, 2_500, 475


def peer(seed: int) -> dict[str, Any]:
    """Trains Stable-Baselines3's A2C until CartPole is solved, or for `MOST_STEPS`.

    Returns:
        Steps a second, and the seconds and steps to the solution, or None without one.
    """
    from stable_baselines3 import A2C

    from suite.rl.environments import Environments
    from suite.rl.episodes import EPISODES
    from suite.rl.evaluation import returns_of

    model = A2C("MlpPolicy", copies_of_cartpole(8, seed), ent_coef=0.0, seed=seed)
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


def copies_of_cartpole(count: int, seed: int) -> Any:
    """CartPole's copies for the peer; as ours, they are not checked in every step."""
    from stable_baselines3.common.env_util import make_vec_env

    return make_vec_env("CartPole-v1", count, seed, env_kwargs={"disable_env_checker": True})


def speed_of_peer(copies: int, threads: int, seed: int) -> float:
    """Steps a second of the peer's playing and learning.

    Args:
        copies: Environments that are played side by side; with more than the zoo's 8, an update
            takes as many steps of each as one of ours.
        threads: Threads of PyTorch.
        seed: Decides the weights, the actions and the episodes.
    """
    import torch
    from stable_baselines3 import A2C

    from apps.a2c import app

    torch.set_num_threads(threads)
    knobs = {} if copies == 8 else {"n_steps": app.config().rollout_length}
    environments = copies_of_cartpole(copies, seed)
    model = A2C("MlpPolicy", environments, ent_coef=0.0, seed=seed, **knobs)
    started = time.perf_counter()
    model.learn(SPEED_STEPS)
    return model.num_timesteps / (time.perf_counter() - started)


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


def compare_speeds(seeds: int) -> None:
    """Measures ours and the peers, in turns."""
    rows = []
    for seed in range(seeds):
        rates = {"ours": ours(seed, None)["steps_per_second"]}
        for name in PEERS:
            arguments = ("--question", "speed", "--contestant", name, "--only", str(seed))
            rates[f"Stable-Baselines3, {name}"] = output_of("benchmarks.decisions.a2c", *arguments)
        rows += [
            {"contestant": name, "seed": seed, "steps_per_second": rate}
            for name, rate in rates.items()
        ]
        print(rates, flush=True)
    medians = {
        name: statistics.median(r["steps_per_second"] for r in rows if r["contestant"] == name)
        for name in rates
    }
    best = max(rate for name, rate in medians.items() if name != "ours")
    publish("a2c_speed", rows, ratio=medians["ours"] / best)


def main(
    *,
    seeds: int | None = None,
    recipe: str | None = None,
    question: Literal["solve", "speed"] = "solve",
    contestant: str = "8 x 1",
    only: int | None = None,
) -> None:
    """Measures both, in turns.

    Args:
        seeds: Number of seeds, counted from 0; by default 10, or 3 for the speed.
        recipe: Of ours; by default the application's own.
        question: Whether it is solved, or how fast both are.
        contestant: The copies and threads of the peer whose speed is measured.
        only: Measure the peer with this seed, and print the result as JSON.
    """
    if only is not None:
        solves = question == "solve"
        print(json.dumps(peer(only) if solves else speed_of_peer(*PEERS[contestant], only)))
        return
    if question == "speed":
        compare_speeds(seeds or 3)
        return
    seeds = seeds or 10
    rows = []
    for seed in range(seeds):
        rows.append({"contestant": "ours", "seed": seed, **ours(seed, recipe)})
        started = time.perf_counter()
        result = output_of("benchmarks.decisions.a2c", "--only", str(seed))
        others = {
            "return_at_the_end": None,
            "env_steps": None,
            "seconds_of_the_process": time.perf_counter() - started,
        }
        rows.append({"contestant": "Stable-Baselines3", "seed": seed, **result, **others})
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
