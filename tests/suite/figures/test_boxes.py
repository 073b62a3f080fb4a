import numpy as np
import pytest
from matplotlib.patches import Rectangle

from suite.figures import boxes as figures

BOXES = np.array([[2.0, 20.0, 12.0, 30.0], [20.0, 1.0, 39.0, 9.0]])


def outlines(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_stand_at_their_pixels_with_names_and_scores(channels):
    pictures = [np.zeros((40, 60, channels)), np.zeros((50, 50, channels))]

    figure = figures.boxed_pictures(
        pictures,
        [BOXES, np.zeros((0, 4))],
        [np.array([1, 0]), np.zeros(0, int)],
        ["cat", "dog"],
        scores=[np.array([0.9, 0.5]), np.zeros(0)],
    )

    first, second = figure.axes
    captions = [text.get_text() for text in first.texts]
    assert captions == ["cat 0.50", "dog 0.90"]  # the best is drawn last, on top
    box = outlines(first)[1]
    # The first pixel reaches from -0.5 to 0.5 where matplotlib draws it.
    assert (box.get_x(), box.get_y()) == (1.5, 19.5)
    assert (box.get_width(), box.get_height()) == (10, 10)
    assert not second.texts and not outlines(second)


def test_a_name_without_room_above_stands_inside():
    figure = figures.boxed_pictures([np.zeros((40, 60, 3))], [BOXES], [np.array([0, 0])], ["cat"])

    below, at_the_top = figure.axes[0].texts
    assert below.get_va() == "bottom" and at_the_top.get_va() == "top"
    assert below.get_text() == "cat"


def test_true_boxes_are_dashed():
    figure = figures.boxed_pictures(
        [np.zeros((40, 60, 3))], [BOXES[:1]], [np.array([0])], ["cat"], truths=[BOXES]
    )

    styles = [patch.get_linestyle() for patch in outlines(figure.axes[0])]
    assert styles == ["--", "--", "solid"]


def test_many_pictures_take_several_rows():
    nothing = [np.zeros((0, 4))] * 6

    figure = figures.boxed_pictures(
        [np.zeros((8, 8, 1))] * 6, nothing, [np.zeros(0, int)] * 6, ["cat"], columns=4
    )

    assert len(figure.axes) == 8
    assert sum(bool(axes.images) for axes in figure.axes) == 6


@pytest.mark.parametrize("size", [(29, 57), (131, 250)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_marked_picture_keeps_its_size_and_its_other_pixels(size, channels):
    picture = np.random.default_rng(0).integers(0, 256, (*size, channels)).astype(np.uint8)
    box = np.array([[4.0, 14.0, 20.0, 27.0]])

    boxed = figures.marked(picture, box, np.array([0]), ["cat"], scores=np.array([0.5]))

    assert boxed.shape == (*size, 3) and boxed.dtype == np.uint8
    expected = np.broadcast_to(picture, boxed.shape)
    np.testing.assert_array_equal(boxed[-1], expected[-1])
    np.testing.assert_array_equal(boxed[20:24, 8:16], expected[20:24, 8:16])
    assert (boxed[14:27, 3:5] != expected[14:27, 3:5]).any()


def test_a_picture_without_boxes_is_as_it_was():
    picture = np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8)

    boxed = figures.marked(picture, np.zeros((0, 4)), np.zeros(0, int), ["cat"])

    np.testing.assert_array_equal(boxed, picture)


def test_every_class_with_truths_has_a_curve_and_its_area():
    precisions = {"cat": np.linspace(1, 0, 101), "dog": np.full(101, np.nan), "$4": np.ones(101)}

    figure = figures.precision_recall(precisions, "at an overlap of 0.5")

    [axes] = figure.axes
    assert len(axes.lines) == 2 and axes.get_title() == "at an overlap of 0.5"
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["cat, AP 0.500", "$4, AP 1.000"]


def test_without_truths_there_is_no_legend():
    figure = figures.precision_recall({"cat": np.full(101, np.nan)})

    assert not figure.legends and not figure.axes[0].lines
