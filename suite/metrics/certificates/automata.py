"""Proofs that a recurrent network runs a finite automaton, on sequences of every length.

The proof is a family of boxes in the space of the network's states. There is one box for each
pair of a state of the automaton and the last symbols that the network has read. The family is
closed: from every point of a box, every symbol gives the right output and leads into the box of the
automaton's next state. The network starts inside the family, so it stays inside for sequences of
any length.

`intervals` computes the bounds of the boxes, rounding included. A family can be closed only if the
network contracts differences between its states from step to step; `closing_loss`, as a part of the
loss, trains the network to do so.

Reference:
    Omlin and Giles, 1996, Constructing Deterministic Finite-State Automata in Recurrent Neural
    Networks, https://doi.org/10.1145/235809.235811
    Rump, 2010, Verification Methods: Rigorous Results Using Floating-Point Arithmetic,
    https://doi.org/10.1017/S096249291000005X (inflates boxes until they close)
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

ROUNDS = 25  # boxes that have not closed after this number of rounds keep growing
LONGEST_MEMORY = 3  # largest number of recent symbols by which boxes are distinguished
# A small growth in each step adds up over a long sequence, so it weighs more than a margin.
GROWTH_WEIGHT = 10
WARMUP_STEPS = 300  # in which the weight of the bounds rises, for gated layers


class Automaton(NamedTuple):
    """A Mealy machine: it starts in state 0, and reads a symbol and outputs a bit in each step.

    Args:
        symbols: The network's input for each symbol, `(symbols, features)`.
        next_state: The next state by state and symbol, `(states, symbols)`.
        output: The output bit, 0 or 1, by state and symbol, `(states, symbols)`.
    """

    symbols: np.ndarray
    next_state: np.ndarray
    output: np.ndarray

    def shortest_words(self) -> list[tuple[int, ...]]:
        """The shortest sequence of symbols that leads from the start to each state.

        Raises:
            ValueError: A state cannot be reached.
        """
        words: dict[int, tuple[int, ...]] = {0: ()}
        queue = [0]
        for state in queue:
            for symbol, following in enumerate(self.next_state[state].tolist()):
                if following not in words:
                    words[following] = (*words[state], symbol)
                    queue.append(following)
        if len(words) < len(self.next_state):
            raise ValueError("`next_state` must reach every state from state 0")
        return [words[state] for state in range(len(self.next_state))]

    def outputs(self, length: int) -> np.ndarray:
        """The output bits after every sequence of `length` symbols and one more, from every state.

        Returns:
            `(states * symbols ** (length + 1),)`, ordered by state, then by the symbols in time.
        """
        state = np.arange(len(self.next_state))
        for _ in range(length):
            state = self.next_state[state].ravel()
        return self.output[state].ravel()


class Certificate(NamedTuple):
    """The result of an attempt to prove a network.

    Args:
        holds: Whether the proof shows that every output is right at every length.
        method: A description of the proof, or the reason why there is none.
        margin: The smallest distance of a logit from zero over the whole family; 0 where the
            certificate does not hold.
        sets: Number of boxes in the proof.
    """

    holds: bool
    method: str
    margin: float
    sets: int


class Network(NamedTuple):
    """A recurrent layer, and the dense layer that turns its output into one logit.

    Args:
        layer: `SimpleRNN`, `LSTM` or `GRU`.
        readout: A `Dense` layer of one unit.
    """

    layer: layers.RNN
    readout: layers.Dense

    def start(self, dtype: str) -> Box:
        """The box of the initial state: zeros, `(1, units)`."""
        sizes = keras.tree.flatten(self.layer.cell.state_size)
        return tuple(point(ops.zeros((1, size), dtype)) for size in sizes)

    def successors(self, box: Box, symbols: np.ndarray, roundoff: float) -> tuple[Box, Interval]:
        """Bounds on the states and the logits after one more symbol, for every symbol.

        Args:
            box: `n` boxes, each tensor `(n, units)`.
            symbols: `(symbols, features)`.
            roundoff: Unit roundoff of the arithmetic.

        Returns:
            `n * symbols` boxes, the successors of one box in consecutive rows, and the logits
            `(n * symbols,)`.
        """
        count, dtype = box[0].lower.shape[0], box[0].lower.dtype
        inputs = ops.convert_to_tensor(np.tile(symbols, (count, 1)), dtype)
        before = tuple(
            states.map(lambda ends: ops.repeat(ends, len(symbols), axis=0)) for states in box
        )
        after = step(self.layer, inputs, before, roundoff)
        kernel, bias = (ops.cast(weight, dtype) for weight in self.readout.weights)
        logits = affine(after[0], kernel, bias, roundoff)
        return after, logits.map(lambda ends: ends[:, 0])


class Family:
    """Boxes of network states, one for each automaton state and each sequence of recent symbols.

    A box holds the network's states after the automaton was in its state and then read the recent
    symbols.

    Args:
        network: The network to prove.
        automaton: The automaton that the network should run.
        memory: Number of recent symbols by which boxes are distinguished, at least 1.
        roundoff: Unit roundoff of the network's arithmetic.
        dtype: The dtype in which the bounds are computed.
    """

    def __init__(
        self, network: Network, automaton: Automaton, memory: int, roundoff: float, dtype: str
    ) -> None:
        self.network, self.automaton, self.memory = network, automaton, memory
        self.roundoff, self.dtype = roundoff, dtype
        states, symbols = automaton.next_state.shape
        self.num_words = symbols**memory
        self.num_boxes = states * self.num_words
        flat = automaton.next_state.ravel()
        transitions = [np.flatnonzero(flat == state) for state in range(states)]
        # The (state, symbol) pairs that lead to each state; shorter lists repeat their entries, so
        # that all lists have one length.
        most = max(map(len, transitions))
        self.sources = np.stack([np.resize(pairs, most) for pairs in transitions])

    def initial_boxes(self) -> Box:
        """The boxes after the shortest sequence to each state and all `memory` symbols after it.

        Returns:
            `(num_boxes, units)`.
        """
        boxes = []
        for word in self.automaton.shortest_words():
            box = self.network.start(self.dtype)
            for symbol in word:
                box, _ = self._successors(box, self.automaton.symbols[[symbol]])
            for _ in range(self.memory):
                box, _ = self._successors(box, self.automaton.symbols)
            boxes.append(box)
        return keras.tree.map_structure(lambda *parts: ops.concatenate(parts), *boxes)

    def successors(self, box: Box) -> tuple[Box, Tensor]:
        """The boxes that one more symbol leads into, and the margins of the logits on the way.

        Args:
            box: `(num_boxes, units)`.

        Returns:
            For each box of the family the hull of all boxes that lead into it,
            `(num_boxes, units)`, and the margins `(num_boxes * symbols,)`.
        """
        after, logits = self._successors(box, self.automaton.symbols)
        margins = output_margins(logits, self.automaton.outputs(self.memory))

        def by_target_state(ends: Tensor) -> Tensor:
            # (automaton state, transition into it, newer symbols, units)
            by_pair = ops.reshape(ends, (-1, self.num_words, ends.shape[-1]))
            return ops.take(by_pair, self.sources, axis=0)

        def by_box(ends: Tensor) -> Tensor:
            return ops.reshape(ends, (self.num_boxes, ends.shape[-1]))

        return tuple(
            Interval(
                by_box(ops.min(by_target_state(states.lower), axis=1)),
                by_box(ops.max(by_target_state(states.upper), axis=1)),
            )
            for states in after
        ), margins

    def first_margins(self) -> list[Tensor]:
        """The margins of the first `memory` outputs of a sequence, which no box covers yet."""
        margins, box = [], self.network.start(self.dtype)
        for length in range(self.memory):
            box, logits = self._successors(box, self.automaton.symbols)
            bits = self.automaton.outputs(length)
            margins.append(output_margins(logits, bits[: logits.lower.shape[0]]))
        return margins

    def _successors(self, box: Box, symbols: np.ndarray) -> tuple[Box, Interval]:
        return self.network.successors(box, symbols, self.roundoff)


def output_margins(logits: Interval, bits: np.ndarray) -> Tensor:
    """The smallest distance of each logit from zero; negative where it may have the wrong sign."""
    return ops.where(bits == 1, logits.lower, -logits.upper)


def closing_loss(network: Network, automaton: Automaton, rounds: int) -> Tensor:
    """A differentiable loss that is small where the network is close to having a certificate.

    Args:
        network: The trained network; gradients reach its weights.
        automaton: The automaton that the network should run.
        rounds: Number of times that the boxes grow before they are measured. More rounds cost more
            time and are closer to the proof.

    Returns:
        A scalar: the mean softplus of the negative margins, plus `GROWTH_WEIGHT` times the mean
        growth of the boxes in one more round.
    """
    family = Family(network, automaton, 1, FLOAT32_ROUNDOFF, network.layer.variable_dtype)

    def grow(_: Tensor, box: Box) -> Box:
        return tuple(hull(*pair) for pair in zip(box, family.successors(box)[0], strict=True))

    box = ops.fori_loop(0, rounds, grow, family.initial_boxes())
    image, margins = family.successors(box)
    growth = sum(
        ops.mean(ops.relu(new.upper - old.upper) + ops.relu(old.lower - new.lower))
        for old, new in zip(box, image, strict=True)
    )
    margins = ops.concatenate([margins, *family.first_margins()])
    return ops.mean(ops.softplus(-margins)) + GROWTH_WEIGHT * growth


class ProvableCrossentropy(keras.losses.BinaryCrossentropy):
    """Binary cross-entropy from logits, plus a weighted `closing_loss`.

    Args:
        model: The model that is compiled with this loss.
        network: The layers of the model that the certificate is about.
        automaton: The automaton that the network should run.
        weight: Weight of the `closing_loss`.
        rounds: Number of times that the boxes grow in each optimizer step.
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
        return losses + self.weight * self._warmup(losses) * closing

    def _warmup(self, losses: Tensor) -> Tensor:
        """A factor in 0..1 that lets the network learn from the data first."""
        if isinstance(self.network.layer, layers.SimpleRNN):
            # A network that contracts its states too early cannot separate the automaton's states.
            return ops.stop_gradient(ops.clip(1 - 10 * ops.mean(losses), 0, 1))
        # From the data alone gated layers learn a memory that leaks: the bounds must begin early.
        steps = ops.cast(self.model.optimizer.iterations, losses.dtype)
        return ops.minimum(steps / WARMUP_STEPS, 1)


