"""Sound bounds on what recurrent cells compute: interval arithmetic, rounding included.

The same code bounds a cell in a loss, where the bounds are differentiable, and in a proof, where it
runs in float64 and `roundoff` is the unit roundoff of the arithmetic that the network runs in. The
error of a sum of n products is at most a little more than n times `roundoff` times the sum of their
absolute values, in every order of summation, with or without fused multiply-add. So the bounds hold
for every kernel, library and device with that arithmetic.

Reference:
    Gowal et al., 2018, On the Effectiveness of Interval Bound Propagation for Training Verifiably
    Robust Models, https://arxiv.org/abs/1810.12715
    Higham, 2002, Accuracy and Stability of Numerical Algorithms, chapter 3,
    https://doi.org/10.1137/1.9780898718027
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from keras import layers, ops

FLOAT32_ROUNDOFF = 2.0**-24
ROUNDOFFS = {"float32": FLOAT32_ROUNDOFF, "float16": 2.0**-11, "bfloat16": 2.0**-8}
# The assumed largest error of an activation function, in units of roundoff.
ACTIVATION_ERROR = 64
Monotone = Literal["tanh", "sigmoid", "relu", "leaky_relu", "elu", "selu", "softplus", "softsign"]

Tensor = Any


class Interval(NamedTuple):
    """All tensors between two tensors of one shape, elementwise.

    Args:
        lower: The smallest values.
        upper: The largest values.
    """

    lower: Tensor
    upper: Tensor

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute values."""
        return ops.maximum(ops.absolute(self.lower), ops.absolute(self.upper))

    def map(self, function: Callable[[Tensor], Tensor]) -> "Interval":
        """Applies a function to both ends: a reshape, or an increasing function."""
        return Interval(function(self.lower), function(self.upper))

    def widened(self, by: Tensor) -> "Interval":
        """The interval extended by `by` on both sides."""
        return Interval(self.lower - by, self.upper + by)


def point(value: Tensor) -> Interval:
    """The interval that holds one value only."""
    return Interval(value, value)


def affine(x: Interval, kernel: Tensor, bias: Tensor, roundoff: float) -> Interval:
    """Bounds on `x @ kernel + bias`.

    Args:
        x: `(n, inputs)`.
        kernel: `(inputs, units)`.
        bias: `(units,)`.
        roundoff: Unit roundoff of the arithmetic.

    Raises:
        ValueError: `roundoff` is too large for a bound on a sum of so many inputs.
    """
    magnitudes = ops.absolute(kernel)
    middle = ops.matmul((x.lower + x.upper) / 2, kernel) + bias
    radius = ops.matmul((x.upper - x.lower) / 2, magnitudes)
    terms = kernel.shape[0] + 4
    if terms * roundoff >= 1:
        raise ValueError(f"`roundoff` must be less than 1/{terms}. Received: {roundoff}")
    relative = terms * roundoff / (1 - terms * roundoff)
    error = relative * (ops.matmul(x.magnitude, magnitudes) + ops.absolute(bias))
    return point(middle).widened(radius + error)


def hull(x: Interval, y: Interval) -> Interval:
    """The smallest interval that contains both."""
    return Interval(ops.minimum(x.lower, y.lower), ops.maximum(x.upper, y.upper))


def product(x: Interval, y: Interval, roundoff: float) -> Interval:
    """Bounds on the elementwise product.

    Args:
        x: Any shape.
        y: The same shape.
        roundoff: Unit roundoff of the arithmetic.
    """
    ends = [a * b for a in x for b in y]
    exact = Interval(
        ops.minimum(ops.minimum(ends[0], ends[1]), ops.minimum(ends[2], ends[3])),
        ops.maximum(ops.maximum(ends[0], ends[1]), ops.maximum(ends[2], ends[3])),
    )
    return exact.widened(4 * roundoff * exact.magnitude)


def activated(x: Interval, activation: Callable[[Tensor], Tensor], roundoff: float) -> Interval:
    """Bounds on an increasing activation function.

    Args:
        x: Any shape.
        activation: The function of Keras that one of `Monotone` names.
        roundoff: Unit roundoff of the arithmetic.

    Raises:
        ValueError: The activation is not one of `Monotone`.
    """
    name = getattr(activation, "__name__", str(activation))
    if name not in (names := get_args(Monotone)):
        raise ValueError(f"`activation` must be one of {', '.join(names)}. Received: {name}")
    exact = x.map(activation)
    return exact.widened(ACTIVATION_ERROR * roundoff * (1 + exact.magnitude))


