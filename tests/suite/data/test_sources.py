import socket
import time
from pathlib import Path

import pytest

from suite import InputError, Run
from suite.data import sources
from suite.data.pictures import load_digits
from suite.data.tables import load_iris


def test_auto_falls_back_to_the_embedded_set_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(sources, "_reachable", lambda host: False)

    examples = load_digits(Run())

    assert examples.source == "embedded:digits"
    assert not examples.comparable
    assert "not comparable with mnist's" in caplog.text
    assert not Path("no_data").exists()


def test_unreachable_host_is_given_up_in_time(monkeypatch):
    def hang(*args, **kwargs):
        time.sleep(6)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.perf_counter()

    assert not sources._reachable("example.com")
    assert time.perf_counter() - started < 3


def test_proxy_is_asked_where_there_is_one(monkeypatch):
    asked = []
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")

    def refuse(address, timeout):
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)

    assert not sources._reachable("example.com")
    assert asked == [("127.0.0.1", 3128)]


def test_failed_download_leaves_nothing_behind(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    class Failing:
        def __init__(self, name, data_dir):
            self.folder = Path(data_dir) / name

        def download_and_prepare(self):
            self.folder.mkdir()
            (self.folder / "half").write_text("half")
            raise OSError("connection lost")

    monkeypatch.setattr(sources, "_reachable", lambda host: True)
    monkeypatch.setattr(tfds, "builder", Failing)

    examples = load_digits(Run(data_dir=tmp_path / "data"))

    assert examples.source == "embedded:digits"
    assert list((tmp_path / "data").iterdir()) == []


def test_real_mnist_is_read(real_data):
    examples = load_digits(Run())

    assert examples.source == "tfds:mnist/3.0.1"
    assert examples.comparable
    assert (examples.train.num_examples, examples.test.num_examples) == (60000, 10000)


def test_data_dir_comes_before_the_environment(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_reachable", lambda host: False)

    assert load_iris(Run()).source == "tfds:iris/2.1.0"
    assert load_iris(Run(data_dir=tmp_path)).source == "embedded:iris"


def test_damaged_dataset_is_refused(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "features.json").write_text("{}")

    with pytest.raises(InputError, match=r"mnist/3\.0\.1 is damaged"):
        load_digits(Run(data_dir=tmp_path))
