import dataclasses
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import keras
import pytest
import requests

from suite import Run, train
from suite.app import Fitted, load_app
from suite.export.saved_model import write_saved_model
from tests.forks import Fork, program
from tests.suite.serve.toys import TOYS, save

ROOT = Path(__file__).parents[3]
SERVED = ["a2c", "binary_addition", "dcgan", "iris", "mnist_cnn", "vae"]


class Server(NamedTuple):
    """A server in a process of its own: its URL of REST, its address of gRPC, and its folder."""

    process: Fork
    url: str
    rpc: str
    folder: Path

    def post(self, path, **body):
        return requests.post(f"{self.url}/v1/models/{path}", json=body, timeout=60)

    def get(self, path):
        return requests.get(f"{self.url}/v1/models/{path}", timeout=60)


def serve(folder, *flags):
    """Starts a server of a folder on free ports, and returns it once it listens."""
    output = Path(tempfile.mkdtemp()) / "output.txt"
    output.touch()
    free = ["--port", "0", "--grpc-port", "0"]
    process = Fork(program("suite.serve", str(folder), *free, *flags), output)
    while process.poll() is None:
        if addresses := re.search(r"(http://\S+), gRPC on (\S+)\n", output.read_text()):
            return Server(process, *addresses.groups(), folder)
        time.sleep(0.05)
    raise AssertionError(output.read_text())


def stop(server):
    """Stops a server, and returns its exit code."""
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(60)


def export_untrained(name, folder):
    """Writes an export of an app that has not been trained into the app's folder in a folder."""
    app = load_app(name)
    run = Run(data="embedded", quiet=True, run_dir=folder.parent / f"run-{name}")
    prepared = train(app, app.recipe(**app.tiny), run, until="open")
    fitted = Fitted(
        model=prepared.model,
        networks=prepared.networks,
        data=prepared.data,
        config=app.recipe(**app.tiny).config,
        folder=folder.parent,
    )
    metadata = {"app": name, "class_names": prepared.data.description.class_names}
    metadata["config"] = dataclasses.asdict(fitted.config)
    write_saved_model(
        folder / name, fitted.networks, app.endpoints(fitted), app.example(fitted), metadata
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A folder with untrained exports of some apps, which have all kinds of signatures."""
    folder = tmp_path_factory.mktemp("serve") / "saved_models"
    keras.utils.set_random_seed(0)
    for name in SERVED:
        export_untrained(name, folder)
    return folder


@pytest.fixture(scope="session")
def server(exported):
    """A server of these apps."""
    server = serve(exported)
    yield server
    stop(server)


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """A folder with an export of every toy model."""
    folder = tmp_path_factory.mktemp("toys") / "saved_models"
    for name in TOYS:
        save(folder, name)
    return folder


@pytest.fixture(scope="session")
def toy_server(toys):
    """A server of every toy model, which listens on IPv6 and answers pages of one other origin."""
    server = serve(toys, "--host", "::1", "--cors-origin", "https://example.com")
    yield server
    stop(server)


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the export of iris alone, which a test may change."""
    folder = tmp_path / "saved_models"
    shutil.copytree(exported / "iris", folder / "iris")
    return folder
