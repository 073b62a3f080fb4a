"""Runs the benchmarks, and brings the tables of README and docs up to date.

python -m benchmarks                         # all: more than a day on two cores
python -m benchmarks mnist_cnn serve         # some
python -m benchmarks --no-measure            # only the tables, of what is in results/
"""

import shlex
import subprocess
import sys

import cyclopts
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.table import LINES, TOPICS, documents, filled_in, measured


def main(*topics: str, measure: bool = True) -> None:
    """Measures, prints one table, and writes it where it belongs.

    Args:
        topics: Applications, `distribute`, `serve` and `reliability`; by default all.
        measure: Whether to measure, or only to make the tables anew.
    """
    if unknown := set(topics) - set(TOPICS):
        sys.exit(f"topics must be of: {', '.join(TOPICS)}. Received: {' '.join(sorted(unknown))}")
    lines = [line for line in LINES if line["topic"] in (topics or TOPICS)]
    if measure:
        for command in dict.fromkeys(line["command"] for line in lines):
            print(command, flush=True)
            subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    Console().print(Markdown(measured(lines, "en")))
    for document in documents():
        document.write_text(filled_in(document))


if __name__ == "__main__":
    cyclopts.run(main)
