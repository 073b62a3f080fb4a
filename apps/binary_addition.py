"""Binary addition by a recurrent network: exact at any length, with a proof.

The network reads two numbers bit by bit, least significant first, and says the bits of the sum.
Trained on pairs of 9 to 16 bits; all pairs of 8 bits, and far longer ones, are kept for the test.
The loss includes bounds on what the network does with every state it can get into, and the
training stops when they prove that it adds exactly, whatever the length.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings
from suite.app import Metrics, evaluate_on_test
from suite.cli import main
from suite.data import sums as arithmetic
from suite.data.examples import Data, collect
from suite.export.saved_model import Export
from suite.figures import classes as figures
from suite.knobs import BatchSize, Epochs, LearningRate, Rate, Units
from suite.metrics.certificates.automata import (
    Automaton,
    Network,
    ProvableCrossentropy,
    StopWhenCertified,
    certify,
)
from suite.metrics.certificates.intervals import Monotone

PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
ONES = np.arange(2)[:, None] + PAIRS.sum(axis=1)  # by carry and pair
ADDER = Automaton(PAIRS, next_state=ONES // 2, output=ONES % 2)
Cell = Literal["simple_rnn", "lstm", "gru"]
CELLS: dict[Cell, type[layers.RNN]] = {
    "simple_rnn": layers.SimpleRNN,
    "lstm": layers.LSTM,
    "gru": layers.GRU,
}
CURVE_EPOCHS = 20  # of 20 steps each
LONG_PAIRS = {1024: 10_000, 100_000: 20}  # how many to test, by bits

Initializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "orthogonal"
]


@settings
class Config:
    """The training recipe.

    Args:
        epochs: Times 100 optimizer steps, at most: a training with bounds ends with the proof.
        batch_size: Pairs per optimizer step, over all replicas.
        optimizer: Keras's name of the optimizer.
        learning_rate: Its step size.
        clipnorm: Gradients of a greater norm are scaled down to it, each weight for itself.
        training_bits: Bits of the longest numbers to train on; the shortest have 9.
        carry_chains: Share of the pairs in which one carry is passed on from bit to bit.
        bound_weight: Weight of the bounds in the loss; 0 trains on the data alone.
        bound_rounds: How often the bounded sets grow in the loss, at each step.
    """

    epochs: Epochs = 40
    batch_size: BatchSize = 256
    optimizer: Literal["adam", "rmsprop", "adagrad", "sgd"] = "adam"
    learning_rate: LearningRate = 0.01
    clipnorm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    training_bits: Annotated[
        int, Field(gt=arithmetic.TEST_BITS, le=arithmetic.LONGEST_TRAINING_BITS)
    ] = 16
    carry_chains: Annotated[float, Field(ge=0, le=1)] = 0.5
    bound_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    bound_rounds: Annotated[int, Field(ge=0, le=100)] = 5


def load_data(config: Config, run: Run) -> Data:
    """Bits of two numbers `(steps, 2)` and of their sum `(steps,)`, made from the seed."""
    return arithmetic.load_sums(
        run, config.batch_size, longest=config.training_bits, chains=config.carry_chains
    )


@checked
def build_model(
    *,
    cell: Cell = "simple_rnn",
    units: Units = 16,
    activation: Monotone = "tanh",
    kernel_initializer: Initializer = "glorot_uniform",
    recurrent_initializer: Initializer = "orthogonal",
    dropout: Rate = 0.0,
    recurrent_dropout: Rate = 0.0,
) -> keras.Model:
    """Builds the network: bits of two numbers in, logits of the sum's bits out.

    Args:
        cell: The recurrent layer.
        units: Its units.
        activation: Keras's name of its activation.
        kernel_initializer: Initial weights of the inputs.
        recurrent_initializer: Initial weights of the state.
        dropout: Rate of dropout on the inputs.
        recurrent_dropout: Rate of dropout on the state.

    Returns:
        A functional model, `bits` `(batch, time, 2)`, least significant first, to logits
        `(batch, time)`, float32; any `time` of 1 or more.

    Raises:
        ValueError: An argument is out of range.

    Reference:
        Elman, 1990, Finding Structure in Time, https://doi.org/10.1207/s15516709cog1402_1
        Hochreiter and Schmidhuber, 1997, Long Short-Term Memory,
        https://doi.org/10.1162/neco.1997.9.8.1735
        Cho et al., 2014, Learning Phrase Representations using RNN Encoder-Decoder,
        https://arxiv.org/abs/1406.1078
    """
    bits = keras.Input((None, 2), name="bits")
    states = CELLS[cell](
        units,
        activation=activation,
        kernel_initializer=kernel_initializer,
        recurrent_initializer=recurrent_initializer,
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
        return_sequences=True,
        name="recurrent",
    )(bits)
    logits = layers.Dense(1, dtype="float32", name="readout")(states)
    return keras.Model(bits, ops.squeeze(logits, axis=-1), name="binary_addition")


def network(model: keras.Model) -> Network:
    """The parts of the model that the proof is about."""
    return Network(model.get_layer("recurrent"), model.get_layer("readout"))


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Cross-entropy on the sum's bits, with the bounds; watches whole sums."""
    if config.bound_weight:
        loss = ProvableCrossentropy(
            model, network(model), ADDER, config.bound_weight, config.bound_rounds
        )
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(
        optimizer=keras.optimizers.get(
            {
                "class_name": config.optimizer,
                "config": {"learning_rate": config.learning_rate, "clipnorm": config.clipnorm},
            }
        ),
        loss=loss,
        metrics=[
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
            keras.metrics.MeanMetricWrapper(exact, name="exact"),
        ],
    )
    return model


