"""Runs the benchmarks, and brings the tables of README and docs up to date.

python -m benchmarks                         # all in the tables: more than a day on two cores
python -m benchmarks mnist_cnn serve         # some
python -m benchmarks --no-measure            # only the tables, of what is in results/
"""

import shlex
import subprocess
import sys

import cyclopts
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.table import LINES, TOPICS, documents, filled_in, table_of


def main(*topics: str, measure: bool = True) -> None:
    """Measures, prints one table, and updates the tables of README and docs.

    Args:
        topics: Applications, `distribute`, `serve` and `reliability`; by default all.
        measure: Whether to measure, or only to update the tables from earlier results.
    """
    if unknown := set(topics) - set(TOPICS):
        sys.exit(f"topics must be of: {', '.join(TOPICS)}. Received: {' '.join(sorted(unknown))}")
    lines = [line for line in LINES if line["topic"] in (topics or TOPICS)]
    if measure:
        for command in dict.fromkeys(line["command"] for line in lines):
            print(command, flush=True)
            subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    Console().print(Markdown(table_of(lines, "en")))
    for document in documents():
        document.write_text(filled_in(document))


if __name__ == "__main__":
    cyclopts.run(main)
