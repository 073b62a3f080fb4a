"""Contestants that take turns, each measurement in a process of its own."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def rates(module: str, contestants: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Measures images a second.

    Args:
        module: `python -m <module> --contestant <name>` prints the rate of one, measured once, in
            its last line.
        contestants: Their names.
        repeats: Measurements of each.

    Returns:
        A row for each contestant: its name, the median of its rates and all of them.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, own in found.items():
            command = [sys.executable, "-m", module, "--contestant", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            own.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {own[-1]:,.0f} images/s")
    return [
        {
            "contestant": name,
            "images_per_second": statistics.median(own),
            "all": [round(rate) for rate in own],
        }
        for name, own in found.items()
    ]


def ratio(rows: Sequence[Mapping[str, Any]], ours: str, peers: Sequence[str]) -> float:
    """Our median rate over that of the best peer."""
    medians = {row["contestant"]: row["images_per_second"] for row in rows}
    return medians[ours] / max(medians[peer] for peer in peers)
