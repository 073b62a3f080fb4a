import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from suite.figures import probabilities as figures


def rows(num_classes):
    random = np.random.default_rng(0)
    labels = np.arange(60) % num_classes
    scores = random.normal(size=(60, num_classes)) + 2 * np.eye(num_classes)[labels]
    values = np.exp(scores)
    return labels, values / values.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("num_classes", "curves"), [(2, ["_b"]), (3, ["a", "_b", "c"])])
def test_a_curve_for_every_class_or_for_the_second_of_two(num_classes, curves):
    """Also for one whose name Matplotlib would leave out, because it begins with _."""
    labels, probabilities = rows(num_classes)
    names = ["a", "_b", "c"][:num_classes]

    roc = figures.roc(labels, probabilities, names)
    calibration = figures.calibration(labels, probabilities, names)

    legends = [text.get_text() for text in roc.axes[0].get_legend().get_texts()]
    area = roc_auc_score(labels == num_classes - 1, probabilities[:, -1])
    assert legends[-1] == f"{curves[-1]}, area {area:.3f}"
    names = [text.get_text() for text in calibration.axes[0].get_legend().get_texts()]
    assert names == curves == [legend.split(",")[0] for legend in legends]


def test_classes_without_rows_have_no_curve():
    _, probabilities = rows(2)

    figure = figures.roc(np.zeros(60, int), probabilities, "ab")

    assert len(figure.axes[0].lines) == 1  # the diagonal


def test_odds_are_ordered_by_their_strength():
    figure = figures.odds_ratios({"oak": {"height": 1.1, "age": 0.01, "width": 20.0}})

    [axes] = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["height", "width", "age"]
    assert axes.get_title() == "oak"


def test_only_the_strongest_features_are_drawn():
    figure = figures.odds_ratios({"oak": {f"x{n}": 1.0 + n for n in range(100)}})

    assert len(figure.axes[0].patches) == figures.MOST_FEATURES
