"""Adding an app is adding two files: proven by adding the one of the README."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
[NEW_APP] = [block for block in BLOCKS if "main(app)" in block]


def test_two_new_files_add_an_app(tmp_path):
    for folder in ("apps", "suite", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "apps" / "xor.py").write_text(NEW_APP)
    (tmp_path / "tests" / "apps" / "test_xor.py").write_text("def test_maths(): assert 1 ^ 1 == 0")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def python(*words):
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    trained = python("-m", "apps.xor", "--units", "6", "--quiet")
    assert trained.returncode == 0, trained.stderr
    assert "test_accuracy  1.0000" in trained.stdout
    assert "xor              Exclusive or by a network" in python("-m", "apps").stdout
    contract = python("-m", "pytest", "-q", "-n0", "tests/test_contract.py", "-k", "xor")
    assert contract.returncode == 0, contract.stdout
