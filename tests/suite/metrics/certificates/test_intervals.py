"""Bounds are sound: nothing that a layer really computes in float32 lies outside."""

from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from suite.metrics.certificates.intervals import (
    ACTIVATION_ERROR,
    FLOAT32_ROUNDOFF,
    Interval,
    Monotone,
    affine,
    point,
    product,
    step,
)

CELLS = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


def strong_layer(kind, units=5, seed=0):
    """A layer with weights and biases of a trained one's size."""
    layer = kind(units, return_state=True)
    layer.build((None, 1, 3))
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(0, 1.5, weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("kind", CELLS)
def test_whatever_a_layer_does_lies_within_its_bounds(kind):
    layer, random = strong_layer(CELLS[kind]), np.random.default_rng(1)
    count = 1 if kind != "lstm" else 2
    middles = [random.uniform(-1, 1, (1, 5)) for _ in range(count)]
    box = [Interval(middle - 0.1, middle + 0.1) for middle in middles]
    x = random.integers(0, 2, (1, 3)).astype("float64")
    bounds = step(layer, ops.convert_to_tensor(x), [b.map(ops.convert_to_tensor) for b in box])

    inside = [random.uniform(b.lower, b.upper, (2000, 5)).astype("float32") for b in box]
    corners = [np.where(random.random((2000, 5)) < 0.5, b.lower, b.upper) for b in box]
    states = [np.concatenate(parts).astype("float32") for parts in zip(inside, corners)]  # noqa: B905
    inputs = np.repeat(x, 4000, axis=0)[:, None].astype("float32")
    _, *after = layer(inputs, initial_state=states)

    assert len(after) == len(bounds)
    for state, (lower, upper) in zip(after, bounds, strict=True):
        assert (state >= ops.cast(lower, "float32")).numpy().all()
        assert (state <= ops.cast(upper, "float32")).numpy().all()
        # The bounds are narrow, too.
        assert (upper - lower).numpy().max() < 6 * (
            state.numpy().max(0) - state.numpy().min(0)
        ).max()


@pytest.mark.parametrize("kind", CELLS)
def test_bounds_on_a_point_are_no_wider_than_its_rounding(kind):
    layer = strong_layer(CELLS[kind])
    states = [point(ops.ones((1, 5), "float64") * 0.3) for _ in range(2 if kind == "lstm" else 1)]
    x = ops.ones((1, 3), "float64")

    fine = step(layer, x, states, FLOAT32_ROUNDOFF)
    coarse = step(layer, x, states, 1000 * FLOAT32_ROUNDOFF)

    for narrow, wide in zip(fine, coarse, strict=True):
        width = (narrow.upper - narrow.lower).numpy()
        assert (width > 0).all() and width.max() < 1e-3
        assert (wide.lower < narrow.lower).numpy().all()
        assert (wide.upper > narrow.upper).numpy().all()


def test_float32_sums_lie_within_the_bounds_in_any_order():
    random = np.random.default_rng(0)
    row = random.normal(0, 1, 400)
    kernel = random.normal(0, 1, (400, 1))
    row32, kernel32 = row.astype("float32"), kernel.astype("float32")
    bounds = affine(
        point(row32[None].astype("float64")),
        kernel32.astype("float64"),
        np.zeros(1),
        FLOAT32_ROUNDOFF,
    )

    for order in (np.arange(400), np.arange(400)[::-1], random.permutation(400)):
        total = np.float32(0)
        for n in order:
            total = np.float32(total + np.float32(row32[n] * kernel32[n, 0]))
        assert float(bounds.lower[0, 0]) <= total <= float(bounds.upper[0, 0])


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (-1, -1)])
def test_products_take_the_extreme_corners(signs):
    x = Interval(np.float64(min(signs) * 2.0), np.float64(max(signs) * 3.0))
    y = Interval(np.float64(-1.0), np.float64(4.0))
    corners = [a * b for a in x for b in y]

    interval = product(x, y, 0.0)

    assert (float(interval.lower), float(interval.upper)) == (min(corners), max(corners))


@pytest.mark.parametrize("name", get_args(Monotone))
def test_float32_activations_are_as_exact_and_as_monotone_as_assumed(name):
    activation = keras.activations.get(name)
    x = np.concatenate([np.linspace(-30, 30, 600_001), np.geomspace(1e-30, 1, 10_000)])
    x = np.sort(np.concatenate([x, -x])).astype("float32")

    computed = np.asarray(activation(tf.constant(x)), "float64")
    exact = np.asarray(activation(tf.constant(x.astype("float64"))))

    assert np.diff(exact).min() > -1e-14  # as exact as float64 is
    error = np.abs(computed - exact) / (1 + np.abs(exact))
    assert error.max() < ACTIVATION_ERROR * FLOAT32_ROUNDOFF


def test_arithmetic_too_coarse_for_so_many_terms_is_refused():
    with pytest.raises(ValueError, match="`roundoff` must be less than 1/300"):
        affine(point(np.ones((1, 296))), np.ones((296, 1)), np.zeros(1), 2.0**-8)


def test_what_cannot_be_bounded_is_refused():
    x, state = ops.ones((1, 3)), [point(ops.ones((1, 5)))]
    wavy = layers.SimpleRNN(5, activation="gelu")
    wavy.build((None, 1, 3))

    with pytest.raises(ValueError, match="`activation` must be one of tanh"):
        step(wavy, x, state)
    with pytest.raises(ValueError, match="`layer` must be one of SimpleRNN, LSTM, GRU"):
        step(layers.Dense(5), x, state)
    early = layers.GRU(5, reset_after=False)
    early.build((None, 1, 3))
    with pytest.raises(ValueError, match="`reset_after` must be True"):
        step(early, x, state)
