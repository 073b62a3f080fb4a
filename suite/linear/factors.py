"""Non-negative factors: rows as sums of parts, none of which is ever subtracted."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from suite.app import Objective
from suite.placement.replicas import sum_over_replicas

Divergence = Literal["frobenius", "kullback_leibler"]
Solver = Literal["multiplicative", "coordinate"]
NAME = "parts"  # of the layer in a network
TINY = 1e-12  # what is divided by is at least this
NEGLIGIBLE = 1e-6  # share of the largest number that counts as 0 in the beginning


@keras.saving.register_keras_serializable(package="suite")
class NonnegativeParts(keras.layers.Layer):
    """Describes rows as sums of parts, with amounts that are not negative.

    The layer takes rows `(batch, columns)`, of which negative numbers count as 0, and returns the
    codes `(batch, units)`, the amounts of the parts, and the rows `(batch, columns)` that they add
    up to. The codes are those of the least divergence for the present parts, as near as `steps`
    come: by accelerated projected gradients for least squares, and by multiplicative updates for
    the Kullback-Leibler divergence.

    Args:
        units: Number of parts.
        divergence: How far the sums are from the rows: `frobenius` for squared differences,
            `kullback_leibler` for counts.
        steps: Steps towards the best codes of a row.
        unit: What rows are divided by, such as 255 for pixels.

    Reference:
        Lee and Seung, 1999, Learning the Parts of Objects by Non-Negative Matrix Factorization,
        https://doi.org/10.1038/44565
        Beck and Teboulle, 2009, A Fast Iterative Shrinkage-Thresholding Algorithm,
        https://doi.org/10.1137/080716542
    """

    def __init__(
        self,
        units: int,
        divergence: Divergence = "frobenius",
        steps: int = 200,
        unit: float = 1.0,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.units, self.divergence, self.steps, self.unit = units, divergence, steps, unit

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        columns: Any = input_shape[-1]
        self.parts = self.add_weight(
            shape=(self.units, columns),
            initializer=keras.initializers.RandomUniform(0.0, 1.0),
            name="parts",
        )

    def call(self, inputs: Any) -> tuple[Any, Any]:
        codes = self.encode(self.scaled(inputs))
        return codes, self.decode(codes)

    def scaled(self, rows: Any) -> Any:
        """Rows in the unit of the parts, without negative numbers."""
        return ops.relu(ops.cast(rows, self.compute_dtype) / self.unit)

    def encode(self, rows: Any) -> Any:
        """The codes `(batch, units)` of rows `(batch, columns)` in the unit of the parts."""
        parts = ops.convert_to_tensor(self.parts)
        if self.divergence == "kullback_leibler":
            start = ops.sum(rows, axis=1, keepdims=True) / (ops.sum(parts) + TINY)
            start = start * ops.ones_like(ops.sum(parts, axis=1))

            def multiply(_: Any, codes: Any) -> Any:
                sums = ops.maximum(ops.matmul(codes, parts), TINY)
                pull = ops.matmul(rows / sums, ops.transpose(parts))
                return codes * pull / (ops.sum(parts, axis=1) + TINY)

            return ops.fori_loop(0, self.steps, multiply, start)

        # Parts of length 1 make the steps longer.
        length = ops.sqrt(ops.sum(ops.square(parts), axis=1)) + TINY
        units = parts / ops.expand_dims(length, 1)
        products = ops.matmul(rows, ops.transpose(units))
        gram = ops.matmul(units, ops.transpose(units))
        step = 1 / (ops.max(ops.sum(gram, axis=1)) + TINY)  # its largest eigenvalue is no larger

        def descend(number: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
            codes, ahead = state
            better = ops.relu(ahead - step * (ops.matmul(ahead, gram) - products))
            number = ops.cast(number, self.compute_dtype)
            return better, better + number / (number + 3) * (better - codes)

        start = step * products
        return ops.fori_loop(0, self.steps, descend, (start, start))[0] / length

    def decode(self, codes: Any) -> Any:
        """The rows `(batch, columns)` of codes `(batch, units)`."""
        return ops.matmul(codes, self.parts) * self.unit

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": self.units,
            "divergence": self.divergence,
            "steps": self.steps,
            "unit": self.unit,
        }


class NonnegativeFactorization(keras.Model):
    """Fits parts, and a code for every training row, to all training rows in every step.

    A step improves the codes for the present parts, and then the parts for these codes. Neither is
    a gradient step: `multiplicative` multiplies every entry by a factor with which the loss never
    rises, `coordinate` solves for one part after the other. The optimizer only adds the changes, so
    its learning rate must be 1. Replicas share the rows, and sum what the parts need of them.

    Args:
        network: A functional model with a layer `NonnegativeParts`, from rows of any shape to a
            dict with their `reconstruction`.
        memory: From the numbers of training rows `(batch,)` to their codes `(batch, units)`, by its
            only weight.
        solver: How codes and parts are improved.
        inner_steps: Improvements of the codes, and of the parts, in a step: the products with the
            rows, which take the most time, are computed once for all of them.

    Reference:
        Lee and Seung, 2001, Algorithms for Non-Negative Matrix Factorization,
        https://papers.nips.cc/paper/1861
        Cichocki and Phan, 2009, Fast Local Algorithms for Large Scale Nonnegative Matrix and Tensor
        Factorizations (HALS, here `coordinate`), https://doi.org/10.1587/transfun.E92.A.708
        Gillis and Glineur, 2012, Accelerated Multiplicative Updates and Hierarchical ALS Algorithms
        for Nonnegative Matrix Factorization (inner steps), https://arxiv.org/abs/1107.5194
    """

    def __init__(
        self,
        network: keras.Model,
        memory: keras.Model,
        *,
        solver: Solver = "multiplicative",
        inner_steps: int = 1,
    ) -> None:
        super().__init__(dtype=keras.config.floatx())
        self.network, self.memory = network, memory
        self.solver, self.inner_steps = solver, inner_steps
        self.divergence = keras.metrics.Mean("loss")
        self.built = True  # its networks are built, and it has no `call`

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, numbers, weights = keras.utils.unpack_x_y_sample_weight(data)
        layer, [table] = self._layer, self.memory.trainable_variables
        rows = layer.scaled(tf.reshape(inputs, [-1, layer.parts.shape[1]]))
        # A replica whose part of the rows is empty gets one of weight 0.
        is_there = 1.0 if weights is None else tf.sign(tf.reshape(weights, [-1])[0])
        is_there = tf.cast(is_there, rows.dtype)
        before, parts = tf.gather(table.value, numbers), tf.convert_to_tensor(layer.parts.value)
        if layer.divergence == "kullback_leibler":
            codes, better, loss = self._by_counts(rows, before, parts, is_there)
        else:
            codes, better, loss = self._by_squares(rows, before, parts, is_there)
        changes = tf.scatter_nd(
            numbers[:, None], is_there * (before - codes), tf.shape(table.value)
        )
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.optimizer.apply_gradients(
            [((parts - better) / replicas, layer.parts), (changes, table)]
        )
        self.divergence.update_state(loss)
        return {"loss": self.divergence.result()}

    def _by_squares(
        self, rows: tf.Tensor, codes: tf.Tensor, parts: tf.Tensor, is_there: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Better codes and parts for the squared error, and its mean after both."""
        codes = tf.transpose(
            self._improved(
                tf.transpose(codes),
                tf.matmul(parts, rows, transpose_b=True),
                tf.matmul(parts, parts, transpose_b=True),
            )
        )
        products, gram, squares, count = sum_over_replicas(
            [
                is_there * tf.matmul(codes, rows, transpose_a=True),
                is_there * tf.matmul(codes, codes, transpose_a=True),
                tf.cast(is_there, tf.float64)
                * tf.reduce_sum(tf.cast(tf.reduce_sum(rows**2, axis=1), tf.float64)),
                tf.cast(is_there, tf.float64) * tf.cast(tf.size(rows), tf.float64),
            ]
        )
        better = self._improved(parts, products, gram)
        # Twice the products nearly cancel the squares of a good sum of parts.
        exact = tf.cast(better, tf.float64)
        error = squares - 2 * tf.reduce_sum(exact * tf.cast(products, tf.float64))
        error += tf.reduce_sum(
            tf.matmul(exact, exact, transpose_b=True) * tf.cast(gram, tf.float64)
        )
        return codes, better, tf.cast(tf.maximum(error, 0.0) / count, rows.dtype)

    def _improved(self, factor: tf.Tensor, products: tf.Tensor, gram: tf.Tensor) -> tf.Tensor:
        """A factor `(units, n)` with a smaller squared error, while the other one stays.

        Args:
            factor: The factor, not negative.
            products: Of the other factor and the rows, `(units, n)`.
            gram: Of the other factor with itself, `(units, units)`.
        """
        if self.solver == "multiplicative":
            for _ in range(self.inner_steps):
                factor = factor * products / tf.maximum(gram @ factor, TINY)
            return factor
        units = factor.shape[0]

        def solve_one(number: tf.Tensor, factor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            one = number % units
            pull = products[one] - tf.linalg.matvec(factor, gram[one], transpose_a=True)
            best = tf.maximum(factor[one] + pull / tf.maximum(gram[one, one], TINY), 0.0)
            place = tf.reshape(one, [1, 1])
            return number + 1, tf.tensor_scatter_nd_update(factor, place, best[None])

        _, factor = tf.while_loop(
            lambda number, _: number < units * self.inner_steps,
            solve_one,
            (tf.constant(0), factor),
            parallel_iterations=1,
        )
        return factor

    def _by_counts(
        self, rows: tf.Tensor, codes: tf.Tensor, parts: tf.Tensor, is_there: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Better codes and parts for the Kullback-Leibler divergence, and its mean before these."""
        for _ in range(self.inner_steps):
            pull = tf.matmul(rows / tf.maximum(codes @ parts, TINY), parts, transpose_b=True)
            codes = codes * pull / (tf.reduce_sum(parts, axis=1) + TINY)
        better, sizes = parts, is_there * tf.reduce_sum(codes, axis=0)
        [sizes] = sum_over_replicas([sizes])
        for _ in range(self.inner_steps):
            quotients = rows / tf.maximum(codes @ better, TINY)
            [products] = sum_over_replicas(
                [is_there * tf.matmul(codes, quotients, transpose_a=True)]
            )
            better = better * products / (sizes[:, None] + TINY)
        divergences = divergence_of(rows, codes @ parts, "kullback_leibler")
        total, count = sum_over_replicas(
            [
                is_there * tf.reduce_sum(divergences),
                is_there * tf.cast(tf.size(rows), rows.dtype),
            ]
        )
        return codes, better, total / count

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        layer = self._layer
        rows = layer.scaled(tf.reshape(inputs, [-1, layer.parts.shape[1]]))
        sums = tf.matmul(layer.encode(rows), layer.parts.value)
        losses = tf.reduce_mean(divergence_of(rows, sums, layer.divergence), axis=1)
        self.divergence.update_state(losses, weights)
        return {"loss": self.divergence.result()}

    def objectives(self, batch: Any) -> Mapping[str, Objective]:
        """The divergence as a function of parts and codes, which a step lowers."""
        inputs, numbers, _ = keras.utils.unpack_x_y_sample_weight(batch)
        layer = self._layer
        rows = layer.scaled(tf.reshape(inputs, [-1, layer.parts.shape[1]]))

        def loss() -> tf.Tensor:
            sums = ops.matmul(self.memory(numbers, training=True), layer.parts)
            return ops.mean(divergence_of(rows, sums, layer.divergence))

        return {"loss": Objective(loss, self.trainable_variables)}

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self.divergence]

    @property
    def _layer(self) -> NonnegativeParts:
        return self.network.get_layer(NAME)


def divergence_of(rows: tf.Tensor, sums: tf.Tensor, divergence: Divergence) -> tf.Tensor:
    """How far sums of parts are from the rows, a number for each of theirs.

    Args:
        rows: Not negative, of any shape.
        sums: Of the same shape.
        divergence: `frobenius` for the squared difference.
    """
    if divergence == "frobenius":
        return (rows - sums) ** 2
    sums = tf.maximum(sums, TINY)
    return tf.math.xlogy(rows, rows / sums) - rows + sums


def begin_by_singular_vectors(rows: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes `(rows, units)` and parts `(units, columns)` to begin with.

    They are the positive or the negative parts of singular vectors, of each pair those with the
    larger product of norms. Zeros, which multiplication never changes, become the mean of the rows.

    Args:
        rows: `(rows, columns)`, not negative.
        units: At most the number of rows and of columns.

    Reference:
        Boutsidis and Gallopoulos, 2008, SVD Based Initialization: A Head Start for Nonnegative
        Matrix Factorization (NNDSVDa), https://doi.org/10.1016/j.patcog.2007.09.010
    """
    from sklearn.utils.extmath import randomized_svd

    left, values, right = randomized_svd(rows, units, random_state=0)
    codes, parts = np.zeros((len(rows), units)), np.zeros((units, rows.shape[1]))
    for number in range(units):
        ends: list[tuple[float, np.ndarray, np.ndarray]] = []
        for sign in (1, -1):
            x = np.maximum(sign * left[:, number], 0.0)
            y = np.maximum(sign * right[number], 0.0)
            ends.append((float(np.linalg.norm(x) * np.linalg.norm(y)), x, y))
        size, x, y = max(ends, key=lambda end: end[0])
        length = np.sqrt(values[number] * size)
        codes[:, number] = length * x / max(np.linalg.norm(x), TINY)
        parts[number] = length * y / max(np.linalg.norm(y), TINY)
    mean = rows.mean()
    codes, parts = (
        np.where(factor > NEGLIGIBLE * factor.max(), factor, mean) for factor in (codes, parts)
    )
    return codes, parts


def kkt_violation(
    rows: np.ndarray, codes: np.ndarray, parts: np.ndarray, divergence: Divergence = "frobenius"
) -> float:
    """How far factors are from the conditions that every best pair of them fulfils.

    Where an amount is above 0, its gradient is 0; where it is 0, the gradient is not below 0
    (Karush, Kuhn and Tucker). The gradient is a push less a pull, both of which are not negative.
    Of the first condition, the violation is the sum of amounts times sizes of gradients, as a share
    of amounts times pulls; of the second, the length of what is below 0 as a share of the pull's.

    Args:
        rows: `(rows, columns)`, in the unit of the parts.
        codes: `(rows, units)`.
        parts: `(units, columns)`.
        divergence: What was minimised.

    Returns:
        The largest violation, of codes and of parts.
    """
    rows, codes, parts = (np.asarray(array, np.float64) for array in (rows, codes, parts))
    if divergence == "frobenius":
        forces = (
            (codes, rows @ parts.T, codes @ (parts @ parts.T)),
            (parts, codes.T @ rows, (codes.T @ codes) @ parts),
        )
    else:
        quotients = rows / np.maximum(codes @ parts, TINY)
        forces = (
            (codes, quotients @ parts.T, np.broadcast_to(parts.sum(axis=1), codes.shape)),
            (parts, codes.T @ quotients, np.broadcast_to(codes.sum(axis=0)[:, None], parts.shape)),
        )
    violations: list[float] = []
    for factor, pull, push in forces:
        gradient = push - pull
        violations.append(float(np.abs(factor * gradient).sum() / max((factor * pull).sum(), TINY)))
        below = np.linalg.norm(np.minimum(gradient, 0.0))
        violations.append(float(below / max(float(np.linalg.norm(pull)), TINY)))
    return max(violations)
