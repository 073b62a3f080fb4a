"""What returns does deep Q-learning end with on other tasks, here and by Stable-Baselines3?

    pip install '.[benchmark]' 'gymnasium[box2d]'
    python -m benchmarks.decisions.dqn_tasks                  # the tasks that the zoo has, too
    python -m benchmarks.decisions.dqn_tasks --task lunar_lander --seeds 1
    pip install minatar
    python -m benchmarks.decisions.dqn_tasks --task minatar_breakout --seeds 1   # an hour, no peer

Ours is the application's recipe of that name. The peer is Stable-Baselines3's DQN with the settings
and the steps of its zoo (https://github.com/DLR-RM/rl-baselines3-zoo), where it has any. Both are
judged once, at the end, by the mean return of the same 100 episodes without exploring, with the
weights that did best in other episodes in the course of the training: ours after its epochs, the
peer 20 times. Steps and seconds are as many as each takes. Each seed is a process of its own.
"""

import json
import statistics
import time
from typing import Literal

import cyclopts

from benchmarks.decisions.dqn import ZOO, ours, peer
from benchmarks.results import publish
from benchmarks.turns import output_of

Task = Literal["lunar_lander", "mountain_car", "minatar_breakout", "minatar_space_invaders", "pong"]
WITH_A_PEER: tuple[Task, ...] = ("mountain_car", "lunar_lander")


def main(*, task: Task | None = None, seeds: int = 3, only: int | None = None) -> None:
    """Measures both.

    Args:
        task: Measure this one only; by default those with a peer.
        seeds: Number of seeds, counted from 0.
        only: Measure the peer with this seed, and print the result as JSON.
    """
    if only is not None and task is not None:
        print(json.dumps(peer(task, only)))
        return
    columns = (
        "return_at_the_end",
        "steps_per_second",
        "env_steps",
        "seconds_of_the_process",
        "returns_of_epochs",
    )
    for name in [task] if task else WITH_A_PEER:
        rows = []
        for seed in range(seeds):
            results = {"ours": ours(seed, ["--recipe", name])}
            if name in ZOO:
                started = time.perf_counter()
                result = output_of(
                    "benchmarks.decisions.dqn_tasks", "--task", name, "--only", str(seed)
                )
                result["seconds_of_the_process"] = time.perf_counter() - started
                results["Stable-Baselines3"] = result
            for who, result in results.items():
                of_seed = {column: result[column] for column in columns}
                rows.append({"contestant": who, "seed": seed, **of_seed})
                print(rows[-1])
        returns = {
            who: [row["return_at_the_end"] for row in rows if row["contestant"] == who]
            for who in dict.fromkeys(row["contestant"] for row in rows)
        }
        publish(
            f"dqn_{name}",
            rows,
            **{f"return_mean_of_{who}": statistics.mean(values) for who, values in returns.items()},
        )


if __name__ == "__main__":
    cyclopts.run(main)
