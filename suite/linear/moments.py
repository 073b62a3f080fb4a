"""Principal components from sums over batches: of all covariances, or of a few directions only."""

from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from suite.linear.components import NAME, Components, of_covariance, with_positive_peaks
from suite.placement.replicas import sum_over_replicas

Solver = Literal["covariance", "power"]
# Pixels less 128 are whole numbers from -128 to 127, and float32 is exact up to 2**24: so are the
# sums of products of this many of them, whatever their order.
MIDDLE, EXACT_ROWS = 128, 1024
MORE_DIRECTIONS = 10  # of a power iteration, beside twice the number of components


class ComponentAnalysis(keras.Model):
    """Adds up the moments of all batches of a pass, from which `solve` has the components.

    The sums are exact for pixels, uint8, and of double precision about the first batch's mean
    otherwise. They are the same however the rows are divided into batches, and over replicas, but
    for rounding. `covariance` sums the products of all pairs of columns, and needs one pass.
    `power` sums the products of all columns with few directions only, which every pass turns
    towards the components: it never has a matrix of all pairs, and converges the faster, the more
    of the variance the components have.

    Args:
        network: A functional model with a layer `PrincipalComponents`, from rows of any shape to a
            dict with their `reconstruction`.
        solver: What is summed.
        standardize: Whether columns are divided by their standard deviation; for `covariance`.

    Reference:
        Golub and Van Loan, 2013, Matrix Computations (8.2.4, orthogonal iteration)
        Halko, Martinsson and Tropp, 2011, Finding Structure with Randomness,
        https://arxiv.org/abs/0909.4061
    """

    def __init__(
        self, network: keras.Model, *, solver: Solver = "covariance", standardize: bool = False
    ) -> None:
        super().__init__(dtype=keras.config.floatx())
        self.network, self.solver, self.standardize = network, solver, standardize
        layer = network.get_layer(NAME)
        columns, units = layer.axes.shape
        self.by_power = solver == "power"
        width = min(columns, 2 * units + MORE_DIRECTIONS) if self.by_power else columns
        self.count = self._sum("count", ())
        self.origin = self._sum("origin", (columns,))
        self.total = self._sum("total", (columns,))
        self.squares = self._sum("squares", ())
        self.products = self._sum("products", (columns, width))
        if self.by_power:
            self.directions = self._sum("directions", (columns, width), "orthogonal")
        self.error = keras.metrics.Mean("loss")
        self.built = True  # its network is built, and it has no `call`

    def _sum(self, name: str, shape: tuple[int, ...], initializer: str = "zeros") -> Any:
        """A weight of double precision, which has the same value on all replicas."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            dtype="float64",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        rows = tf.reshape(inputs, [-1, self.origin.shape[0]])
        # A replica whose part of the batch is empty gets a row of weight 0.
        is_there = 1.0 if weights is None else tf.sign(tf.reshape(weights, [-1])[0])
        is_there = tf.cast(is_there, tf.float64)
        count = is_there * tf.cast(tf.shape(rows)[0], tf.float64)
        if rows.dtype == tf.uint8 and not self.by_power:
            total, squares, products = self._exact(rows)
            origin = tf.fill([rows.shape[1]], tf.constant(MIDDLE, tf.float64))
        else:
            exact = tf.cast(rows, tf.float64)
            mean = is_there * tf.reduce_sum(exact, axis=0)
            number, mean = sum_over_replicas([count, mean])
            begun = self.count.value > 0
            origin = tf.where(begun, self.origin.value, mean / tf.maximum(number, 1.0))
            exact -= origin
            total, squares = tf.reduce_sum(exact, axis=0), tf.reduce_sum(exact**2)
            along = exact @ self.directions.value if self.by_power else exact
            products = tf.matmul(exact, along, transpose_a=True)
        count, total, squares, products = sum_over_replicas(
            [count, is_there * total, is_there * squares, is_there * products]
        )
        self.origin.assign(origin)
        self.count.assign(self.count.value + count)
        self.total.assign(self.total.value + total)
        self.squares.assign(self.squares.value + squares)
        self.products.assign(self.products.value + products)
        return {"rows": tf.cast(self.count.value, keras.config.floatx())}

    def _exact(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The sums of columns, of squares, and of products of columns, of pixels less `MIDDLE`."""
        columns = rows.shape[1]
        missing = -tf.shape(rows)[0] % EXACT_ROWS
        padded = tf.pad(tf.cast(rows, tf.float32) - MIDDLE, [[0, missing], [0, 0]])
        parts = tf.reshape(padded, [-1, EXACT_ROWS, columns])
        products = tf.matmul(parts, parts, transpose_a=True)
        total = tf.reduce_sum(tf.cast(tf.reduce_sum(parts, axis=1), tf.float64), axis=0)
        products = tf.reduce_sum(tf.cast(products, tf.float64), axis=0)
        return total, tf.linalg.trace(products), products

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        rows = tf.cast(inputs, keras.config.floatx())
        again = self.network(rows, training=False)["reconstruction"]
        errors = tf.reduce_mean(
            tf.reshape(tf.square(rows - again), [tf.shape(rows)[0], -1]), axis=1
        )
        self.error.update_state(errors, weights)
        return {"error": self.error.result()}

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self.error]

    def solve(self) -> None:
        """Sets the components by the sums of a pass, and begins new sums."""
        layer = self.network.get_layer(NAME)
        count, origin, total, squares, products = (
            np.asarray(ops.convert_to_numpy(weight), np.float64)
            for weight in (self.count, self.origin, self.total, self.squares, self.products)
        )
        mean, freedom = origin + total / count, max(float(count) - 1, 1.0)
        scale = np.ones_like(mean)
        if self.by_power:
            layer.set_components(
                self._turned(mean, scale, total, float(count), freedom, float(squares), products)
            )
        else:
            covariance = (products - np.outer(total, total) / count) / freedom
            if self.standardize:
                # As StandardScaler has it: the deviation of the rows themselves.
                deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0) * freedom / count)
                scale = np.where(deviation > 0, deviation, 1.0)
                covariance /= np.outer(scale, scale)
            layer.set_components(of_covariance(covariance, mean, scale, layer.units))
        for weight in (self.count, self.origin, self.total, self.squares, self.products):
            weight.assign(np.zeros(tuple(weight.shape)))

    def _turned(
        self,
        mean: np.ndarray,
        scale: np.ndarray,
        total: np.ndarray,
        count: float,
        freedom: float,
        squares: float,
        products: np.ndarray,
    ) -> Components:
        """The best components among the directions of a pass, which are then turned."""
        directions = np.asarray(ops.convert_to_numpy(self.directions), np.float64)
        moved = (products - np.outer(total, total @ directions) / count) / freedom
        within = directions.T @ moved
        variances, turns = np.linalg.eigh((within + within.T) / 2)
        units = self.network.get_layer(NAME).units
        best = turns[:, ::-1][:, :units]
        self.directions.assign(np.linalg.qr(moved)[0])
        return Components(
            mean=mean,
            scale=scale,
            axes=with_positive_peaks(directions @ best),
            variances=np.maximum(variances[::-1][:units], 0.0),
            total=(squares - float(total @ total) / count) / freedom,
        )


class SolveAfterEveryPass(keras.callbacks.Callback):
    """Has a `ComponentAnalysis` solve after the last batch of an epoch, before the validation."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch + 1 == self.params["steps"]:
            self.model.solve()
