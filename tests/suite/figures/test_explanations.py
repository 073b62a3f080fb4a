import numpy as np
import pytest

from suite.figures import curves, explanations


@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_stands_beside_its_map(channels, tmp_path):
    images = np.full((2, 6, 4, channels), 200.0)
    maps = np.zeros((2, 6, 4))
    maps[1, 2, 3] = -5

    figure = explanations.overlays(images, maps, ["3 (90.0%)", "$5 (80.0%)"], "occlusion")

    assert [axes.get_title() for axes in figure.axes] == [
        "3 (90.0%)",
        "occlusion",
        "$5 (80.0%)",
        "occlusion",
    ]
    heat = figure.axes[3].images[1]
    assert heat.get_array()[2, 3] == -1 and heat.get_alpha()[2, 3] == explanations.OPACITY
    assert np.count_nonzero(heat.get_array()) == 1
    [path] = curves.save({"overlays": figure}, tmp_path)
    assert path.stat().st_size > 1000


def test_the_largest_shares_are_drawn_in_the_order_of_the_features(tmp_path):
    values = np.arange(30.0) * (-1) ** np.arange(30)

    figure = explanations.shares([f"$f{n}" for n in range(30)], values, "oak", "points")

    [axes] = figure.axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == [*(f"$f{n}" for n in range(10, 30)), "10 others"]
    assert [bar.get_width() for bar in axes.patches] == [*values[10:], values[:10].sum()]
    assert axes.yaxis_inverted()  # the first feature is on top
    colours = {bar.get_facecolor() for bar in axes.patches if bar.get_width() > 0}
    assert len(colours) == 1
    [path] = curves.save({"shares": figure}, tmp_path)
    assert path.stat().st_size > 1000
