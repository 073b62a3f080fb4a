import numpy as np
import pytest

from suite.figures import classes as figures


def test_learning_curves_pair_training_with_validation():
    figure = figures.learning_curves({"loss": [2, 1], "val_loss": [3, 2], "accuracy": [0, 1]})

    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(loss.lines[1].get_ydata()) == [3, 2]
    assert len(accuracy.lines) == 1


def test_confusion_matrix_counts_given_by_predicted():
    figure = figures.confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "b"])

    texts = {(t.get_position()): t.get_text() for t in figure.axes[0].texts}
    assert texts == {(0, 0): "1", (1, 0): "1", (1, 1): "1"}
    assert figure.axes[0].get_title() == "2 of 3 right"


def test_worst_mistakes_begin_with_the_least_likely_truth():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    images = np.zeros((3, 4, 4, 1))

    figure = figures.worst_mistakes(images, np.array([1, 1, 1]), probabilities, ["a", "b"])

    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["a (b)", "a (b)"]
    assert "2 of 3 wrong" in figure.get_suptitle()


def test_no_mistake_is_drawn_as_none():
    figure = figures.worst_mistakes(np.zeros((1, 4, 4, 1)), np.array([0]), np.eye(2)[:1], "ab")

    assert "0 of 1 wrong" in figure.get_suptitle()


def test_names_are_text_in_any_script_and_number(tmp_path):
    labels = np.arange(1500)
    many = figures.confusion_matrix(labels, labels, [f"${n}_to_$" for n in labels])
    few = figures.confusion_matrix(labels[:2], labels[:2], ["$10_to_$20", "猫"])

    assert max(many.get_size_inches()) <= figures.LARGEST_SIDE
    assert len(figures.save({"many": many, "few": few}, tmp_path)) == 2


def test_filters_and_regions_are_written(tmp_path):
    rows = np.random.default_rng(0).normal(size=(20, 4))
    drawn = {
        "filters": figures.filters(np.random.default_rng(0).normal(size=(3, 3, 1, 5))),
        "regions": figures.decision_regions(
            lambda x: (x[:, 0] > 0).astype(int), rows, (rows[:, 0] > 0).astype(int), "ab", "wxyz"
        ),
    }

    paths = figures.save(drawn, tmp_path / "figures")

    assert [path.name for path in paths] == ["filters.png", "regions.png"]
    assert all(path.stat().st_size > 1000 for path in paths)
    assert len(drawn["regions"].axes) == 6


@pytest.mark.parametrize("units", [1, 2, 5])
def test_trajectories_show_every_state_with_its_label(units):
    states = np.random.default_rng(0).normal(size=(9, 4, units))
    labels = np.arange(36).reshape(9, 4) % 2

    [axes] = figures.trajectories(states, labels, ("even", "odd")).axes

    assert [len(dots.get_offsets()) for dots in axes.collections] == [18, 18]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["even", "odd"]
