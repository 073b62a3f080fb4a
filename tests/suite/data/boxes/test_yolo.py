from pathlib import Path

import pytest

from suite import InputError
from suite.data.boxes.yolo import read_names, read_yolo
from tests.suite.data.boxes.own import write


def test_lines_are_boxes_in_shares():
    [first, second] = read_yolo(
        write("a.txt", "1 0.5 0.25 0.5 0.5\n\n0 0.125 0.5 0.25 1\n"), ["cat", "dog"]
    )

    assert first.label == "dog" and first.corners == (0.25, 0.0, 0.75, 0.5)
    assert first.unit == "shares" and first.place == "line 1"
    assert second.label == "cat" and second.place == "line 3"


def test_an_empty_file_is_of_an_empty_picture():
    assert read_yolo(write("a.txt", ""), ["cat"]) == []


@pytest.mark.parametrize(
    "line, message",
    [
        ("0 120 60 40 30", "shares of the picture's sides, in 0..1, and not pixels"),
        ("0 0.5 0.5 0.1", "five numbers"),
        ("0 0.5 0.5 0.1 0.1 0.9", "five numbers"),
        ("cat 0.5 0.5 0.1 0.1", "five numbers"),
        ("2 0.5 0.5 0.1 0.1", "must be 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", "must be 0 to 1"),
        ("inf 0.5 0.5 0.1 0.1", "must be 0 to 1"),
        ("0 nan 0.5 0.1 0.1", "shares of the picture's sides"),
    ],
)
def test_other_lines_are_refused(line, message):
    with pytest.raises(InputError, match=f"{message}.* in a.txt, line 2"):
        read_yolo(write("a.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n"), ["cat", "dog"])


@pytest.mark.parametrize(
    "name, text",
    [
        ("data.yaml", "train: ../train\nnc: 2\nnames: ['cat', 'dog']\n"),
        ("data.yaml", "names:\n  1: dog\n  0: cat\n"),
        ("data.yml", "names:\n- cat\n- dog\n"),
        ("classes.txt", "cat\ndog\n\n"),
        ("obj.names", " cat \ndog"),
    ],
)
def test_names_are_read(name, text):
    write(f"own/{name}", text)

    assert read_names(Path("own")) == ("cat", "dog")


def test_without_a_file_there_are_no_names():
    write("own/data.yaml", "path: here\n")

    assert read_names(Path("own")) is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("names: [cat, cat]", "names that differ"),
        ("names: {0: cat, 2: dog}", "numbered 0, 1, 2"),
        ("names: [", "must be in YAML"),
        ("a: !!python/object/apply:os.getcwd []", "must be in YAML"),
    ],
)
def test_other_names_are_refused(text, message):
    write("own/data.yaml", text)

    with pytest.raises(InputError, match=message):
        read_names(Path("own"))
