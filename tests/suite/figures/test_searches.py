import numpy as np
import pytest

from suite.figures import curves, searches


@pytest.mark.parametrize(
    ("larger_is_better", "best"), [(True, [0.5, 0.5, 0.5, 0.9]), (False, [0.5, 0.3, 0.3, 0.3])]
)
def test_the_best_so_far_is_of_trials_that_trained_to_their_end(larger_is_better, best, tmp_path):
    figure = searches.history(
        [None, 0.5, 0.3, 0.99, 0.9], [False, True, True, False, True], "val_$x", larger_is_better
    )

    [axes] = figure.axes
    [line] = axes.lines
    np.testing.assert_array_equal(line.get_xydata().T, [[2, 3, 4, 5], best])
    whole, stopped = (group.get_offsets() for group in axes.collections)
    np.testing.assert_array_equal(whole, [[2, 0.5], [3, 0.3], [5, 0.9]])
    np.testing.assert_array_equal(stopped[-1], [4, 0.99])
    assert axes.get_ylabel() == "val_$x"
    [path] = curves.save({"history": figure}, tmp_path)
    assert path.stat().st_size > 1000


def test_the_most_important_knob_is_on_top():
    [axes] = searches.importances({"units": 0.2, "learning_rate": 0.7, "dropout": 0.1}).axes

    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "dropout",
        "units",
        "learning_rate",
    ]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.2, 0.7]
