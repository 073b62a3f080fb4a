"""A race against PyTorch in float32 and in bfloat16; in each, PyTorch runs eager and compiled."""

import json
from collections.abc import Callable
from typing import Any

import cyclopts

from benchmarks.results import publish
from benchmarks.turns import rates, ratio

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
MODES = ("eager", "compiled")


def race(
    name: str, ours: Callable[[str], float], pytorch: Callable[[str, str], float], **facts: Any
) -> None:
    """The command of a module of this package.

    Args:
        name: Name of the module.
        ours: Images a second by the dtype policy of the layers.
        pytorch: Images a second by `float32` or `bfloat16`, and by `eager` or `compiled`.
        facts: More values of the record `<name>_throughput`.
    """

    def main(*, repeats: int = 3, contestant: str | None = None) -> None:
        """Measures all in turns, each time in a process of its own, and writes a record.

        Args:
            repeats: Measurements of each.
            contestant: Measure this one once, and print its rate as JSON.
        """
        if contestant:
            who, precision, *mode = contestant.split()
            rate = ours(POLICIES[precision]) if who == "ours" else pytorch(precision, *mode)
            print(json.dumps(rate))
            return
        mine = {precision: f"ours {precision}" for precision in POLICIES}
        peers = {p: [f"PyTorch {p} {mode}" for mode in MODES] for p in POLICIES}
        all_peers = [peer for names in peers.values() for peer in names]
        everybody = [*mine.values(), *all_peers]
        rows = rates(f"benchmarks.pictures.throughput.{name}", everybody, repeats)
        ratios = {f"ratio_{p}": ratio(rows, mine[p], peers[p]) for p in POLICIES}
        ratios["ratio_of_the_best"] = max(ratio(rows, one, all_peers) for one in mine.values())
        publish(f"{name}_throughput", rows, **facts, **ratios)

    cyclopts.run(main)
