import io
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from PIL import Image

from tests.suite.serve.conftest import ROOT

pytest.importorskip("ray", reason="Ray is not installed")


def test_replicas_answer_as_one_process_does(toys, toy_server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    arguments = [str(toys), "--engine", "ray", "--replicas", "1", "--port", str(port)]
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "suite.serve", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    picture = io.BytesIO()
    Image.new("L", (30, 20), 213).save(picture, "PNG")
    requested = [
        ("table:predict", {"json": {"instances": [[1, 3, 2]]}}),
        ("table:predict", {"json": {"instances": [[1]]}}),
        ("text:predict", {"json": {"inputs": ["\u00e9", {"b64": "/w=="}]}}),
        ("pair:predict", {"json": {"signature_name": "greet", "inputs": {"name": "you"}}}),
        ("letters:predict", {"data": picture.getvalue()}),
        ("letters:predict", {"files": {"one": picture.getvalue()}}),
        ("letters/metadata", {}),
        ("", {}),
    ]

    def answers(url):
        for path, body in requested:
            method = "POST" if body else "GET"
            response = requests.request(
                method, f"{url}/v1/models/{path}".rstrip("/"), **body, timeout=60
            )
            yield response.status_code, response.json()

    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 180
    try:
        while "REST and the playground" not in output.read_text():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        replicas = list(answers(url))
        page = requests.get(url, timeout=60).text
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)

    assert code == 0
    assert replicas == list(answers(toy_server.url))
    assert "Playground" in page
