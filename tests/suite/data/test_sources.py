import socket
import time
from pathlib import Path

import pytest

from suite import InputError, Run
from suite.data import sources
from suite.data.images.sources import load_pictures
from suite.data.tables.sources import load_table


def test_auto_falls_back_to_the_embedded_set_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(sources, "_reachable", lambda host: False)

    examples = load_pictures(Run())

    assert examples.name == "embedded:digits"
    assert not examples.comparable
    assert "not comparable with mnist's" in caplog.text
    assert not Path("no_data").exists()


def test_without_a_home_the_embedded_set_is_used_or_a_folder_asked_for(monkeypatch, caplog):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setattr(Path, "expanduser", no_home)  # Path.home() takes it, too

    assert load_pictures(Run()).name == "embedded:digits"
    assert caplog.messages == [
        "No home folder that could hold mnist, and no --data-dir: using embedded:digits instead. "
        "Its figures are not comparable with mnist's."
    ]
    with pytest.raises(InputError, match=r"`data` tfds needs `data_dir`.* Received: none"):
        load_pictures(Run(data="tfds"))
    with pytest.raises(InputError, match=r"home folder of a user. Received: ~nobody/data"):
        load_pictures(Run(data_dir=Path("~nobody/data")))


def test_unreachable_host_is_given_up_in_time(monkeypatch):
    def hang(*args, **kwargs):
        time.sleep(3)
        raise TimeoutError

    monkeypatch.setattr(sources, "SECONDS_TO_ANSWER", 0.2)
    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.perf_counter()

    assert not sources._reachable("example.com")
    assert time.perf_counter() - started < 2


def test_proxy_is_asked_where_there_is_one(monkeypatch):
    addresses = []
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")

    def refuse(address, timeout):
        addresses.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)

    assert not sources._reachable("example.com")
    assert addresses == [("127.0.0.1", 3128)]


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

    examples = load_pictures(Run(data_dir=tmp_path / "data"))

    assert examples.name == "embedded:digits"
    assert list((tmp_path / "data").iterdir()) == []


def test_a_download_lies_where_tfds_looks_for_it(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    class Letters:
        def __init__(self, name, data_dir):
            self.data_dir = str(Path(data_dir) / "emnist" / "letters" / "3.1.0")

        def download_and_prepare(self):
            Path(self.data_dir).mkdir(parents=True)
            Path(self.data_dir, "dataset_info.json").write_text("{}")

    monkeypatch.setattr(tfds, "builder", Letters)

    folder = sources._download("emnist/letters", tmp_path / "data")

    assert folder == tmp_path / "data/emnist/letters/3.1.0"
    assert folder == sources._prepared(tmp_path / "data", "emnist/letters")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["emnist"]


def test_a_name_alone_means_the_default_configuration(tmp_path):
    for configuration in ("letters", "byclass"):
        folder = tmp_path / "emnist" / configuration / "3.1.0"
        folder.mkdir(parents=True)
        assert sources._prepared(tmp_path, "emnist") is None
        (folder / "dataset_info.json").write_text("{}")

    assert sources._prepared(tmp_path, "emnist") == folder


def test_real_mnist_is_read(real_data):
    examples = load_pictures(Run())

    assert examples.name == "tfds:mnist/3.0.1"
    assert examples.comparable
    assert (examples.train.num_examples, examples.test.num_examples) == (60000, 10000)


def test_data_dir_comes_before_the_environment(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_reachable", lambda host: False)

    assert load_table(Run()).name == "tfds:iris/2.1.0"
    assert load_table(Run(data_dir=tmp_path)).name == "embedded:iris"


def test_damaged_dataset_is_refused(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "features.json").write_text("{}")

    with pytest.raises(InputError, match=r"mnist/3\.0\.1 is damaged"):
        load_pictures(Run(data_dir=tmp_path))
