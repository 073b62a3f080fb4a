"""A race against PyTorch in float32 and in bfloat16; in each, PyTorch runs eager and compiled."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.results import publish
from benchmarks.turns import rates, ratio

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
MODES = ("eager", "compiled")


def race(
    name: str,
    ours: Callable[[str], float],
    pytorch: Callable[[str, str], float],
    repeats: int,
    contestant: str | None,
    **facts: Any,
) -> None:
    """Measures all contestants in turns, each time in a process of its own, and writes a record.

    Args:
        name: Name of the module of this package that calls.
        ours: Images a second by the dtype policy of the layers.
        pytorch: Images a second by `float32` or `bfloat16`, and by `eager` or `compiled`.
        repeats: Measurements of each.
        contestant: Measure this one once, and print its rate as JSON.
        facts: More values of the record `<name>_throughput`.
    """
    if contestant:
        who, precision, *mode = contestant.split()
        print(json.dumps(ours(POLICIES[precision]) if who == "ours" else pytorch(precision, *mode)))
        return
    ratios = {}
    mine = {precision: f"ours {precision}" for precision in POLICIES}
    peers = {precision: [f"PyTorch {precision} {mode}" for mode in MODES] for precision in POLICIES}
    all_peers = [peer for names in peers.values() for peer in names]
    rows = rates(f"benchmarks.pictures.throughput.{name}", [*mine.values(), *all_peers], repeats)
    for precision in POLICIES:
        ratios[f"ratio_{precision}"] = ratio(rows, mine[precision], peers[precision])
    ratios["ratio_of_the_best"] = max(ratio(rows, one, all_peers) for one in mine.values())
    publish(f"{name}_throughput", rows, **facts, **ratios)
