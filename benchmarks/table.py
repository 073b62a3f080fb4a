"""What the benchmarks found, as the tables that stand in README and docs.

A table stands between `<!-- measured: <name> -->` and `<!-- measured end -->`. Its words come from
`table.toml`, its numbers from `results/*.json`, and neither from anywhere else.
"""

import functools
import json
import re
import statistics
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.results import FOLDER

ROOT = Path(__file__).parents[1]
LINES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["line"]
TOPICS = list(dict.fromkeys(line["topic"] for line in LINES))
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- measured end -->)", re.DOTALL)

Language = Literal["en", "ja"]
HEADINGS = {
    "en": ("Question", "Ours", "Peers", "Command"),
    "ja": ("問い", "本スイート", "比較相手", "コマンド"),
}


class Column(list[float]):
    """Values that are formatted one by one."""

    def __format__(self, spec: str) -> str:
        return ", ".join(format(value, spec) for value in self)


@functools.cache
def record(name: str) -> dict[str, Any]:
    """A result as its benchmark wrote it."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def found(name: str) -> dict[str, Any]:
    """What a line may speak of: the facts of a result, and its rows in several ways.

    Rows belong to whoever their first column names. Beside the facts there are `count` of the
    rows, `largest` of each column and its mean in `minutes`, and of everybody the `last` row, and
    of each column `all` values, their `median` and their `spread`, the standard deviation.
    """
    facts = record(name)
    rows: list[dict[str, Any]] = facts["rows"]
    everybody: dict[Any, dict[str, Column]] = defaultdict(lambda: defaultdict(Column))
    columns: dict[str, Column] = defaultdict(Column)
    for row in rows:
        who, *_ = row.values()
        for key, value in row.items():
            values = value if isinstance(value, list) else [value]
            numbers = [each for each in values if isinstance(each, int | float)]
            if numbers:
                everybody[who][key] += numbers
                columns[key] += numbers
    return facts | {
        "count": len(rows),
        "largest": {key: max(column) for key, column in columns.items()},
        "minutes": {key: statistics.mean(column) / 60 for key, column in columns.items()},
        "last": {next(iter(row.values())): row for row in rows},
        "all": everybody,
        "median": {
            who: {key: statistics.median(column) for key, column in own.items()}
            for who, own in everybody.items()
        },
        "spread": {
            who: {key: statistics.stdev(c) if len(c) > 1 else 0.0 for key, c in own.items()}
            for who, own in everybody.items()
        },
    }


def measured(lines: Sequence[dict[str, Any]], language: Language) -> str:
    """A Markdown table of some lines."""
    rows: list[tuple[str, ...]] = [HEADINGS[language]]
    for line in lines:
        values, peers = found(line["result"]), line.get("peers", {"en": ""})
        question, ours = (
            each.format_map(values) for each in (line["question"][language], line["ours"])
        )
        beside = found(line["beside"]) if "beside" in line else values
        others = peers.get(language, peers["en"]).format_map(beside)
        rows.append((question, ours, others, f"`{line['command']}`"))
    if not any("peers" in line for line in lines):
        rows = [(question, ours, command) for question, ours, _, command in rows]
    return _table(rows)


def scaling() -> str:
    """What a ring all-reduce leaves of N times the speed."""
    predicted = record("distribute")["predicted_efficiency"]
    counts = list(next(iter(predicted.values())))
    rows = [[name, *(f"{each[count]:.2f}" for count in counts)] for name, each in predicted.items()]
    return _table([["A step on one GPU", *(f"N = {int(count):,}" for count in counts)], *rows])


def block(name: str, language: Language) -> str:
    """The table of that name: a topic, `headlines` of all topics, or `scaling`."""
    if name == "scaling":
        return scaling()
    headlines = [line for line in LINES if line.get("headline")]
    of_topic = [line for line in LINES if line["topic"] == name]
    return measured(headlines if name == "headlines" else of_topic, language)


def documents() -> list[Path]:
    """README and docs."""
    return sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")])


def filled_in(document: Path) -> str:
    """The text of a document, with its tables made anew."""
    language: Language = "ja" if document.stem.endswith(".ja") else "en"
    return BLOCK.sub(
        lambda place: place[1] + block(place[2], language) + place[3], document.read_text()
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    headings, *others = rows
    lines = [headings, ["---"] * len(headings), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
