import logging
import unicodedata
from pathlib import Path

import pytest

from suite import InputError
from suite.data.boxes.folders import occurring_names, read_annotations, split_in
from tests.suite.data.boxes.own import CLASSES, coco, csv, pictures, save, voc, whole, write, yolo


def names(entries):
    return [entry.picture.stem for entry in entries]


@pytest.mark.parametrize("form", ["coco", "voc", "yolo", "csv"])
def test_every_format_is_recognised(form):
    whole(form)

    for chosen in ("auto", form):
        class_names, splits = read_annotations(Path("own"), format=chosen)

        assert class_names == (CLASSES if form in ("coco", "yolo") else None)
        assert splits.keys() == {"train"} and names(splits["train"]) == ["a", "b", "c"]
        assert [len(entry.things or ()) for entry in splits["train"]] == [2, 1, 0]
        assert occurring_names(splits["train"]) == CLASSES


def test_lists_of_voc_are_the_splits(caplog):
    whole("voc")
    save("own/images/d.png")
    write("own/ImageSets/Main/train.txt", "a\n")
    write("own/ImageSets/Main/val.txt", "c\n")
    write("own/ImageSets/Main/test.txt", "b 1\n")

    with caplog.at_level(logging.INFO, "suite"):
        _, splits = read_annotations(Path("own"))

    assert {split: names(entries) for split, entries in splits.items()} == {
        "train": ["a"],
        "validation": ["c"],
        "test": ["b"],
    }
    assert "1 pictures are in no list" in caplog.text


def test_masks_of_voc_are_not_taken_for_its_pictures():
    whole("voc")
    save("own/SegmentationClass/a.jpg")
    write("own/ImageSets/Main/train.txt", "a\nb\nc\n")

    [entries] = read_annotations(Path("own")).splits.values()

    assert [entry.picture.parent.name for entry in entries] == ["images"] * 3


def test_pictures_that_lists_of_voc_cannot_tell_apart_are_refused():
    for folder in ("one", "other"):
        pictures(f"own/{folder}", ["a"])
        write(f"own/{folder}/a.xml", voc("a"))
    write("own/ImageSets/Main/train.txt", "a\n")

    with pytest.raises(InputError, match=r"different names.*own/one/a\.png and own/other/a\.png"):
        read_annotations(Path("own"))


@pytest.mark.parametrize("form", ["coco", "voc", "yolo", "csv"])
def test_folders_are_the_splits(form):
    for split, name in (("train", "a"), ("valid", "b"), ("test", "a")):
        pictures(f"own/{split}", [name])
        if form == "voc":
            write(f"own/{split}/{name}.xml", voc(name))
        elif form == "yolo":
            write(f"own/{split}/{name}.txt", yolo(name))
        elif form == "csv":
            write(f"own/{split}/_annotations.csv", csv([name]))
        else:
            write(f"own/{split}/_annotations.coco.json", coco([name]))
    write("own/data.yaml", "names: [cat, dog]")

    _, splits = read_annotations(Path("own"))

    assert {split: names(entries) for split, entries in splits.items()} == {
        "train": ["a"],
        "validation": ["b"],
        "test": ["a"],
    }


def test_files_of_coco_are_the_splits_by_their_names():
    pictures("own/train2017", ["a"])
    pictures("own/val2017", ["b"])
    write("own/annotations/instances_train2017.json", coco(["a"]))
    write("own/annotations/instances_val2017.json", coco(["b"]))
    write("own/annotations/captions_train2017.json", {"images": []})

    class_names, splits = read_annotations(Path("own"))

    assert class_names == CLASSES
    assert names(splits["train"]) == ["a"] and names(splits["validation"]) == ["b"]


def test_names_that_look_the_same_are_the_same_picture():
    name = "Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}sse.png"
    pictures("own", ["a"])
    Path("own/a.png").rename(Path("own", unicodedata.normalize("NFD", name)))
    annotations = coco(["a"])
    annotations["images"][0]["file_name"] = name
    write("own/all.json", annotations)

    _, splits = read_annotations(Path("own"))

    assert [len(entry.things) for entry in splits["train"]] == [2]


def test_pictures_of_one_name_are_distinguished_by_their_split():
    for split in ("train", "val"):
        pictures(f"own/images/{split}", ["a"])
        write(f"own/{split}.json", coco(["a"]))

    _, splits = read_annotations(Path("own"))

    assert splits["train"][0].picture == Path("own/images/train/a.png")
    assert splits["validation"][0].picture == Path("own/images/val/a.png")


def test_labels_of_yolo_lie_in_a_folder_beside_that_of_the_pictures():
    for split, name in (("train", "a"), ("val", "b")):
        pictures(f"own/images/{split}", [name])
        write(f"own/labels/{split}/{name}.txt", yolo(name))

    _, splits = read_annotations(Path("own"), class_names=CLASSES)

    assert splits["train"][0].file == Path("own/labels/train/a.txt")
    assert splits["validation"][0].file == Path("own/labels/val/b.txt")