def certify(network: Network, automaton: Automaton, roundoff: float | None = None) -> Certificate:
    """Searches for a closed family of boxes, and distinguishes more recent symbols until it closes.

    Args:
        network: The network to prove, with its present weights.
        automaton: The automaton that the network should run.
        roundoff: Unit roundoff of the arithmetic in which the network is used; by default that of
            the compute dtype of its layer.

    Returns:
        A certificate; if no proof is found, one that does not hold and says why.

    Raises:
        KeyError: The layer's compute dtype is not among `ROUNDOFFS`.
    """
    roundoff = roundoff or ROUNDOFFS[network.layer.compute_dtype]
    try:
        for memory in range(1, LONGEST_MEMORY + 1):
            family = Family(network, automaton, memory, roundoff, "float64")
            margin = _closed_margin(family)
            if margin > 0:
                symbols = len(automaton.symbols)
                num_boxes = family.num_boxes + sum(symbols**length for length in range(memory))
                symbols_read = "the last symbol" if memory == 1 else f"the last {memory} symbols"
                method = f"boxes by state and {symbols_read}, unit roundoff {roundoff:.3g}"
                return Certificate(True, method, margin, num_boxes)
    except ValueError as error:
        return Certificate(False, str(error), 0.0, 0)
    return Certificate(False, f"no boxes by the last {LONGEST_MEMORY} symbols closed", 0.0, 0)


