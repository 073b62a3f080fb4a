import numpy as np
import pytest

from suite import InputError, Run
from suite.data import Examples, Source
from suite.data.series import Windows, generate, load_series, mackey_glass, read_series, windows


def load(**run):
    return load_series(Run(**run), "mackey_glass", 50, 17, None)


def test_the_series_obeys_the_equation_of_mackey_and_glass():
    series = mackey_glass(400)

    past, now = series[:382], series[17:399]
    slope = (series[18:] - series[16:-2]) / 2
    expected = 0.2 * past / (1 + past**10) - 0.1 * now
    assert np.corrcoef(slope, expected)[0, 1] > 0.98
    assert 0.15 < series.min() < 0.6 and 1.1 < series.max() < 1.5
    np.testing.assert_array_equal(series[:100], mackey_glass(100))


def test_without_delay_there_is_no_chaos_and_with_it_there_is():
    assert np.ptp(mackey_glass(200, delay=2)) < 1e-3
    assert np.ptp(mackey_glass(200, delay=17)) > 0.5


def test_the_sine_is_a_sine():
    series = generate("sine", 100)

    # A sine is twice its last value times the cosine of a step, minus the one before.
    np.testing.assert_allclose(series[2:], 2 * np.cos(0.2) * series[1:-1] - series[:-2], atol=1e-12)


@pytest.mark.parametrize(
    ("content", "column", "values"),
    [
        ("1\n2.5\n\n-3e2\n", None, [1, 2.5, -300]),
        ("height\n1\n2\n", None, [1, 2]),
        ("day,height\n7,1\n8,2\n", None, [1, 2]),
        ("day;height\n7;1\n8;2\n", "day", [7, 8]),
        ("\ufeffday\theight\n7\t1\n", "day", [7]),
        ("day,2024\n7,1\n8,2\n", "2024", [1, 2]),
    ],
)
def test_a_column_is_read(content, column, values, tmp_path):
    path = tmp_path / "series.csv"
    path.write_text(content, encoding="utf-8")

    np.testing.assert_array_equal(read_series(path, column), values)


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (b"", None, "with a series in a column. Received: .*, empty"),
        (b"\xff\xfe\x00", None, "must be a CSV file in UTF-8. Received: .*, unreadable"),
        (b"day,height\n1,2\n", "width", "`column` must be a column of .*: day, height. Received"),
        (b"1,2\n", "width", "none with a name. Received: width"),
        (b"height\n1\n\nNaN\n", None, "row 3, must be a finite number. Received: NaN"),
        (b"height\n1\ninf\n", None, "row 3, must be a finite number. Received: inf"),
        (b"a,b\n1,2\n3\n", None, "row 3, must be a finite number. Received: nothing"),
        (b"NaN\n1\n2\n", None, "row 1, must be a finite number. Received: NaN"),
        (
            b"1 " * 100_000,
            None,
            "must be a CSV file with a value in a row. Received: .*series.csv: field larger",
        ),
        (b"height\n1,25\n", None, "row 2, must have no more cells than .* 1. Received: 1, 25"),
    ],
)
def test_what_is_no_series_is_refused(content, column, message, tmp_path):
    path = tmp_path / "series.csv"
    path.write_bytes(content)

    with pytest.raises(InputError, match=message):
        read_series(path, column)


def test_a_series_is_made_read_or_given(tmp_path):
    (tmp_path / "series.csv").write_text("1\n2\n3\n")
    arrays = Source(name="arrays", train=Examples(np.arange(4)))

    assert load()[0] == "synthetic:mackey_glass" and len(load()[1]) == 50
    assert load(data=str(tmp_path / "series.csv"))[1].tolist() == [1, 2, 3]
    assert load(data="arrays", arrays=arrays)[1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(9, 2.0), "must be a series that varies. Received: arrays, always 2"),
        (np.array([1.0, np.nan, 2.0]), "must be of finite numbers. Received: nan at place 1"),
        (np.ones((3, 2)), "one in a row"),
        (np.array(["a", "b"]), "one in a row"),
    ],
)
def test_numbers_that_cannot_be_forecast_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        load(data="arrays", arrays=Source(name="arrays", train=Examples(values)))


def test_splits_of_one_s_own_are_refused():
    """A series is split by time."""
    given = Source(name="arrays", train=Examples(np.arange(9)), test=Examples(np.arange(9)))

    with pytest.raises(InputError, match=r"must be one series, .*Received: train, test"):
        load(data="arrays", arrays=given)


@pytest.mark.parametrize("data", ["tfds", "missing.csv", "x" * 300])
def test_other_data_are_refused(data):
    with pytest.raises(InputError, match="`data` must be auto, or the path of a CSV file"):
        load(data=data)


def test_windows_have_the_next_values_as_targets():
    inputs, targets = windows(np.arange(10.0), length=4, stride=3)

    assert inputs[..., 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]
    np.testing.assert_array_equal(targets, inputs + 1)


def test_splits_follow_each_other_in_time():
    source = Windows(washout=5, window=10, horizon=3).source("line", np.arange(200.0))

    train, validation, test = (
        part.in_memory().inputs for part in (source.train, source.validation, source.test)
    )
    assert train.max() < 140 <= validation.min() and validation.max() < 160 <= test.min()
    assert train.shape[1:] == (15, 1) and validation.shape[1:] == test.shape[1:] == (8, 1)
    # Every value after the first wash-out is learnt from once.
    learnt = train[:, 5:].ravel()
    assert len(np.unique(learnt)) == len(learnt)


def test_a_series_shorter_than_the_wash_out_is_refused():
    with pytest.raises(
        InputError,
        match=r"^`washout` must be shorter, .* Received: a wash-out of 500, and 60 values$",
    ):
        Windows(washout=500, window=500, horizon=84).source("short", np.arange(60.0))
