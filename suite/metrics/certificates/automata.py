"""Proofs that a recurrent network runs a finite automaton, on sequences of every length.

The proof is a family of boxes of network states, one for each state of the automaton and the last
symbols read since. It is closed: whatever point of a box the network is in, each symbol gives the
right output and leads into the box that belongs to it. The network starts in the family, so it
never leaves it, however long the sequence.

Boxes are bounded by `intervals`, rounding included. They close only around a network whose
states are pulled together from step to step; `worst_case_logits`, put into the loss, trains it to
be one.

Reference:
    Omlin and Giles, 1996, Constructing Deterministic Finite-State Automata in Recurrent Neural
    Networks, https://doi.org/10.1145/235809.235811
    Rump, 2010, Verification Methods: Rigorous Results Using Floating-Point Arithmetic,
    https://doi.org/10.1017/S096249291000005X (the inflation of boxes until they close)
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from suite.metrics.certificates.intervals import (
    FLOAT32_ROUNDOFF,
    ROUNDOFFS,
    Interval,
    affine,
    hull,
    point,
    step,
)

Tensor = Any
Box = tuple[Interval, ...]  # one interval for each state tensor of the layer

# Boxes that have not closed by then grow without end.
ROUNDS = 25
LONGEST_MEMORY = 3
# A memory that leaks a little at each step is small in one step and fatal in the end.
GROWTH_WEIGHT = 10
WARMUP_STEPS = 300


class Automaton(NamedTuple):
    """A machine that starts in state 0, reads a symbol a step and says one bit each time.

    Args:
        symbols: What the network reads for each symbol, `(symbols, features)`.
        next_state: By state and symbol, `(states, symbols)`.
        output: The bit said, by state and symbol, `(states, symbols)`.
    """

    symbols: np.ndarray
    next_state: np.ndarray
    output: np.ndarray

    def shortest_words(self) -> list[tuple[int, ...]]:
        """The symbols that lead from the start to each state, as few as possible.

        Raises:
            ValueError: A state cannot be reached.
        """
        found: dict[int, tuple[int, ...]] = {0: ()}
        queue = [0]
        for state in queue:
            for symbol, following in enumerate(self.next_state[state].tolist()):
                if following not in found:
                    found[following] = (*found[state], symbol)
                    queue.append(following)
        if len(found) < len(self.next_state):
            raise ValueError("`next_state` must reach every state from state 0")
        return [found[state] for state in range(len(self.next_state))]

    def outputs(self, length: int) -> np.ndarray:
        """The bit said after each state, each word of `length` symbols, and one symbol more."""
        state = np.arange(len(self.next_state))
        for _ in range(length):
            state = self.next_state[state].ravel()
        return self.output[state].ravel()


class Certificate(NamedTuple):
    """Whether the proof went through.

    Args:
        holds: Whether every output is right at every length.
        method: How it was proven, or why it was not.
        margin: The least distance of a logit from the wrong side over the whole family; 0 where
            the certificate does not hold.
        sets: Number of sets in the family.
    """

    holds: bool
    method: str
    margin: float
    sets: int


class Network(NamedTuple):
    """The recurrent layer of a model and the layer that reads its output.

    Args:
        layer: `SimpleRNN`, `LSTM` or `GRU`.
        readout: One logit from the layer's output.
    """

    layer: layers.RNN
    readout: layers.Dense

    def start(self, dtype: str) -> Box:
        """The states before the first symbol: zeros, `(1, units)`."""
        sizes = keras.tree.flatten(self.layer.cell.state_size)
        return tuple(point(ops.zeros((1, size), dtype)) for size in sizes)

    def successors(self, box: Box, symbols: np.ndarray, roundoff: float) -> tuple[Box, Interval]:
        """Bounds on the states after each symbol, and on the logits given with them.

        Args:
            box: Of `n` sets, `(n, units)`.
            symbols: `(symbols, features)`.
            roundoff: Unit roundoff of the arithmetic.

        Returns:
            The box of `n * symbols` sets, a set's successors side by side, and the logits
            `(n * symbols,)`.
        """
        count, dtype = box[0].lower.shape[0], box[0].lower.dtype
        read = ops.convert_to_tensor(np.tile(symbols, (count, 1)), dtype)
        before = tuple(
            states.each(lambda ends: ops.repeat(ends, len(symbols), axis=0)) for states in box
        )
        after = step(self.layer, read, before, roundoff)
        kernel, bias = (ops.cast(weight, dtype) for weight in self.readout.weights)
        logits = affine(after[0], kernel, bias, roundoff)
        return after, logits.each(lambda ends: ends[:, 0])


class Family:
    """The boxes of a network by automaton state and the symbols read since.

    Args:
        network: What should run the automaton.
        automaton: What it should run.
        memory: How many symbols since tell boxes apart, at least 1.
        roundoff: Unit roundoff of the arithmetic.
        dtype: Type to calculate in.
    """

    def __init__(
        self, network: Network, automaton: Automaton, memory: int, roundoff: float, dtype: str
    ) -> None:
        self.network, self.automaton, self.memory = network, automaton, memory
        self.roundoff, self.dtype = roundoff, dtype
        states, symbols = automaton.next_state.shape
        self.words = symbols**memory
        self.sets = states * self.words
        flat = automaton.next_state.ravel()
        leading = [np.flatnonzero(flat == state) for state in range(states)]
        # Which (state, symbol) lead to each state, repeated where others have more of them.
        self.sources = np.stack([np.resize(ways, max(map(len, leading))) for ways in leading])

    def beginning(self) -> Box:
        """The boxes before any hull: what each state's shortest word and all words since give."""
        boxes = []
        for word in self.automaton.shortest_words():
            box = self.network.start(self.dtype)
            for symbol in word:
                box, _ = self._successors(box, self.automaton.symbols[[symbol]])
            for _ in range(self.memory):
                box, _ = self._successors(box, self.automaton.symbols)
            boxes.append(box)
        return keras.tree.map_structure(lambda *parts: ops.concatenate(parts), *boxes)

    def images(self, box: Box) -> tuple[Box, Tensor]:
        """Where every symbol leads from the family, and how far each logit is from wrong.

        Args:
            box: `(sets, units)`.

        Returns:
            The hull of what leads into each set, `(sets, units)`, and the margins
            `(sets * symbols,)`.
        """
        after, logits = self._successors(box, self.automaton.symbols)
        margins = right(logits, self.automaton.outputs(self.memory))

        def gathered(ends: Tensor) -> Tensor:
            # (state, oldest symbol | the others and the new one, units)
            return ops.take(ops.reshape(ends, (-1, self.words, ends.shape[-1])), self.sources, 0)

        def flat(ends: Tensor) -> Tensor:
            return ops.reshape(ends, (self.sets, ends.shape[-1]))

        return tuple(
            Interval(
                flat(ops.min(gathered(states.lower), axis=1)),
                flat(ops.max(gathered(states.upper), axis=1)),
            )
            for states in after
        ), margins

    def first_margins(self) -> list[Tensor]:
        """The margins of the outputs given before `memory` symbols are read."""
        margins, box = [], self.network.start(self.dtype)
        for length in range(self.memory):
            box, logits = self._successors(box, self.automaton.symbols)
            bits = self.automaton.outputs(length)
            margins.append(right(logits, bits[: logits.lower.shape[0]]))
        return margins

    def _successors(self, box: Box, symbols: np.ndarray) -> tuple[Box, Interval]:
        return self.network.successors(box, symbols, self.roundoff)


