import keras
import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from suite import InputError
from suite.linear.components import (
    PrincipalComponents,
    of_covariance,
    of_rows,
    with_positive_peaks,
)

ROWS = load_wine().data


def layer_of(rows, units, whiten=False, standardize=False):
    layer = PrincipalComponents(units, whiten)
    layer.build((None, rows.shape[1]))
    layer.set_components(of_rows(rows, units, standardize=standardize))
    return layer


def test_components_of_rows_are_scikit_learn_s():
    peer = PCA(5, svd_solver="full").fit(ROWS)

    components = of_rows(ROWS, 5)

    np.testing.assert_allclose(components.mean, peer.mean_)
    np.testing.assert_allclose(components.axes, with_positive_peaks(peer.components_.T), atol=1e-9)
    np.testing.assert_allclose(components.variances, peer.explained_variance_)
    np.testing.assert_allclose(components.explained(), peer.explained_variance_ratio_)


def test_standardised_components_are_scikit_learn_s():
    peer = make_pipeline(StandardScaler(), PCA(3)).fit(ROWS)

    components = of_rows(ROWS, 3, standardize=True)

    np.testing.assert_allclose(components.scale, peer[0].scale_)
    np.testing.assert_allclose(components.explained(), peer[1].explained_variance_ratio_)


def test_a_covariance_has_the_components_of_its_rows():
    expected = of_rows(ROWS, 4)
    covariance = np.cov(ROWS, rowvar=False)

    components = of_covariance(covariance, ROWS.mean(axis=0), np.ones(ROWS.shape[1]), 4)

    for one, other in zip(components, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-7)


def test_as_many_components_as_columns_lose_nothing():
    layer = layer_of(ROWS, ROWS.shape[1], standardize=True)

    codes, again = layer(ROWS.astype("float32"))

    np.testing.assert_allclose(again, ROWS, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(layer.decode(codes), again)


def test_whitened_codes_have_variance_1_and_no_covariance():
    layer = layer_of(ROWS, 4, whiten=True, standardize=True)

    codes, _ = layer(ROWS.astype("float32"))

    np.testing.assert_allclose(np.cov(np.asarray(codes), rowvar=False), np.eye(4), atol=1e-4)


def test_whitening_changes_no_reconstruction():
    plain, white = (layer_of(ROWS, 3, whiten=whiten) for whiten in (False, True))

    rows = ROWS.astype("float32")

    np.testing.assert_allclose(plain(rows)[1], white(rows)[1], rtol=1e-4, atol=1e-3)


def test_constant_columns_are_kept_as_they_are():
    rows = np.column_stack([ROWS, np.full(len(ROWS), 7.0)])

    components = of_rows(rows, 2, standardize=True)

    assert components.scale[-1] == 1 and components.mean[-1] == 7
    np.testing.assert_allclose(components.axes[-1], 0, atol=1e-12)


def test_what_is_nothing_but_rounding_is_not_whitened():
    flat = np.random.default_rng(0).normal(size=(50, 2)) @ np.ones((2, 6))

    with pytest.raises(InputError, match="`components` must be at most 1 with `whiten`"):
        layer_of(flat, 3, whiten=True)
    layer_of(flat, 3)


def test_rows_that_are_all_alike_are_refused():
    with pytest.raises(InputError, match="`data` must have rows that differ"):
        layer_of(np.ones((5, 3)), 2)


def test_a_saved_layer_is_the_same(tmp_path):
    row = keras.Input((ROWS.shape[1],), name="row")
    layer = PrincipalComponents(3, True, name="components")
    model = keras.Model(row, layer(row)[0])
    layer.set_components(of_rows(ROWS, 3))
    model.save(tmp_path / "model.keras")

    loaded = keras.models.load_model(tmp_path / "model.keras")

    rows = ROWS[:5].astype("float32")
    np.testing.assert_array_equal(loaded(rows), model(rows))
