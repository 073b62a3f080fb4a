"""Text from files and folders, and what is wrong with them in one sentence."""

import logging

import pytest

from suite.data.text.files import read_text, read_texts
from suite.errors import InputError


def test_ends_of_lines_and_byte_order_mark(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeff雨が\r\n降る\rか\n".encode())
    assert read_text(path) == "雨が\n降る\nか\n"


def test_broken_utf_8_is_named(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\ntwo \xe3\x81 three")
    with pytest.raises(InputError, match=r"UTF-8 text.*text\.txt, with the byte 0xe3 in line 2"):
        read_text(path)


def test_folder_is_read_in_the_order_of_names(tmp_path):
    for name, content in {"b.txt": "B", "a/z.md": "Z", ".hidden": "H", "a/.git/x": "G"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert read_texts(tmp_path) == {"train": ["Z", "B"], "validation": [], "test": []}


def test_files_named_as_splits(tmp_path, caplog):
    for name in ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens", "README.md"):
        (tmp_path / name).write_text(name)
    with caplog.at_level(logging.WARNING):
        texts = read_texts(tmp_path)
    assert texts == {
        "train": ["wiki.train.tokens"],
        "validation": ["wiki.valid.tokens"],
        "test": ["wiki.test.tokens"],
    }
    assert "README.md is left out" in caplog.text


def test_broken_file_in_a_folder(tmp_path, caplog):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"picture\.png"):
        read_texts(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert read_texts(tmp_path, skip_broken=True)["train"] == ["good"]
    assert "picture.png is left out" in caplog.text


@pytest.mark.parametrize("content", ["", " \n\n"])
def test_no_text(tmp_path, content):
    path = tmp_path / "text.txt"
    path.write_text(content)
    with pytest.raises(InputError, match="`data` must hold text"):
        read_texts(path)
    with pytest.raises(InputError, match="`data` must hold text"):
        read_texts(tmp_path)
