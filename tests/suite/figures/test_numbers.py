import numpy as np

from suite.figures import numbers


def test_predictions_say_how_many_rows_lie_in_their_interval():
    targets = np.array([0.0, 1.0, 2.0, 9.0])
    mean = np.array([0.1, 1.1, 2.1, 3.0])

    figure = numbers.predictions(targets, mean, mean - 1, mean + 1)

    [axes] = figure.axes
    assert axes.get_title() == "75.0% of 4 in their interval"
    [dots] = [c for c in axes.collections if len(c.get_offsets()) == 4]
    assert (dots.get_facecolors()[:, 0] > 0.5).tolist() == [False, False, False, True]


def test_many_rows_are_thinned_out():
    count = 3 * numbers.MOST_POINTS
    targets = np.zeros(count)

    figure = numbers.predictions(targets, targets, targets - 1, targets + 1)

    assert len(figure.axes[0].collections[-1].get_offsets()) == numbers.MOST_POINTS


def test_a_curve_is_drawn_from_left_to_right_whatever_the_order_of_rows():
    inputs = np.array([2.0, 0.0, 1.0])

    figure = numbers.curve(inputs, inputs, inputs, inputs - 1, inputs + 1, xlabel="size $")

    [axes] = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [0, 1, 2]
    assert axes.get_xlabel() == "size $"
