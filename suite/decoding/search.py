"""The most probable sequence: greedily, or by beam search."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from suite.data.text.tokenizers import END, PADDING, START
from suite.decoding.stepper import Decoded, State, Stepper
from suite.errors import InputError

NEVER = -1e9  # instead of minus infinity, of which differences would not be numbers
Choose = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def greedy(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    *,
    prompt: tf.Tensor | None = None,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Takes the most probable token in every step.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, with room for the prompt and `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence, `END` included. A longer one is cut there.
        prompt: As in `decode`.
        never: As in `decode`.
    """

    def most_probable(logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)

    return decode(stepper, state, rows, max_length, most_probable, prompt=prompt, never=never)


def beam(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    *,
    beams: int,
    length_penalty: float = 0.0,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Follows the best sequences side by side, and returns for every row the best that has ended.

    Sequences are compared by their log-probability over `((5 + tokens) / 6) ** length_penalty`. One
    that ends among the best `beams` of its length leaves its place to one that goes on. The search
    ends when none that goes on can become better than the best that has ended. If none has ended
    within `max_length`, the best of those that are cut there is returned.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, one row for each sequence, with room for
            `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence, `END` included.
        beams: Number of sequences that are followed in each row; one is the greedy search.
        length_penalty: 0 prefers short sequences, as log-probabilities do; larger ones long ones.
        never: As in `decode`.

    Raises:
        InputError: `beams` is below 1, or `length_penalty` below 0.

    Reference:
        Wu et al., 2016, Google's Neural Machine Translation System (the length penalty),
        https://arxiv.org/abs/1609.08144
    """
    if beams < 1:
        raise InputError("`beams` must be at least 1", beams)
    if length_penalty < 0:
        raise InputError("`length_penalty` must be at least 0", length_penalty)
    if beams == 1:
        return greedy(stepper, state, rows, max_length, never=never)

    def ranks(scores: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        ranks = scores / ((5 + tf.cast(lengths, tf.float32)) / 6) ** length_penalty
        return tf.where(scores > NEVER / 2, ranks, 2 * NEVER)

    def goes_on(index: tf.Tensor, tokens: tf.Tensor, ids: tf.Tensor, *rest: Any) -> tf.Tensor:
        scores, ended, _ = rest
        hope = ranks(tf.reduce_max(scores, axis=1), max_length)
        return (index < max_length) & tf.reduce_any(ranks(ended.scores, ended.lengths) < hope)

    def go_on(index: tf.Tensor, tokens: tf.Tensor, ids: tf.Tensor, *rest: Any) -> tuple[Any, ...]:
        scores, ended, state = rest
        logits, following = stepper.step(tf.reshape(tokens, [-1]), index, state)
        # Each can end in one way, so at least `beams` of twice as many go on.
        width = tf.minimum(2 * beams, tf.shape(logits)[-1])
        log_probabilities, tokens = (
            tf.reshape(x, (rows, beams, width))
            for x in tf.math.top_k(_log_probabilities(logits) + _bias(never, logits), width)
        )
        totals = tf.reshape(scores[..., None] + log_probabilities, (rows, -1))
        totals, best = tf.math.top_k(totals, 2 * beams)
        tokens = tf.gather(tf.reshape(tokens, (rows, -1)), best, batch_dims=1)
        parents = best // width
        ends = tokens == END
        ended = better_of(
            ended,
            index,
            tf.gather(ids, parents[:, :beams], batch_dims=1),
            tf.where(ends[:, :beams], totals[:, :beams], NEVER),
        )
        scores, best = tf.math.top_k(tf.where(ends, 2 * NEVER, totals), beams)
        tokens, parents = (tf.gather(x, best, batch_dims=1) for x in (tokens, parents))
        ids = tf.gather(ids, parents, batch_dims=1)
        ids = tf.where(tf.range(max_length) == index, tokens[..., None], ids)
        # What a step does not change is the same in all beams of a row.
        flat = tf.reshape(tf.range(rows)[:, None] * beams + parents, [-1])
        kept = _map(lambda old, new: new if new is old else tf.gather(new, flat), state, following)
        return index + 1, tokens, ids, scores, ended, _as_before(kept, state)

    def better_of(ended: _Ended, index: tf.Tensor, ids: tf.Tensor, scores: tf.Tensor) -> _Ended:
        """The best that has ended: before, or of these, which end with the token at `index`."""
        place = tf.argmax(scores, axis=1)
        ids, scores = (tf.gather(x, place, batch_dims=1) for x in (ids, scores))
        ids = tf.where(tf.range(max_length) == index, END, ids)
        better = ranks(scores, index + 1) > ranks(ended.scores, ended.lengths)
        return _Ended(
            tf.where(better[:, None], ids, ended.ids),
            tf.where(better, index + 1, ended.lengths),
            tf.where(better, scores, ended.scores),
        )

    start = (
        0,
        tf.fill((rows, beams), START),
        tf.fill((rows, beams, max_length), PADDING),
        tf.tile([[0.0] + [NEVER] * (beams - 1)], (rows, 1)),  # at first, all beams are the same
        _Ended(
            tf.fill((rows, max_length), PADDING),
            tf.ones((rows,), tf.int32),
            tf.fill((rows,), NEVER),
        ),
        tf.nest.map_structure(lambda x: tf.repeat(x, beams, axis=0), state),
    )
    length, _, ids, scores, ended, _ = _loop(goes_on, go_on, start)
    cut = ended.scores <= NEVER / 2
    ids = tf.where(cut[:, None], ids[:, 0], ended.ids)
    lengths = tf.where(cut, length, ended.lengths)
    return Decoded(ids[:, : tf.reduce_max(lengths)], tf.where(cut, scores[:, 0], ended.scores))


class _Ended(NamedTuple):
    """The best sequence of every row that has ended.

    Args:
        ids: `(rows, time)`, `END` included.
        lengths: `(rows,)`.
        scores: Log-probabilities, `(rows,)`; `NEVER` where none has ended.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor


def decode(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    choose: Choose,
    *,
    prompt: tf.Tensor | None = None,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Lets a function choose every token, until all rows have ended.

    No row depends on which others are in the batch.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, with room for the prompt and `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence after its prompt, `END` included.
        choose: Takes logits `(rows, vocabulary)`, float32, and the number of tokens that each row
            has after its prompt `(rows,)`, negative within it. Returns tokens `(rows,)`, int32.
        prompt: Tokens that the rows begin with `(rows, time)`, at least one in each, `PADDING`
            behind them; by default `START`. They are read, but neither returned nor scored.
        never: Tokens that are not chosen.
    """
    prompt = tf.fill((rows, 1), START) if prompt is None else tf.cast(prompt, tf.int32)
    prompted = tf.reduce_sum(tf.cast(prompt != PADDING, tf.int32), axis=1)

    def goes_on(index: tf.Tensor, tokens: tf.Tensor, ids: tf.Tensor, *rest: Any) -> tf.Tensor:
        return ~tf.reduce_all(rest[2])

    def go_on(index: tf.Tensor, tokens: tf.Tensor, ids: tf.Tensor, *rest: Any) -> tuple[Any, ...]:
        lengths, scores, ended, state = rest
        logits, following = stepper.step(tokens, index, state)
        log_probabilities = _log_probabilities(logits)
        allowed = tf.cast(logits, tf.float32) + _bias(never, logits)
        place = index + 1 - prompted
        tokens = choose(allowed, place)
        new = (place >= 0) & ~ended
        ids = tf.where(
            new[:, None] & (tf.range(max_length) == place[:, None]), tokens[:, None], ids
        )
        scores += tf.where(new, tf.gather(log_probabilities, tokens, batch_dims=1), 0.0)
        lengths += tf.cast(new, tf.int32)
        ended |= new & ((tokens == END) | (lengths == max_length))
        given = prompt[:, tf.minimum(index + 1, tf.shape(prompt)[1] - 1)]
        tokens = tf.where(place < 0, given, tokens)
        return index + 1, tokens, ids, lengths, scores, ended, _as_before(following, state)

    start = (
        0,
        prompt[:, 0],
        tf.fill((rows, max_length), PADDING),
        tf.zeros((rows,), tf.int32),
        tf.zeros((rows,)),
        tf.zeros((rows,), tf.bool),
        state,
    )
    _, _, ids, lengths, scores, *_ = _loop(goes_on, go_on, start)
    return Decoded(ids[:, : tf.reduce_max(lengths)], scores)


def _loop(goes_on: Callable[..., Any], body: Callable[..., Any], start: Any) -> Any:
    """`tf.while_loop` over any number of rows."""
    start = tf.nest.map_structure(tf.convert_to_tensor, start)
    shapes = tf.nest.map_structure(lambda x: _any_rows(x.shape), start)
    return tf.while_loop(goes_on, body, start, shape_invariants=shapes)


def _as_before(following: State, state: State) -> State:
    """The next state, in the structure and shapes of the last, which a loop must keep."""
    return _map(lambda old, new: tf.ensure_shape(new, _any_rows(old.shape)), state, following)


def _map(function: Callable[..., tf.Tensor], state: State, following: State) -> State:
    """Applies a function to all pairs of tensors of two states."""
    pairs = zip(tf.nest.flatten(state), tf.nest.flatten(following), strict=True)
    return tf.nest.pack_sequence_as(state, [function(old, new) for old, new in pairs])


def _any_rows(shape: tf.TensorShape) -> tf.TensorShape:
    return tf.TensorShape([None, *shape[1:]]) if shape.rank else shape


def _bias(never: tuple[int, ...], logits: tf.Tensor) -> tf.Tensor:
    """What is added to logits `(..., vocabulary)` for some tokens not to be chosen."""
    ids = tf.range(tf.shape(logits)[-1])
    hit = [tf.cast(ids == token, tf.float32) for token in never]
    return NEVER * tf.add_n(hit) if hit else tf.zeros_like(ids, tf.float32)


def _log_probabilities(logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.log_softmax(tf.cast(logits, tf.float32))
