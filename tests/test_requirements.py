"""Every import is required in setup.cfg: by the package, or for a room by an extra."""

import ast
import configparser
import os
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Packages that are installed with another one, which is required.
COME_WITH = {"google": "tensorflow", "grpc": "tensorflow"}
# What a room may import beyond what is always installed.
EXTRAS = {
    "suite/serve": ("serve", "ray"),
    "suite/studies": ("search",),
    "suite/tasks": ("video",),
}


def required(*extras):
    """The distributions that setup.cfg requires, for the package and for some extras."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].splitlines()
    for extra in extras:
        lines += config["options.extras_require"][extra].splitlines()
    names = (re.match(r"[\w.-]+", line.strip()) for line in lines)
    return {name[0].lower().replace("_", "-") for name in names if name}


def imported(folder):
    """Every package of others that the files of a folder import, and the file that does."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                package = name.partition(".")[0]
                if package not in {"suite", "apps", *sys.stdlib_module_names}:
                    yield package, path


def test_tests_of_a_file_run_in_one_process(request):
    """Else what they share is made in every process, which doubles the time of all tests."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("there is one process only")
    assert request.node.nodeid.endswith("@test_requirements.py")


@pytest.mark.parametrize("folder", ["apps", "suite"])
def test_every_import_is_required(folder):
    distributions = packages_distributions()

    for package, path in imported(ROOT / folder):
        room = str(path.parent.relative_to(ROOT))
        allowed = required(*EXTRAS.get(room, ()))
        names = {name.lower().replace("_", "-") for name in distributions.get(package, [package])}
        names.add(COME_WITH.get(package, package))
        assert names & allowed, f"{package}, imported by {path}, is not required"
