import numpy as np
import pytest

from suite.explanations import coalitions
from suite.explanations.coalitions import coalition_value, superpixels


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
    quarters = np.kron([[0, 1], [2, 3]], np.ones((2, 3), int))
    seen = []

    def score(inputs):
        seen.append(inputs)
        return inputs.sum(axis=(1, 2, 3))

    value = coalition_value(score, picture, np.array([[[[1.0, 2.0, 3.0]]]]), quarters)

    values = value(np.array([[True, False, False, True], [True] * 4]))

    assert values.tolist() == [12 * 21 + 12 * 6, 24 * 21]
    assert (seen[0][0, :2, :3] == 7).all() and (seen[0][0, :2, 3:] == [1, 2, 3]).all()


@pytest.mark.parametrize(("height", "width", "count"), [(28, 28, 49), (5, 9, 35), (1, 3, 3)])
def test_superpixels_of_one_colour_are_of_nearly_equal_size(height, width, count):
    parts = superpixels(np.full((height, width, 3), 90.0))

    sizes = np.bincount(parts.ravel())
    assert parts.shape == (height, width)
    assert len(sizes) == count and sizes.min() > 0
    assert sizes.max() <= 4 * sizes.min()


def test_superpixels_follow_outlines():
    """Each of them is of one side of a slanting edge, and none is much larger than a cell."""
    rows, columns = np.mgrid[:42, :42]
    is_inside = 2 * columns > rows + 17
    picture = np.where(is_inside[..., None], [200.0, 180, 60], [40.0, 90, 120])

    parts = superpixels(picture)

    shares = [is_inside[parts == part].mean() for part in range(parts.max() + 1)]
    assert set(shares) == {0.0, 1.0}
    assert np.bincount(parts.ravel()).max() <= 4 * 6 * 6
    assert parts.max() + 1 > 40
    np.testing.assert_array_equal(parts, superpixels(picture))
