"""Hopfield's associative memory: stored patterns are where its dynamics come to rest.

A pattern is a row of -1 and 1. A cue is a pattern of which some units are wrong, or 0 for unknown;
the memory moves from the cue to a pattern near it.
"""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

Rule = Literal["hebb", "pseudo_inverse"]

RECALLED = 0.9  # smallest overlap of a pattern that counts as recalled
ROUNDING = 1e-5  # sums below it are 0; those of Hebb's rule are 1 / units at least


@keras.saving.register_keras_serializable(package="suite")
class Hopfield(keras.layers.Layer):
    """The classic memory: a symmetric matrix of weights between all units.

    `layer(states)` takes cues `(batch, units)` to the states after some sweeps, `(batch, units)`,
    and their energies `-states @ kernel @ states / 2`, `(batch,)`. A unit takes the sign of the
    weighted sum of the others, and stays as it is where that is 0. The weights are random until
    `store` is called.

    Args:
        rule: How patterns are stored. `hebb` sums their outer products; `pseudo_inverse` projects
            onto them, so that patterns that resemble each other are stored as well.
        sweeps: How often all units are updated.
        asynchronous: Whether units are updated one after the other, in which case the energy never
            rises; otherwise all at once, which is faster, and may end between two states.

    Reference:
        Hopfield, 1982, Neural Networks and Physical Systems with Emergent Collective Computational
        Abilities, https://doi.org/10.1073/pnas.79.8.2554
        Personnaz, Guyon and Dreyfus, 1985, Information Storage and Retrieval in Spin-Glass Like
        Neural Networks, https://doi.org/10.1051/jphyslet:01985004608035900
        Differs from the second paper: no unit has a weight to itself, so that more wrong units of a
        cue are corrected (Kanter and Sompolinsky, 1987,
        https://doi.org/10.1103/PhysRevA.35.380).
    """

    def __init__(
        self,
        rule: Rule = "hebb",
        *,
        sweeps: int = 10,
        asynchronous: bool = False,
        **layer: Any,
    ) -> None:
        super().__init__(**layer)
        self.rule, self.sweeps, self.asynchronous = rule, sweeps, asynchronous

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        units: Any = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(units, units),
            initializer=keras.initializers.RandomNormal(stddev=1 / units),
            trainable=False,
            name="kernel",
        )

    def store(self, patterns: np.ndarray) -> None:
        """Sets the weights.

        Args:
            patterns: `(patterns, units)`, -1 or 1.
        """
        rows = patterns.astype(np.float64)
        if self.rule == "hebb":
            kernel = rows.T @ rows / rows.shape[1]
        else:
            kernel = np.linalg.pinv(rows) @ rows
        np.fill_diagonal(kernel, 0)
        self.kernel.assign(kernel)

    def call(self, states: Any) -> tuple[Any, Any]:
        for _ in range(self.sweeps):
            states = self._one_by_one(states) if self.asynchronous else self._at_once(states)
        energies = -ops.sum(states * ops.matmul(states, self.kernel), axis=-1) / 2
        return states, energies

    def _at_once(self, states: Any) -> Any:
        return _signs(ops.matmul(states, self.kernel), states)

    def _one_by_one(self, states: Any) -> Any:
        count = self.kernel.shape[0]
        places = ops.arange(count)

        def update(unit: Any, states: Any) -> Any:
            weights = ops.take(self.kernel, unit, axis=1)
            sums = ops.sum(states * weights, axis=-1, keepdims=True)
            return ops.where(ops.equal(places, unit), _signs(sums, states), states)

        return ops.fori_loop(0, count, update, states)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "rule": self.rule,
            "sweeps": self.sweeps,
            "asynchronous": self.asynchronous,
        }


