"""Do workers that wait for nobody learn sooner than copies that are played in step?

    python -m benchmarks.decisions.a3c
    python -m benchmarks.decisions.a3c --seeds 3

CartPole, by `apps.a3c` with one, two, four and eight workers that share the same 64 copies of the
environment, with four workers that take turns, and by `apps.a2c`, by default, with more copies and
fewer updates, and with as many updates of as many steps as four workers make. With more workers
there are more updates, of fewer steps. Solved is a mean return of 475 over the 100 episodes after
an epoch; the clock stands still while they are played, and starts with the first step of an
environment. Each training is a process of its own; all take turns, seed by seed.
The pictures have the returns of A3C's default and of A2C, by steps and by seconds, and the steps a
second and the staleness of all.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import cyclopts
import numpy as np
from matplotlib.figure import Figure

from benchmarks.results import PICTURES, publish
from benchmarks.turns import run_app

CONTESTANTS = {
    "a3c, 1 worker": ("a3c", "--num-workers", "1"),
    "a3c, 2 workers": ("a3c", "--num-workers", "2"),
    "a3c, 4 workers": ("a3c", "--num-workers", "4"),
    "a3c, 8 workers": ("a3c", "--num-workers", "8"),
    "a3c, 4 workers in turn": ("a3c", "--num-workers", "4", "--in-turn"),
    "a2c, as many updates": (
        "a2c",
        *("--num-envs", "16", "--rollout-length", "32", "--steps-per-epoch", "40"),
        *("--learning-rate", "1e-3", "--gae-lambda", "0.99"),
    ),
    "a2c": ("a2c",),
}
DRAWN = ("a3c, 4 workers", "a2c")
NAMES = {
    "steps_per_second": "env_steps_per_second",
    "seconds_to_solve": "seconds_to_solve",
    "steps_to_solve": "env_steps_to_solve",
    "return_at_the_end": "eval_return_mean",
    "env_steps": "env_steps",
    "staleness_mean": "staleness_mean",
    "staleness_max": "staleness_max",
}


def draw_returns(curves: Mapping[str, Sequence[tuple[np.ndarray, float]]]) -> Figure:
    """Plots the returns of all seeds, by steps and by seconds.

    Args:
        curves: For each contestant and seed the returns after every epoch, at equal numbers of
            steps, and steps a second; the first row of the array are the steps.
    """
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for number, (name, seeds) in enumerate(curves.items()):
        for seed, ((steps, returns), rate) in enumerate(seeds):
            style = {"color": f"C{number}", "alpha": 0.6, "label": None if seed else name}
            panels[0].plot(steps, returns, **style)
            panels[1].plot(steps / rate, returns, **style)
    panels[0].set(xlabel="environment steps", ylabel="return of 100 episodes")
    panels[1].set(xlabel="seconds of training")
    panels[0].legend(frameon=False)
    return figure


def draw_workers(rates: Mapping[str, float], staleness: Mapping[str, float]) -> Figure:
    """Plots bars of all contestants.

    Args:
        rates: Environment steps a second by contestant.
        staleness: How many updates came between the weights of a gradient and its own, by
            contestant.
    """
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, title, values, form in (
        (panels[0], "environment steps a second", rates, "{:,.0f}"),
        (panels[1], "staleness of a gradient, in updates", staleness, "{:.2f}"),
    ):
        axes.bar_label(axes.barh(list(values), list(values.values())), fmt=form, padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set(title=title)
    return figure


def main(*, seeds: int = 10) -> None:
    """Measures all contestants.

    Args:
        seeds: Number of seeds, counted from 0.
    """
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[tuple[np.ndarray, float]]] = {name: [] for name in DRAWN}
    for seed in range(seeds):
        for contestant, (name, *flags) in CONTESTANTS.items():
            with run_app(name, *flags, seed=seed) as run:
                metrics, log = run.report["metrics"], run.log
            values = {column: metrics.get(metric) for column, metric in NAMES.items()}
            rows.append({"contestant": contestant, "seed": seed, **values})
            print(rows[-1], flush=True)
            if contestant in curves:
                returns = np.array([row["val_return"] for row in log])
                steps = metrics["env_steps"] * np.arange(1, len(log) + 1) / len(log)
                curve = np.stack([steps, returns])
                curves[contestant].append((curve, metrics["env_steps_per_second"]))
    facts: dict[str, Any] = {}
    rates, staleness = {}, {}
    for contestant in CONTESTANTS:
        of_contestant = [row for row in rows if row["contestant"] == contestant]
        solved = sum(row["seconds_to_solve"] is not None for row in of_contestant)
        rates[contestant] = statistics.median(row["steps_per_second"] for row in of_contestant)
        means = [row["staleness_mean"] for row in of_contestant]
        if None not in means:
            staleness[contestant] = statistics.median(means)
            facts[f"staleness of {contestant}"] = staleness[contestant]
        facts[f"solved by {contestant}"] = solved
        facts[f"steps a second of {contestant}"] = rates[contestant]
    draw_returns(curves).savefig(PICTURES / "a3c_returns.png", dpi=120)
    draw_workers(rates, staleness).savefig(PICTURES / "a3c_workers.png", dpi=120)
    publish("a3c", rows, seeds=seeds, **facts)


if __name__ == "__main__":
    cyclopts.run(main)
