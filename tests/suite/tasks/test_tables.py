import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.logistic_regression import app as classes
from apps.regression import app as numbers
from suite import Run, train
from suite.app import Fitted
from suite.data import Examples, Source
from suite.export.endpoints import Endpoint
from suite.tasks import tables as task


def test_constant_features_are_not_scaled():
    rows = np.column_stack([np.arange(5.0), np.full(5, 3.0)]).astype("float32")

    statistics = task.statistics(Examples(rows))

    np.testing.assert_allclose(statistics["mean"], [2, 3])
    np.testing.assert_allclose(statistics["scale"], [np.sqrt(2), 1])


def test_rows_are_standardised_by_weights_that_are_not_trained():
    keras.config.set_dtype_policy("mixed_bfloat16")
    features = keras.Input((2,), name="features")
    x = task.standardized(features, np.array([1000.0, 0.0]), np.array([2.0, 4.0]))
    model = keras.Model(features, x)

    outputs = model(np.array([[1001.0, 8.0]], "float32"))

    np.testing.assert_allclose(outputs, [[0.5, 2.0]], rtol=1e-4)
    assert model.trainable_variables == [] and outputs.dtype == tf.float32


def test_rows_are_taken_as_they_are_without_statistics():
    features = keras.Input((2,), name="features")
    model = keras.Model(features, task.standardized(features, None, None))

    np.testing.assert_array_equal(model(np.array([[3.0, -1.0]])), [[3, -1]])


@pytest.mark.parametrize(
    ("numeric", "labels", "expected"),
    [
        (False, ["oak", "elm"] * 10, {"num_features": 3, "num_classes": 2}),
        (True, ["1.5", "2"] * 10, {"num_features": 3}),
    ],
)
def test_data_decide_the_sizes_of_the_model(numeric, labels, expected):
    columns = {"height": np.arange(20) % 7, "soil": np.array(["clay", "sand"] * 10)}
    source = Source(name="arrays", train=Examples(columns, np.array(labels)))

    data = task.load_data(task.Config(), Run(arrays=source), numeric=numeric)

    assert {k: n for k, n in data.model_arguments.items() if k in expected} == expected
    assert ("num_classes" in data.model_arguments) != numeric
    assert data.splits["train"].targets.dtype == ("float32" if numeric else "int32")
    assert data.description.feature_names == ("height", "soil=clay", "soil=sand")


@pytest.mark.parametrize("app", [classes, numbers])
def test_columns_of_the_table_give_the_same_as_features(app):
    columns = {"height": np.arange(40) % 7, "soil": np.array(["clay", "sand"] * 20)}
    labels = np.arange(40) % 2
    run = Run(quiet=True, figures=False)
    trained = train(app, app.recipe(), run, until="fit", data=(columns, labels))
    fitted = Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=app.config(),
        folder=trained.folder,
    )

    endpoints = app.endpoints(fitted)
    row = endpoints["row"].function(tf.constant([3.0]), tf.constant(["sand"]))
    served = endpoints["serve"].function(tf.constant([[3.0, 0.0, 1.0]]))

    assert [spec.name for spec in endpoints["row"].inputs] == ["height", "soil"]
    for name, value in served.items():
        np.testing.assert_array_equal(row[name], value)


def test_without_a_preparation_there_are_no_rows():
    data = task.load_data(task.Config(), Run(data="embedded"))
    fitted = Fitted(model=None, networks={}, data=data, config=task.Config(), folder=None)
    serve = Endpoint(lambda features: {"mean": features}, [tf.TensorSpec((None, 4))])

    assert set(task.with_rows(serve, fitted)) == {"serve", "row"}
    data = dataclasses.replace(data, source=None)
    fitted = dataclasses.replace(fitted, data=data)
    assert set(task.with_rows(serve, fitted)) == {"serve"}
