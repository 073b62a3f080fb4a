"""How many patterns does `apps.hopfield` store?

    python -m benchmarks.hopfield

Random patterns of 1,000 units are stored by Hebb's rule, more and more of them, and the memory
begins at each of them, as in the theory: below the capacity it stays near, with an overlap of 0.97
or more, and above it leaves. Units are updated one after the other, 50 times each. The capacity is
where half of the patterns are kept with an overlap of 0.9, by linear interpolation between the
numbers of patterns that were tried, over several draws of the patterns.

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
LOADS = np.round(np.arange(0.120, 0.161, 0.004), 3)
SWEEPS = 50
THEORY = 0.138
TIMES_MORE = 10
NOISE = 0.1


def shares_of_hebb(seed: int) -> list[float]:
    """The share of the patterns that is kept, by load."""
    from suite.memories.hopfield import Hopfield, random_patterns, recalled_share

    memory = Hopfield("hebb", sweeps=SWEEPS, asynchronous=True)
    return [
        recalled_share(memory, random_patterns(round(load * UNITS), UNITS, seed)) for load in LOADS
    ]


def share_of_modern(seed: int) -> float:
    """The share of ten times as many patterns as Hebb's rule stores that is recalled."""
    from suite.memories.hopfield import ModernHopfield, random_patterns, recalled_share

    patterns = random_patterns(round(TIMES_MORE * THEORY * UNITS), UNITS, seed)
    memory = ModernHopfield(len(patterns), sweeps=1)
    return recalled_share(memory, patterns, noise=NOISE, overlap=1.0, seed=seed)


def capacity(shares: np.ndarray) -> float:
    """The load at which half of the patterns are kept.

    Args:
        shares: By load, falling.
    """
    return float(np.interp(-0.5, -shares, LOADS))


def main(*, repeats: int = 5, seed: int | None = None) -> None:
    """Measures both memories.

    Args:
        repeats: Draws of the patterns, with seeds counted from 0.
        seed: Measure one draw only, and print its results as JSON.
    """
    if seed is not None:
        started = time.perf_counter()
        result: dict[str, Any] = {"hebb": shares_of_hebb(seed), "modern": share_of_modern(seed)}
        print(json.dumps({**result, "seconds": time.perf_counter() - started}))
        return
    runs = [output_of("benchmarks.hopfield", "--seed", str(number)) for number in range(repeats)]
    shares = np.array([run["hebb"] for run in runs])
    publish(
        "hopfield",
        [
            {
                "seed": number,
                "capacity": capacity(run),
                "modern": runs[number]["modern"],
                "seconds": runs[number]["seconds"],
            }
            for number, run in enumerate(shares)
        ],
        units=UNITS,
        capacity=capacity(shares.mean(axis=0)),
        theory=THEORY,
        modern_patterns=round(TIMES_MORE * THEORY * UNITS),
        shares=dict(zip(map(str, LOADS), shares.mean(axis=0).round(4).tolist(), strict=True)),
    )


if __name__ == "__main__":
    cyclopts.run(main)
