import socket
import sys

import pytest

from suite.serve.__main__ import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "must hold <app>/<version>/. Received: nowhere"),
        (["empty"], "must hold <app>/<version>/. Received: empty"),
        (["models", "--port", "65536"], "--port"),
        (["models", "--max-batch-size", "0"], "--max-batch-size"),
        (["models", "--label", "iris"], "--label must be like <app>/stable=3"),
        (["models", "--label", "iris/best=x"], "Received: iris/best=x"),
        (["models", "--token-file", "none"], "--token-file must be readable"),
        (["models", "--token-file", "blank"], "--token-file must hold a token"),
        (["models", "--host", "203.0.113.1"], "--host and --port must be free here"),
        (["models", "--host", "[2001:db8::1]"], "--host and --port must be free here"),
        (["models", "--cors-origin", "example.com"], "--cors-origin must be like https://"),
        (["models", "--cors-origin", "https://example.com/"], "Received: https://example.com/"),
        (["models", "--engine", "steam"], "--engine"),
        (["models", "--speed", "1"], "--speed"),
    ],
)
def test_bad_input_gets_one_sentence(words, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "models" / "iris" / "1").mkdir(parents=True)
    (tmp_path / "blank").touch()

    assert main(words) == 2

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("flag", ["--port", "--grpc-port"])
def test_a_port_in_use_is_said(flag, tmp_path, capsys):
    (tmp_path / "models" / "iris" / "1").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ports = {"--port": "0", "--grpc-port": "0", flag: port}

        assert main(["models", *(word for pair in ports.items() for word in pair)]) == 2

    error = capsys.readouterr().err
    assert port in error
    assert error.count("\n") == 1


def test_what_is_not_installed_is_said(tmp_path, capsys, monkeypatch):
    (tmp_path / "models" / "iris" / "1").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "ray", None)

    assert main(["models", "--engine", "ray"]) == 2

    assert "pip install" in capsys.readouterr().err