@pytest.mark.parametrize("data", ["own", "own/images"])
def test_annotations_may_lie_elsewhere(data):
    pictures("own/images")
    for name in ("a", "b"):
        write(f"elsewhere/{name}.txt", yolo(name))
    write("elsewhere/classes.txt", "cat\ndog")

    class_names, splits = read_annotations(Path(data), Path("elsewhere"))

    assert class_names == CLASSES
    assert [entry.things is None for entry in splits["train"]] == [False, False, True]


def test_pictures_that_no_row_names_have_no_annotation():
    pictures("own")
    write("own/boxes.csv", csv(["a", "b"]))

    _, splits = read_annotations(Path("own"))

    assert [entry.things is None for entry in splits["train"]] == [False, False, True]


def test_pictures_in_no_file_of_coco_are_left_out(caplog):
    pictures("own")
    write("own/boxes.json", coco(["a", "b"]))

    with caplog.at_level(logging.INFO, "suite"):
        _, splits = read_annotations(Path("own"))

    assert names(splits["train"]) == ["a", "b"]
    assert "1 pictures are in no file of boxes" in caplog.text


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"path": "missing"}, "`data` must be a folder of pictures with boxes"),
        ({"annotations": Path("missing.json")}, "missing.json, not there"),
        ({"format": "voc"}, "`format` must be that of the files in own"),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    whole("coco")
    path = Path(arguments.pop("path", "own"))

    with pytest.raises(InputError, match=message):
        read_annotations(path, **arguments)


def test_a_folder_without_annotations_is_refused():
    pictures("own")

    with pytest.raises(InputError, match="own, without any of them"):
        read_annotations(Path("own"))


def test_a_folder_without_pictures_is_refused():
    write("own/a.xml", voc("a"))

    with pytest.raises(InputError, match="own must hold image files"):
        read_annotations(Path("own"))


def test_boxes_of_a_picture_that_is_not_there_are_refused():
    pictures("own", ["a"])
    write("own/boxes.json", coco(["a", "b"]))

    with pytest.raises(InputError, match=r"named in own/boxes\.json must be in own.*b\.png"):
        read_annotations(Path("own"))


def test_pictures_with_ambiguous_names_are_refused():
    pictures("own/one", ["a"])
    pictures("own/two", ["a"])
    write("own/boxes.json", coco(["a"]))

    with pytest.raises(InputError, match=r"told apart.*own/one/a\.png and own/two/a\.png"):
        read_annotations(Path("own"))


def test_a_picture_in_two_files_is_refused():
    pictures("own", ["a"])
    write("own/train.json", coco(["a"]))
    write("own/val.json", coco(["a"]))

    with pytest.raises(InputError, match="in one file of boxes only"):
        read_annotations(Path("own"))


def test_a_picture_with_two_names_in_a_file_is_refused():
    pictures("own/one", ["a"])
    write("own/boxes.csv", csv(["a"]).replace("a.png", "one/a.png") + "two/a.png,dog,1,1,9,9\n")

    with pytest.raises(InputError, match=r"by one name.*one/a\.png as one/a\.png .* as two/a\.png"):
        read_annotations(Path("own"))


def test_a_text_file_for_two_pictures_is_refused():
    for split in ("train", "val"):
        pictures(f"own/{split}", ["a"])
    write("flat/a.txt", yolo("a"))

    with pytest.raises(InputError, match=r"for itself.*flat/a\.txt for own/train/a\.png and"):
        read_annotations(Path("own"), Path("flat"), class_names=CLASSES)


@pytest.mark.parametrize("form", ["coco", "csv"])
def test_beside_one_file_folders_are_the_splits(form):
    pictures("own/train", ["a"])
    pictures("own/test", ["b"])
    name, content = ("json", coco(["a", "b"])) if form == "coco" else ("csv", csv(["a", "b"]))
    write(f"own/boxes.{name}", content)

    _, splits = read_annotations(Path("own"))

    assert {split: names(entries) for split, entries in splits.items()} == {
        "train": ["a"],
        "test": ["b"],
    }
    _, splits = read_annotations(Path("own/test"), write("one.csv", csv(["b"])))
    assert list(splits) == ["train"]


def test_files_of_other_classes_are_refused():
    pictures("own", ["a", "b"])
    other = coco(["b"])
    other["categories"][1]["name"] = "cow"
    write("own/train.json", coco(["a"]))
    write("own/val.json", other)

    with pytest.raises(InputError, match=r"the same classes.*cow, dog in own/val\.json"):
        read_annotations(Path("own"))


def test_yolo_without_names_is_refused():
    pictures("own", ["a"])
    write("own/a.txt", yolo("a"))

    with pytest.raises(InputError, match="`classes` must name the classes"):
        read_annotations(Path("own"))


def test_without_a_split_to_train_on_there_is_none():
    pictures("own/test", ["a"])
    write("own/test/a.xml", voc("a"))

    with pytest.raises(InputError, match="pictures to train on"):
        read_annotations(Path("own"))


@pytest.mark.parametrize(
    "path, split",
    [
        ("train2017/a.jpg", "train"),
        ("annotations/instances_val2017.json", "validation"),
        ("Test/a.jpg", "test"),
        ("images/latest/a.jpg", None),
    ],
)
def test_words_of_a_path_name_the_split(path, split):
    assert split_in(Path(path)) == split
