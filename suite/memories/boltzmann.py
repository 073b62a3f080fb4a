"""Restricted Boltzmann machines: the layer, its sampling, and its training without backpropagation.

A machine has visible and hidden units of 0 and 1. It gives every state of both the energy
`-visible @ kernel @ hidden - visible @ visible_bias - hidden @ hidden_bias`; the lower the energy,
the more probable the state. Several machines on top of each other, each of which reads the hidden
units of the one below, are a deep belief network.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from suite.app import Objective
from suite.errors import InputError
from suite.layers.networks import NetworksModel
from suite.placement.replicas import seed_of_replica

# Pictures of an evaluation are made black and white in the same way each time.
EVALUATION_SEED = 0


@keras.saving.register_keras_serializable(package="suite")
class RestrictedBoltzmann(keras.layers.Layer):
    """A restricted Boltzmann machine as a layer that can be read in both directions.

    `layer(visible)` takes states or probabilities `(batch, visible)` to the probabilities of the
    hidden units `(batch, units)`; `layer(hidden, down=True)` takes those `(batch, units)` back to
    the probabilities of the visible units `(batch, visible)`.

    Args:
        units: Number of hidden units.
        weight_scale: Standard deviation of the weights at first.

    Reference:
        Smolensky, 1986, Information Processing in Dynamical Systems: Foundations of Harmony Theory
        Hinton, 2010, A Practical Guide to Training Restricted Boltzmann Machines,
        https://www.cs.toronto.edu/~hinton/absps/guideTR.pdf
    """

    def __init__(self, units: int, *, weight_scale: float = 0.01, **layer: Any) -> None:
        super().__init__(**layer)
        self.units, self.weight_scale = units, weight_scale

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        visible: Any = input_shape[-1]
        normal = keras.initializers.RandomNormal(stddev=self.weight_scale)
        self.kernel = self.add_weight(
            shape=(visible, self.units), initializer=normal, name="kernel"
        )
        self.visible_bias = self.add_weight(
            shape=(visible,), initializer="zeros", name="visible_bias"
        )
        self.hidden_bias = self.add_weight(
            shape=(self.units,), initializer="zeros", name="hidden_bias"
        )

    def call(self, inputs: Any, down: bool = False) -> Any:
        return ops.sigmoid(self.visible_logits(inputs) if down else self.hidden_logits(inputs))

    def hidden_logits(self, visible: Any) -> Any:
        """Logits of the hidden units `(batch, units)`, given the visible ones."""
        return ops.matmul(visible, self.kernel) + self.hidden_bias

    def visible_logits(self, hidden: Any) -> Any:
        """Logits of the visible units `(batch, visible)`, given the hidden ones."""
        return ops.matmul(hidden, ops.transpose(self.kernel)) + self.visible_bias

    def free_energy(self, visible: Any) -> Any:
        """The negative log of the sum of `exp(-energy)` over all hidden states, `(batch,)`.

        The log probability of a visible state is its negative free energy minus the log of the
        partition function.
        """
        hidden = ops.sum(ops.softplus(self.hidden_logits(visible)), axis=-1)
        return -hidden - ops.sum(ops.multiply(visible, self.visible_bias), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units, "weight_scale": self.weight_scale}


def drawn(probabilities: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws 0 or 1, in the type of the probabilities of 1.

    Args:
        probabilities: Of any shape.
        seed: A pair of integers.
    """
    dtype = probabilities.dtype
    uniform = tf.random.stateless_uniform(tf.shape(probabilities), seed, dtype=dtype)
    return tf.cast(uniform < probabilities, dtype)


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Several seeds, pairs of integers, made of one."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, count))


