import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from suite import InputError
from suite.errors import Unwritable
from suite.files import (
    claimed,
    folder_aside,
    refuse_damage,
    refuse_path_for_tensorflow,
    write_checksums,
    write_whole,
)

POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "log.csv"
    write_whole(path, "ä")
    assert path.read_bytes() == "ä".encode()
    script = f"""
import pathlib, resource, suite.files
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
suite.files.write_whole(pathlib.Path({str(path)!r}), "b" * 20)
"""

    process = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert "Unwritable" in process.stderr and "File too large" in process.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"] and path.read_text() == "ä"
    with pytest.raises(Unwritable, match="File name too long"):
        write_whole(tmp_path / ("n" * 253), "ab")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unwritable, match=r"folder cannot be written: Is a directory.* 2 bytes"):
        write_whole(tmp_path / "folder", "ab")


def test_what_is_written_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    synced, rename = [], Path.replace

    def sync(descriptor):
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append("folder" if folder else os.pread(descriptor, 9, 0))

    def replace(path, target):
        synced.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    # Files are opened for reading, too, so that the test sees what was written.
    open_file = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: open_file(path, mode + "+"))

    write_whole(tmp_path / "log.csv", "whole")

    assert synced == [b"whole", "renamed", "folder"]


def test_folder_belongs_to_one_at_a_time(tmp_path):
    with claimed(tmp_path) as mine, claimed(tmp_path) as other:
        assert (mine, other) == (True, False)
    with claimed(tmp_path) as again:
        assert again


@pytest.mark.parametrize("change", ["damage", "remove", "garble", "empty", "add"])
def test_changed_file_is_noticed(change, tmp_path):
    (tmp_path / "inner").mkdir()
    data, sums = tmp_path / "inner" / "data  1", tmp_path / "SHA256SUMS"
    data.write_bytes(b"abc")
    write_checksums(sums, tmp_path)
    refuse_damage(sums, tmp_path)
    assert not subprocess.run(
        ["sha256sum", "--check", "--quiet", sums.name], cwd=tmp_path
    ).returncode

    {
        "damage": lambda: data.write_bytes(b"abd"),
        "remove": data.unlink,
        "garble": lambda: sums.write_bytes(b"\xff"),
        "empty": lambda: sums.write_bytes(b""),
        "add": lambda: (tmp_path / "more").write_bytes(b""),
    }[change]()

    with pytest.raises(InputError, match=r"must be whole|must hold no file that SHA256SUMS"):
        refuse_damage(sums, tmp_path)


def test_what_an_editor_leaves_is_no_damage(tmp_path):
    (tmp_path / "data").write_bytes(b"abc")
    write_checksums(tmp_path / "SHA256SUMS", tmp_path)
    (tmp_path / ".#data").symlink_to("somebody@somewhere")
    (tmp_path / ".data.swp").touch()
    (tmp_path / "inner" / ".ipynb_checkpoints" / "deep").mkdir(parents=True)
    (tmp_path / "inner" / ".ipynb_checkpoints" / "deep" / "data-checkpoint").touch()

    refuse_damage(tmp_path / "SHA256SUMS", tmp_path)


def test_without_checksums_everything_passes(tmp_path):
    refuse_damage(tmp_path / "SHA256SUMS", tmp_path)


@pytest.mark.parametrize("locale", [{}, POSIX])
def test_checksums_are_those_of_every_locale(locale, tmp_path):
    for name in ("ä.txt", "東京.txt"):
        (tmp_path / name).write_bytes(b"abc")
    script = (
        "import pathlib, sys, suite.files\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "suite.files.write_checksums(folder / 'SHA256SUMS', folder)\n"
        "suite.files.refuse_damage(folder / 'SHA256SUMS', folder)\n"
    )

    subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        check=True,
        env={**os.environ, **locale, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    refuse_damage(tmp_path / "SHA256SUMS", tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["ä.txt", "東京.txt"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gs://bucket/models", "must be a folder of this machine. Received: gs:/bucket/models"),
        ("s3:/bucket", "must be a folder of this machine. Received: s3:/bucket, a URL"),
        ("ex[1]", r"takes for a pattern. Received: ex\[1\], with \[ \]"),
        ("a*/b", r"takes for a pattern. Received: a\*/b, with \*"),
        (r"a\b", r"takes for a pattern. Received: a\\b"),
        ("a\udcfcb", "must be UTF-8"),
    ],
)
def test_a_path_that_tensorflow_cannot_read_is_refused(path, message):
    with pytest.raises(InputError, match=message):
        refuse_path_for_tensorflow(Path(path), "export_dir")


@pytest.mark.parametrize("path", ["a b", "a{0}", "ü/日本", "a:b", "/absolute/path", "a,b;c&d'e\"f"])
def test_other_paths_pass_and_tensorflow_reads_them(path, tmp_path):
    refuse_path_for_tensorflow(tmp_path / path, "export_dir")
    prefix = str(tmp_path / path / "state")
    tf.train.Checkpoint(value=tf.Variable(1.0)).write(prefix)

    assert tf.train.load_checkpoint(prefix)


def test_a_relative_path_works_in_any_current_folder(tmp_path, monkeypatch):
    (tmp_path / "proj [old]" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "proj [old]")

    with folder_aside(Path("models"), ".export-") as aside:
        assert not aside.is_absolute() and aside.name.startswith(".export-")
        prefix = str(aside / "state")
        tf.train.Checkpoint(value=tf.Variable(1.0)).write(prefix)
        assert tf.train.load_checkpoint(prefix)

    assert not any(Path("models").iterdir())
