import numpy as np
import pytest

from suite import InputError, Run
from suite.data import Examples, Source
from suite.tasks import rows as task

QUIET = Run(data="embedded", quiet=True)


@pytest.mark.parametrize(
    ("dataset", "shape"), [("mnist", (28, 28, 1)), ("faces", (32, 32, 1)), ("wine", (13,))]
)
def test_pictures_and_tables_are_rows(dataset, shape):
    data = task.load_data(task.Config(dataset=dataset), QUIET, batch_size=10)

    count = data.splits["train"].num_examples
    assert data.model_arguments == {"input_shape": shape, "num_rows": count}
    assert task.flat(data.splits["test"].inputs).shape[1] == np.prod(shape)
    assert data.steps_per_epoch == -(-count // 10)


def test_a_csv_is_a_table(tmp_path):
    lines = ["a,b,kind", *(f"{n % 7},{n % 5}.5,{'xy'[n % 2]}" for n in range(40))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))

    source = task.load_source(task.Config(), Run(data=str(tmp_path / "rows.csv"), quiet=True))

    assert source.feature_names == ("a", "b") and source.class_names == ("x", "y")


@pytest.mark.parametrize("shape", [(30, 4), (30, 6, 5), (30, 6, 5, 1)])
def test_arrays_are_tables_or_pictures_by_their_shape(shape):
    inputs = np.random.default_rng(0).integers(0, 256, shape)
    source = Source(name="arrays", train=Examples(inputs, np.arange(30) % 2))

    loaded = task.load_source(task.Config(), Run(data="arrays", arrays=source, quiet=True))

    assert task.shape_of(loaded) == {2: (4,), 3: (6, 5, 1), 4: (6, 5, 1)}[len(shape)]


def test_training_batches_have_the_numbers_of_their_rows():
    data = task.with_row_numbers(task.load_data(task.Config(), QUIET))

    inputs, numbers = next(iter(data.train(0)))

    assert sorted(numbers.numpy()) == list(range(data.splits["train"].num_examples))
    np.testing.assert_array_equal(inputs, data.splits["train"].inputs[numbers.numpy()])


def test_constant_columns_are_refused_by_number():
    rows = np.random.default_rng(0).random((10, 4))
    task.refuse_constant_columns(rows, "standardize")
    rows[:, 2] = 5

    with pytest.raises(InputError, match="1 of 4 columns are constant, such as number 3"):
        task.refuse_constant_columns(rows, "standardize")


def test_negative_numbers_are_refused_by_place():
    rows = np.ones((5, 3))
    task.refuse_negative(rows)
    rows[1, 2] = -0.5

    with pytest.raises(InputError, match=r"-0\.5 in column number 3"):
        task.refuse_negative(rows)
    with pytest.raises(InputError, match=r"-0\.5 in column width"):
        task.refuse_negative(rows, ("a", "b", "width"))


def test_numbers_of_any_sign_are_drawn_about_grey():
    pictures = task.signed_pictures(np.array([[0.0, 1.0, -2.0, 2.0], [0.0] * 4]), (2, 2, 1))

    np.testing.assert_allclose(pictures[0].ravel(), [127.5, 191.25, 0, 255])
    np.testing.assert_allclose(pictures[1], 127.5)
