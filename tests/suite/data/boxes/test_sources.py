import json
import logging
from pathlib import Path

import numpy as np
import pytest

from suite import InputError, Run
from suite.data import supervised
from suite.data.boxes.annotations import NO_LABEL, as_truths
from suite.data.boxes.preparation import BoxPreparation
from suite.data.boxes.sources import InputSize, load_boxes
from suite.data.examples import Examples, Source
from suite.data.sources import data_knob_of
from suite.data.stored import Stored
from tests.suite.data.boxes.own import BOXES, CLASSES, SIZES, coco, csv, pictures, whole, write


@pytest.mark.parametrize("form", ["coco", "voc", "yolo", "csv"])
def test_all_formats_give_the_same(form):
    whole(form)

    source = load_boxes(Run(data="own"), unannotated="empty", image_size=64)

    assert source.class_names == CLASSES and source.name == "own"
    assert source.preparation == BoxPreparation(height=64, width=64, channels=3, names=CLASSES)
    inputs, targets = source.train
    assert inputs.shape == (3, 64, 64, 3) and inputs.dtype == np.uint8
    assert targets.shape == (3, 2, 6) and targets.dtype == np.float32
    # A picture of 64 x 96 becomes one of 43 x 64; the others keep their size.
    scales = {"a": np.array([64 / 96, 43 / 64] * 2), "b": 1, "c": 1}
    for name, target in zip(SIZES, targets, strict=True):
        truths = as_truths(target)
        expected = [np.multiply(box, scales[name]) for _, box in BOXES[name]]
        np.testing.assert_allclose(
            truths.boxes, np.reshape(expected, (-1, 4)), rtol=1e-5, atol=1e-3
        )
        assert [CLASSES[label] for label in truths.labels] == [label for label, _ in BOXES[name]]
    assert source.notes["boxes"] == {"cat": 1, "dog": 2}


@pytest.mark.parametrize(
    "size, image_size, sides",
    [
        ((480, 640), None, (256, 320)),
        ((480, 640), 640, (480, 640)),
        ((128, 128), None, (128, 128)),
        ((600, 200), 100, (128, 64)),
        ((20, 30), None, (32, 32)),
    ],
)
def test_inputs_have_about_the_proportion_of_the_pictures(size, image_size, sides):
    sample = [np.zeros((*size, 1), np.uint8)]

    preparation = InputSize(image_size=image_size).preparation([size] * 3, sample, CLASSES)

    assert preparation == BoxPreparation(height=sides[0], width=sides[1], channels=1, names=CLASSES)


def test_annotations_may_lie_beside_the_folder_of_pictures():
    whole("csv")

    source = load_boxes(Run(data="own/images"), Path("own/boxes.csv"), channels=1)

    assert source.train.inputs.shape == (3, 64, 64, 1)


def test_rows_of_all_splits_are_as_many_as_the_fullest_picture_needs():
    for split, name in (("train", "b"), ("test", "a")):
        pictures(f"own/{split}", [name])
        write(f"own/{split}/boxes.csv", csv([name]))

    source = load_boxes(Run(data="own"), classes=CLASSES)

    assert source.train.targets.shape == source.test.targets.shape == (1, 2, 6)
    assert source.validation is None  # it is held out later


def test_classes_are_given_in_any_order_or_in_a_file():
    whole("voc")
    write("names.txt", "cow\ndog\ncat\n")

    for classes in (("cow", "dog", "cat"), ("names.txt",)):
        source = load_boxes(Run(data="own"), classes=classes)

        assert source.class_names == ("cow", "dog", "cat")
        np.testing.assert_array_equal(source.train.targets[:, :, 4], [[2, 1], [1, -1], [-1, -1]])


def test_a_class_that_is_not_named_is_refused():
    whole("voc")

    with pytest.raises(InputError, match=r"one of the classes dog, cow.*cat in .*a\.xml, object 1"):
        load_boxes(Run(data="own"), classes=("dog", "cow"))


def test_yolo_s_numbers_mean_the_names_beside_them_in_whatever_order_others_are_given():
    whole("yolo")  # cat, dog

    source = load_boxes(Run(data="own"), classes=("dog", "cat"), unannotated="empty")

    assert source.class_names == ("dog", "cat")
    np.testing.assert_array_equal(source.train.targets[:, :, 4], [[1, 0], [0, -1], [-1, -1]])
    with pytest.raises(InputError, match=r"one of the classes cat.*dog in own/labels/a\.txt"):
        load_boxes(Run(data="own"), classes=("cat",))


def test_the_number_of_classes_of_yolo_must_match():
    whole("yolo")
    Path("own/classes.txt").unlink()

    with pytest.raises(InputError, match=r"0 to 0.*1 in own/labels/a\.txt, line 2"):
        load_boxes(Run(data="own"), classes=("cat",))


def test_forgotten_pictures_are_refused():
    whole("coco")

    with pytest.raises(InputError, match=r"`unannotated` must be empty.*c\.png, without one"):
        load_boxes(Run(data="own"))


