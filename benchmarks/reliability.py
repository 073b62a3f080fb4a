"""What is tried against the suite, and what it survives.

    python -m benchmarks.reliability

Runs all of `tests/reliability`, the long part included: trainings of every app are killed, their
files damaged, their disks filled, two set on one folder, and every way in is fed with rubbish. A
fault is survived where nothing is lost and what cannot be used is refused in one sentence. Takes
about an hour on two cores.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import cyclopts

from benchmarks.results import publish

ROOT = Path(__file__).parents[1]
# What the tests of each file try.
KINDS = {
    "test_kills": "kills at random moments, each resumed",
    "test_signals": "signals that ask to stop",
    "test_corruption": "damaged states, records, exports, datasets",
    "test_exhaustion": "full disks, quotas, read-only folders",
    "test_races": "two at once",
    "test_same_bytes": "trainings done twice",
    "test_fuzz": "generated flags, files and folders",
}


def main(*, processes: int = 2) -> None:
    """Tries everything.

    Args:
        processes: How many tests run side by side.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        words = ["-m", "full or not full", "--hypothesis-profile", "full", "--dist", "load"]
        words += ["-n", str(processes), "--junitxml", str(results)]
        subprocess.run(
            [sys.executable, "-m", "pytest", "tests/reliability", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        cases = list(ElementTree.parse(results).iter("testcase"))
    tried, survived = Counter(), Counter()
    for case in cases:
        if case.find("skipped") is not None:
            continue
        kind = KINDS[case.get("classname").rpartition(".")[2]]
        noted = {each.get("name"): int(each.get("value")) for each in case.iter("property")}
        count = noted.get("tried", 1)
        tried[kind] += count
        survived[kind] += count * (case.find("failure") is None and case.find("error") is None)
    publish(
        "reliability",
        [{"fault": kind, "tried": tried[kind], "survived": survived[kind]} for kind in tried],
    )


if __name__ == "__main__":
    cyclopts.run(main)
