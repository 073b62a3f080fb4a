"""Adding an app is adding two files: proven by adding the one of the README."""

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


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the project with the two files."""
    house = tmp_path_factory.mktemp("house")
    for folder in ("apps", "suite", "tests"):
        shutil.copytree(ROOT / folder, house / folder, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(ROOT / "pyproject.toml", house)
    (house / "apps" / "xor.py").write_text(NEW_APP)
    (house / "tests" / "apps" / "test_xor.py").write_text("def test_maths(): assert 1 ^ 1 == 0")
    return house


def python(house, *words):
    return subprocess.run(
        [sys.executable, *words],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house)},
        capture_output=True,
        text=True,
    )


def test_it_trains_evaluates_and_is_listed(house):
    trained = python(house, "-m", "apps.xor", "--units", "6", "--quiet")

    assert trained.returncode == 0, trained.stderr
    assert "test_accuracy  1.0000" in trained.stdout
    assert re.search(r"xor +Exclusive or by a network", python(house, "-m", "apps").stdout)
    evaluated = python(house, "-m", "apps.xor", "evaluate")
    assert evaluated.stdout.count("test_accuracy  1.0000") == 2, evaluated.stderr


def test_the_contract_covers_it(house):
    contract = python(house, "-m", "pytest", "-q", "-n0", "tests/test_contract.py", "-k", "xor")

    assert contract.returncode == 0, contract.stdout
    assert " passed" in contract.stdout and " skipped" not in contract.stdout