def _closed_margin(family: Family) -> float:
    """The smallest margin over a closed family; 0 if none closes, or an output is wrong."""
    first = box = family.initial_boxes()
    first_margin = min(float(ops.min(margins)) for margins in family.first_margins())
    for _ in range(ROUNDS):
        # Boxes that converge to a limit without reaching it close with a little room around them.
        widened = tuple(s.widened(0.1 * (s.upper - s.lower) + 1e-6) for s in box)
        image, margins = family.successors(widened)
        margin = min(first_margin, float(ops.min(margins)))
        if margin <= 0:
            return 0.0
        if _inside(image, widened) and _inside(first, widened):
            return margin
        box = tuple(hull(*pair) for pair in zip(box, image, strict=True))
    return 0.0


def _inside(inner: Box, outer: Box) -> bool:
    return all(
        bool(ops.all(small.lower >= large.lower) and ops.all(small.upper <= large.upper))
        for small, large in zip(inner, outer, strict=True)
    )


class StopWhenCertified(keras.callbacks.Callback):
    """Stops the training after the first epoch whose network has a certificate.

    Args:
        network: The layers of the trained model that the certificate is about.
        automaton: The automaton that the network should run.
    """

    def __init__(self, network: Network, automaton: Automaton) -> None:
        super().__init__()
        self.network, self.automaton = network, automaton

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if certify(self.network, self.automaton).holds:
            self.model.stop_training = True
