"""The house's own rules: who may import whom, and what no file may be called."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("suite/**/*.py"), *ROOT.glob("apps/**/*.py")])
MOST_FILES = 17  # of a room


def test_arrows_point_down():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_say_what_is_inside(path):
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_a_room_can_be_taken_in_at_a_glance():
    for folder in {path.parent for path in SOURCES if path.is_relative_to(ROOT / "suite")}:
        assert len(list(folder.glob("[!_]*.py"))) <= MOST_FILES, folder


def test_every_room_stands_in_the_picture_of_the_house():
    picture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", picture))

    assert {path.stem for path in ROOT.glob("suite/**/[!_]*.py")} <= words
