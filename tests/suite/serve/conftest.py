import dataclasses
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

from suite import Run, train
from suite.app import Fitted, app_names, load_app
from suite.export.saved_model import write_saved_model
from tests.suite.serve.toys import TOYS, save

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
        run = Run(data="embedded", quiet=True, run_dir=folder.parent / f"run-{name}")
        opened = train(app, app.recipe(**app.tiny), run, until="open")
        fitted = Fitted(
            model=opened.model,
            networks=opened.networks,
            data=opened.data,
            config=app.recipe(**app.tiny).config,
            folder=folder.parent,
        )
        described = {"app": name, "class_names": opened.data.description.class_names}
        described["config"] = dataclasses.asdict(fitted.config)
        write_saved_model(
            folder / name, fitted.networks, app.endpoints(fitted), app.example(fitted), described
        )
    return folder


@pytest.fixture(scope="session")
def server(exported):
    """Serves every app."""
    begun = serve(exported)
    yield begun
    stop(begun)


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """A folder with every toy."""
    folder = tmp_path_factory.mktemp("toys") / "saved_models"
    for name in TOYS:
        save(folder, name)
    return folder


@pytest.fixture(scope="session")
def toy_server(toys):
    """Serves every toy, as one that listens on IPv6 and lets a page of elsewhere ask."""
    begun = serve(toys, "--host", "::1", "--cors-origin", "https://example.com")
    yield begun
    stop(begun)


@pytest.fixture
def copied(exported, tmp_path):
    """A folder of one's own, with iris alone."""
    folder = tmp_path / "saved_models"
    shutil.copytree(exported / "iris", folder / "iris")
    return folder
