"""How soon is CartPole solved by deep Q-learning, here and by Stable-Baselines3?

    pip install '.[benchmark]'
    python -m benchmarks.decisions.dqn
    python -m benchmarks.decisions.dqn --question speed   # equal networks, batch, ratio of updates

Solved is a mean return of 475 over 100 episodes without exploring, which are measured from time to
time while the clock stands still: ours after each epoch, the peer after each 2,500 steps. The clock
starts with the first step of an environment, which is after TensorFlow has traced the graph; the
seconds of the whole processes stand beside. Ours is judged by the best of its epochs. The peer is
Stable-Baselines3's DQN with the settings, and for the steps, that its zoo found for CartPole. Each
seed is a process of its own; both take turns.

The question of speed has both play and learn with the same network, batch and updates for each step
of an environment, and nothing that the peer lacks: steps a second of the whole training. Networks
are the peer's own, of two layers of 64 units, and that of its zoo, of 256. The peer plays one
environment, as in its zoo, and 16 side by side, as ours, with one thread and with two; the fastest
counts. XLA compiles our updates, within the time that is measured: the peer trains for 50,000
steps, and ours for 320,000, which take as long.
"""

import copy
import json
import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import cyclopts

from benchmarks.decisions.a2c import SOLVED_AT, STEPS_BETWEEN_EVALUATIONS
from benchmarks.results import publish
from benchmarks.turns import output_of, run_app

Question = Literal["solution", "speed"]

