"""Sequences drawn at random, in proportion to what the network holds for probable."""

import tensorflow as tf

from suite.data.text.tokenizers import PADDING, START
from suite.decoding.search import decode
from suite.decoding.stepper import Decoded, State, Stepper
from suite.errors import InputError


def sample(
    stepper: Stepper,
    state: State,
    rows: int | tf.Tensor,
    max_length: int,
    *,
    seed: int | tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    top_k: int | tf.Tensor | None = None,
    top_p: float | tf.Tensor | None = None,
    prompt: tf.Tensor | None = None,
    never: tuple[int, ...] = (PADDING, START),
) -> Decoded:
    """Draws every token at random, the same ones for the same seed.

    Each knob is a number, or a tensor with one for each row, as a server's requests have them. A
    row depends on its seed only, and not on which others are in the batch.

    Args:
        stepper: The network.
        state: What `stepper.start` returned, with room for the prompt and `max_length` tokens.
        rows: Number of sequences.
        max_length: The most tokens of a sequence after its prompt, `END` included.
        seed: A number for all rows, which then differ, or one for each, `(rows,)`.
        temperature: What logits are divided by, greater than 0; below 1 the probable tokens
            become more probable, above 1 less.
        top_k: The number of most probable tokens that are drawn from.
        top_p: In (0, 1]. Drawn from are the most probable tokens, as few as have this probability
            together.
        prompt: As in `decode`.
        never: As in `decode`.

    Raises:
        InputError: A number is out of its range. In a tensor, it is an error of the graph.

    Reference:
        Holtzman et al., 2019, The Curious Case of Neural Text Degeneration (top-p),
        https://arxiv.org/abs/1904.09751; Fan, Lewis and Dauphin, 2018, Hierarchical Neural Story
        Generation (top-k), https://arxiv.org/abs/1805.04833
    """
    raise NotImplementedError
