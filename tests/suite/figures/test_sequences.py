import numpy as np
import pytest

from suite.figures import sequences


@pytest.mark.parametrize("units", [1, 2, 5])
def test_trajectories_show_every_state_with_its_label(units):
    states = np.random.default_rng(0).normal(size=(9, 4, units))
    labels = np.arange(36).reshape(9, 4) % 2

    [axes] = sequences.trajectories(states, labels, ("even", "odd")).axes

    assert [len(dots.get_offsets()) for dots in axes.collections] == [18, 18]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["even", "odd"]
