import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from tests.suite.serve.conftest import ROOT

pytest.importorskip("ray", reason="Ray is not installed")


def test_replicas_answer_as_one_process_does(exported, server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    words = [str(exported), "--engine", "ray", "--replicas", "1", "--port", str(port)]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "suite.serve", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 180
    try:
        while "REST and the playground" not in (tmp_path / "said").read_text():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.5)
        path, body = "/v1/models/iris:predict", {"instances": [[5.1, 3.5, 1.4, 0.2]]}

        said = requests.post(url + path, json=body, timeout=60)
        page = requests.get(url, timeout=60).text
        wrong = requests.post(url + path, json={"instances": [[1]]}, timeout=60)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)

    assert code == 0
    assert said.json() == requests.post(server.url + path, json=body, timeout=60).json()
    assert "Playground" in page
    assert wrong.status_code == 400
