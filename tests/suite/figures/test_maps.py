import numpy as np

from suite.figures.maps import Map, maps

DIRECTIONS = np.array([[0, 1], [1, 0], [0, 0]])


def test_values_are_colours_of_one_scale_and_actions_are_arrows_or_numbers():
    values = np.array([[1.0, 2.0], [np.nan, 4.0]])
    actions = np.array([[0, 1], [0, 2]])

    figure = maps([Map("early", values, actions, DIRECTIONS), Map("late", 2 * values)])

    early, late, colours = figure.axes
    assert [axes.get_title() for axes in (early, late)] == ["early", "late"]
    assert early.images[0].get_clim() == late.images[0].get_clim() == (0, 8)
    assert len(early.texts) == 3 and len(late.texts) == 0  # nothing in the blank place
    assert [text.get_text() for text in early.texts] == ["", "", "2"]
    right = early.texts[0]
    assert right.xy[0] > right.xyann[0] and right.xy[1] == right.xyann[1]
    assert colours.get_ylabel() == "value"


def test_ways_are_drawn_beside_one_another():
    way = np.array([[0, 0], [0, 1], [1, 1]])

    figure = maps([Map("", np.zeros((2, 2)), ways={"one": way, "other": way})])

    one, other = figure.axes[0].lines
    assert (one.get_label(), other.get_label()) == ("one", "other")
    assert np.allclose(other.get_xdata() - one.get_xdata(), 0.12)
    assert np.allclose((one.get_xdata() + other.get_xdata()) / 2, way[:, 1])


def test_many_maps_take_several_rows():
    figure = maps([Map(str(number), np.ones((2, 2))) for number in range(5)])

    shown = [axes for axes in figure.axes[:-1] if axes.axison]
    assert len(shown) == 5
