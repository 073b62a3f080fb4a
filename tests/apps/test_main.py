import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.__main__ import describe, main
from suite.app import app_names

ROOT = Path(__file__).parents[2]


def test_the_list_is_made_without_importing_an_application():
    script = (
        "import sys; from apps.__main__ import main; main([])\n"
        "slow = {'tensorflow', 'keras', 'numpy', 'pydantic', 'cyclopts', 'apps.iris'}\n"
        "raise SystemExit(str(slow & set(sys.modules)) if slow & set(sys.modules) else 0)\n"
    )

    process = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )

    assert process.returncode == 0, process.stderr
    assert all(f"  {name} " in process.stdout for name in app_names())


@pytest.mark.parametrize(
    ("source", "topic"),
    [
        ("app = App(name='net', topic='images')", "images"),
        ("app = App(\n    topic='tables',\n)\nmain(app)", "tables"),
        ("app = App(name='net')", "other"),
        ("plot(topic='images')", "other"),
    ],
)
def test_topic_and_purpose_are_read_from_the_source(source, topic, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(f'"""Grüße by a network.\n\nMore.\n"""\n\n{source}\n', encoding="utf-8")

    assert describe(path) == (topic, "net", "Grüße by a network.")


def test_applications_are_grouped_by_topic(monkeypatch, capsys, tmp_path):
    for name, topic in {"b": "tables", "a": "tables", "c": "images", "d": None}.items():
        app = f"App(topic={topic!r})" if topic else "App()"
        (tmp_path / f"{name}.py").write_text(f'"""Does {name}."""\n{app}\n', encoding="utf-8")
    (tmp_path / "saved_models" / "a" / "3").mkdir(parents=True)
    monkeypatch.setattr("apps.__main__.__file__", str(tmp_path / "__main__.py"))

    assert main([]) == 0

    assert capsys.readouterr().out.splitlines()[:-2] == [
        "images:",
        "  c  Does c. (not exported yet)",
        "tables:",
        "  a  Does a. (version 3)",
        "  b  Does b. (not exported yet)",
        "other:",
        "  d  Does d. (not exported yet)",
    ]
