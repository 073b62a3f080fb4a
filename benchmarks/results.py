"""Prints the results of a benchmark, and writes them to `results/`."""

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from suite.training.record import package_versions

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"
PEERS = (
    "torch",
    "stable-baselines3",
    "minisom",
    "optuna",
    "sacrebleu",
    "litserve",
    "kserve",
    "ray",
)


def publish(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Prints rows as a table, and writes `results/<name>.json` with machine, versions and date.

    Args:
        name: Name of the benchmark.
        rows: The results; all rows have the same keys.
        facts: Values that hold for all rows.
    """
    table = Table(title=f"benchmarks.{name}")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{v:.5g}" if isinstance(v, float) else str(v) for v in row.values()))
    console = Console()
    console.print(table)
    for fact, value in facts.items():
        console.print(f"{fact}: {value}")
    # Of the cores, those that this process may use.
    cores = len(os.sched_getaffinity(0))
    machine = {"processor": _processor(), "cores": cores, "system": platform.platform()}
    record = {
        "benchmark": name,
        "date": date.today().isoformat(),
        "commit": _commit(),
        "machine": machine,
        "versions": package_versions() | _versions_of_peers(),
        **facts,
        "rows": rows,
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=2, default=str) + "\n")


def _commit() -> str | None:
    """The commit of the code that measured, and whether it was changed; None outside of a clone."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        status = [*git, "status", "--porcelain", "--", "suite", "apps", "benchmarks/*.py"]
        changed = subprocess.run(status, check=True, capture_output=True).stdout
        return head + "-dirty" if changed else head
    except (OSError, subprocess.CalledProcessError):
        return None


def _versions_of_peers() -> dict[str, str]:
    """The versions of the packages that some benchmarks compare with, where they are installed."""
    versions = {}
    for name in PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
