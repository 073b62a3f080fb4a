"""The examples of the page on serving work."""

import re
from pathlib import Path

import pytest
import yaml

from suite.app import app_names

DOCS = Path(__file__).parents[3] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "serve.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_clients_of_the_docs_get_answers(block, server, capsys):
    rest, rpc = server.url.rpartition("/")[2], server.rpc

    exec(block.replace("localhost:8501", rest).replace("localhost:8500", rpc), {})

    assert "probabilities" in capsys.readouterr().out


def test_the_compose_file_serves_applications():
    compose = yaml.safe_load((DOCS / "compose.yaml").read_text())

    models = compose["configs"]["models"]["content"]
    assert {*re.findall(r'name: "(\w+)" base_path: "/models/\1"', models)} <= {*app_names()}
    [volume] = compose["services"]["serving"]["volumes"]
    assert volume.endswith(":/models:ro")
    assert (DOCS / volume.partition(":")[0]).resolve() == DOCS.parent / "saved_models"
