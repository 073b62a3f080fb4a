import numpy as np
import pytest

from suite.figures import curves
from suite.figures.visualization import filter_inputs


@pytest.mark.parametrize("channels", [1, 3])
def test_each_filter_has_a_row(channels, tmp_path):
    made = np.full((3, 4, 4, channels), 200.0)
    strongest = np.full((3, 5, 4, 4, channels), 30, np.uint8)

    figure = filter_inputs(range(3), made, strongest, "conv2d")

    first = [np.asarray(axes.images[0].get_array()).max() for axes in figure.axes]
    assert first == 3 * [200, 30, 30, 30, 30, 30]
    assert figure.get_suptitle() == "conv2d"
    assert [axes.texts[0].get_text() for axes in figure.axes[::6]] == ["0", "1", "2"]
    [path] = curves.save({"figure": figure}, tmp_path)
    assert path.stat().st_size > 1000