# From the zoo (https://github.com/DLR-RM/rl-baselines3-zoo): the environment, the steps, and
# arguments of `DQN`.
ZOO: dict[str, tuple[str, int, dict[str, Any]]] = {
    "cartpole": (
        "CartPole-v1",
        50_000,
        {
            "learning_rate": 2.3e-3,
            "batch_size": 64,
            "buffer_size": 100_000,
            "learning_starts": 1_000,
            "gamma": 0.99,
            "target_update_interval": 10,
            "train_freq": 256,
            "gradient_steps": 128,
            "exploration_fraction": 0.16,
            "exploration_final_eps": 0.04,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
    "lunar_lander": (
        "LunarLander-v3",
        100_000,
        {
            "learning_rate": 6.3e-4,
            "batch_size": 128,
            "buffer_size": 50_000,
            "learning_starts": 0,
            "gamma": 0.99,
            "target_update_interval": 250,
            "train_freq": 4,
            "gradient_steps": -1,
            "exploration_fraction": 0.12,
            "exploration_final_eps": 0.1,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
    "mountain_car": (
        "MountainCar-v0",
        120_000,
        {
            "learning_rate": 4e-3,
            "batch_size": 128,
            "buffer_size": 10_000,
            "learning_starts": 1_000,
            "gamma": 0.98,
            "target_update_interval": 600,
            "train_freq": 16,
            "gradient_steps": 8,
            "exploration_fraction": 0.2,
            "exploration_final_eps": 0.07,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
}
EVALUATIONS = 20  # of the tasks without a return at which they are solved
COPIES = 16
PEERS = {  # copies of the environment, and threads
    f"Stable-Baselines3, {copies} x {threads}": (copies, threads)
    for copies in (1, COPIES)
    for threads in (1, 2)
}
# Ours with the peer's batch and ratio, 128 updates for 256 steps.
LIKE_THE_PEER = (
    f"--xla --no-double --n-step 1 --num-envs {COPIES} --rollout-length 16 --updates 128 "
    "--batch-size 64 --steps-per-epoch 50 --epochs 25 --target-rate 1 --target-period 10 "
    "--replay-size 100000"
)


def peer(
    task: str,
    seed: int,
    between: int | None = None,
    units: int | None = None,
    copies: int = 1,
    threads: int | None = None,
    evaluations: int = EVALUATIONS,
) -> dict[str, Any]:
    """Trains Stable-Baselines3's DQN with the settings of its zoo.

    Args:
        task: A key of `ZOO`.
        seed: Decides the weights, the actions and the episodes.
        between: Steps after which 100 episodes are evaluated, while the clock stands still; the
            training ends when they bring `SOLVED_AT`. None keeps the best of `evaluations` sets of
            weights, by the episodes that choose ours, and judges these at the end.
        units: Units of both hidden layers; by default the zoo's.
        copies: Environments that are played side by side, with the zoo's ratio of updates.
        threads: Threads of PyTorch; by default as many as it chooses.
        evaluations: Sets of weights from which the best is kept.

    Returns:
        Steps a second; the seconds and steps to the solution, or None without one; and the mean
        return of the last evaluation.
    """
    import torch
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    from suite.rl.environments import Environments
    from suite.rl.episodes import EPISODES, TEST_SEED, VALIDATION_SEED
    from suite.rl.evaluation import returns_of

    if threads:
        torch.set_num_threads(threads)
    name, steps, settings = ZOO[task]
    if units:
        settings = settings | {"policy_kwargs": {"net_arch": [units, units]}}
    settings = settings | {"train_freq": settings["train_freq"] // copies}
    # Ours are not checked in every step, either.
    copied = make_vec_env(name, copies, env_kwargs={"disable_env_checker": True})
    model = DQN("MlpPolicy", copied, seed=seed, **settings)
    environments = Environments(name, EPISODES)

    class Judge(BaseCallback):
        """Evaluates the greedy policy, and stops the clock meanwhile."""

        away, mean, best = 0.0, float("-inf"), float("-inf")
        weights: Any = None

        def judge(self, episodes: int) -> None:
            started = time.perf_counter()
            returns = returns_of(
                lambda observations: model.predict(observations, deterministic=True)[0],
                environments,
                episodes,
            )
            self.mean = float(returns.mean())
            self.away += time.perf_counter() - started

        def _on_step(self) -> bool:
            if between and self.num_timesteps % between == 0:
                self.judge(seed)
            if not between and self.num_timesteps % (steps // evaluations) == 0:
                self.judge(VALIDATION_SEED)
                if self.mean > self.best:
                    self.best, self.weights = self.mean, copy.deepcopy(model.policy.state_dict())
            return not between or self.mean < SOLVED_AT

    judge = Judge()
    started = time.perf_counter()
    model.learn(steps, callback=judge)
    seconds = time.perf_counter() - started - judge.away
    solved = bool(between) and judge.mean >= SOLVED_AT
    if not between:
        model.policy.load_state_dict(judge.weights)
        judge.judge(TEST_SEED)
    return {
        "steps_per_second": model.num_timesteps / seconds,
        "seconds_to_solve": seconds if solved else None,
        "steps_to_solve": model.num_timesteps if solved else None,
        "return_at_the_end": judge.mean,
        "lowest_return": None,
        "returns_of_epochs": None,
        "env_steps": model.num_timesteps,
        "seconds_of_the_process": None,
    }


def ours(seed: int, flags: Sequence[str] = ()) -> dict[str, Any]:
    """Runs the application in a process of its own, and returns what its report says."""
    with run_app("dqn", *flags, seed=seed) as run:
        metrics, returns = run.report["metrics"], [row["val_return"] for row in run.log]
    return {
        "steps_per_second": metrics["env_steps_per_second"],
        "seconds_to_solve": metrics.get("seconds_to_solve"),
        "steps_to_solve": metrics.get("env_steps_to_solve"),
        "return_at_the_end": metrics["eval_return_mean"],
        "lowest_return": metrics["eval_return_min"],
        "returns_of_epochs": returns,
        "env_steps": metrics["env_steps"],
        "seconds_of_the_process": run.seconds,
    }


def median(values: Sequence[float | None]) -> float:
    """The median, in which a missing value is larger than any other."""
    return statistics.median(float("inf") if value is None else value for value in values)


def measure_speed(seeds: int) -> None:
    """Measures steps a second of both, with each network, in turns."""
    rows = []
    for units in (64, 256):
        for seed in range(seeds):
            flags = [*LIKE_THE_PEER.split(), "--units", f"{units}", f"{units}"]
            command = ("--question", "speed", "--units", f"{units}", "--only", f"{seed}")
            runs = {"ours": partial(ours, seed, flags)} | {
                who: partial(
                    output_of,
                    *("benchmarks.decisions.dqn", *command),
                    *("--copies", f"{copies}", "--threads", f"{threads}"),
                )
                for who, (copies, threads) in PEERS.items()
            }
            for who, run in runs.items():
                rate = run()["steps_per_second"]
                rows.append(
                    {"contestant": f"{who}, {units}", "seed": seed, "steps_per_second": rate}
                )
                print(rows[-1], flush=True)

    def rate_of(contestant: str) -> float:
        return median([row["steps_per_second"] for row in rows if row["contestant"] == contestant])

    publish(
        "dqn_speed",
        rows,
        **{
            f"ratio_with_{units}_units": rate_of(f"ours, {units}")
            / max(rate_of(f"{who}, {units}") for who in PEERS)
            for units in (64, 256)
        },
    )


def measure_solution(seeds: int) -> None:
    """Measures how soon both solve CartPole, in turns."""
    rows = []
    for seed in range(seeds):
        rows.append({"contestant": "ours", "seed": seed, **ours(seed)})
        started = time.perf_counter()
        result = output_of("benchmarks.decisions.dqn", "--only", f"{seed}")
        result["seconds_of_the_process"] = time.perf_counter() - started
        rows.append({"contestant": "Stable-Baselines3", "seed": seed, **result})
        print(*rows[-2:], sep="\n", flush=True)
    our_columns, peer_columns = (
        {
            name: [row[name] for row in rows if row["contestant"] == who]
            for name in ("seconds_to_solve", "steps_to_solve", "lowest_return")
        }
        for who in ("ours", "Stable-Baselines3")
    )
    publish(
        "dqn",
        rows,
        **{
            f"ratio_of_{name}": median(our_columns[name]) / median(peer_columns[name])
            for name in ("seconds_to_solve", "steps_to_solve")
        },
        solved=sum(value is not None for value in our_columns["seconds_to_solve"]),
        solved_by_the_peer=sum(value is not None for value in peer_columns["seconds_to_solve"]),
        perfect=sum(value == 500 for value in our_columns["lowest_return"]),
    )


def main(
    *,
    question: Question = "solution",
    seeds: int | None = None,
    only: int | None = None,
    units: int | None = None,
    copies: int = 1,
    threads: int | None = None,
) -> None:
    """Measures both, in turns.

    Args:
        question: `solution` measures how soon; `speed`, steps a second of playing and learning.
        seeds: Number of seeds, counted from 0; by default 10, and 3 of speed.
        only: Measure the peer with this seed, and print the result as JSON.
        units: Units of the peer's hidden layers; by default the zoo's.
        copies: Environments that the peer plays side by side.
        threads: Threads of the peer's PyTorch.
    """
    if only is not None:
        arguments = {"units": units, "copies": copies, "threads": threads}
        if question == "solution":
            result = peer("cartpole", only, STEPS_BETWEEN_EVALUATIONS, **arguments)
        else:
            result = peer("cartpole", only, **arguments, evaluations=1)
        print(json.dumps(result))
    elif question == "speed":
        measure_speed(seeds or 3)
    else:
        measure_solution(seeds or 10)


if __name__ == "__main__":
    cyclopts.run(main)
