"""Imports print nothing and start nothing, and find what they name."""

import ast
import importlib
import json
from pathlib import Path

import pytest

from suite.app import app_names
from tests.forks import Fork, script

ROOT = Path(__file__).parents[1]
SCRIPT = """
import contextlib, io, json, sys, threading
from suite.app import app_names
threads, effects = threading.active_count(), {}
for name in app_names():
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        __import__(f"apps.{name}")
    started = threading.active_count() - threads
    effects[name] = [printed.getvalue(), started, "tensorflow_datasets" in sys.modules]
print(json.dumps(effects))
"""


def test_import_of_an_app_prints_nothing_and_starts_nothing(tmp_path):
    output = tmp_path / "output.txt"
    (tmp_path / "empty").mkdir()

    code = Fork(script(SCRIPT), output, tmp_path / "empty").wait(60)

    assert code == 0, output.read_text()
    assert list((tmp_path / "empty").iterdir()) == []
    assert json.loads(output.read_text()) == {name: ["", 0, False] for name in app_names()}


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/**/*.py")), ids=lambda p: p.stem)
def test_benchmarks_import_what_is_there(path):
    """Also what they import only when they measure, which no other test does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("suite", "apps")):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
