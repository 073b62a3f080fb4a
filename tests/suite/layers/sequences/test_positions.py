import keras
import numpy as np
from keras import ops

from suite.layers.sequences.positions import SinusoidalPositions, rotate


def test_every_position_has_its_own_sines_and_cosines():
    encoding = np.array(SinusoidalPositions()(ops.zeros((1, 50, 8)))[0])

    for position, feature in ((0, 0), (7, 1), (49, 3)):
        angle = position / 10_000 ** (2 * feature / 8)
        np.testing.assert_allclose(encoding[position, feature], np.sin(angle), atol=1e-5)
        np.testing.assert_allclose(encoding[position, feature + 4], np.cos(angle), atol=1e-5)


def test_a_sequence_can_begin_anywhere():
    x = keras.random.normal((2, 6, 4), seed=0)
    layer = SinusoidalPositions()
    whole = np.array(layer(x))

    for index in range(6):
        step = layer(x[:, index : index + 1], index=index)
        np.testing.assert_allclose(step, whole[:, index : index + 1], atol=1e-6)


def test_rotation_keeps_lengths_and_products_depend_on_the_distance():
    query = keras.random.normal((1, 1, 1, 8), seed=0)
    key = keras.random.normal((1, 1, 1, 8), seed=1)

    def product(i, j):
        return float(ops.sum(rotate(query, i) * rotate(key, j)))

    np.testing.assert_allclose(product(3, 1), product(40, 38), rtol=1e-4)
    assert abs(product(3, 1) - product(3, 2)) > 1e-3
    np.testing.assert_allclose(product(0, 0), float(ops.sum(query * key)), rtol=1e-5)
    np.testing.assert_allclose(ops.sum(rotate(query, 11) ** 2), ops.sum(query**2), rtol=1e-5)


def test_the_type_of_the_features_is_kept():
    x = ops.ones((1, 3, 4), "bfloat16")

    assert SinusoidalPositions(dtype="bfloat16")(x).dtype == x.dtype
    assert rotate(x[:, None]).dtype == x.dtype
