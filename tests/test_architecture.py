"""Rules of the source: which module may import which, sizes of packages, and names of files."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("suite/**/*.py"), *ROOT.glob("apps/**/*.py")])
MOST_FILES = 16  # of a package


def test_imports_go_in_the_allowed_direction():
    linter = Path(sys.executable).with_name("lint-imports")
    process = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert process.returncode == 0, process.stdout[-3000:]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_say_what_is_inside(path):
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_a_package_has_few_files():
    for folder in {path.parent for path in SOURCES if path.is_relative_to(ROOT / "suite")}:
        assert len(list(folder.glob("[!_]*.py"))) <= MOST_FILES, folder


def test_the_page_on_the_architecture_lists_every_room_and_its_modules():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = {
        room: set(re.findall(r"`(\w+)`", modules))
        for room, modules in re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", page, re.M)
    }
    rooms = {}
    for path in ROOT.glob("suite/**/[!_]*.py"):
        room = str(path.parent.relative_to(ROOT)).removeprefix("suite/")
        rooms.setdefault(room, set()).add(path.stem)

    assert listed == rooms
