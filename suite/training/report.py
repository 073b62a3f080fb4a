"""The report of a run: `report.json` for programs, `REPORT.md` for people."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.files import write_whole


class Stopwatch:
    """Seconds of the named parts of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measures the seconds of a `with` block."""
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def total(self) -> float:
        """Seconds since the stopwatch was created."""
        return round(time.perf_counter() - self._started, 3)


def process_seconds() -> float:
    """Seconds since this process was started (Linux)."""
    ticks = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    started = int(ticks) / os.sysconf("SC_CLK_TCK")
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 3)


def write(folder: Path, report: Mapping[str, Any], summary: str) -> None:
    """Writes `report.json` and the model card `REPORT.md`, each whole or not at all.

    Args:
        folder: The run's folder, with its figures in `figures/`.
        report: Everything about the run.
        summary: What the app does.
    """
    write_whole(folder / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    write_whole(folder / "REPORT.md", _model_card(folder, report, summary))


def _model_card(folder: Path, report: Mapping[str, Any], summary: str) -> str:
    data = report["data"]
    caution = "" if data.get("comparable", True) else " Not comparable with published figures."
    parts = [
        f"# {report['app']}",
        summary,
        "## Results",
        _table(report["metrics"]),
        "## Data",
        f"`{data['source']}`: {data['train']:,} training, {data['validation']:,} validation and "
        f"{data['test']:,} test examples.{caution} Fingerprint `{data['fingerprint'][:16]}`.",
        "## Model",
        f"{report['parameters']:,} parameters, served from `{report['saved_model']['path']}`.",
        _table({**report["architecture"], **report["config"]}),
        "## Run",
        _table({**report["run"], **report["versions"]}),
        "## Seconds",
        _table(report["seconds"]),
        "## Figures",
        *(
            f"![{path.stem}](figures/{path.name})"
            for path in sorted((folder / "figures").glob("*"))
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _table(values: Mapping[str, Any]) -> str:
    rows = (f"| {name} | {_cell(value)} |" for name, value in values.items())
    return "\n".join(["| | |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):  # a metric by class, say
        return "; ".join(f"{name}: {_cell(part)}" for name, part in value.items())
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
