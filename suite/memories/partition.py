"""How probable a Boltzmann machine finds its examples: its partition function, in float64.

The partition function, by which probabilities are normalised, is a sum over all states. With few
units on one side it is computed; otherwise annealed importance sampling estimates it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from suite.memories.boltzmann import RestrictedBoltzmann, drawn, split

NUMBERS_AT_ONCE = 2**24  # to bound the memory of the enumeration
# Distances of inverse temperatures grow smaller: shares of the steps up to each of them.
ANNEALING = ((0.5, 1 / 29), (0.9, 8 / 29), (1.0, 20 / 29))


class Parameters(NamedTuple):
    """The parameters of a machine, float64.

    Args:
        kernel: `(visible, hidden)`.
        visible_bias: `(visible,)`.
        hidden_bias: `(hidden,)`.
    """

    kernel: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray

    @classmethod
    def of(cls, machine: RestrictedBoltzmann) -> "Parameters":
        """The parameters of a layer."""
        weights = (machine.kernel, machine.visible_bias, machine.hidden_bias)
        return cls(*(keras.ops.convert_to_numpy(part).astype(np.float64) for part in weights))


def exact_log_partition(parameters: Parameters) -> float:
    """The log of the partition function, by a sum over all states of the smaller side.

    The time doubles with every unit of that side; 20 units take seconds.
    """
    from scipy.special import logsumexp

    kernel, visible_bias, hidden_bias = parameters
    if len(visible_bias) < len(hidden_bias):
        kernel, visible_bias, hidden_bias = kernel.T, hidden_bias, visible_bias
    places = np.arange(len(hidden_bias))
    count = 2 ** len(places)
    at_once = max(1, NUMBERS_AT_ONCE // len(visible_bias))
    parts = []
    for first in range(0, count, at_once):
        numbers = np.arange(first, min(first + at_once, count))
        hidden = ((numbers[:, None] >> places) & 1).astype(np.float64)
        logits = hidden @ kernel.T + visible_bias
        parts.append(logsumexp(hidden @ hidden_bias + np.logaddexp(0, logits).sum(axis=1)))
    return float(logsumexp(parts))


def estimated_log_partition(
    parameters: Parameters,
    base_bias: np.ndarray,
    *,
    steps: int = 1000,
    chains: int = 100,
    seed: int = 0,
) -> tuple[float, float]:
    """The log of the partition function by annealed importance sampling, and its standard error.

    Chains begin in a machine without weights, whose partition function is known, and move on while
    it turns into the machine step by step.

    Args:
        parameters: Of the machine.
        base_bias: Visible bias `(visible,)` of the machine without weights; the nearer it comes to
            the examples, such as by the log odds of their means, the better the estimate.
        steps: Number of steps.
        chains: Number of chains.
        seed: Decides what is drawn.

    Reference:
        Neal, 2001, Annealed Importance Sampling, https://doi.org/10.1023/A:1008923215028
        Salakhutdinov and Murray, 2008, On the Quantitative Analysis of Deep Belief Networks,
        https://doi.org/10.1145/1390156.1390266
    """
    kernel, visible_bias, hidden_bias = (tf.constant(part, tf.float64) for part in parameters)
    base = tf.constant(base_bias, tf.float64)
    betas = tf.constant(inverse_temperatures(steps), tf.float64)
    pair = tf.constant([seed, 1])

    def step(
        number: tf.Tensor, visible: tf.Tensor, log_weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        before, beta = betas[number - 1], betas[number]
        logits = tf.matmul(visible, kernel) + hidden_bias
        rise = tf.nn.softplus(beta * logits) - tf.nn.softplus(before * logits)
        log_weights += (beta - before) * tf.linalg.matvec(visible, visible_bias - base)
        log_weights += tf.reduce_sum(rise, axis=1)
        up, down = split(tf.random.experimental.stateless_fold_in(pair, number), 2)
        hidden = drawn(tf.sigmoid(beta * logits), up)
        reconstructed = tf.matmul(hidden, kernel, transpose_b=True) + visible_bias
        mixed = (1 - beta) * base + beta * reconstructed
        return number + 1, drawn(tf.sigmoid(mixed), down), log_weights

    @tf.function(autograph=False)
    def walk() -> tf.Tensor:
        probabilities = tf.repeat(tf.sigmoid(base)[None], chains, axis=0)
        visible = drawn(probabilities, tf.random.experimental.stateless_fold_in(pair, 0))
        _, _, log_weights = tf.while_loop(
            lambda number, *_: number <= steps,
            step,
            (tf.constant(1), visible, tf.zeros([chains], tf.float64)),
            parallel_iterations=1,
        )
        return log_weights

    log_weights = walk().numpy()
    largest = log_weights.max()
    weights = np.exp(log_weights - largest)
    of_base = len(parameters.hidden_bias) * math.log(2) + np.logaddexp(0, base_bias).sum()
    error = weights.std(ddof=1) / weights.mean() / math.sqrt(chains) if chains > 1 else math.inf
    return float(of_base + largest + math.log(weights.mean())), float(error)


def inverse_temperatures(steps: int) -> np.ndarray:
    """Inverse temperatures from 0 to 1, `(steps + 1,)`, which come closer together towards 1."""
    ends, shares = zip(*ANNEALING, strict=True)
    at = np.cumsum([0.0, *shares])
    return np.interp(np.linspace(0, 1, steps + 1), at, [0.0, *ends])


def log_likelihood(
    machines: Sequence[RestrictedBoltzmann],
    visible: tf.Tensor,
    log_partition: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """The log likelihood in nats, `(batch,)`; with several machines an estimate of a lower bound.

    The bound is the variational one, whose expectation over the hidden units is replaced by one
    sample of them.

    Args:
        machines: The machines of a deep belief network, the lowest first; or a single one.
        visible: States `(batch, visible)`, 0 or 1.
        log_partition: The log of the partition function of the uppermost machine.
        seed: A pair of integers.

    Reference:
        Hinton, Osindero and Teh, 2006, A Fast Learning Algorithm for Deep Belief Nets,
        https://doi.org/10.1162/neco.2006.18.7.1527
    """
    *lower, top = machines
    total = tf.zeros([], visible.dtype)
    for number, machine in enumerate(lower):
        logits = machine.hidden_logits(visible)
        hidden = drawn(tf.sigmoid(logits), tf.random.experimental.stateless_fold_in(seed, number))
        total += log_bernoulli(visible, machine.visible_logits(hidden))
        total -= log_bernoulli(hidden, logits)
        visible = hidden
    return total - top.free_energy(visible) - log_partition


def log_bernoulli(states: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The log probabilities `(batch,)` of states `(batch, units)`, 0 or 1, given their logits."""
    return tf.reduce_sum(states * logits - tf.nn.softplus(logits), axis=-1)
