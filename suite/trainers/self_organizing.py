"""Self-organising maps: units in a plane, whose neighbours learn to answer to like examples."""

import math
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from suite.app import Objective
from suite.errors import InputError

Lattice = Literal["hexagonal", "square"]

ADJACENT = 1.5  # two units that are nearer are neighbours: 6 on a hexagonal lattice, 8 on a square
SMALLEST_MASS = 1e-6  # examples; a unit of which fewer are near keeps its code


class ExponentialDecay(NamedTuple):
    """A number that falls exponentially over a training.

    Args:
        first: In the first step, above 0.
        last: In the last step, above 0.
    """

    first: float
    last: float

    def at(self, share: Any) -> Any:
        """The number when this share of the training, in 0..1, is done."""
        return self.first * (self.last / self.first) ** share


class SelfOrganizingMap(keras.Model):
    """Moves the codes of a map so that each is the mean of the examples near its unit.

    The unit whose code is nearest to an example wins it. A unit near the winner, in the plane of
    the map, gets a share of the example, which falls with the distance as a normal density does,
    whose radius shrinks over the training. `quantization_error` is the mean distance of an example
    from the code of its winner, and `topographic_error` the share of examples whose two nearest
    codes do not belong to neighbours.

    By `batch`, a step sums the examples of every winner, forgets a part of older sums, and sets
    every code to the mean, weighted by the shares. With a batch of all examples and no memory, this
    is Kohonen's batch rule. Online, every example moves the codes for itself, one after the other.

    The optimizer is given what a step has changed as if it were a gradient, and takes it over as it
    is: gradient descent with a learning rate of 1.

    Args:
        network: Functional, with a layer `features`, whose outputs are `(batch, features)`, and a
            layer `codebook` behind it, which has the weights `codes` `(units, features)` and
            answers with squared distances `(batch, units)`.
        positions: Where the units are, `(units, 2)`.
        radius: Of the neighbourhood, in distances of two neighbours.
        rate: Of the online rule: the share of the way to an example that its winner goes; None for
            the batch rule.
        memory: Share of the sums before a step that the batch rule keeps, in [0, 1).
        steps: Number of steps of the training.

    Raises:
        InputError: The online rule is asked for on several replicas, none of which would know the
            codes that the others have moved.

    Reference:
        Kohonen, 2001, Self-Organizing Maps, https://doi.org/10.1007/978-3-642-56927-2
        Differs from the book: batches may be parts of the examples; their sums are kept for about
        as long as the memory says.
    """

    def __init__(
        self,
        network: keras.Model,
        positions: np.ndarray,
        *,
        radius: ExponentialDecay,
        rate: ExponentialDecay | None = None,
        memory: float = 0.0,
        steps: int = 1,
    ) -> None:
        super().__init__(dtype=keras.config.floatx())  # the network has dtypes of its own
        if rate is not None and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise InputError("`update` must be batch on several replicas", "online")
        self.network = network
        self.features = keras.Model(network.input, network.get_layer("features").output)
        self.squared_apart = ((positions[:, None] - positions) ** 2).sum(axis=-1)
        self.radius, self.rate, self.memory, self.steps = radius, rate, memory, steps
        units, features = self.codebook.codes.shape
        self.sums, self.counts = (
            self.add_weight(
                shape=shape,
                initializer="zeros",
                dtype=keras.config.floatx(),
                trainable=False,
                aggregation="mean",
                name=name,
            )
            for name, shape in (("sums", (units, features)), ("counts", (units,)))
        )
        self.quantization_error = keras.metrics.Mean("quantization_error")
        self.topographic_error = keras.metrics.Mean("topographic_error")
        self.built = True  # the network is

    @property
    def codebook(self) -> Any:
        """The layer whose weights are the codes."""
        return self.network.get_layer("codebook")

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self.quantization_error, self.topographic_error]

    def call(self, inputs: Any, training: bool = False) -> Any:
        """What the network answers."""
        return self.network(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        rows = self.features(inputs)
        squared, present = self.codebook(rows), _present(weights, rows)
        self._judge(squared, present)
        codes = tf.convert_to_tensor(self.codebook.codes.value)
        if self.rate is None:
            learnt = self._by_batch(rows, squared, present, codes)
        else:
            learnt = self._one_by_one(rows, codes, self.rate)
        change = (codes - learnt) / tf.distribute.get_strategy().num_replicas_in_sync
        self.optimizer.apply_gradients([(change, self.codebook.codes)])
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        rows = self.features(inputs)
        self._judge(self.codebook(rows), _present(weights, rows))
        return {metric.name: metric.result() for metric in self.metrics}

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The squared distances of examples from codes, weighted by their shares in them.

        With the winners as they are, the online rule is a step against the gradient of this loss.
        """
        inputs, *_ = batch
        rows = self.features(inputs)

        def loss() -> tf.Tensor:
            squared = self.codebook(rows)
            shares = tf.gather(self._shares(self._done()), tf.argmin(squared, axis=1))
            return tf.reduce_mean(tf.reduce_sum(shares * squared, axis=1)) / 2

        return {"distortion": Objective(loss, self.network.trainable_variables)}

    def _done(self) -> tf.Tensor:
        """The share of the training that is done, in 0..1."""
        steps = tf.cast(self.optimizer.iterations.value, keras.config.floatx())
        return tf.minimum(steps / max(self.steps - 1, 1), 1.0)

    def _shares(self, done: tf.Tensor) -> tf.Tensor:
        """The share `(units, units)` that a unit gets of what another one has won."""
        apart = tf.constant(self.squared_apart, done.dtype)
        return tf.exp(-apart / (2 * self.radius.at(done) ** 2))

    def _judge(self, squared: tf.Tensor, present: tf.Tensor) -> None:
        """Updates the metrics by squared distances `(batch, units)` of examples that count."""
        best = tf.math.top_k(-squared, 2)
        apart = tf.gather_nd(tf.constant(self.squared_apart, squared.dtype), best.indices)
        self.quantization_error.update_state(tf.sqrt(-best.values[:, 0]), present)
        self.topographic_error.update_state(tf.cast(apart > ADJACENT**2, squared.dtype), present)

    def _by_batch(
        self, rows: tf.Tensor, squared: tf.Tensor, present: tf.Tensor, codes: tf.Tensor
    ) -> tf.Tensor:
        """The codes after a step of the batch rule."""
        won = tf.one_hot(tf.argmin(squared, axis=1), squared.shape[1], dtype=rows.dtype)
        won *= present[:, None]
        sums, counts = tf.matmul(won, rows, transpose_a=True), tf.reduce_sum(won, axis=0)
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync > 1:
            sums, counts = replica.all_reduce(tf.distribute.ReduceOp.SUM, [sums, counts])
        sums += self.memory * tf.convert_to_tensor(self.sums.value)
        counts += self.memory * tf.convert_to_tensor(self.counts.value)
        self.sums.assign(sums)
        self.counts.assign(counts)
        shares = self._shares(self._done())
        mass = tf.linalg.matvec(shares, counts)[:, None]
        means = tf.matmul(shares, sums) / tf.maximum(mass, SMALLEST_MASS)
        return tf.where(mass > SMALLEST_MASS, means, codes)

    def _one_by_one(self, rows: tf.Tensor, codes: tf.Tensor, rate: ExponentialDecay) -> tf.Tensor:
        """The codes after a step of the online rule."""
        count = tf.shape(rows)[0]
        begun = tf.cast(self.optimizer.iterations.value, rows.dtype)
        apart = tf.constant(self.squared_apart, rows.dtype)

        def move(number: tf.Tensor, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            done = (begun + tf.cast(number, rows.dtype) / tf.cast(count, rows.dtype)) / self.steps
            way = rows[number] - codes
            winner = tf.argmin(tf.reduce_sum(tf.square(way), axis=1))
            shares = tf.exp(-apart[winner] / (2 * self.radius.at(done) ** 2))
            return number + 1, codes + rate.at(done) * shares[:, None] * way

        _, learnt = tf.while_loop(
            lambda number, _: number < count, move, (tf.constant(0), codes), parallel_iterations=1
        )
        return learnt


def _present(weights: Any, rows: tf.Tensor) -> tf.Tensor:
    """1 for every example that counts, 0 for one that only fills an empty part of a batch."""
    if weights is None:
        return tf.ones(tf.shape(rows)[:1], rows.dtype)
    return tf.cast(tf.reshape(weights, [-1]) > 0, rows.dtype)


def positions_of(rows: int, columns: int, lattice: Lattice) -> np.ndarray:
    """Where units are, `(rows * columns, 2)`, from left to right and then row by row.

    Neighbours are at a distance of 1; on a square lattice those across a corner as well, which are
    further apart. On a hexagonal lattice every other row is shifted by half a unit.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    if lattice == "square":
        return np.stack([column, row], axis=1).astype(np.float64)
    return np.stack([column + 0.5 * (row % 2), row * math.sqrt(0.75)], axis=1)


def pca_initialization(rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Codes `(units, features)` that lie on the plane of the two first principal components.

    The longer side of the map lies along the first one; its edges are a standard deviation away
    from the mean.

    Args:
        rows: Examples, `(n, features)`.
        positions: Where the units are, `(units, 2)`.
    """
    mean = rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(rows - mean, full_matrices=False)
    axes = np.zeros((2, rows.shape[1]))
    axes[: len(sizes[:2])] = sizes[:2, None] * directions[:2] / math.sqrt(len(rows))
    centred = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2
    reach = centred.max(axis=0)
    places = centred / np.where(reach > 0, reach, 1.0)
    return mean + places[:, np.argsort(-reach, kind="stable")] @ axes


def u_matrix(codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The mean distance of every unit's code from those of its neighbours, `(units,)`.

    Where it is large, a border runs between groups of examples.

    Args:
        codes: `(units, features)`.
        positions: Where the units are, `(units, 2)`.

    Reference:
        Ultsch and Siemon, 1990, Kohonen's Self Organizing Feature Maps for Exploratory Data
        Analysis
    """
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
    neighbours = (apart > 0) & (apart < ADJACENT)
    return np.array(
        [
            np.linalg.norm(codes[near] - code, axis=1).mean()
            for code, near in zip(codes, neighbours, strict=True)
        ]
    )