def test_pictures_with_wrong_boxes_may_be_left_out(caplog):
    whole("coco")
    content = coco()
    content["annotations"][2]["bbox"] = [4, 4, 200, 24]
    write("own/boxes.json", content)

    with pytest.raises(InputError, match=r"4 4 204 28 in own/boxes\.json, annotations\[2\]"):
        load_boxes(Run(data="own"), unannotated="empty")
    with caplog.at_level(logging.WARNING, "suite"):
        source = load_boxes(Run(data="own", skip_broken=True), unannotated="empty")

    assert source.train.num_examples == 2 and "1 of 3 pictures are left out" in caplog.text


def test_pictures_may_stay_on_disk():
    whole("csv")

    stored = load_boxes(Run(data="own", in_memory="no")).train
    loaded = load_boxes(Run(data="own", in_memory="yes")).train

    assert isinstance(stored, Stored)
    for one, other in zip(stored.in_memory(), loaded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_exported_model_decides_inputs_and_classes():
    whole("voc")
    recorded = {"layout": "photo", "height": 32, "width": 96, "channels": 1}

    source = load_boxes(Run(data="own", preparation={**recorded, "names": ["dog", "cat"]}))

    assert source.train.inputs.shape == (3, 32, 96, 1)
    assert source.class_names == ("dog", "cat") and source.train.targets[0, 0, 4] == 1


@pytest.mark.parametrize("size", [None, 64])
def test_scenes_of_digits_are_generated_without_files(size):
    source = load_boxes(Run(data="embedded"), image_size=size, scenes=8, most=3)

    side, train = size or 128, source.train.in_memory()
    assert train.inputs.shape == (8, side, side, 3)
    assert source.validation.inputs.shape == source.test.inputs.shape == (2, side, side, 3)
    assert train.targets.shape == (8, 3, 6)
    assert source.class_names == tuple("0123456789") and not source.comparable
    assert data_knob_of(source.name) == "embedded"
    assert source.preparation.shape == (side, side, 3)
    assert (train.targets[:, 0, 4] != NO_LABEL).all()
    other = load_boxes(Run(data="embedded", seed=5), image_size=size, scenes=8, most=3)
    np.testing.assert_array_equal(train.inputs, other.train.in_memory().inputs)


def test_scenes_may_be_grey_and_become_batches():
    source = load_boxes(Run(data="embedded"), image_size=32, channels=1, scenes=4)
    data = supervised(source, batch_size=2, validation_split=0.1, seed=0)

    images, targets = next(iter(data.train(0)))

    assert images.shape == (2, 32, 32, 1) and targets.shape == (2, 8, 6)
    assert json.dumps(data.description.notes)


def test_scenes_are_of_real_digits_where_they_are(real_data):
    source = load_boxes(Run(data="tfds"), image_size=32, scenes=4)

    assert source.name.startswith("tfds:mnist") and source.train.num_examples == 4


def of_arrays(targets, count=2):
    images = np.zeros((count, 32, 64, 3), np.uint8)
    return Source(
        name="arrays", train=Examples(images, np.array(targets, np.float32)), class_names=CLASSES
    )


def test_arrays_are_checked_and_prepared():
    targets = [[[1, 2, 30, 20, 1, 0]], [[0, 0, 0, 0, NO_LABEL, 0]]]

    source = load_boxes(Run(arrays=of_arrays(targets)), image_size=32)

    assert source.train.inputs.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(source.train.targets[0, 0], [0.5, 1, 15, 10, 1, 0])
    again = load_boxes(Run(arrays=source))
    np.testing.assert_array_equal(again.train.targets, source.train.targets)


@pytest.mark.parametrize(
    "row, message",
    [
        ([30, 2, 1, 20, 1, 0], "corners x1 y1 x2 y2 inside of pictures of 64 x 32"),
        ([1, 2, 30, 40, 1, 0], "inside of pictures"),
        ([1, 2, 30, 20, 2, 0], "a whole number below 2"),
        ([1, 2, 30, 20, 0.5, 0], "a whole number below 2"),
        ([1, 2, 30, 20, float("nan"), 0], "a whole number below 2"),
        ([1, 2, float("nan"), 20, 1, 0], "inside of pictures"),
    ],
)
def test_wrong_arrays_are_refused(row, message):
    with pytest.raises(InputError, match=message):
        load_boxes(Run(arrays=of_arrays([[row], [row]])))


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, boxes, 6\)"):
        load_boxes(Run(arrays=of_arrays(np.zeros((2, 5)))))


@pytest.mark.parametrize(
    "run, arguments, message",
    [
        ({"min_per_class": 2}, {}, "`min_per_class` must be 1"),
        ({}, {"annotations": Path("boxes.json")}, "`annotations` needs a folder"),
        ({"data": "embedded"}, {"classes": ("cat",)}, "`classes` needs a folder"),
        ({"data": "own"}, {"classes": ("cat", "cat")}, "names that differ"),
        ({"data": "own/boxes.csv"}, {}, "`data` must be a folder of pictures"),
    ],
)
def test_knobs_that_do_not_fit_are_refused(run, arguments, message):
    whole("csv")

    with pytest.raises(InputError, match=message):
        load_boxes(Run(**run), **arguments)
