import numpy as np
import pytest

from suite.figures import classes, curves


def test_confusion_matrix_counts_given_by_predicted():
    figure = classes.confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "b"])

    texts = {(t.get_position()): t.get_text() for t in figure.axes[0].texts}
    assert texts == {(0, 0): "1", (1, 0): "1", (1, 1): "1"}
    assert figure.axes[0].get_title() == "2 of 3 right"


def test_worst_mistakes_begin_with_the_least_likely_truth():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    images = np.zeros((3, 4, 4, 1))
    images[1] = 255

    figure = classes.worst_mistakes(
        images.__getitem__, np.array([1, 1, 1]), probabilities, ["a", "b"]
    )

    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["a (b)", "a (b)"]
    assert "2 of 3 wrong" in figure.get_suptitle()
    assert [axes.images[0].get_array().max() for axes in figure.axes[:2]] == [255, 0]


def test_mistakes_in_colour_are_drawn_in_colour():
    images = np.zeros((1, 4, 4, 3))
    images[..., 0] = 200.0

    figure = classes.worst_mistakes(
        images.__getitem__, np.array([1]), np.array([[0.9, 0.1]]), ["a", "b"]
    )

    pixels = figure.axes[0].images[0].get_array()
    assert pixels.shape == (4, 4, 3) and pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [200, 0, 0]


def test_no_mistake_is_drawn_as_none():
    figure = classes.worst_mistakes(
        np.zeros((1, 4, 4, 1)).__getitem__, np.array([0]), np.eye(2)[:1], "ab"
    )

    assert "0 of 1 wrong" in figure.get_suptitle()


def test_names_are_text_in_any_script_and_number(tmp_path):
    labels = np.arange(100)
    many = classes.confusion_matrix(labels, labels, [f"${n}_to_$" for n in labels])
    two = classes.confusion_matrix(labels[:2], labels[:2], ["$10_to_$20", "猫"])

    assert max(many.get_size_inches()) <= classes.LARGEST_SIDE
    assert len(curves.save({"many": many, "two": two}, tmp_path)) == 2


@pytest.mark.parametrize(("features", "panels"), [(2, 1), (4, 6)])
def test_decision_regions_have_a_panel_for_each_pair_of_features(features, panels, tmp_path):
    rows = np.random.default_rng(0).normal(size=(20, features))

    figure = classes.decision_regions(
        lambda x: (x[:, 0] > 0).astype(int),
        rows,
        (rows[:, 0] > 0).astype(int),
        "ab",
        "wxyz"[:features],
    )

    assert sum(bool(axes.collections) for axes in figure.axes) == panels
    [path] = curves.save({"regions": figure}, tmp_path)
    assert path.stat().st_size > 1000


def test_decision_regions_of_a_wide_table_are_predicted_in_parts(monkeypatch):
    monkeypatch.setattr(classes, "MOST_NUMBERS", 40_000)
    rows = np.random.default_rng(0).normal(size=(20, 5))
    asked = []

    def predict(x):
        asked.append(len(x))
        return (x[:, 0] > 0).astype(int)

    classes.decision_regions(predict, rows, (rows[:, 0] > 0).astype(int), "ab", "vwxyz")

    assert max(asked) == 7200 and sum(asked) == 6 * 120 * 120


def test_plane_colours_points_by_class():
    points = np.arange(8.0).reshape(4, 2)

    figure = classes.plane(points, np.array([0, 1, 0, 1]), ["a", "_b"], "codes")

    [axes] = figure.axes
    assert [dots.get_offsets().tolist() for dots in axes.collections] == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "_b"]


def test_regions_that_move_have_a_panel_for_some_times():
    side = np.linspace(0, 1, 5)
    frames = {f"epoch {n}": np.full((5, 5), n - 20.0) for n in range(41)}

    figure = classes.moving_regions(frames, side, np.eye(2), np.array([0, 1]), most=3)

    assert [axes.get_title() for axes in figure.axes] == ["epoch 0", "epoch 20", "epoch 40"]
    drawn = [np.unique(axes.collections[0].get_array()).tolist() for axes in figure.axes]
    assert drawn == [[0], [0], [1]]
    one = classes.moving_regions({"once": np.ones((5, 5))}, side, np.eye(2), np.array([0, 1]))
    assert [axes.get_title() for axes in one.axes] == ["once"]
