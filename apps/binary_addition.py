"""Binary addition by a recurrent network: exact at any length, with a proof.

The network reads two numbers bit by bit, least significant first, and outputs the bits of their
sum. It is trained on pairs of 9 to 16 bits, and tested on all pairs of 8 bits and on much longer
ones. The loss includes bounds on all states that the network can reach. The training stops when the
bounds prove that the network adds numbers of any length exactly.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings, train_aside
from suite.app import Fitted, Metrics, evaluate_on_test
from suite.cli import main, show_messages
from suite.data import Data, sums
from suite.data.images.files import writable_picture
from suite.export.exported import Exports
from suite.figures import curves, sequences
from suite.knobs import BatchSize, Epochs, Fraction, LearningRate, Rate, Seed, Units
from suite.metrics.certificates.automata import (
    Automaton,
    Network,
    ProvableCrossentropy,
    StopWhenCertified,
    certify,
)
from suite.metrics.certificates.intervals import Monotone

PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
# The carry plus both bits, by carry and pair: the low bit is the output, the high bit the next
# carry.
BIT_SUMS = np.arange(2)[:, None] + PAIRS.sum(axis=1)
ADDER = Automaton(PAIRS, next_state=BIT_SUMS // 2, output=BIT_SUMS % 2)
Cell = Literal["simple_rnn", "lstm", "gru"]
CELLS: dict[Cell, type[layers.RNN]] = {
    "simple_rnn": layers.SimpleRNN,
    "lstm": layers.LSTM,
    "gru": layers.GRU,
}
CURVE_EPOCHS = 4  # of the learning curves of the cells
LONG_PAIRS = {1024: 10_000, 100_000: 20}  # number of test pairs by their bits

Initializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "orthogonal"
]


@settings
class Config:
    """The settings of the training.

    Args:
        epochs: Largest number of epochs of 100 optimizer steps. A training with bounds ends when
            the proof holds.
        batch_size: Pairs per optimizer step, over all replicas.
        optimizer: Keras's name of the optimizer.
        learning_rate: Learning rate of the optimizer.
        clipnorm: Largest norm of the gradient of a single weight tensor.
        training_bits: Bits of the longest training numbers; the shortest have 9.
        carry_chains: Share of the training pairs in which all bits above a random place pass on
            what comes in, a carry or none.
        bound_weight: Weight in the loss of the bounds on the hidden states, which make the network
            provable; 0 trains on the data alone.
        bound_rounds: Number of input steps over which these bounds are grown in every optimizer
            step. More steps are closer to the proof and take longer.
    """

    epochs: Epochs = 40
    batch_size: BatchSize = 256
    optimizer: Literal["adam", "rmsprop", "adagrad", "sgd"] = "adam"
    learning_rate: LearningRate = 0.01
    clipnorm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    training_bits: Annotated[int, Field(gt=sums.TEST_BITS, le=sums.LONGEST_TRAINING_BITS)] = 16
    carry_chains: Fraction = 0.5
    bound_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    bound_rounds: Annotated[int, Field(ge=0, le=100)] = 5


def load_data(config: Config, run: Run) -> Data:
    """Bits of two numbers `(steps, 2)` and of their sum `(steps,)`, drawn from the seed."""
    return sums.load_sums(
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
    """Builds the network: from the bits of two numbers to logits of the bits of their sum.

    Args:
        cell: The recurrent layer.
        units: Units of the recurrent layer.
        activation: Keras's name of its activation: an increasing function, so that bounds on its
            input give bounds on its output.
        kernel_initializer: Initializer of the weights of the inputs.
        recurrent_initializer: Initializer of the weights of the state.
        dropout: Rate of dropout on the inputs.
        recurrent_dropout: Rate of dropout on the state.

    Returns:
        A functional model, `bits` `(batch, time, 2)`, least significant first, to logits
        `(batch, time)`, float32; any `time` of 1 or more.

    Raises:
        InputError: An argument is out of range.

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
    logits = layers.Dense(1, dtype=keras.config.floatx(), name="readout")(states)
    return keras.Model(bits, ops.squeeze(logits, axis=-1), name="binary_addition")


def network(model: keras.Model) -> Network:
    """The layers of the model that the proof is about."""
    return Network(model.get_layer("recurrent"), model.get_layer("readout"))


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy on the bits of the sum, plus the bounds if they have a weight."""
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
    """Whether all bits of a sum are right, `(batch,)`."""
    return ops.all((y_true > 0.5) == (y_pred > 0), axis=-1)


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Stops the training when the proof holds."""
    [model] = fitted.networks.values()
    return [StopWhenCertified(network(model), ADDER)] if fitted.config.bound_weight else []


