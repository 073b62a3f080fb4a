import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import pytest
import requests

from suite import Run
from suite.app import app_names, load_app
from suite.export.saved_model import export

ROOT = Path(__file__).parents[3]


class Server(NamedTuple):
    """A server that listens, in a process of its own."""

    process: subprocess.Popen
    url: str
    rpc: str
    folder: Path

    def post(self, path, **body):
        return requests.post(f"{self.url}/v1/models/{path}", json=body, timeout=60)

    def get(self, path):
        return requests.get(f"{self.url}/v1/models/{path}", timeout=60)


def serve(folder, *words):
    """Begins to serve a folder on ports that are free."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "suite.serve",
            str(folder),
            "--port",
            "0",
            "--grpc-port",
            "0",
            *words,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"(http://\S+), gRPC on (\S+)", line):
            return Server(process, *found.groups(), folder)
    process.stdout.close()
    raise AssertionError("".join(said))


def stop(server):
    """Asks it to end, and gives its exit code."""
    server.process.send_signal(signal.SIGTERM)
    with server.process.stdout:
        return server.process.wait(60)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A folder with an export of every app, as it is before it has learnt anything."""
    folder = tmp_path_factory.mktemp("serve") / "saved_models"
    keras.utils.set_random_seed(0)
    for name in app_names():
        app = load_app(name)
        data = app.data(app.config(), Run(data="embedded", quiet=True))
        model = app.build(**data.model_arguments)
        example = app.example(model, data)[:64]
        export(folder / name, model, app.endpoints(model), example, {"app": name})
    return folder


@pytest.fixture(scope="session")
def server(exported):
    """Serves every app."""
    begun = serve(exported)
    yield begun
    stop(begun)


@pytest.fixture
def copied(exported, tmp_path):
    """A folder of one's own, with iris alone."""
    folder = tmp_path / "saved_models"
    shutil.copytree(exported / "iris", folder / "iris")
    return folder
