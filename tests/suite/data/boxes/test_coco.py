import copy

import pytest

from suite import InputError
from suite.data.boxes.annotations import Thing
from suite.data.boxes.coco import read_coco
from tests.suite.data.boxes.own import coco, write


def test_boxes_are_corners_and_classes_are_in_the_order_of_their_numbers():
    names, things, sizes = read_coco(write("boxes.json", coco()))

    assert set(sizes.values()) == {None}
    assert names == ("cat", "dog")
    assert things["a.png"] == [
        Thing("annotations[0]", "cat", (10.0, 20.0, 30.0, 44.0)),
        Thing("annotations[1]", "dog", (50.0, 8.0, 90.0, 60.0)),
    ]
    assert things["c.png"] is None  # empty or forgotten


def test_sizes_of_pictures_are_read():
    content = coco()
    content["images"][0] |= {"width": 96, "height": "64"}
    content["images"][1] |= {"width": 0, "height": 0}

    assert list(read_coco(write("boxes.json", content)).sizes.values()) == [(64, 96), None, None]
    for wrong in ("wide", "nan", float("inf")):
        content["images"][0]["width"] = wrong
        with pytest.raises(InputError, match=r"must be numbers.*images\[0\]"):
            read_coco(write("boxes.json", content))


@pytest.mark.parametrize(
    ("value", "crowd"), [(1, True), ("1", True), (True, True), (0, False), ("0", False)]
)
def test_crowds_are_kept(value, crowd):
    content = coco()
    content["annotations"][2]["iscrowd"] = value

    things = read_coco(write("boxes.json", content)).things

    assert [thing.crowd for thing in things["b.png"]] == [crowd]


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("images",), None, "without a list of images"),
        (("annotations",), {"a": 1}, "without a list of annotations"),
        (("annotations", 1, "bbox"), [1, 2, 3], "four numbers.*annotations.1. in boxes.json"),
        (("annotations", 1, "bbox"), [1, 2, 3, "x"], "four numbers"),
        (("annotations", 1, "bbox"), [1, 2, 3, int("9" * 400)], "four numbers"),
        (("annotations", 1, "bbox"), None, "usable bbox.*annotations.1."),
        (("annotations", 1, "image_id"), 77, "image 77 of annotations.1."),
        (("annotations", 1, "category_id"), 4, "category 4 of annotations.1."),
        (("annotations", 1, "category_id"), [4], "usable category_id"),
        (("images", 2, "file_name"), None, "usable file_name.*images.2."),
        (("images", 2, "file_name"), "a.png", "different file names.*a.png of images.2."),
        (("images", 2, "id"), 0, "must differ.*0 of images.2. in boxes.json"),
        (("categories", 1, "id"), 9, "must differ.*9 of categories.1."),
        (("categories", 0, "name"), "cat", "names that differ"),
    ],
)
def test_entries_that_are_not_of_coco_are_refused(path, value, message):
    content = copy.deepcopy(coco())
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value

    with pytest.raises(InputError, match=message):
        read_coco(write("boxes.json", content))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "without a list of images"),
        ('{"images": [}', "line 1, column 13"),
        ("[" * 100_000, "COCO's JSON"),
    ],
)
def test_files_that_are_not_of_coco_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_coco(write("boxes.json", text))


def test_broken_utf_8_is_named_with_its_line():
    path = write("boxes.json", "")
    path.write_bytes(b'{"images": [],\n"categories": [{"id": 1, "name": "caf\xe9"}]}')

    with pytest.raises(InputError, match=r"boxes\.json, with the byte 0xe9 in line 2"):
        read_coco(path)
