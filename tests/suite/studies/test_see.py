from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from apps.mnist_cnn import app
from suite.cli import run
from suite.explanations.feature_visualization import excitement_of
from suite.export.exported import Exports
from suite.export.reopened import reopen
from suite.studies import see as study

pytestmark = pytest.mark.xdist_group("studies of pictures")


@pytest.fixture
def exports(of_digits):
    return of_digits.saved_model.parents[1]


def see(exports, words=""):
    return run(app, ["see", "--export-dir", str(exports), *words.split()])


def test_each_convolution_has_a_figure(exports, capsys):
    assert see(exports, "--filters 12") == 0, capsys.readouterr().err

    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(str(path) for path in Path("see").iterdir())
    assert len(printed) == 2
    with PIL.Image.open(printed[0]) as small, PIL.Image.open(printed[1]) as large:
        assert small.size[1] < large.size[1]  # 8 filters against 12
        assert np.asarray(small.convert("L")).std() > 20


@pytest.fixture
def shown(monkeypatch):
    """The filters and the test pictures that are drawn, by the name of the convolution."""
    recorded = {}

    def record(filters, made, pictures, title):
        recorded[title.partition(":")[0]] = (list(filters), pictures)
        return drawn(filters, made, pictures, title)

    drawn = study.filter_inputs
    monkeypatch.setattr(study, "filter_inputs", record)
    return recorded


def test_the_pictures_are_the_most_exciting_of_the_test_split(exports, shown):
    assert see(exports, "--filters 3") == 0

    fitted = reopen(app, Exports(export_dir=exports).open(app.name))
    [network] = fitted.networks.values()
    test = fitted.data.splits["test"].in_memory().inputs
    excitement = excitement_of(network, list(shown)).predict(test, verbose=0)
    for name, (filters, pictures) in shown.items():
        for index, rows in zip(filters, pictures, strict=True):
            strongest = np.sort(excitement[name][:, index])[::-1][: len(rows)]
            again = excitement_of(network, [name]).predict(rows, verbose=0)[name][:, index]
            np.testing.assert_allclose(again, strongest, rtol=1e-3)


def test_other_filters_than_the_first(exports, shown, capsys):
    assert see(exports, "--first 9 --filters 2") == 0  # of 8 filters and of 16

    assert [filters for filters, _ in shown.values()] == [[9, 10]]
    assert see(exports, "--first 16") == 2
    assert capsys.readouterr().err == "--first must be below 16. Received: 16\n"


def test_one_layer_alone(exports, capsys):
    see(exports, "--filters 1")
    names = [Path(path).stem for path in capsys.readouterr().out.split()]

    assert see(exports, f"--layer {names[1]} --filters 1 --output one") == 0

    assert [path.stem for path in Path("one").iterdir()] == [names[1]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--layer nothing", "--layer must be one of: conv2d"),
        ("--filters 0", "--filters should be greater than or equal to 1"),
        ("--output a_file", "--output must be a folder. Received: a_file"),
    ],
)
def test_bad_input_gets_one_sentence(words, expected, exports, capsys):
    Path("a_file").touch()

    assert see(exports, words) == 2

    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
