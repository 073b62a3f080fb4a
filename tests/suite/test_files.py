import os
import subprocess
import sys

import pytest

from suite import InputError
from suite.errors import Unwritable
from suite.files import claimed, refuse_damage, write_checksums, write_whole


def test_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "log.csv"
    write_whole(path, "ä")
    assert path.read_bytes() == "ä".encode()
    script = f"""
import pathlib, resource, suite.files
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
suite.files.write_whole(pathlib.Path({str(path)!r}), "b" * 20)
"""

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert "Unwritable" in done.stderr and "File too large" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"] and path.read_text() == "ä"
    with pytest.raises(Unwritable, match="File name too long"):
        write_whole(tmp_path / ("n" * 253), "ab")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unwritable, match=r"folder cannot be written: Is a directory.* 2 bytes"):
        write_whole(tmp_path / "folder", "ab")


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

    with pytest.raises(InputError, match=r"must be whole|must hold what SHA256SUMS names"):
        refuse_damage(sums, tmp_path)


def test_what_an_editor_leaves_is_no_damage(tmp_path):
    (tmp_path / "data").write_bytes(b"abc")
    write_checksums(tmp_path / "SHA256SUMS", tmp_path)
    (tmp_path / ".#data").symlink_to("somebody@somewhere")
    (tmp_path / ".data.swp").touch()

    refuse_damage(tmp_path / "SHA256SUMS", tmp_path)


def test_without_checksums_everything_passes(tmp_path):
    refuse_damage(tmp_path / "SHA256SUMS", tmp_path)