def step(
    layer: layers.RNN, x: Tensor, states: Sequence[Interval], roundoff: float = FLOAT32_ROUNDOFF
) -> tuple[Interval, ...]:
    """Bounds on the states of a recurrent layer after one more input.

    Args:
        layer: `SimpleRNN`, `LSTM` or `GRU` with Keras's default `reset_after`.
        x: Inputs `(n, features)`; its dtype is the one in which the bounds are computed.
        states: Bounds on the layer's states, `(n, units)`, in the layer's order: the output first.
        roundoff: Unit roundoff of the arithmetic in which the layer will run.

    Returns:
        The states after the step, in the same order.

    Raises:
        ValueError: The layer is of another type, or its activation is not one of `Monotone`.
    """
    for layer_type, bounds in BOUNDS.items():
        if isinstance(layer, layer_type):
            weights = [ops.cast(weight, x.dtype) for weight in layer.cell.weights]
            return bounds(layer.cell, weights, point(x), states, roundoff)
    names = ", ".join(layer_type.__name__ for layer_type in BOUNDS)
    raise ValueError(f"`layer` must be one of {names}. Received: {type(layer).__name__}")


def _simple_rnn(
    cell: Any, weights: Sequence[Tensor], x: Interval, states: Sequence[Interval], roundoff: float
) -> tuple[Interval, ...]:
    kernel, recurrent_kernel, bias = weights
    z = affine(_joined(x, states[0]), ops.concatenate([kernel, recurrent_kernel]), bias, roundoff)
    return (activated(z, cell.activation, roundoff),)


def _lstm(
    cell: Any, weights: Sequence[Tensor], x: Interval, states: Sequence[Interval], roundoff: float
) -> tuple[Interval, ...]:
    kernel, recurrent_kernel, bias = weights
    h, carry = states
    z = affine(_joined(x, h), ops.concatenate([kernel, recurrent_kernel]), bias, roundoff)
    z_i, z_f, z_c, z_o = _parts(z, 4)
    i, f, o = (activated(gate, cell.recurrent_activation, roundoff) for gate in (z_i, z_f, z_o))
    candidate = activated(z_c, cell.activation, roundoff)
    carry = _sum(product(f, carry, roundoff), product(i, candidate, roundoff), roundoff)
    return product(o, activated(carry, cell.activation, roundoff), roundoff), carry


def _gru(
    cell: Any, weights: Sequence[Tensor], x: Interval, states: Sequence[Interval], roundoff: float
) -> tuple[Interval, ...]:
    if not cell.reset_after:
        raise ValueError("`reset_after` must be True. Received: False")
    kernel, recurrent_kernel, biases = weights
    [h] = states
    x_z, x_r, x_h = _parts(affine(x, kernel, biases[0], roundoff), 3)
    h_z, h_r, h_h = _parts(affine(h, recurrent_kernel, biases[1], roundoff), 3)
    z = activated(_sum(x_z, h_z, roundoff), cell.recurrent_activation, roundoff)
    r = activated(_sum(x_r, h_r, roundoff), cell.recurrent_activation, roundoff)
    candidate = activated(_sum(x_h, product(r, h_h, roundoff), roundoff), cell.activation, roundoff)
    # The mixture is linear in z: its extremes lie at the ends of z.
    mixtures = [
        _sum(
            product(point(end), h, roundoff), product(point(1 - end), candidate, roundoff), roundoff
        )
        for end in z
    ]
    return (hull(*mixtures),)


def _sum(x: Interval, y: Interval, roundoff: float) -> Interval:
    exact = Interval(x.lower + y.lower, x.upper + y.upper)
    return exact.widened(4 * roundoff * (x.magnitude + y.magnitude))


def _joined(x: Interval, y: Interval) -> Interval:
    lower, upper = (ops.concatenate(ends, axis=1) for ends in zip(x, y, strict=True))
    return Interval(lower, upper)


def _parts(x: Interval, count: int) -> list[Interval]:
    ends = (ops.split(end, count, axis=1) for end in x)
    return [Interval(*part) for part in zip(*ends, strict=True)]


BOUNDS = {layers.SimpleRNN: _simple_rnn, layers.LSTM: _lstm, layers.GRU: _gru}
