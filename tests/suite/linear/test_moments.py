import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from suite.linear.components import PrincipalComponents, of_rows
from suite.linear.moments import MIDDLE, ComponentAnalysis, SolveAfterEveryPass

PIXELS = (load_digits().data * 15).astype("uint8")[:500]


def analysis_of(columns, units, **options):
    row = keras.Input((columns,), name="row")
    code, again = PrincipalComponents(units, name="components")(row)
    network = keras.Model(row, {"code": code, "reconstruction": again})
    analysis = ComponentAnalysis(network, **options)
    analysis.compile(optimizer=None)
    return analysis


def solved(rows, units, batch_size, epochs=1, **options):
    analysis = analysis_of(rows.shape[1], units, **options)
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    analysis.fit(
        batches, epochs=epochs, callbacks=[SolveAfterEveryPass()], shuffle=False, verbose=0
    )
    return analysis.network.get_layer("components").components()


def same(components, expected, tolerance=1e-5):
    np.testing.assert_allclose(components.mean, expected.mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(components.variances, expected.variances, rtol=tolerance)
    assert components.total == pytest.approx(expected.total, rel=tolerance)
    # The cosines of the angles between both subspaces.
    cosines = np.linalg.svd(components.axes.T @ expected.axes, compute_uv=False)
    np.testing.assert_allclose(cosines, 1, atol=tolerance)


@pytest.mark.parametrize("batch_size", [7, 256, 300, 500])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_batches_add_up_to_the_components_of_all_rows(batch_size, kind):
    rows = PIXELS.astype(kind)

    same(solved(rows, 8, batch_size), of_rows(PIXELS, 8))


@pytest.mark.parametrize("pixels", [[0], [255], [0, 1, 255]], ids=["black", "white", "mixed"])
def test_sums_of_pixels_are_exact(pixels):
    rows = np.random.default_rng(0).choice(np.uint8(pixels), (2500, 64))

    total, squares, products = analysis_of(64, 2)._exact(tf.constant(rows))

    shifted = rows.astype(np.int64) - MIDDLE
    np.testing.assert_array_equal(total, shifted.sum(axis=0))
    np.testing.assert_array_equal(products, shifted.T @ shifted)
    assert squares.numpy() == (shifted**2).sum()


def test_columns_far_from_0_lose_nothing():
    random = np.random.default_rng(0)
    rows = (1e5 + random.normal(size=(400, 5)) @ random.normal(size=(5, 5))).astype("float32")

    same(solved(rows, 3, 64), of_rows(rows, 3), tolerance=1e-6)


def test_columns_are_standardised():
    rows = np.random.default_rng(0).normal(size=(300, 4)) * [1, 10, 100, 1000]
    rows = rows.astype("float32")

    components = solved(rows, 2, 50, standardize=True)

    same(components, of_rows(rows, 2, standardize=True))
    np.testing.assert_allclose(components.scale, rows.std(axis=0), rtol=1e-4)


def test_a_power_iteration_finds_the_same_subspace():
    same(solved(PIXELS, 4, 100, epochs=30, solver="power"), of_rows(PIXELS, 4))


def test_a_power_iteration_has_no_matrix_of_all_pairs():
    analysis = analysis_of(5000, 3, solver="power")

    assert max(np.prod(variable.shape) for variable in analysis.variables) == 5000 * 16


def test_every_pass_begins_anew():
    once, twice = (solved(PIXELS, 5, 100, epochs=epochs) for epochs in (1, 2))

    for one, other in zip(once, twice, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_a_row_of_weight_0_does_not_count():
    analysis = analysis_of(64, 2)
    rows = tf.constant(PIXELS[:10])

    analysis.train_step((rows, None, tf.ones(10)))
    before = analysis.products.numpy()
    analysis.train_step((rows[:1], None, tf.zeros(1)))

    np.testing.assert_array_equal(analysis.products.numpy(), before)
    assert analysis.count.numpy() == 10


def test_the_validation_measures_what_is_lost():
    analysis = analysis_of(64, 8)
    batches = tf.data.Dataset.from_tensor_slices(PIXELS).batch(100)
    history = analysis.fit(
        batches,
        validation_data=batches,
        callbacks=[SolveAfterEveryPass()],
        shuffle=False,
        verbose=0,
    ).history

    components = of_rows(PIXELS, 8)
    centred = PIXELS - components.mean
    lost = centred - centred @ components.axes @ components.axes.T
    assert history["val_error"][-1] == pytest.approx((lost**2).mean(), rel=1e-4)
    assert history["rows"] == [500]
