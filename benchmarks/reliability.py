"""Which faults does the suite survive?

    python -m benchmarks.reliability [kills] [races] ...

Runs `tests/reliability`, the long part included: trainings of every app are killed, their files
damaged, their disks filled, two are started in one folder, and every input is given random values.
A fault is survived where nothing is lost and what cannot be used is refused in one sentence. All
kinds take more than an hour on two cores; kinds that are not named keep the rows that they have.
"""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import date
from pathlib import Path
from typing import Literal

import cyclopts

from benchmarks.results import FOLDER, ROOT, publish

Kind = Literal["kills", "signals", "corruption", "exhaustion", "races", "same_bytes", "fuzz"]
FAULTS: dict[Kind, str] = {
    "kills": "a training killed at a random moment, then resumed",
    "signals": "a training asked to stop, then resumed",
    "corruption": "a damaged state, record, export or dataset",
    "exhaustion": "a full disk, a quota, a read-only folder",
    "races": "two at once: runs, resumes, exports and a server",
    "same_bytes": "a training done twice, and with another seed",
    "fuzz": "generated flags, images, tables, run folders, states",
}


def main(*faults: Kind, processes: int = 2) -> None:
    """Runs the tests, and publishes the counts.

    Args:
        faults: Kinds of faults; by default all.
        processes: Number of tests that run side by side.
    """
    path = FOLDER / "reliability.json"
    earlier = json.loads(path.read_text())["rows"] if faults and path.exists() else []
    rows = {row["kind"]: row for row in earlier} | {
        kind: run_tests(kind, processes) for kind in faults or FAULTS
    }
    publish("reliability", [rows[kind] for kind in FAULTS if kind in rows])


def run_tests(kind: Kind, processes: int) -> dict[str, str | int]:
    """Runs the tests of one kind of faults, and counts those that were tried and survived.

    A test that tries several faults says how many in its property `tried`.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        options = ["-m", "full or not full", "--hypothesis-profile", "full", "--dist", "load"]
        options += ["-n", str(processes), "--junitxml", str(results)]
        subprocess.run(
            [sys.executable, "-m", "pytest", f"tests/reliability/test_{kind}.py", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        cases = list(ElementTree.parse(results).iter("testcase"))
    row = {"kind": kind, "fault": FAULTS[kind], "tried": 0, "survived": 0}
    for case in cases:
        if case.find("skipped") is not None:
            continue
        properties = {p.get("name"): int(p.get("value")) for p in case.iter("property")}
        count = properties.get("tried", 1)
        row["tried"] += count
        row["survived"] += count * (case.find("failure") is None and case.find("error") is None)
    return {**row, "date": date.today().isoformat()}


if __name__ == "__main__":
    cyclopts.run(main)