def endpoints(fitted: Fitted) -> dict[str, keras.Model]:
    """`serve`: `bits` `(batch, time, 2)` to `sum_bits`, int32, and `logits`, `(batch, time)`.

    `add`: `a` and `b` `(batch,)`, int64, to `sum` `(batch,)`, int64. It works on 64 bits and wraps
    around, as two's complement does.
    """
    [model] = fitted.networks.values()
    outputs = {"sum_bits": ops.cast(model.output > 0, "int32"), "logits": model.output}
    a, b = (keras.Input((), dtype="int64", name=name) for name in "ab")
    places = ops.arange(64, dtype="int64")
    bits = [ops.right_shift(ops.expand_dims(n, -1), places) % 2 for n in (a, b)]
    sum_bits = model(ops.cast(ops.stack(bits, axis=-1), "float32")) > 0
    total = ops.sum(ops.left_shift(ops.cast(sum_bits, "int64"), places), axis=-1)
    return {
        "serve": keras.Model(model.input, outputs, name=model.name),
        "add": keras.Model([a, b], {"sum": total}, name="add"),
    }


def evaluate(fitted: Fitted) -> Metrics:
    """Fractions of exact sums among all pairs of 8 bits and among longer pairs."""
    measured = evaluate_on_test(fitted)
    metrics = {"test_accuracy": measured["test_accuracy"], "exact_8bit": measured["test_exact"]}
    for length, count in LONG_PAIRS.items():
        pairs = sums.encode_pairs(sums.random_pairs(count, length), length)
        logits = fitted.model.predict(pairs.inputs, batch_size=2500, verbose=0)
        correct = ops.convert_to_numpy(exact(pairs.targets, logits))
        metrics[f"exact_{length}bit"] = float(correct.mean())
    return metrics


def findings(fitted: Fitted) -> dict[str, Any]:
    """The certificate of the trained network."""
    [model] = fitted.networks.values()
    return {"certificate": certify(network(model), ADDER)._asdict()}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Plots the accuracy by bit position and carry chain, and the hidden states by carry."""
    [model] = fitted.networks.values()
    pairs, targets = fitted.data.splits["validation"].in_memory()
    correct = (model.predict(pairs, verbose=0) > 0) == (targets > 0.5)
    carries = sums.carries(pairs, targets)
    lengths, rows = np.unique(sums.longest_run(carries), return_inverse=True)
    accuracy = Figure(figsize=(9, 3.2), layout="constrained")
    by_position, by_chain = accuracy.subplots(1, 2, sharey=True)
    by_position.plot(correct.mean(axis=0), marker=".")
    by_position.set(xlabel="bit position", ylabel="right", title="Bits", ylim=(-0.05, 1.05))
    exact_sums = np.bincount(rows, correct.all(axis=1)) / np.bincount(rows)
    by_chain.plot(lengths, exact_sums, marker=".", linestyle="")
    by_chain.set(xlabel="longest run of carries", title="Whole sums")

    states = keras.Model(model.input, network(model).layer.output)
    values = states.predict(pairs[::20], verbose=0)
    after = np.roll(carries[::20], -1, axis=1)[:, :-1]
    trajectories = sequences.trajectories(values[:, :-1], after, ("no carry", "carry"))
    return {"accuracy": accuracy, "hidden_states": trajectories}


def predict(app: App, *numbers: str, exports: Exports = Exports()) -> None:
    """Add two numbers of any size.

    Args:
        numbers: Two whole numbers, 0 or greater.
    """
    if len(numbers) != 2 or not all(n.isascii() and n.isdecimal() for n in numbers):
        raise InputError(
            "predict needs two whole numbers, 0 or greater", " ".join(numbers) or "none"
        )
    sys.set_int_max_str_digits(0)
    a, b = map(int, numbers)
    length = max(a, b).bit_length() + 1
    pair = np.stack([sums.to_bits(n, length) for n in (a, b)], axis=-1)
    exported = exports.open(app.name)
    total = sums.from_bits(exported.call(pair[None])["sum_bits"][0])
    print(f"{a} + {b} = {total}")
    certificate = exported.metadata("certificate")["certificate"]
    proof = "proven exact at every length" if certificate["holds"] else "not proven"
    print(f"{proof}: {certificate['method']}")


def compare_cells(app: App, *, output: Path = Path("cells.png"), seed: Seed = 0) -> None:
    """Train the three recurrent cells, and draw their learning curves.

    Args:
        output: Image file that shows the learning curves.
        seed: Seed of the initial weights and the training pairs.
    """
    show_messages(quiet=False)
    writable_picture(output)
    histories = {}
    for cell in CELLS:
        recipe = app.recipe(cell=cell, epochs=CURVE_EPOCHS, bound_weight=0.0)
        histories[cell] = train_aside(app, recipe, Run(seed=seed)).history
    panels = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, name in zip(panels.subplots(1, 2), ("loss", "exact"), strict=True):
        for cell, history in histories.items():
            steps = sums.STEPS_PER_EPOCH * np.arange(1, len(history[name]) + 1)
            axes.plot(steps, history[name], marker=".", label=cell)
        axes.set(xlabel="optimizer steps", title=f"training {name}")
    axes.legend(frameon=False)
    curves.write(panels, output)
    print(f"{output}: {', '.join(CELLS)}")


app = App(
    name="binary_addition",
    topic="sequences",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands={"predict": predict, "cells": compare_cells},
    try_next="predict 13 29",
    objective="val_exact",
    objective_mode="max",
    tiny={"epochs": 1, "batch_size": 8, "units": 8, "bound_weight": 0.0},
)

if __name__ == "__main__":
    main(app)