@keras.saving.register_keras_serializable(package="suite")
class ModernHopfield(keras.layers.Layer):
    """The modern memory, which keeps the patterns themselves, and is attention over them.

    `layer(states)` takes cues `(batch, units)` to `softmax(beta * states @ patterns.T) @ patterns`,
    several times, and to the energies `(batch,)`, which never rise. It stores exponentially many
    patterns. They are random until `store` is called.

    Args:
        patterns: Number of patterns.
        beta: How sharply the nearest pattern stands out; a small one gives means of patterns.
        sweeps: How often all units are updated; once is enough for patterns that differ well.

    Reference:
        Ramsauer et al., 2020, Hopfield Networks Is All You Need, https://arxiv.org/abs/2008.02217
    """

    def __init__(self, patterns: int, *, beta: float = 1.0, sweeps: int = 10, **layer: Any) -> None:
        super().__init__(**layer)
        self.patterns, self.beta, self.sweeps = patterns, beta, sweeps

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.stored = self.add_weight(
            shape=(self.patterns, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            name="stored",
        )

    def store(self, patterns: np.ndarray) -> None:
        """Sets the patterns, `(patterns, units)`."""
        self.stored.assign(patterns)

    def call(self, states: Any) -> tuple[Any, Any]:
        for _ in range(self.sweeps):
            states = ops.matmul(ops.softmax(self._scores(states)), self.stored)
        nearness = ops.logsumexp(self._scores(states), axis=-1) / self.beta
        return states, ops.sum(states * states, axis=-1) / 2 - nearness

    def _scores(self, states: Any) -> Any:
        return self.beta * ops.matmul(states, ops.transpose(self.stored))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "patterns": self.patterns,
            "beta": self.beta,
            "sweeps": self.sweeps,
        }


def _signs(sums: Any, states: Any) -> Any:
    """The signs of sums, -1 or 1; the states where a sum is 0, but for rounding.

    Args:
        sums: `(batch, units)` or `(batch, 1)`.
        states: `(batch, units)`.
    """
    return ops.where(ops.abs(sums) < ROUNDING, states, ops.sign(sums))


def random_patterns(count: int, units: int, seed: int = 0) -> np.ndarray:
    """Independent random patterns `(count, units)`, -1 or 1, float32."""
    signs = np.random.default_rng(seed).integers(0, 2, (count, units), dtype=np.int8)
    return (2 * signs - 1).astype(np.float32)


def distorted(
    patterns: np.ndarray, noise: float, erased: float, random: np.random.Generator
) -> np.ndarray:
    """Cues of patterns, of the same shape.

    Args:
        patterns: `(patterns, units)`, -1 or 1.
        noise: Probability that a unit is the other way round.
        erased: Share of the units, the last ones, that are 0.
        random: Decides which units are wrong.
    """
    cues = np.where(random.random(patterns.shape) < noise, -patterns, patterns)
    kept = patterns.shape[1] - round(erased * patterns.shape[1])
    cues[:, kept:] = 0
    return cues


def recalled_overlaps(
    memory: Hopfield | ModernHopfield,
    patterns: np.ndarray,
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Stores patterns, and returns how far they are recalled from their cues, `(patterns,)`.

    That is the overlap, the mean product of pattern and recalled state: 1 if they are equal, about
    0 if they have nothing in common.

    Args:
        memory: A layer; what it has stored is replaced.
        patterns: `(patterns, units)`, -1 or 1.
        noise: Probability that a unit of a cue is the other way round.
        seed: Decides which units are wrong.

    Reference:
        Amit, Gutfreund and Sompolinsky, 1985, Storing Infinite Numbers of Patterns in a Spin-Glass
        Model of Neural Networks, https://doi.org/10.1103/PhysRevLett.55.1530
    """
    cue = keras.Input((patterns.shape[1],), name="cue")
    recall = keras.Model(cue, memory(cue)[0])
    memory.store(patterns)
    cues = distorted(patterns, noise, 0.0, np.random.default_rng(seed))
    states = recall.predict(cues, batch_size=len(cues), verbose=0)
    return (np.where(states < 0, -1.0, 1.0) * patterns).mean(axis=1)


def recalled_share(
    memory: Hopfield | ModernHopfield, patterns: np.ndarray, *, noise: float = 0.0
) -> float:
    """The share of patterns that `recalled_overlaps` finds recalled: an overlap of 0.9 or more."""
    return float((recalled_overlaps(memory, patterns, noise=noise) >= RECALLED).mean())