def right(logits: Interval, bits: np.ndarray) -> Tensor:
    """How far the worst of each interval of logits is on the right side of zero."""
    return ops.where(bits == 1, logits.lower, -logits.upper)


def closing_loss(network: Network, automaton: Automaton, rounds: int) -> Tensor:
    """What keeps a network from its certificate: zero where boxes close and outputs are right.

    Args:
        network: Is trained through its weights.
        automaton: What it should run.
        rounds: How often the boxes grow; more are dearer and closer to the proof.

    Returns:
        The mean softplus of the margins' negatives, plus ten times how far the boxes would still
        grow, on average. A scalar.
    """
    family = Family(network, automaton, 1, FLOAT32_ROUNDOFF, "float32")

    def grow(_: Tensor, box: Box) -> Box:
        return tuple(hull(*pair) for pair in zip(box, family.images(box)[0], strict=True))

    box = ops.fori_loop(0, rounds, grow, family.beginning())
    image, margins = family.images(box)
    growth = sum(
        ops.mean(ops.relu(new.upper - old.upper) + ops.relu(old.lower - new.lower))
        for old, new in zip(box, image, strict=True)
    )
    margins = ops.concatenate([margins, *family.first_margins()])
    return ops.mean(ops.softplus(-margins)) + GROWTH_WEIGHT * growth


