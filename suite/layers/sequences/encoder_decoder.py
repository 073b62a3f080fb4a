"""Encoder and decoder: one sequence is read, and another is written token by token.

There are three networks: one hands on a single vector for a whole sentence, one adds attention, and
one is attention alone. All are built of the same two functions, `encode` and `decode`, so that
training on whole sequences and decoding token by token share every line and every weight.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
from keras import layers, ops
from pydantic import Field

from suite.data.text.tokenizers import PADDING
from suite.decoding.stepper import Stepper
from suite.errors import InputError
from suite.layers.sequences.attention import BahdanauAttention, LuongAttention
from suite.layers.sequences.positions import SinusoidalPositions
from suite.layers.sequences.recurrent import LAYERS, Cell, RecurrentStack
from suite.layers.sequences.transformer import TransformerBlock

Network = Literal["seq2seq", "attention", "transformer"]
Attention = Literal["bahdanau", "luong"]
Positions = Literal["sinusoidal", "rotary"]
NumLayers = Annotated[int, Field(ge=1, le=100)]
NumHeads = Annotated[int, Field(ge=1, le=1024)]
HiddenFactor = Annotated[int, Field(ge=1, le=64)]
Parts = Mapping[str, Any]  # layers by name
State = dict[str, Any]


def build(
    name: str,
    source_size: int,
    target_size: int,
    *,
    network: Network,
    encoder_layers: int,
    decoder_layers: int,
    units: int,
    num_heads: int,
    hidden_factor: int,
    positions: Positions,
    cell: Cell,
    attention: Attention,
    dropout: float,
) -> keras.Model:
    """Builds a network from a sequence, and what is written so far, to what comes next.

    Args:
        name: Name of the model.
        source_size: Number of ids of the sequences that are read.
        target_size: Number of ids of those that are written.
        network: `seq2seq` hands the last states of a recurrent encoder to a recurrent decoder;
            `attention` has the decoder look at all outputs of the encoder as well; `transformer`
            is attention alone.
        encoder_layers: Layers of the encoder. The first recurrent one reads in both directions.
        decoder_layers: Layers of the decoder. Recurrent ones begin with the final states of the
            encoder's last layers; if there are more of them, the others begin with those of its
            last layer.
        units: Features of a token, and units of every layer.
        num_heads: Heads of the Transformer's attention.
        hidden_factor: Hidden units of the Transformer's feed-forward networks, over `units`.
        positions: How the Transformer sees the order of tokens.
        cell: The recurrent layer.
        attention: How the recurrent decoder compares its state with what was read.
        dropout: Rate of dropout on embeddings, and on what layers add or hand on.

    Returns:
        A functional model, `source` `(batch, source time)` and `prefix` `(batch, time)`, int32, to
        logits `(batch, time, target_size)` of the token after each of the prefix.

    Raises:
        InputError: The units cannot be divided among heads or directions.

    Reference:
        Sutskever, Vinyals and Le, 2014, Sequence to Sequence Learning with Neural Networks,
        https://arxiv.org/abs/1409.3215
        Bahdanau, Cho and Bengio, 2014, Neural Machine Translation by Jointly Learning to Align and
        Translate, https://arxiv.org/abs/1409.0473
        Luong, Pham and Manning, 2015, Effective Approaches to Attention-based Neural Machine
        Translation, https://arxiv.org/abs/1508.04025
        Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
        Press and Wolf, 2016, Using the Output Embedding to Improve Language Models (the logits are
        of the decoder's embeddings), https://arxiv.org/abs/1608.05859
        Differs from the papers: the first recurrent layer of every encoder reads in both
        directions; the state that attends is the one after the step, and what it sees does not go
        into the next step, so that all steps of a training are computed at once.
    """
    scale = keras.initializers.RandomNormal(stddev=units**-0.5)
    parts: list[keras.Layer] = [
        layers.Embedding(source_size, units, embeddings_initializer=scale, name="source_tokens"),
        layers.ReversibleEmbedding(
            target_size, units, embeddings_initializer=scale, name="target_tokens"
        ),
        layers.Dropout(dropout, name="dropout"),
        layers.Activation("linear", dtype=keras.config.floatx(), name="logits"),
    ]
    if network == "transformer":
        if units % (2 * num_heads):
            raise InputError(
                f"`units` must be a multiple of {2 * num_heads}, twice `num_heads`", units
            )
        if positions == "sinusoidal":
            parts.append(SinusoidalPositions(name="positions"))
        for side, count in (("encoder", encoder_layers), ("decoder", decoder_layers)):
            parts += [
                TransformerBlock(
                    num_heads,
                    hidden_factor * units,
                    causal=side == "decoder",
                    cross_attention=side == "decoder",
                    rotary=positions == "rotary",
                    dropout=dropout,
                    activation="relu",
                    name=f"{side}_{number}",
                )
                for number in range(count)
            ]
            parts.append(layers.LayerNormalization(epsilon=1e-5, name=f"{side}_norm"))
    else:
        if units % 2:
            raise InputError("`units` must be even: half of them read in each direction", units)
        both_ways = LAYERS[cell](units // 2, return_sequences=True, return_state=True)
        parts.append(layers.Bidirectional(both_ways, name="both_ways"))
        if encoder_layers > 1:
            stacked = [units] * (encoder_layers - 1)
            parts.append(RecurrentStack(cell, stacked, dropout=dropout, name="encoder"))
        stacked = [units] * decoder_layers
        parts.append(RecurrentStack(cell, stacked, dropout=dropout, name="decoder"))
        if network == "attention":
            look = BahdanauAttention(units) if attention == "bahdanau" else LuongAttention()
            look.name = "attention"
            parts += [look, layers.Dense(units, "tanh", name="attended")]
    by_name = {part.name: part for part in parts}
    source = keras.Input((None,), dtype="int32", name="source")
    prefix = keras.Input((None,), dtype="int32", name="prefix")
    state = encode(by_name, source, decoder_layers)
    logits, _, _ = decode(by_name, prefix, state)
    return keras.Model({"source": source, "prefix": prefix}, logits, name=name)


def encode(parts: Parts, source: Any, decoder_layers: int, training: bool | None = None) -> State:
    """Reads a sequence.

    Args:
        parts: The layers of the network by name.
        source: Ids `(batch, time)`, padded at the end.
        decoder_layers: Layers of the decoder.
        training: Whether there is dropout.

    Returns:
        What a decoder begins with: `memory` `(batch, time, units)` and its `mask`
        `(batch, time)`, as far as it looks at them, and `states` if it is recurrent.
    """
    mask = ops.not_equal(source, PADDING)
    x = _embedded(parts, "source", source, 0, training)
    if "decoder" not in parts:
        for block in blocks(parts, "encoder"):
            x = block(x, x_mask=mask, training=training)
        return {"memory": parts["encoder_norm"](x), "mask": mask}
    x, *ends = parts["both_ways"](x, mask=mask, training=training)
    half = len(ends) // 2
    states = [
        [ops.concatenate(pair, axis=-1) for pair in zip(ends[:half], ends[half:], strict=True)]
    ]
    if "encoder" in parts:
        x = parts["dropout"](x, training=training)
        x, further = parts["encoder"](x, mask=mask, training=training)
        states += further
    states = states[-decoder_layers:]
    states += states[-1:] * (decoder_layers - len(states))
    if "attention" not in parts:
        return {"states": states}
    return {"states": states, "memory": parts["dropout"](x, training=training), "mask": mask}


def decode(
    parts: Parts, tokens: Any, state: State, index: Any = None, training: bool | None = None
) -> tuple[Any, State, Any]:
    """Reads what is written so far, and says what comes next.

    Args:
        parts: The layers of the network by name.
        tokens: Ids `(batch, time)` from the first on, or one step `(batch, 1)`.
        state: What `encode` returned, or the state after the step before. For steps it may have the
            `keys` of the recurrent decoder's attention, and has the `caches` of a Transformer in
            place of `memory`.
        index: Position of the token of a step.
        training: Whether there is dropout.

    Returns:
        Logits `(batch, time, target ids)`; the next state; and how much each token looks at each
        token that was read, `(batch, time, source time)`, by the last layer: None without
        attention, and in a step of a Transformer.
    """
    weights = None
    x = _embedded(parts, "target", tokens, 0 if index is None else index, training)
    if "decoder" in parts:
        x, states = parts["decoder"](x, state["states"], training=training)
        state = {**state, "states": states}
        if "attention" in parts:
            context, weights = parts["attention"](
                x, state["memory"], state["mask"], keys=state.get("keys")
            )
            x = parts["attended"](ops.concatenate([x, context], axis=-1))
        x = parts["dropout"](x, training=training)
    elif index is None:
        for block in blocks(parts, "decoder"):
            x, heads = block(
                x,
                state["memory"],
                memory_mask=state["mask"],
                return_attention_scores=True,
                training=training,
            )
            weights = ops.mean(heads, axis=1)
        x = parts["decoder_norm"](x)
    else:
        caches = []
        for block, cache in zip(blocks(parts, "decoder"), state["caches"], strict=True):
            x, cache = block(x, memory_mask=state["mask"], cache=cache, index=index)
            caches.append(cache)
        state = {**state, "caches": caches}
        x = parts["decoder_norm"](x)
    return parts["logits"](parts["target_tokens"](x, reverse=True)), state, weights


def stepper(model: keras.Model, length: int) -> Stepper:
    """The network token by token, with keys and values kept.

    Args:
        model: A network of `build`.
        length: The most tokens that are written.
    """
    parts = layers_of(model)
    decoder_layers = num_decoder_layers(parts)

    def start(source: Any) -> State:
        state = encode(parts, source, decoder_layers)
        if "attention" in parts:
            return {**state, "keys": parts["attention"].project(state["memory"])}
        if "decoder" in parts:
            return state
        memory, rows = state.pop("memory"), ops.shape(source)[0]
        caches = [b.start_cache(rows, length, memory) for b in blocks(parts, "decoder")]
        return {**state, "caches": caches}

    def step(tokens: Any, index: Any, state: State) -> tuple[Any, State]:
        logits, state, _ = decode(parts, tokens[:, None], state, index)
        return logits[:, 0], state

    return Stepper(start, step)


def alignment(model: keras.Model, source: Any, prefix: Any) -> Any:
    """How much each token of a prefix looks at each token that was read.

    Args:
        model: A network of `build`, with attention.
        source: Ids that are read, `(batch, source time)`.
        prefix: Ids that are written, from `START` on, `(batch, time)`.

    Returns:
        `(batch, time, source time)`, float32; the weights of a token add up to 1. Those of a
        Transformer are of its last block, the mean of the heads.

    Raises:
        InputError: The network has no attention.
    """
    parts = layers_of(model)
    if not has_attention(model):
        raise InputError("`network` must be attention or transformer for an alignment", "seq2seq")
    state = encode(parts, source, num_decoder_layers(parts), training=False)
    return ops.cast(decode(parts, prefix, state, training=False)[2], "float32")


def has_attention(model: keras.Model) -> bool:
    """Whether the decoder looks at what the encoder read."""
    parts = layers_of(model)
    return "attention" in parts or "decoder" not in parts


def layers_of(model: keras.Model) -> Parts:
    """The layers of a network by name."""
    return {layer.name: layer for layer in model.layers}


def blocks(parts: Parts, side: str) -> list[Any]:
    """The blocks of the `encoder` or `decoder` of a Transformer, from the first on."""
    count = sum(name.startswith(f"{side}_") for name in parts) - 1  # without the normalisation
    return [parts[f"{side}_{number}"] for number in range(count)]


def num_decoder_layers(parts: Parts) -> int:
    """The number of layers of the decoder."""
    return len(parts["decoder"].units) if "decoder" in parts else len(blocks(parts, "decoder"))


def _embedded(parts: Parts, side: str, ids: Any, index: Any, training: bool | None) -> Any:
    """Embeddings `(batch, time, units)` of ids, the first of which is at the position `index`."""
    x = parts[f"{side}_tokens"](ids)
    x = x * x.shape[-1] ** 0.5
    if "positions" in parts:
        x = parts["positions"](x, index=index)
    return parts["dropout"](x, training=training)
