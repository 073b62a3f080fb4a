from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from suite.data.images.files import ENDINGS
from suite.errors import Unwritable
from suite.figures import curves


def test_learning_curves_pair_training_with_validation():
    figure = curves.learning_curves(
        {"loss": [2, 1], "val_loss": [3, 2], "accuracy": [0, 1], "learning_rate": [1, 1]}
    )

    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(loss.lines[1].get_ydata()) == [3, 2]
    assert len(accuracy.lines) == 1


def test_learning_curves_have_gaps_where_a_phase_did_not_log():
    figure = curves.learning_curves({"loss": [2, None, 1]})

    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [2, np.nan, 1])


def test_a_spread_is_drawn_around_its_curve():
    figure = curves.learning_curves({"reward": [2, 3], "reward_std": [1, 0.5]})

    [axes] = figure.axes
    [band] = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (1, 3.5)


def test_lines_have_a_panel_for_each_name():
    figure = curves.lines({"angle": np.zeros((5, 1)), "speed": np.ones((5, 2))}, "step")

    assert [axes.get_ylabel() for axes in figure.axes] == ["angle", "speed"]
    assert [len(axes.lines) for axes in figure.axes] == [1, 2]
    assert figure.axes[-1].get_xlabel() == "step"


def test_figures_are_written_by_name(tmp_path):
    paths = curves.save({"one": Figure(), "two": Figure()}, tmp_path / "figures")

    assert [path.name for path in paths] == ["one.png", "two.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_figure_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "one.png").mkdir()

    with pytest.raises(Unwritable, match=r"one\.png cannot be written"):
        curves.save({"one": Figure()}, tmp_path)


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_a_figure_is_written_in_any_format(ending):
    figure = Figure(figsize=(2, 1))

    curves.write(figure, Path(f"figure{ending}"))

    with PIL.Image.open(f"figure{ending}") as image:
        assert image.width > image.height > 20
