import numpy as np
import pytest

from suite.figures import curves
from suite.figures.gradients import by_step, over_depth

LAYERS = ["first", "second", "third"]


def test_heat_map_has_a_row_for_each_layer_and_masks_what_has_no_logarithm():
    values = np.array([[1.0, 10.0, 100.0], [0.0, np.nan, np.inf]])

    figure = by_step({"weights": values, "activations": values}, LAYERS)

    [first, second] = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title()]
    assert first.get_array().shape == second.get_array().shape == (3, 2)
    np.testing.assert_array_equal(first.get_array()[:, 0], [1, 10, 100])
    assert first.get_array().mask[:, 1].all() and not first.get_array().mask[:, 0].any()
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == LAYERS
    assert (first.norm.vmin, first.norm.vmax) == (1, 100)


def test_over_depth_has_a_curve_for_the_first_step_and_for_the_last():
    values = np.arange(1.0, 34).reshape(11, 3)

    figure = over_depth({"weights": values}, LAYERS)

    [axes] = figure.axes
    assert len(axes.lines) == 5 and axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1, 2, 3])
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), [31, 32, 33])
    assert [line.get_label() for line in axes.lines[::4]] == ["step 1", "step 11"]


@pytest.mark.parametrize("draw", [by_step, over_depth])
@pytest.mark.parametrize("value", [0.0, 1.0, np.inf])
def test_what_is_all_the_same_can_be_drawn(draw, value, tmp_path):
    layers = [f"layer_{number}" for number in range(100)]

    curves.save({"figure": draw({"weights": np.full((1, 100), value)}, layers)}, tmp_path)

    assert (tmp_path / "figure.png").stat().st_size > 1000
