import logging
from pathlib import Path

import numpy as np
import pytest

from suite import InputError
from suite.data.boxes.annotations import (
    NO_LABEL,
    Entry,
    Thing,
    Truths,
    as_targets,
    as_truths,
    check,
)
from tests.suite.data.boxes.own import save

FILE = Path("a.xml")


def entry(*corners, label="cat", unit="pixels", height=64, width=96, name="a.png"):
    save(name, height, width)
    things = [Thing(f"object {n}", label, c, unit=unit) for n, c in enumerate(corners, start=1)]
    return Entry(Path(name), FILE, things)


def test_boxes_are_corners_and_numbers_of_classes():
    [labelled] = check([entry((1.0, 2.0, 30.0, 40.0), (5.0, 5.0, 96.0, 64.0))], ["dog", "cat"])

    assert labelled.picture == Path("a.png") and labelled.size == (64, 96)
    np.testing.assert_array_equal(labelled.truths.boxes, [[1, 2, 30, 40], [5, 5, 96, 64]])
    np.testing.assert_array_equal(labelled.truths.labels, [1, 1])
    np.testing.assert_array_equal(labelled.truths.crowd, [False, False])
    assert labelled.truths.boxes.dtype == np.float32 and labelled.truths.labels.dtype == np.int32


@pytest.mark.parametrize(
    "unit, corners, box",
    [
        ("counted", (1.0, 1.0, 96.0, 64.0), [0, 0, 96, 64]),
        ("counted", (5.0, 6.0, 5.0, 6.0), [4, 5, 5, 6]),  # one pixel
        ("shares", (0.5, 0.25, 1.0, 0.75), [48, 16, 96, 48]),
        ("pixels", (-1.5, 10.0, 97.0, 65.0), [0, 10, 96, 64]),  # reaches out a little
    ],
)
def test_units_and_overhang(unit, corners, box):
    [labelled] = check([entry(corners, unit=unit)], ["cat"])

    np.testing.assert_allclose(labelled.truths.boxes, [box])


@pytest.mark.parametrize(
    "corners, requirement",
    [
        ((10.0, 10.0, 120.0, 20.0), "inside of their picture, of 96 x 64 pixels"),
        ((100.0, 10.0, 120.0, 20.0), "inside of their picture"),
        ((96.5, 10.0, 97.5, 20.0), "inside of their picture"),
        ((30.0, 10.0, 20.0, 20.0), "second corner"),
        ((10.0, 10.0, 10.0, 20.0), "an area"),
        ((0.1, 0.2, 0.5, 0.75), "not in shares"),
        ((float("nan"), 0.0, 5.0, 5.0), "finite"),
    ],
)
def test_a_wrong_box_is_named_with_its_file_and_entry(corners, requirement):
    with pytest.raises(InputError, match=requirement) as error:
        check([entry((1.0, 2.0, 30.0, 40.0), corners)], ["cat"])

    assert "a.xml, object 2" in str(error.value)
    assert " ".join(f"{corner:g}" for corner in corners) in str(error.value)


def test_an_unknown_class_is_refused():
    with pytest.raises(InputError, match=r"classes dog, cow.*cat in a\.xml, object 1"):
        check([entry((1.0, 2.0, 30.0, 40.0))], ["dog", "cow"])


def test_a_picture_of_another_size_than_its_file_says_is_refused():
    picture = entry((1.0, 2.0, 30.0, 40.0))

    assert check([picture._replace(size=(64, 96))], ["cat"])
    with pytest.raises(InputError, match=r"Received: a\.png of 96 x 64, 960 x 640 in a\.xml"):
        check([picture._replace(size=(640, 960))], ["cat"])


def percents(height, width):
    random = np.random.default_rng(0)
    return [
        entry((*random.uniform(0, 40, 2), *random.uniform(60, 100, 2)), height=height, width=width)
        for _ in range(12)
    ]


def test_percent_is_recognised():
    with pytest.raises(InputError, match=r"not in percent of the picture.*a\.xml"):
        check(percents(300, 400), ["cat"])


def test_one_small_picture_does_not_hide_that_others_are_in_percent():
    small = entry((1.0, 2.0, 30.0, 40.0), name="small.png", height=100, width=100)

    with pytest.raises(InputError, match=r"not in percent of the picture"):
        check([small, *percents(300, 400)], ["cat"])


def test_small_pictures_may_have_small_boxes():
    assert len(check(percents(100, 120), ["cat"])) == 12


def test_a_picture_without_an_annotation_is_refused_or_empty():
    save("b.png")
    forgotten, empty = Entry(Path("b.png"), None, None), Entry(Path("b.png"), FILE, [])

    with pytest.raises(InputError, match=r"`unannotated` must be empty.*b\.png, without one"):
        check([forgotten], ["cat"])
    for one, unannotated in ((forgotten, "empty"), (empty, "refuse")):
        [labelled] = check([one], ["cat"], unannotated)
        assert labelled.truths.boxes.shape == (0, 4) and labelled.truths.labels.shape == (0,)


def test_wrong_pictures_may_be_left_out(caplog):
    Path("broken.png").write_bytes(b"none")
    entries = [
        entry((1.0, 2.0, 30.0, 40.0)),
        entry((1.0, 2.0, 300.0, 40.0), name="b.png"),
        Entry(Path("broken.png"), FILE, []),
    ]

    with caplog.at_level(logging.WARNING, "suite"):
        labelled = check(entries, ["cat"], skip_broken=True)

    assert [one.picture.name for one in labelled] == ["a.png"]
    assert "2 of 3 pictures are left out" in caplog.text and "a.xml, object 1" in caplog.text


def test_targets_are_padded_and_back():
    truths = [
        Truths(np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32), np.array([2, 0]), np.eye(2)[0]),
        Truths(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool)),
    ]

    targets = as_targets(truths)

    np.testing.assert_array_equal(targets[0], [[1, 2, 3, 4, 2, 1], [5, 6, 7, 8, 0, 0]])
    np.testing.assert_array_equal(targets[1], [[0, 0, 0, 0, NO_LABEL, 0]] * 2)
    assert targets.dtype == np.float32 and as_targets(truths, 7).shape == (2, 7, 6)
    for one, again in zip(truths, map(as_truths, targets), strict=True):
        for values, others in zip(one, again, strict=True):
            np.testing.assert_array_equal(values, others)


def test_pictures_without_things_have_a_row_of_padding():
    nothing = Truths(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool))

    assert as_targets([nothing]).shape == (1, 1, 6)
