import numpy as np

from suite.figures.comparisons import learning_curves


def test_a_line_is_the_mean_of_its_trials_with_their_deviation():
    figure = learning_curves(
        {
            "units=2": [{"val_loss": [3, 1], "loss": [2, 0]}, {"val_loss": [5, 2], "loss": [2, 2]}],
            "units=4": [{"val_loss": [1, 1], "loss": [1, 1]}],
        },
        "val_loss",
        best="units=4",
    )

    validation, training = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["validation: loss", "training: loss"]
    two, four = validation.lines
    np.testing.assert_array_equal(two.get_ydata(), [4, 1.5])
    assert four.get_linewidth() > two.get_linewidth()
    [band] = validation.collections
    assert np.isclose(band.get_paths()[0].vertices[:, 1].max(), 4 + np.sqrt(2))
    np.testing.assert_array_equal(training.lines[0].get_ydata(), [2, 1])
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["units=2", "units=4"]


def test_trials_of_other_lengths_are_averaged_where_they_are():
    """One stopped early, one failed at once, and one did not log the first epoch."""
    trials = [{"val_loss": [4, 2]}, {"val_loss": [2]}, {}, {"val_loss": [None, 4, 1]}]

    figure = learning_curves({"a": trials}, "val_loss")

    [axes] = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3, 3, 1])


def test_many_lines_have_colours_of_their_own():
    figure = learning_curves(
        {str(n): [{"val_loss": [n, n]}] for n in range(25)} | {"no": [{}]}, "val_loss"
    )

    [axes] = figure.axes
    assert (
        len(
            {
                line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
                for line in axes.lines
            }
        )
        == 26
    )


def test_without_epochs_a_line_is_a_bar():
    """As after a solution in closed form; without one where its metric is no number."""
    figure = learning_curves(
        {
            "degree=1": [{"val_rmse": [2]}, {"val_rmse": [4]}],
            "degree=3": [{"val_rmse": [1]}],
            "degree=99": [{"val_rmse": [np.nan]}],
        },
        "val_rmse",
        best="degree=3",
    )

    [axes] = figure.axes
    one, three = axes.patches
    assert [one.get_width(), three.get_width()] == [3, 1]
    assert one.get_facecolor() != three.get_facecolor()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["degree=1", "degree=3"]