def gibbs(
    machine: RestrictedBoltzmann, visible: tf.Tensor, steps: int, seed: tf.Tensor
) -> tf.Tensor:
    """Draws the hidden units given the visible ones, and these given those, several times.

    Args:
        machine: The machine, whose distribution the states come to follow.
        visible: States to begin with, `(batch, visible)`, 0 or 1.
        steps: How many times both are drawn.
        seed: A pair of integers.

    Returns:
        States `(batch, visible)`, 0 or 1.

    Reference:
        Geman and Geman, 1984, Stochastic Relaxation, Gibbs Distributions, and the Bayesian
        Restoration of Images, https://doi.org/10.1109/TPAMI.1984.4767596
    """

    def step(number: tf.Tensor, visible: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        up, down = split(tf.random.experimental.stateless_fold_in(seed, number), 2)
        hidden = drawn(ops.sigmoid(machine.hidden_logits(visible)), up)
        return number + 1, drawn(ops.sigmoid(machine.visible_logits(hidden)), down)

    _, visible = tf.while_loop(
        lambda number, _: number < steps,
        step,
        (tf.constant(0), visible),
        parallel_iterations=1,
    )
    return visible


def sample(
    machines: Sequence[RestrictedBoltzmann], num: int | tf.Tensor, steps: int, seed: tf.Tensor
) -> tf.Tensor:
    """Draws from a machine, or from a deep belief network: from its uppermost machine, then down.

    Args:
        machines: The machines, the lowest first.
        num: Number of samples.
        steps: Steps of Gibbs sampling in the uppermost machine, which begins with random states.
        seed: A pair of integers.

    Returns:
        Probabilities of the lowest visible units in the last step, `(num, visible)`.
    """
    top = machines[-1]
    begin, walk, up, *downs = split(seed, 3 + len(machines))
    shape = tf.stack([num, top.kernel.shape[0]])
    visible = drawn(tf.fill(shape, tf.constant(0.5, top.compute_dtype)), begin)
    visible = gibbs(top, visible, steps, walk)
    hidden = drawn(ops.sigmoid(top.hidden_logits(visible)), up)
    for machine, down in zip(reversed(machines), downs, strict=True):
        probabilities = ops.sigmoid(machine.visible_logits(hidden))
        hidden = drawn(probabilities, down)
    return probabilities


def pseudo_log_likelihood(
    machine: RestrictedBoltzmann, visible: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """An estimate of the pseudo log likelihood in nats, `(batch,)`, at the cost of one reading.

    The pseudo likelihood is the product of the probabilities of all visible units, each given all
    others. It is estimated by one unit of every example, drawn at random.

    Args:
        machine: The machine.
        visible: States `(batch, visible)`, 0 or 1.
        seed: A pair of integers.

    Reference:
        Besag, 1975, Statistical Analysis of Non-Lattice Data, https://doi.org/10.2307/2987782
    """
    size = machine.kernel.shape[0]
    unit = tf.random.stateless_uniform([tf.shape(visible)[0]], seed, 0, size, tf.int32)
    change = 1 - 2 * tf.gather(visible, unit, axis=1, batch_dims=1)
    before = machine.hidden_logits(visible)
    after = before + change[:, None] * tf.gather(tf.convert_to_tensor(machine.kernel), unit)
    # How much the log probability rises if the unit is the other way round.
    rise = tf.reduce_sum(tf.nn.softplus(after) - tf.nn.softplus(before), axis=1)
    rise += change * tf.gather(tf.convert_to_tensor(machine.visible_bias), unit)
    return -size * tf.nn.softplus(rise)


def machines_of(network: keras.Model) -> list[RestrictedBoltzmann]:
    """The machines of a network, the lowest first."""
    return [layer for layer in network.layers if isinstance(layer, RestrictedBoltzmann)]


def inputs_of(network: keras.Model, number: int) -> keras.Model:
    """The part of a network below a machine: from images to the probabilities that it reads.

    Args:
        network: Has a layer `pixels`, the probabilities of the lowest visible units
            `(batch, visible)`, and outputs `hidden_1`, `hidden_2` and so on by name.
        number: The machine, counted from 0.
    """
    below = network.output[f"hidden_{number}"] if number else network.get_layer("pixels").output
    return keras.Model(network.input, below, name=f"inputs_{number + 1}")


class ContrastiveDivergence(NetworksModel):
    """Trains one machine of a network to make its training examples more probable.

    The gradient of the log likelihood is that of the free energy of samples of the machine, minus
    that of the training examples. Exact samples would take too long. Contrastive divergence begins
    at the training examples, and takes a few steps of Gibbs sampling. Persistent contrastive
    divergence goes on where its chains were after the step before; several replicas have a part of
    the chains each.

    What is logged is no loss, which such a training does not have. `energy_gap` is the free energy
    of the training examples minus that of the samples, which should stay near 0;
    `pseudo_likelihood` is in nats, and should rise.

    Args:
        network: The network, as `inputs_of` takes it.
        number: The machine that learns, counted from 0. The lowest one reads images, the others
            what `inputs_of` makes of them; 0 and 1 are drawn by these probabilities in every step.
        steps: Steps of Gibbs sampling.
        chains: Number of chains that persist, over all replicas; None for contrastive divergence.
        seed: Decides what is drawn.

    Raises:
        InputError: The replicas cannot share the chains evenly.

    Reference:
        Hinton, 2002, Training Products of Experts by Minimizing Contrastive Divergence,
        https://doi.org/10.1162/089976602760128018
        Tieleman, 2008, Training Restricted Boltzmann Machines Using Approximations to the
        Likelihood Gradient, https://doi.org/10.1145/1390156.1390290
    """

    def __init__(
        self,
        network: keras.Model,
        number: int = 0,
        *,
        steps: int = 1,
        chains: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if chains is not None and chains % replicas:
            raise InputError(
                f"`chains` must be a multiple of the number of replicas, {replicas}", chains
            )
        self.network, self.number, self.steps = network, number, steps
        self.pixels = inputs_of(network, 0)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.energy_gap = keras.metrics.Mean("energy_gap")
        self.pseudo_likelihood = keras.metrics.Mean("pseudo_likelihood")
        self.chains: Any = None
        if chains is not None:
            # Replicas write their part and zeros elsewhere, which are summed.
            self.chains = self.add_weight(
                shape=(chains, self.machine.kernel.shape[0]),
                initializer="zeros",
                dtype=keras.config.floatx(),
                trainable=False,
                aggregation="sum",
                name="chains",
            )
        self.built = True  # the network is, and it has no `call`

    @property
    def machine(self) -> RestrictedBoltzmann:
        """The machine that learns."""
        return machines_of(self.network)[self.number]

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self.energy_gap, self.pseudo_likelihood]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            weights = tf.reshape(weights, [-1])
        draw, walk, flip = split(seed_of_replica(self.seed_generator), 3)
        visible = drawn(self._probabilities(inputs), draw)
        if self.chains is None:
            samples, weights_of_samples = gibbs(self.machine, visible, self.steps, walk), weights
        else:
            samples, weights_of_samples = self._next_chains(walk), None
        with tf.GradientTape() as tape:
            gap = self._gap(visible, samples, weights, weights_of_samples)
            # Gradients are summed over the replicas.
            share = gap / tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(share)
        variables = self.machine.trainable_variables
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        self.optimizer.apply(gradients, variables)
        self.energy_gap.update_state(gap)
        self.pseudo_likelihood.update_state(
            pseudo_log_likelihood(self.machine, visible, flip), sample_weight=weights
        )
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        draw, flip = split(tf.constant([EVALUATION_SEED, self.number]), 2)
        visible = drawn(self._probabilities(inputs), draw)
        self.pseudo_likelihood.update_state(pseudo_log_likelihood(self.machine, visible, flip))
        return {"pseudo_likelihood": self.pseudo_likelihood.result()}

    def objectives(self, batch: Any) -> Mapping[str, Objective]:
        """The gap of free energies between training examples and samples, which are held fixed."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        draw, walk = split(seed_of_replica(self.seed_generator), 2)
        visible = drawn(self._probabilities(inputs), draw)
        samples = gibbs(self.machine, visible, self.steps, walk)
        return {
            "energy_gap": Objective(
                lambda: self._gap(visible, samples), self.machine.trainable_variables
            )
        }

    def _probabilities(self, inputs: tf.Tensor) -> tf.Tensor:
        """The probabilities that the machine reads, `(batch, visible)`."""
        if self.number:
            return tf.cast(inputs, keras.config.floatx())
        return self.pixels(inputs, training=False)

    def _gap(
        self,
        visible: tf.Tensor,
        samples: tf.Tensor,
        weights: tf.Tensor | None = None,
        weights_of_samples: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The mean free energy of training examples minus that of samples, a scalar."""

        def mean(states: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
            energies = self.machine.free_energy(states)
            return tf.reduce_mean(
                energies if weights is None else energies * tf.cast(weights, energies.dtype)
            )

        return mean(visible, weights) - mean(samples, weights_of_samples)

    def _next_chains(self, seed: tf.Tensor) -> tf.Tensor:
        """Moves the chains of this replica on, and returns their states `(chains, visible)`."""
        context: Any = tf.distribute.get_replica_context()
        count = self.chains.shape[0]
        size = count // context.num_replicas_in_sync
        first = tf.cast(context.replica_id_in_sync_group, tf.int32) * size
        begin = tf.convert_to_tensor(self.chains)[first : first + size]
        samples = gibbs(self.machine, begin, self.steps, seed)
        placed = tf.pad(samples, [[first, count - first - size], [0, 0]])
        self.chains.assign(tf.reshape(placed, self.chains.shape))
        return samples
