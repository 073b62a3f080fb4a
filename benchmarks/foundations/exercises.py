"""Makes the pictures and tables of the page of exercises anew: `docs/exercises.md`.

    python -m benchmarks.foundations.exercises
    python -m benchmarks.foundations.exercises gates units

Each exercise on the page is a command, and a block `<!-- compared: <name> -->` with the picture and
the table that it ends with. What is seen in them stands beside the block, and is not made here.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cyclopts

from benchmarks.results import PICTURES, ROOT

PAGE = ROOT / "docs" / "exercises.md"
EXERCISE = re.compile(
    r"    (?P<command>python -m apps\.\w+ compare [^\n]*)\n\n"
    r"<!-- compared: (?P<name>\w+) -->\n(?P<result>.*?)<!-- compared end -->",
    re.DOTALL,
)


def compared(name: str, command: str, jobs: int) -> str:
    """Runs a comparison, keeps its picture, and returns its picture and its table as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        words = [*shlex.split(command)[1:], "--jobs", str(jobs), "--run-dir", str(run)]
        subprocess.run([sys.executable, *words], check=True)
        pictures = PICTURES / "exercises"
        pictures.mkdir(exist_ok=True)
        shutil.copyfile(run / "learning_curves.png", pictures / f"{name}.png")
        lines = (run / "COMPARISON.md").read_text().splitlines()
    table = "\n".join(line for line in lines if line.startswith("|"))
    return f"![](pictures/exercises/{name}.png)\n\n{table}\n"


def main(*names: str, jobs: int = 2) -> None:
    """Runs exercises, and writes what they end with into the page.

    Args:
        names: Exercises; by default all.
        jobs: Trainings that run at the same time.
    """
    exercises = list(EXERCISE.finditer(PAGE.read_text()))
    if unknown := set(names) - {exercise["name"] for exercise in exercises}:
        sys.exit(f"names must be of the page's exercises. Received: {' '.join(sorted(unknown))}")
    for exercise in exercises:
        if names and exercise["name"] not in names:
            continue
        result = compared(exercise["name"], exercise["command"], jobs)
        start = f"<!-- compared: {exercise['name']} -->\n"
        before, after = PAGE.read_text().split(start)
        PAGE.write_text(before + start + result + after[after.index("<!-- compared end -->") :])


if __name__ == "__main__":
    cyclopts.run(main)
