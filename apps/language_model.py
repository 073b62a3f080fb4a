"""Language models: what comes next in a text, and texts that go on by themselves.

A network reads a text character by character, word by word or in pieces of words, and says how
probable every token is to be the next one. It is a plain recurrent network, an LSTM, a GRU or a
Transformer. It is judged by the likelihood of text that it has never seen, and writes new text by
drawing one token after the other.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
from keras import layers
from pydantic import Field, PositiveInt

from suite import App, InputError, checked
from suite.app import Fitted
from suite.cli import main
from suite.decoding.stepper import Stepper
from suite.export.endpoints import Endpoint
from suite.knobs import Rate, Units
from suite.layers.sequences.recurrent import RecurrentStack
from suite.layers.sequences.transformer import TransformerBlock
from suite.tasks import language_modeling as task
from suite.trainers.truncated import Recurrence

Network = Literal["rnn", "lstm", "gru", "transformer"]
Parts = Mapping[str, keras.Layer]


@checked
def build_model(
    num_tokens: PositiveInt = 69,
    *,
    network: Network = "transformer",
    num_layers: Annotated[int, Field(ge=1, le=100)] = 3,
    units: Units = 128,
    num_heads: Annotated[int, Field(ge=1, le=1024)] = 4,
    hidden_factor: Annotated[int, Field(ge=1, le=64)] = 4,
    dropout: Rate = 0.0,
    attention_dropout: Rate = 0.0,
    recurrent_dropout: Rate = 0.0,
    tied: bool = True,
) -> keras.Model:
    """Builds the network: from tokens to logits of the token after each.

    Args:
        num_tokens: Number of tokens in the vocabulary.
        network: `rnn`, `lstm` and `gru` are recurrent; `transformer` attends to the past, with
            rotary positions.
        num_layers: Recurrent layers, or blocks of the Transformer.
        units: Features of a token, and units of every layer.
        num_heads: Heads of the attention.
        hidden_factor: Hidden units of the Transformer's feed-forward networks, over `units`.
        dropout: Rate of dropout on the embeddings, and on what each layer adds or hands on.
        attention_dropout: Rate at which the Transformer's weights of attention are dropped. On two
            cores it takes a quarter of a step.
        recurrent_dropout: Rate of dropout on the state of recurrent layers.
        tied: Whether the embeddings are the weights of the logits as well.

    Returns:
        A functional model, `ids` `(batch, time)`, int32, to `logits` `(batch, time, num_tokens)`;
        any `time` of 1 or more.

    Raises:
        InputError: An argument is out of range, or the heads do not divide the units evenly.

    Reference:
        Elman, 1990, Finding Structure in Time, https://doi.org/10.1207/s15516709cog1402_1
        Hochreiter and Schmidhuber, 1997, Long Short-Term Memory,
        https://doi.org/10.1162/neco.1997.9.8.1735
        Cho et al., 2014, Learning Phrase Representations using RNN Encoder-Decoder,
        https://arxiv.org/abs/1406.1078
        Vaswani et al., 2017, Attention Is All You Need, https://arxiv.org/abs/1706.03762
        Press and Wolf, 2016, Using the Output Embedding to Improve Language Models (`tied`),
        https://arxiv.org/abs/1608.05859
    """
    tokens = layers.ReversibleEmbedding(num_tokens, units, tie_weights=tied, name="tokens")
    parts: list[keras.Layer] = [
        tokens,
        layers.Dropout(dropout, name="dropout"),
        layers.Activation("linear", dtype=keras.config.floatx(), name="logits"),
    ]
    if network == "transformer":
        if units % (2 * num_heads):
            raise InputError(
                f"`units` must be a multiple of {2 * num_heads}, twice `num_heads`", units
            )
        for number in range(num_layers):
            block = TransformerBlock(
                num_heads,
                hidden_factor * units,
                causal=True,
                rotary=True,
                dropout=dropout,
                attention_dropout=attention_dropout,
                name=f"block_{number}",
            )
            parts.append(block)
        parts.append(layers.LayerNormalization(epsilon=1e-5, name="norm"))
    else:
        stack = RecurrentStack(
            network,
            [units] * num_layers,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            name="recurrent",
        )
        parts.append(stack)
    ids = keras.Input((None,), dtype="int32", name="ids")
    logits, _ = read({part.name: part for part in parts}, ids)
    return keras.Model(ids, logits, name="language_model")


def read(
    parts: Parts, ids: Any, state: Any = None, index: Any = None, training: bool | None = None
) -> tuple[Any, Any]:
    """Reads tokens, from the begin of a text or on from a state.

    Args:
        parts: The layers of the network by name.
        ids: `(batch, time)`; a Transformer that has a state reads one token, `(batch, 1)`.
        state: What was read before: the states of the recurrent layers, or the keys and values of
            the blocks. None for the begin of a text.
        index: Position of the token in the text, for a Transformer that has a state.
        training: Whether there is dropout.

    Returns:
        Logits `(batch, time, num_tokens)` and the next state; None for a Transformer without one.
    """
    tokens, dropout = parts["tokens"], parts["dropout"]
    x = dropout(tokens(ids), training=training)
    if "recurrent" in parts:
        x, state = parts["recurrent"](x, state, training=training)
        x = dropout(x, training=training)
    else:
        caches = []
        for number, block in enumerate(blocks(parts)):
            if state is None:
                x = block(x, training=training)
            else:
                x, cache = block(x, cache=state[number], index=index)
                caches.append(cache)
        x, state = parts["norm"](x), caches or None
    return parts["logits"](tokens(x, reverse=True)), state


def blocks(parts: Parts) -> list[Any]:
    """The blocks of a Transformer, from the first on."""
    return [
        parts[f"block_{number}"] for number in range(sum(n.startswith("block_") for n in parts))
    ]


def layers_of(model: keras.Model) -> Parts:
    """The layers of the network by name."""
    return {layer.name: layer for layer in model.layers}


def recurrence(model: keras.Model) -> Recurrence | None:
    """How a recurrent network reads on from a state; None for a Transformer."""
    parts = layers_of(model)
    if "recurrent" not in parts:
        return None
    return Recurrence(
        read=lambda ids, states, training: read(parts, ids, states, training=training),
        start=parts["recurrent"].zero_states,
    )


def stepper(fitted: Fitted) -> Stepper:
    """The network, one token at a time, with room for as many keys and values as it can look at."""
    [model] = fitted.networks.values()
    parts = layers_of(model)

    def start(rows: Any) -> Any:
        if "recurrent" in parts:
            return parts["recurrent"].zero_states(rows)
        return [block.start_cache(rows, fitted.config.context) for block in blocks(parts)]

    def step(ids: Any, index: Any, state: Any) -> tuple[Any, Any]:
        logits, state = read(parts, ids[:, None], state, index)
        return logits[:, 0], state

    return Stepper(start, step)


def compile_model(model: keras.Model, config: task.Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy; with `carry`, windows go on with the states before them."""
    return task.compile_model(model, config, steps, recurrence(model))


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`, `score` and `generate`, from text; see the task."""
    return task.endpoints(fitted, stepper(fitted))


def findings(fitted: Fitted) -> dict[str, Any]:
    """Texts that the network makes of nothing."""
    return task.findings(fitted, stepper(fitted))


app = App(
    name="language_model",
    topic="sequences",
    summary=__doc__,
    config=task.Config,
    data=task.load_data,
    build=build_model,
    compile=compile_model,
    callbacks=task.callbacks,
    endpoints=endpoints,
    example=task.example,
    evaluate=task.evaluate,
    findings=findings,
    figures=task.draw,
    commands=task.COMMANDS,
    try_next='generate "To be"',
    recipes={
        # States are carried over, gradients are not.
        "lstm": {"network": "lstm", "num_layers": 2, "units": 256, "carry": True},
        "gru": {"network": "gru", "num_layers": 2, "units": 256, "carry": True},
        "rnn": {"network": "rnn", "num_layers": 1, "units": 256, "carry": True},
        # Tiny Shakespeare on two cores.
        "shakespeare": {
            "network": "transformer",
            "num_layers": 6,
            "units": 192,
            "num_heads": 6,
            "context": 256,
            "batch_size": 16,
            "dropout": 0.1,
            "epochs": 10,
            "optimizer": "muon",
            "learning_rate": 0.02,
            "weight_average": 0.99,
        },
        # nanoGPT's size and settings, for a GPU.
        "nanogpt": {
            "network": "transformer",
            "num_layers": 6,
            "units": 384,
            "num_heads": 6,
            "context": 256,
            "batch_size": 64,
            "dropout": 0.2,
            "attention_dropout": 0.2,
            "epochs": 20,
            "steps_per_epoch": 250,
            "learning_rate": 1e-3,
            "warmup": 0.02,
        },
    },
    objective="val_nats",
    objective_mode="min",
    data_layouts=task.DATA_LAYOUTS,
    tiny={
        "epochs": 1,
        "steps_per_epoch": 20,
        "batch_size": 8,
        "context": 16,
        "num_layers": 1,
        "units": 16,
        "num_heads": 2,
    },
)

if __name__ == "__main__":
    main(app)
