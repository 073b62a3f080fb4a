"""How many patterns does `apps.hopfield` store?

    python -m benchmarks.foundations.hopfield

Random patterns of 1,000 units are stored by Hebb's rule, more and more of them, and the memory
begins at each of them. Units are updated one after the other, 50 times each. In the theory, for
infinitely many units, the mean overlap of a pattern and the state in which the memory ends falls to
0.967 at the capacity, 0.138 patterns a unit, and from there at once to almost nothing. In a memory
of 1,000 units it falls gradually: the capacity is where it passes 0.967. Beside it stands the load
at which half of the patterns still have an overlap of 0.9. Both are interpolated between the loads
that were tried, from the means over several draws of the patterns.

The modern memory stores ten times as many, and recalls them from cues of which a tenth is wrong.
"""

import json
import time
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import output_of

UNITS = 1000
LOADS = np.round(np.arange(0.120, 0.181, 0.005), 3)
SWEEPS = 50
THEORY, OVERLAP_AT_CAPACITY = 0.138, 0.967
TIMES_MORE = 10
NOISE = 0.1


def overlaps_of_hebb(seed: int) -> list[tuple[float, float]]:
    """The mean overlap of the patterns, and the share of them that is kept, by load."""
    from suite.memories.hopfield import RECALLED, Hopfield, random_patterns, recalled_overlaps

    memory = Hopfield("hebb", sweeps=SWEEPS, asynchronous=True)
    rows = []
    for load in LOADS:
        overlaps = recalled_overlaps(memory, random_patterns(round(load * UNITS), UNITS, seed))
        rows.append((float(overlaps.mean()), float((overlaps >= RECALLED).mean())))
    return rows


def share_of_modern(seed: int) -> float:
    """The share of ten times as many patterns as Hebb's rule stores that is recalled exactly."""
    from suite.memories.hopfield import ModernHopfield, random_patterns, recalled_overlaps

    patterns = random_patterns(round(TIMES_MORE * THEORY * UNITS), UNITS, seed)
    memory = ModernHopfield(len(patterns), sweeps=1)
    overlaps = recalled_overlaps(memory, patterns, noise=NOISE, seed=seed)
    return float((overlaps == 1).mean())


def load_at(value: float, falling: np.ndarray) -> float:
    """The load at which numbers that fall with the load, `(loads,)`, pass a value."""
    return float(np.interp(-value, -falling, LOADS))


def main(*, repeats: int = 5, seed: int | None = None) -> None:
    """Measures both memories.

    Args:
        repeats: Draws of the patterns, with seeds counted from 0.
        seed: Measure one draw only, and print its results as JSON.
    """
    if seed is not None:
        started = time.perf_counter()
        result: dict[str, Any] = {"hebb": overlaps_of_hebb(seed), "modern": share_of_modern(seed)}
        print(json.dumps({**result, "seconds": time.perf_counter() - started}))
        return
    runs = [
        output_of("benchmarks.foundations.hopfield", "--seed", str(number))
        for number in range(repeats)
    ]
    overlaps, shares = np.moveaxis(np.array([run["hebb"] for run in runs]), -1, 0)
    publish(
        "hopfield",
        [
            {
                "seed": number,
                "capacity": load_at(OVERLAP_AT_CAPACITY, overlaps[number]),
                "half_kept": load_at(0.5, shares[number]),
                "modern": run["modern"],
                "seconds": run["seconds"],
            }
            for number, run in enumerate(runs)
        ],
        units=UNITS,
        capacity=load_at(OVERLAP_AT_CAPACITY, overlaps.mean(axis=0)),
        half_kept=load_at(0.5, shares.mean(axis=0)),
        theory=THEORY,
        modern_patterns=round(TIMES_MORE * THEORY * UNITS),
        overlaps=by_load(overlaps),
        shares=by_load(shares),
    )


def by_load(values: np.ndarray) -> dict[str, float]:
    """The means of values `(draws, loads)`, by load."""
    return dict(zip(map(str, LOADS), values.mean(axis=0).round(4).tolist(), strict=True))


if __name__ == "__main__":
    cyclopts.run(main)
