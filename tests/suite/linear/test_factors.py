import keras
import numpy as np
import pytest
import scipy.optimize
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF

from apps.nmf import build_model
from suite.linear.factors import (
    NonnegativeFactorization,
    NonnegativeParts,
    begin_by_singular_vectors,
    divergence_of,
    kkt_violation,
)

ROWS = (load_digits().data[:200] / 16).astype("float32")
UNITS = 6


def fitted(steps, divergence="frobenius", **options):
    """The codes and parts after some steps from singular vectors, and the losses of the steps."""
    networks = build_model((64,), len(ROWS), components=UNITS, divergence=divergence)
    layer, [table] = networks["nmf"].get_layer("parts"), networks["memory"].trainable_variables
    codes, parts = begin_by_singular_vectors(ROWS, UNITS)
    table.assign(codes)
    layer.parts.assign(parts)
    model = NonnegativeFactorization(networks["nmf"], networks["memory"], **options)
    model.compile(keras.optimizers.SGD(1.0), auto_scale_loss=False)
    numbers = np.arange(len(ROWS), dtype="int32")
    history = model.fit(ROWS, numbers, batch_size=len(ROWS), epochs=steps, verbose=0).history
    return table.numpy(), layer.parts.numpy(), history["loss"]


def peer(steps, **options):
    codes, parts = begin_by_singular_vectors(ROWS, UNITS)
    model = NMF(UNITS, init="custom", max_iter=steps, tol=0, **options)
    codes = model.fit_transform(ROWS.astype(float), W=codes, H=parts)
    return codes, model.components_


def residual(codes, parts):
    return np.linalg.norm(ROWS - codes @ parts)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("options", "peers"),
    [
        ({}, {"solver": "mu"}),
        ({"solver": "coordinate"}, {"solver": "cd"}),
        ({"divergence": "kullback_leibler"}, {"solver": "mu", "beta_loss": "kullback-leibler"}),
    ],
)
def test_steps_are_those_of_scikit_learn(options, peers):
    codes, parts, _ = fitted(10, **options)

    for ours, theirs in zip((codes, parts), peer(10, **peers), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-3 * theirs.max())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_inner_steps_end_with_a_smaller_residual_than_scikit_learn():
    codes, parts, _ = fitted(20, solver="coordinate", inner_steps=5)

    assert residual(codes, parts) <= residual(*peer(20, solver="cd")) * (1 + 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inner_steps": 3},
        {"solver": "coordinate"},
        {"divergence": "kullback_leibler"},
        {"divergence": "kullback_leibler", "inner_steps": 2},
    ],
)
def test_no_step_makes_the_loss_larger_or_a_factor_negative(options):
    codes, parts, losses = fitted(12, **options)

    assert codes.min() >= 0 and parts.min() >= 0
    assert (np.diff(losses) <= 1e-6 * losses[0]).all() and losses[-1] < losses[0]


def test_the_loss_is_the_mean_squared_error_after_the_step():
    codes, parts, losses = fitted(4)

    assert losses[-1] == pytest.approx(((ROWS - codes @ parts) ** 2).mean(), rel=1e-3)


def test_many_steps_fulfil_the_conditions_of_the_best_factors():
    codes, parts, _ = fitted(150, solver="coordinate", inner_steps=3)
    early = fitted(2, solver="coordinate")

    violation = kkt_violation(ROWS, codes, parts)

    assert violation < 2e-3 and violation < kkt_violation(ROWS, *early[:2]) / 5


def test_exact_factors_violate_nothing():
    random = np.random.default_rng(0)
    codes, parts = random.random((20, 3)), random.random((3, 10))

    for divergence in ("frobenius", "kullback_leibler"):
        assert kkt_violation(codes @ parts, codes, parts, divergence) < 1e-9
        assert kkt_violation(codes @ parts, 2 * codes, parts, divergence) > 0.1


def test_codes_of_new_rows_are_those_of_nonnegative_least_squares():
    random = np.random.default_rng(0)
    parts, rows = random.random((5, 30)), random.random((8, 30)).astype("float32")
    layer = NonnegativeParts(5, steps=500)
    layer.build((None, 30))
    layer.parts.assign(parts)

    codes, again = layer(rows)

    expected = np.stack([scipy.optimize.nnls(parts.T, row)[0] for row in rows])
    np.testing.assert_allclose(codes, expected, atol=2e-3)
    np.testing.assert_allclose(again, expected @ parts, atol=2e-3)


def test_codes_for_counts_fulfil_their_conditions():
    random = np.random.default_rng(0)
    parts, rows = random.random((4, 30)) + 0.1, random.poisson(3, (8, 30)).astype("float32")
    layer = NonnegativeParts(4, "kullback_leibler", steps=1000)
    layer.build((None, 30))
    layer.parts.assign(parts)

    codes = np.asarray(layer(rows)[0], float)

    gradient = parts.sum(axis=1) - (rows / (codes @ parts)) @ parts.T
    assert (gradient > -1e-2).all() and np.abs(codes * gradient).max() < 1e-2


def test_a_unit_changes_the_scale_of_the_parts_alone():
    layer = NonnegativeParts(2, unit=255.0)
    layer.build((None, 3))
    layer.parts.assign([[1, 0, 0], [0, 1, 0]])

    codes, again = layer(np.array([[255, 51, 0]], "float32"))

    np.testing.assert_allclose(codes, [[1, 0.2]], atol=1e-4)
    np.testing.assert_allclose(again, [[255, 51, 0]], atol=0.05)


def test_the_beginning_is_scikit_learn_s():
    from sklearn.decomposition._nmf import _initialize_nmf

    expected = _initialize_nmf(ROWS.astype(float), UNITS, init="nndsvda", random_state=0)

    for ours, theirs in zip(begin_by_singular_vectors(ROWS, UNITS), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-2 * theirs.max())


def test_the_divergence_of_equals_is_0():
    rows = np.array([[0.0, 1.0, 3.0]])

    for divergence in ("frobenius", "kullback_leibler"):
        np.testing.assert_allclose(divergence_of(rows, rows, divergence), 0, atol=1e-9)
