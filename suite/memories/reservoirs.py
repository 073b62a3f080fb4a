"""Echo state networks: a fixed random reservoir of recurrent units, and a linear readout.

All of it computes in float64. The readout is a difference of large numbers, and a forecast that is
fed back to the network makes small errors grow.
"""

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from suite.errors import InputError

DTYPE = "float64"


@keras.saving.register_keras_serializable(package="suite")
class EchoStateCell(keras.layers.Layer):
    """A step of a reservoir, as a cell of `keras.layers.RNN`; its weights are drawn, not trained.

    The next state is `(1 - leak) * state + leak * tanh(inputs @ kernel + recurrent + bias)`. Every
    unit reads the same number of units, chosen at random; so the matrix of the recurrent weights is
    sparse, and is kept as the numbers of the units that are read, and a weight for each.

    Args:
        units: Number of units.
        spectral_radius: Largest absolute eigenvalue of the recurrent weights. Below 1 the reservoir
            forgets how it began.
        leak: Share of a state that is replaced in a step: the smaller, the slower.
        connections: Units that each unit reads.
        input_scale: Weights of the inputs are uniform between minus and plus this number.
        bias_scale: The same of the biases.
        seed: Decides the weights; by default Python's random numbers do.

    Raises:
        InputError: `connections` are more than `units`, or so few that nothing goes round.

    Reference:
        Jaeger, 2001, The "Echo State" Approach to Analysing and Training Recurrent Neural Networks,
        https://www.ai.rug.nl/minds/uploads/EchoStatesTechRep.pdf
        Jaeger and Haas, 2004, Harnessing Nonlinearity: Predicting Chaotic Systems and Saving Energy
        in Wireless Communication, https://doi.org/10.1126/science.1091277
        Differs from the papers: every unit reads equally many others.
    """

    def __init__(
        self,
        units: int,
        *,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        connections: int = 10,
        input_scale: float = 1.0,
        bias_scale: float = 0.0,
        seed: int | None = None,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        if connections > units:
            raise InputError("`connections` must be at most `units`", f"{connections} of {units}")
        self.units, self.spectral_radius, self.leak = units, spectral_radius, leak
        self.connections, self.input_scale, self.bias_scale = connections, input_scale, bias_scale
        self.seed = random.randrange(2**31) if seed is None else seed
        self.state_size = self.output_size = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features: Any = input_shape[-1]
        draws = np.random.default_rng(self.seed)
        sources = np.stack(
            [draws.choice(self.units, self.connections, replace=False) for _ in range(self.units)]
        )
        weights = draws.uniform(-1, 1, sources.shape)
        weights *= self.spectral_radius / self._radius(sources, weights)
        kernel = draws.uniform(-self.input_scale, self.input_scale, (features, self.units))
        bias = draws.uniform(-self.bias_scale, self.bias_scale, self.units)
        self.sources = self._fixed("sources", sources, "int32")
        self.weights_of_sources = self._fixed("weights_of_sources", weights)
        self.kernel = self._fixed("kernel", kernel)
        self.bias = self._fixed("bias", bias)

    def _radius(self, sources: np.ndarray, weights: np.ndarray) -> float:
        """The largest absolute eigenvalue of the matrix of sparse weights.

        Raises:
            InputError: It is 0.
        """
        matrix = np.zeros((self.units, self.units))
        matrix[np.arange(self.units)[:, None], sources] = weights
        radius = float(np.abs(np.linalg.eigvals(matrix)).max())
        if radius < 1e-6:
            raise InputError(
                "`connections` must be larger, so that a state comes back to its unit",
                self.connections,
            )
        return radius

    def _fixed(self, name: str, values: np.ndarray, dtype: str | None = None) -> keras.Variable:
        """A weight that is never trained."""
        weight = self.add_weight(
            shape=values.shape, initializer="zeros", dtype=dtype, trainable=False, name=name
        )
        weight.assign(values)
        return weight

    def call(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        [state] = states
        read = ops.take(state, self.sources, axis=1)
        recurrent = ops.sum(read * self.weights_of_sources, axis=-1)
        drive = ops.matmul(inputs, self.kernel) + recurrent + self.bias
        following = (1 - self.leak) * state + self.leak * ops.tanh(drive)
        return following, [following]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": self.units,
            "spectral_radius": self.spectral_radius,
            "leak": self.leak,
            "connections": self.connections,
            "input_scale": self.input_scale,
            "bias_scale": self.bias_scale,
            "seed": self.seed,
        }


def echo_state_network(cell: EchoStateCell, mean: float, scale: float, name: str) -> keras.Model:
    """Builds a network that reads a series, and predicts its next value at every step.

    Args:
        cell: The reservoir.
        mean: Mean of the series, which is subtracted from it.
        scale: Its standard deviation, by which it is divided.
        name: Name of the model.

    Returns:
        A functional model, `series` `(batch, time, 1)` to a dict of `next` `(batch, time, 1)`, in
        units of the series, and the last `state` `(batch, units)`; all float64.
    """
    series = keras.Input((None, 1), dtype=DTYPE, name="series")
    standardize = keras.layers.Rescaling(
        1 / scale, offset=-mean / scale, dtype=DTYPE, name="standardize"
    )
    reservoir = keras.layers.RNN(
        cell, return_sequences=True, return_state=True, dtype=DTYPE, name="reservoir"
    )
    x = standardize(series)
    states, last = reservoir(x)
    features = keras.layers.Concatenate(dtype=DTYPE, name="features")([states, x])
    predicted = keras.layers.Dense(1, dtype=DTYPE, name="readout")(features)
    following = keras.layers.Rescaling(scale, offset=mean, dtype=DTYPE, name="in_units")(predicted)
    return keras.Model(series, {"next": following, "state": last}, name=name)


def features_of(network: keras.Model, series: np.ndarray, washout: int, at_once: int) -> np.ndarray:
    """What the readout reads after the wash-out, `(rows * (time - washout), features)`, float64.

    Args:
        network: From `echo_state_network`.
        series: `(rows, time, 1)`.
        washout: Steps at the begin of a row that are left out, in which the reservoir still depends
            on the state that it began with.
        at_once: Rows that are read at a time, to bound the memory.
    """
    reader = keras.Model(network.input, network.get_layer("features").output)
    read = tf.function(lambda rows: reader(rows, training=False), reduce_retracing=True)
    parts = [
        read(tf.constant(series[first : first + at_once])).numpy()[:, washout:]
        for first in range(0, len(series), at_once)
    ]
    features = np.concatenate(parts)
    return features.reshape(-1, features.shape[-1])


class Readout:
    """Fits readouts of the same features by ridge regression, with different penalties.

    Args:
        features: `(steps, features)`, float64.
        targets: `(steps,)`, in units of the readout: standardised.

    Reference:
        Hoerl and Kennard, 1970, Ridge Regression, https://doi.org/10.1080/00401706.1970.10488634
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray) -> None:
        self._mean, self._target_mean = features.mean(axis=0), float(targets.mean())
        u, self._s, self._v = np.linalg.svd(features - self._mean, full_matrices=False)
        self._parts, self._count = u.T @ (targets - self._target_mean), len(targets)

    def weights(self, ridge: float) -> list[np.ndarray]:
        """Kernel `(features, 1)` and bias `(1,)`.

        Args:
            ridge: Penalty of the sum of squared weights, added to the mean squared error.
        """
        kept = self._s / (self._s**2 + self._count * ridge)
        kernel = self._v.T @ (kept * self._parts)
        return [kernel[:, None], np.array([self._target_mean - self._mean @ kernel])]


def forecaster(network: keras.Model, horizon: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function in the graph that goes on with series, by feeding predictions back.

    Args:
        network: From `echo_state_network`.
        horizon: Steps to go on.

    Returns:
        A function of series `(batch, time, 1)`, float64, to the next values `(batch, horizon)`.
    """
    cell = network.get_layer("reservoir").cell
    standardize, readout, in_units = (
        network.get_layer(name) for name in ("standardize", "readout", "in_units")
    )

    def step(
        number: tf.Tensor, value: tf.Tensor, state: tf.Tensor, values: tf.TensorArray
    ) -> tuple[Any, ...]:
        x = standardize(value)
        following, _ = cell(x, [state])
        features = tf.concat([following, x], axis=1)
        return number + 1, in_units(readout(features)), following, values.write(number, value)

    def forecast(series: tf.Tensor) -> tf.Tensor:
        outputs = network(series, training=False)
        *_, values = tf.while_loop(
            lambda number, *_: number < horizon,
            step,
            (
                tf.constant(0),
                outputs["next"][:, -1],
                outputs["state"],
                tf.TensorArray(DTYPE, horizon),
            ),
            parallel_iterations=1,
        )
        return tf.transpose(values.stack()[..., 0])

    return forecast
