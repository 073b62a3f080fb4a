import numpy as np
import pytest

from suite.explanations import coalitions
from suite.explanations.coalitions import coalition_value, grid


@pytest.mark.parametrize("at_once", [1, 2**20])
def test_what_is_missing_is_taken_from_every_row_of_the_background(at_once, monkeypatch):
    monkeypatch.setattr(coalitions, "VALUES_AT_ONCE", at_once)
    background = np.array([[10.0, 20.0, 30.0], [30.0, 40.0, 50.0]])
    value = coalition_value(
        lambda rows: rows @ [1, 10, 100], np.array([1.0, 2.0, 3.0]), background, np.array([0, 1, 1])
    )

    values = value(np.array([[True, True], [False, True], [True, False], [False, False]]))

    means = background.mean(axis=0)
    assert values.tolist() == [
        321,
        means[0] + 320,
        1 + 10 * means[1] + 100 * means[2],
        means @ [1, 10, 100],
    ]


def test_cells_of_a_picture_are_hidden_in_all_channels():
    picture = np.full((4, 6, 3), 7.0)
    seen = []

    def score(inputs):
        seen.append(inputs)
        return inputs.sum(axis=(1, 2, 3))

    value = coalition_value(score, picture, np.array([[[[1.0, 2.0, 3.0]]]]), grid(4, 6, 2))

    values = value(np.array([[True, False, False, True], [True] * 4]))

    assert values.tolist() == [12 * 21 + 12 * 6, 24 * 21]
    assert (seen[0][0, :2, :3] == 7).all() and (seen[0][0, :2, 3:] == [1, 2, 3]).all()


@pytest.mark.parametrize(("height", "width", "count"), [(28, 28, 49), (5, 9, 35), (1, 3, 3)])
def test_a_grid_has_cells_of_nearly_equal_size(height, width, count):
    cells = grid(height, width)

    sizes = np.bincount(cells.ravel())
    assert cells.shape == (height, width)
    assert len(sizes) == count and sizes.min() > 0
    assert sizes.max() <= 4 * sizes.min()
