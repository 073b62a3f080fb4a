import numpy as np
import pytest

from suite.figures import attacks, curves


def drawn(axes):
    return np.asarray(axes.images[0].get_array(), float)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_fills_the_range_of_a_pixel(channels, tmp_path):
    pictures = np.full((2, 4, 4, channels), 100, np.uint8)
    changed = pictures.astype("float32")
    changed[0, 0, 0] += 10
    changed[0, 3, 3] -= 5

    figure = attacks.changes(pictures, changed, ["$3$ (99%)", "4 (80%)"], ["8 (51%)", "4 (80%)"])

    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["$3$ (99%)", "change x 12.8", "8 (51%)", "4 (80%)", "no change", "4 (80%)"]
    difference = drawn(figure.axes[1])
    difference = difference[..., 0] if channels == 3 else difference
    assert difference[0, 0] == 255
    assert difference[3, 3] == pytest.approx(63.75, abs=0.5)
    assert difference[1, 1] == pytest.approx(127.5, abs=0.6)
    [path] = curves.save({"changes": figure}, tmp_path)
    assert path.stat().st_size > 1000


def test_a_curve_has_a_point_for_each_epsilon():
    figure = attacks.accuracy({0.0: 1.0, 0.1: 0.5, 0.2: 0.25}, "pgd, 100 pictures")

    [axes] = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[0.0, 1.0], [0.1, 0.5], [0.2, 0.25]]
    assert axes.get_title() == "pgd, 100 pictures"


def test_a_fooling_picture_has_its_answer():
    [axes] = attacks.fooling(np.full((4, 4, 1), 9.0), "3 (99.99%)").axes

    assert axes.get_title() == "3 (99.99%)" and (drawn(axes) == 9).all()
