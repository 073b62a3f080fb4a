"""Writes the results of the benchmarks into the tables of README and docs.

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

from benchmarks.results import FOLDER, ROOT

LINES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["line"]
TOPICS = list(dict.fromkeys(line["topic"] for line in LINES))
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- measured end -->)", re.DOTALL)

Language = Literal["en", "ja"]
HEADINGS = {
    "en": ("Question", "Ours", "Peers", "Command"),
    "ja": ("問い", "本スイート", "比較相手", "コマンド"),
}


class Column(list[float]):
    """Numbers that a format such as `{:.2f}` writes one by one, with commas between them."""

    def __format__(self, spec: str) -> str:
        return ", ".join(format(value, spec) for value in self)


@functools.cache
def record(name: str) -> dict[str, Any]:
    """The content of `results/<name>.json`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def fields(name: str) -> dict[str, Any]:
    """The values that the texts of `table.toml` may name in braces: a result and its statistics.

    A row belongs to the contestant in its first column. Besides the keys of the result itself
    there are, as `key[column]`: `largest` and `smallest`, those values of a column, and `minutes`,
    its mean in minutes; as `key[contestant][column]`: `last`, the value in the last row, `all`, all
    values, `median`, `mean`, and `std`, their standard deviation; and `count`, the number of rows.
    """
    result = record(name)
    rows: list[dict[str, Any]] = result["rows"]
    contestants: dict[Any, dict[str, Column]] = defaultdict(lambda: defaultdict(Column))
    columns: dict[str, Column] = defaultdict(Column)
    for row in rows:
        who, *_ = row.values()
        for key, value in row.items():
            values = value if isinstance(value, list) else [value]
            numbers = [n for n in values if isinstance(n, int | float)]
            if numbers:
                contestants[who][key] += numbers
                columns[key] += numbers
    return result | {
        "count": len(rows),
        "largest": {key: max(column) for key, column in columns.items()},
        "smallest": {key: min(column) for key, column in columns.items()},
        "minutes": {key: statistics.mean(column) / 60 for key, column in columns.items()},
        "last": {next(iter(row.values())): row for row in rows},
        "all": contestants,
        **{
            name: {
                who: {key: statistic(column) for key, column in by_column.items()}
                for who, by_column in contestants.items()
            }
            for name, statistic in (
                ("median", statistics.median),
                ("mean", statistics.mean),
                ("std", spread),
                ("minutes_of", lambda column: statistics.mean(column) / 60),
            )
        },
    }


def spread(column: Column) -> float:
    """The standard deviation of numbers; 0 of a single one."""
    return statistics.stdev(column) if len(column) > 1 else 0.0


def table_of(lines: Sequence[dict[str, Any]], language: Language) -> str:
    """The Markdown table of some lines of `table.toml`."""
    rows: list[tuple[str, ...]] = [HEADINGS[language]]
    for line in lines:
        values, peers = fields(line["result"]), line.get("peers", {"en": ""})
        ours = line["ours"] if isinstance(line["ours"], str) else line["ours"][language]
        question, ours = (text.format_map(values) for text in (line["question"][language], ours))
        peer_values = fields(line["beside"]) if "beside" in line else values
        others = peers.get(language, peers["en"]).format_map(peer_values)
        rows.append((question, ours, others, f"`{line['command']}`"))
    if not any("peers" in line for line in lines):
        rows = [(question, ours, command) for question, ours, _, command in rows]
    return _table(rows)


def scaling() -> str:
    """The table of the predicted share of N times the speed that N devices with a ring reach."""
    predicted = record("distribute")["predicted_efficiency"]
    counts = list(next(iter(predicted.values())))
    rows = [
        [name, *(f"{shares[count]:.2f}" for count in counts)] for name, shares in predicted.items()
    ]
    return _table([["A step on one GPU", *(f"N = {int(count):,}" for count in counts)], *rows])


def rainbow() -> str:
    """The table of the extensions of deep Q-learning, alone and all together."""
    statistics_of = fields("rainbow")
    rows: list[Sequence[str]] = [
        (
            "Extension",
            "Solved",
            "Return, mean of all epochs",
            "Lowest return of the last half of the epochs",
            "Steps until solved",
            "Steps a second",
        )
    ]
    for name, mean in statistics_of["mean"].items():
        deviation, median = statistics_of["std"][name], statistics_of["median"][name]
        rows.append(
            (
                name,
                str(statistics_of[f"solved by {name}"]),
                f"{mean['return_mean_of_epochs']:.0f} ± {deviation['return_mean_of_epochs']:.0f}",
                f"{median['lowest_of_the_last_half']:.0f}",
                f"{median['steps_to_solve']:,.0f}",
                f"{median['steps_per_second']:,.0f}",
            )
        )
    return _table(rows)


TABLES = {"scaling": scaling, "rainbow": rainbow}


def block(name: str, language: Language) -> str:
    """The table called `name`: one of `TABLES`, of a topic, or the `headlines` of all topics."""
    if name in TABLES:
        return TABLES[name]()
    headlines = [line for line in LINES if line.get("headline")]
    of_topic = [line for line in LINES if line["topic"] == name]
    return table_of(headlines if name == "headlines" else of_topic, language)


def documents() -> list[Path]:
    """README and docs."""
    return sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")])


def filled_in(document: Path) -> str:
    """The text of a document with its tables replaced by those of the results."""
    language: Language = "ja" if document.stem.endswith(".ja") else "en"
    return BLOCK.sub(
        lambda place: place[1] + block(place[2], language) + place[3], document.read_text()
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    headings, *others = rows
    lines = [headings, ["---"] * len(headings), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
