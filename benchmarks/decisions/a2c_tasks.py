"""What returns do other tasks end with, here and by Stable-Baselines3?

    pip install '.[benchmark]'
    python -m benchmarks.decisions.a2c_tasks
    python -m benchmarks.decisions.a2c_tasks --task pendulum --seeds 1

Ours is the application's recipe of that name. The peer is Stable-Baselines3's A2C with the settings
and the steps of its zoo (https://github.com/DLR-RM/rl-baselines3-zoo). Both are judged once, at the
end, by the mean return of the same 100 episodes without exploring, with the weights that did best
in other episodes in the course of the training: ours after its epochs, the peer 20 times. Each seed
is a process of its own.
"""

import copy
import json
import statistics
from typing import Any, Literal

import cyclopts

from benchmarks.decisions.a2c import ours
from benchmarks.decisions.dqn import EVALUATIONS
from benchmarks.results import publish
from benchmarks.turns import output_of

Task = Literal["acrobot", "pendulum"]

ENVIRONMENTS = {"acrobot": "Acrobot-v1", "pendulum": "Pendulum-v1"}
# From the zoo: number of environments, steps, and arguments of `A2C`; observations and rewards are
# normalised in both.
ZOO: dict[str, tuple[int, int, dict[str, Any]]] = {
    "acrobot": (16, 500_000, {"ent_coef": 0.0}),
    "pendulum": (
        8,
        1_000_000,
        {
            "gamma": 0.9,
            "ent_coef": 0.0,
            "n_steps": 8,
            "gae_lambda": 0.9,
            "vf_coef": 0.4,
            "learning_rate": lambda remaining: 7e-4 * remaining,
            "use_sde": True,
            "policy_kwargs": {"log_std_init": -2, "ortho_init": False},
        },
    ),
}


def peer(task: Task, seed: int) -> dict[str, Any]:
    """Trains Stable-Baselines3's A2C for the steps of its zoo, and then plays 100 episodes."""
    from stable_baselines3 import A2C
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    from suite.rl.environments import Environments
    from suite.rl.episodes import EPISODES, TEST_SEED, VALIDATION_SEED
    from suite.rl.evaluation import returns_of

    num_envs, steps, settings = ZOO[task]
    training = VecNormalize(
        make_vec_env(ENVIRONMENTS[task], num_envs, seed), gamma=settings.get("gamma", 0.99)
    )
    model = A2C("MlpPolicy", training, seed=seed, **settings)
    environments = Environments(ENVIRONMENTS[task], EPISODES)
    bounds = environments.spaces.action_bounds

    def act(observations: Any) -> Any:
        actions = model.predict(training.normalize_obs(observations), deterministic=True)[0]
        # The bounds of these tasks are symmetric, and `returns_of` takes actions from -1 to 1.
        return actions if bounds is None else actions / bounds[1]

    class Best(BaseCallback):
        """Keeps the weights that do best, with the statistics of the observations."""

        mean = float("-inf")
        kept: Any = None

        def _on_step(self) -> bool:
            if self.n_calls % (steps // num_envs // EVALUATIONS) == 0:
                mean = float(returns_of(act, environments, VALIDATION_SEED).mean())
                if mean > self.mean:
                    self.mean = mean
                    self.kept = copy.deepcopy((model.policy.state_dict(), training.obs_rms))
            return True

    best = Best()
    model.learn(steps, callback=best)
    weights, training.obs_rms = best.kept
    model.policy.load_state_dict(weights)
    return {
        "return_at_the_end": float(returns_of(act, environments, TEST_SEED).mean()),
        "env_steps": steps,
    }


def main(*, task: Task | None = None, seeds: int = 3, only: int | None = None) -> None:
    """Measures both.

    Args:
        task: Measure this one only.
        seeds: Number of seeds, counted from 0.
        only: Measure the peer with this seed, and print the result as JSON.
    """
    if only is not None:
        print(json.dumps(peer(task, only)))
        return
    for name in [task] if task else ENVIRONMENTS:
        rows = []
        for seed in range(seeds):
            result = ours(seed, name)
            result = {key: result[key] for key in ("return_at_the_end", "env_steps")}
            rows.append({"contestant": "ours", "seed": seed, **result})
            result = output_of(
                "benchmarks.decisions.a2c_tasks", "--task", name, "--only", str(seed)
            )
            rows.append({"contestant": "Stable-Baselines3", "seed": seed, **result})
            print(*rows[-2:], sep="\n")
        returns = {
            who: [row["return_at_the_end"] for row in rows if row["contestant"] == who]
            for who in ("ours", "Stable-Baselines3")
        }
        publish(
            f"a2c_{name}",
            rows,
            environment=ENVIRONMENTS[name],
            **{f"return_mean_of_{who}": statistics.mean(values) for who, values in returns.items()},
        )


if __name__ == "__main__":
    cyclopts.run(main)
