import numpy as np
import tensorflow as tf

from suite.data.tables.preparation import Column, TablePreparation


def test_numbers_pass_exactly():
    numbers = np.random.default_rng(0).normal(size=100).astype(np.float32)
    preparation = TablePreparation((Column(name="x"),))

    features = preparation.features({"x": tf.constant(numbers)}).numpy()

    assert features.tobytes() == numbers.tobytes()


def test_names_of_inputs_are_different():
    names = ["A", "a", "column_1", "名", "b", "_b", "1"]
    preparation = TablePreparation(tuple(Column(name=name) for name in names))

    inputs = [spec.name for spec in preparation.inputs]

    assert inputs == [
        "column_1", "column_2", "column_3", "column_4", "b", "column_6", "column_7",
    ]  # fmt: skip
