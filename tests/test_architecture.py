"""The house's own rules: who may import whom, and what no file may be called."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("suite/**/*.py"), *ROOT.glob("apps/**/*.py")])


def imported(path):
    """The dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    names = set(imported(path))
    if path.is_relative_to(ROOT / "suite"):
        assert not [n for n in names if n.split(".")[0] in ("apps", "tests", "benchmarks")]
    elif not path.name.startswith("_"):
        private = (
            "suite.training.stages",
            "suite.placement.strategy",
            "suite.training.state",
            "suite.training.report",
        )
        assert not [n for n in names if n.startswith(private)]
        assert not [n for n in names if n.startswith("apps.")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_say_what_is_inside(path):
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_apps_are_of_one_file_s_length():
    for path in ROOT.glob("apps/[!_]*.py"):
        assert len(path.read_text().splitlines()) < 300


def test_every_room_stands_in_the_picture_of_the_house():
    picture = set(re.findall(r"\w+", (ROOT / "docs" / "architecture.md").read_text()))

    assert {path.stem for path in ROOT.glob("suite/**/[!_]*.py")} <= picture
