from pathlib import Path

import numpy as np
import pytest

from suite import InputError, Run
from suite.data.tables import load_iris


def test_embedded_iris_is_the_real_one():
    examples = load_iris(Run(data="embedded"))

    assert examples.comparable
    assert np.bincount(examples.train.labels).tolist() == [50, 50, 50]
    np.testing.assert_allclose(examples.train.inputs[0], [5.1, 3.5, 1.4, 0.2])


def test_own_table_names_features_and_classes():
    Path("own.csv").write_text("height,weight,kind\n1,2.5,oak\n3,4,elm\n\n5,6,oak\n")

    examples = load_iris(Run(data="own.csv"))

    assert examples.feature_names == ("height", "weight")
    assert examples.class_names == ("elm", "oak")
    assert examples.train.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(examples.train.inputs, [[1, 2.5], [3, 4], [5, 6]])


def test_rows_are_counted_as_an_editor_does():
    Path("own.csv").write_text('height,"wei\nght",kind\n\n1,2.5,oak\n3,4\n')

    with pytest.raises(InputError, match=r"own.csv, row 5, must have 3 columns"):
        load_iris(Run(data="own.csv"))


def test_labels_must_be_fit_to_print():
    Path("own.csv").write_text("height,weight,kind\n1,2.5,\x1b[31mred\n3,4,elm\n")

    with pytest.raises(InputError, match=r"printable labels. Received: '\\x1b\[31mred'"):
        load_iris(Run(data="own.csv"))


def test_real_iris_is_read(real_data):
    examples = load_iris(Run())

    assert examples.source == "tfds:iris/2.1.0"
    assert np.bincount(examples.train.labels).tolist() == [50, 50, 50]
