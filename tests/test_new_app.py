"""An app is added by two files, its own and its test: here, the one of the README."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
[NEW_APP] = [block for block in BLOCKS if "main(app)" in block]
ITS_TEST = """
from apps.xor import app
from suite.cli import run


def test_it_trains_and_evaluates(capsys):
    assert run(app, ["--units", "6", "--quiet"]) == 0
    assert run(app, ["evaluate"]) == 0

    assert capsys.readouterr().out.count("test_accuracy  1.0000") == 3


def test_its_rows_are_not_taken_for_folds(capsys):
    assert run(app, ["cross-validate"]) == 2

    sentence = "--data must be auto: the rows are made here. Received: arrays"
    assert capsys.readouterr().err == sentence + chr(10)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with both files."""
    project = tmp_path_factory.mktemp("project")
    for folder in ("apps", "suite", "tests"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / "apps" / "xor.py").write_text(NEW_APP)
    (project / "tests" / "apps" / "test_xor.py").write_text(ITS_TEST)
    return project


def python(project, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )


def test_it_is_listed(project):
    assert "--units" in python(project, "-m", "apps.xor", "--help").stdout
    assert re.search(r"xor +Exclusive or by a network", python(project, "-m", "apps").stdout)


def test_its_test_and_the_contract_pass(project):
    files = ["tests/apps/test_xor.py", "tests/test_contract.py"]
    contract = python(project, "-m", "pytest", "-q", "-n0", *files, "-k", "xor")

    assert contract.returncode == 0, contract.stdout
    # It takes no pictures, and its answers name no class.
    assert " passed, 2 skipped" in contract.stdout