class ProvableCrossentropy(keras.losses.BinaryCrossentropy):
    """Cross-entropy of the bits from logits, and what keeps the network from its certificate.

    Args:
        model: The trained model, compiled with this loss.
        network: Its parts that the certificate is about.
        automaton: What it should run.
        weight: Of what keeps it from its certificate.
        rounds: How often the boxes grow, at each step.
    """

    def __init__(
        self,
        model: keras.Model,
        network: Network,
        automaton: Automaton,
        weight: float,
        rounds: int,
    ) -> None:
        super().__init__(from_logits=True)
        self.model, self.network, self.automaton = model, network, automaton
        self.weight, self.rounds = weight, rounds

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        losses = super().call(y_true, y_pred)
        closing = closing_loss(self.network, self.automaton, self.rounds)
        return losses + self.weight * self._share(losses) * closing

    def _share(self, losses: Tensor) -> Tensor:
        if isinstance(self.network.layer, layers.SimpleRNN):
            # Pulled together too early, its states could not tell those of the automaton apart.
            return ops.stop_gradient(ops.clip(1 - 10 * ops.mean(losses), 0, 1))
        # Gates learn from the data alone to let a memory leak.
        steps = ops.cast(self.model.optimizer.iterations, "float32")
        return ops.minimum(steps / WARMUP_STEPS, 1)


def certify(network: Network, automaton: Automaton, roundoff: float | None = None) -> Certificate:
    """Looks for a closed family of boxes, told apart by more and more symbols.

    Args:
        network: Its weights as they are.
        automaton: What it should run.
        roundoff: Unit roundoff of the arithmetic in which the network is used; by default that of
            the type its layer computes in.
    """
    roundoff = roundoff or ROUNDOFFS[network.layer.compute_dtype]
    try:
        for memory in range(1, LONGEST_MEMORY + 1):
            family = Family(network, automaton, memory, roundoff, "float64")
            margin = _closed_margin(family)
            if margin > 0:
                symbols = len(automaton.symbols)
                sets = family.sets + sum(symbols**length for length in range(memory))
                told = "the last symbol" if memory == 1 else f"the last {memory} symbols"
                method = f"boxes by state and {told}, unit roundoff {roundoff:.3g}"
                return Certificate(True, method, margin, sets)
    except ValueError as error:
        return Certificate(False, f"not to be had: {error}", 0.0, 0)
    return Certificate(False, f"no boxes by the last {LONGEST_MEMORY} symbols closed", 0.0, 0)


def _closed_margin(family: Family) -> float:
    """The least margin over a family that was seen to be closed; 0 if none was found."""
    first = box = family.beginning()
    first_margin = min(float(ops.min(margins)) for margins in family.first_margins())
    for _ in range(ROUNDS):
        # A little room lets boxes close that only come nearer and nearer to their limits.
        roomy = tuple(s.widened(0.1 * (s.upper - s.lower) + 1e-6) for s in box)
        image, margins = family.images(roomy)
        margin = min(first_margin, float(ops.min(margins)))
        if margin <= 0:
            return 0.0
        if _inside(image, roomy) and _inside(first, roomy):
            return margin
        box = tuple(hull(*pair) for pair in zip(box, image, strict=True))
    return 0.0


def _inside(inner: Box, outer: Box) -> bool:
    return all(
        bool(ops.all(small.lower >= large.lower) and ops.all(small.upper <= large.upper))
        for small, large in zip(inner, outer, strict=True)
    )


class StopWhenCertified(keras.callbacks.Callback):
    """Ends the training at the first epoch whose network has its certificate.

    Args:
        network: The parts of the trained model.
        automaton: What it should run.
    """

    def __init__(self, network: Network, automaton: Automaton) -> None:
        super().__init__()
        self.network, self.automaton = network, automaton

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if certify(self.network, self.automaton).holds:
            self.model.stop_training = True