def exact(y_true: Any, y_pred: Any) -> Any:
    """1 for each sum of which every bit is right, else 0; `(batch,)`."""
    return ops.all((y_true > 0.5) == (y_pred > 0), axis=-1)


def callbacks(
    model: keras.Model, config: Config, data: Data, folder: Path
) -> list[keras.callbacks.Callback]:
    """Ends the training with the proof."""
    return [StopWhenCertified(network(model), ADDER)] if config.bound_weight else []


def endpoints(model: keras.Model) -> dict[str, keras.Model]:
    """`serve`: `bits` to `sum_bits` and `logits`; `add`: int64 `a` and `b` to `sum`.

    `add` reads all 64 bits, and wraps round as two's complement does.
    """
    answers = {"sum_bits": ops.cast(model.output > 0, "int32"), "logits": model.output}
    a, b = (keras.Input((), dtype="int64", name=name) for name in "ab")
    places = ops.arange(64, dtype="int64")
    read = [ops.right_shift(ops.expand_dims(n, -1), places) % 2 for n in (a, b)]
    said = model(ops.cast(ops.stack(read, axis=-1), "float32")) > 0
    total = ops.sum(ops.left_shift(ops.cast(said, "int64"), places), axis=-1)
    return {
        "serve": keras.Model(model.input, answers, name=model.name),
        "add": keras.Model([a, b], {"sum": total}, name="add"),
    }


def evaluate(model: keras.Model, data: Data, config: Config) -> Metrics:
    """Fractions of whole sums that are right: all pairs of 8 bits, and longer ones."""
    metrics = evaluate_on_test(model, data, config)
    found = {"test_accuracy": metrics["test_accuracy"], "exact_8bit": metrics["test_exact"]}
    for length, count in LONG_PAIRS.items():
        pairs = arithmetic.written(arithmetic.random_pairs(count, length), length)
        logits = model.predict(pairs.inputs, batch_size=2500, verbose=0)
        right = ops.convert_to_numpy(exact(pairs.labels, logits))
        found[f"exact_{length}bit"] = float(right.mean())
    return found


def findings(model: keras.Model) -> dict[str, Any]:
    """The certificate."""
    return {"certificate": certify(network(model), ADDER)._asdict()}


def draw(model: keras.Model, data: Data, config: Config) -> dict[str, Figure]:
    """Where the sums are right, how the states tell the carry, and how the three cells learn."""
    pairs, sums = collect(data.validation)
    right = (model.predict(pairs, verbose=0) > 0) == (sums > 0.5)
    carries = arithmetic.carries(pairs, sums)
    lengths, rows = np.unique(arithmetic.longest_run(carries), return_inverse=True)
    accuracy = Figure(figsize=(9, 3.2), layout="constrained")
    by_position, by_chain = accuracy.subplots(1, 2, sharey=True)
    by_position.plot(right.mean(axis=0), marker=".")
    by_position.set(xlabel="bit position", ylabel="right", title="Bits", ylim=(-0.05, 1.05))
    whole = np.bincount(rows, right.all(axis=1)) / np.bincount(rows)
    by_chain.plot(lengths, whole, marker=".", linestyle="")
    by_chain.set(xlabel="longest run of carries", title="Whole sums")

    states = keras.Model(model.input, network(model).layer.output).predict(pairs[::20], verbose=0)
    after = np.roll(carries[::20], -1, axis=1)[:, :-1]
    trajectories = figures.trajectories(states[:, :-1], after, ("no carry", "carry"))
    return {"accuracy": accuracy, "hidden_states": trajectories, "cells": cells(data, config)}


def cells(data: Data, config: Config) -> Figure:
    """Learning curves of the three cells, fresh and trained on the data alone."""
    curves = Figure(figsize=(9, 3.2), layout="constrained")
    panels = dict(zip(("loss", "exact"), curves.subplots(1, 2), strict=True))
    plain = dataclasses.replace(config, bound_weight=0.0)
    for cell in CELLS:
        model = compile_model(build_model(cell=cell), plain, 0)
        model.steps_per_execution = 10
        history = model.fit(
            data.train(0), epochs=CURVE_EPOCHS, steps_per_epoch=20, shuffle=False, verbose=0
        )
        for name, axes in panels.items():
            axes.plot(np.arange(1, CURVE_EPOCHS + 1) * 20, history.history[name], label=cell)
            axes.set(xlabel="optimizer steps", title=f"training {name}")
    panels["exact"].legend(frameon=False)
    return curves


def predict(*numbers: str, export: Export = Export()) -> None:
    """Add two numbers of any size.

    Args:
        numbers: Two whole numbers, 0 or greater.
    """
    if len(numbers) != 2 or not all(n.isascii() and n.isdecimal() for n in numbers):
        received = " ".join(numbers) or "none"
        raise InputError(f"predict needs two whole numbers, 0 or greater. Received: {received}")
    sys.set_int_max_str_digits(0)
    a, b = map(int, numbers)
    length = max(a, b).bit_length() + 1
    read = np.stack([arithmetic.bits(n, length) for n in (a, b)], axis=-1)
    total = arithmetic.number(export.call(app.name, read[None])["sum_bits"][0])
    print(f"{a} + {b} = {total}")
    certificate = export.metadata(app.name, "certificate")["certificate"]
    proof = "proven exact at every length" if certificate["holds"] else "not proven"
    print(f"{proof}: {certificate['method']}")


app = App(
    name="binary_addition",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands={"predict": predict},
    try_next="predict 13 29",
)

if __name__ == "__main__":
    main(app)
