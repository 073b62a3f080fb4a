"""Logic gates: what one unit can compute, what it can learn, and what takes a hidden layer.

McCulloch and Pitts set the weights of a unit by hand. Rosenblatt's rule finds them, wherever they
exist. For XOR and parity there are none, which the report proves by linear programming; a network
with a hidden layer learns both by backpropagation.
"""

import functools
import io
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Phase, one_phase
from suite.cli import main
from suite.data import Data, Examples, Source, supervised
from suite.data.sources import refuse_given_data
from suite.export.exported import Exports
from suite.figures.classes import moving_regions
from suite.files import write_whole
from suite.knobs import Activation, BatchSize, Epochs, LearningRate, Units

Gate = Literal["and", "or", "nand", "xor"]
Unit = Literal["mcculloch_pitts", "rosenblatt", "network"]
NumBits = Annotated[int, Field(ge=2, le=10)]
SIDE = np.linspace(-0.5, 1.5, 81)  # of the square of the plane that is drawn
STEPS_PER_EPOCH = 10  # or one pass over the table, if that has more


@settings
class Config:
    """The settings of the training.

    Args:
        gate: The gate; `xor` of more than two bits is their parity.
        bits: Inputs of the gate.
        unit: What computes it: units of McCulloch and Pitts, with weights set by hand; one unit
            that learns by Rosenblatt's rule; or a network with a hidden layer, by backpropagation.
        epochs: Largest number of epochs of 10 steps or more. The training ends when all rows are
            right.
        batch_size: Rows per step of the network; Rosenblatt's rule takes one at a time.
        learning_rate: Learning rate of Rosenblatt's rule, or of Adam for the network.
    """

    gate: Gate = "xor"
    bits: NumBits = 2
    unit: Unit = "network"
    epochs: Epochs = 100
    batch_size: BatchSize = 128
    learning_rate: LearningRate = 0.03


def load_data(config: Config, run: Run) -> Data:
    """The table of the gate: training, validation and test are all of its rows.

    Raises:
        InputError: `run.data` names another source.
    """
    refuse_given_data(run, "the table is")
    rows = table(config.gate, config.bits)
    source = Source(
        name=f"synthetic:{config.gate} of {config.bits} bits",
        train=rows,
        validation=rows,
        test=rows,
        class_names=("0", "1"),
    )
    return supervised(
        source,
        batch_size=1 if config.unit == "rosenblatt" else config.batch_size,
        validation_split=0.5,  # not used: the source has a validation split
        seed=run.seed,
        min_steps=STEPS_PER_EPOCH,
        model_arguments=lambda train: {
            "gate": config.gate,
            "num_bits": config.bits,
            "unit": config.unit,
        },
    )


def table(gate: Gate, num_bits: int) -> Examples:
    """All rows of bits `(2 ** num_bits, num_bits)`, and what the gate makes of them, 0 or 1."""
    bits = np.array(list(itertools.product((0, 1), repeat=num_bits)), np.float32)
    ones = bits.sum(axis=1)
    outputs = {"and": ones == num_bits, "or": ones > 0, "nand": ones < num_bits, "xor": ones % 2}
    return Examples(bits, outputs[gate].astype(np.int32))


@checked
def build_model(
    gate: Gate = "xor",
    num_bits: NumBits = 2,
    unit: Unit = "network",
    *,
    units: Units = 32,
    activation: Activation = "tanh",
) -> keras.Model:
    """Builds what is to compute the gate: from bits to the sum, above 0 for an output of 1.

    Args:
        gate: The gate that the weights set by hand are for.
        num_bits: Inputs of the gate.
        unit: `mcculloch_pitts` has threshold units, with their weights; `rosenblatt` one unit;
            `network` a hidden layer.
        units: Units of the hidden layer of the network.
        activation: Keras's name of their activation.

    Returns:
        A functional model, `bits` `(batch, num_bits)` to logits `(batch, 1)`, float32.

    Raises:
        InputError: An argument is out of range.

    Reference:
        McCulloch and Pitts, 1943, A Logical Calculus of the Ideas Immanent in Nervous Activity,
        https://doi.org/10.1007/BF02478259
        Differs from the paper: a unit may have negative weights, rather than inputs that forbid it
        to fire.
        Rosenblatt, 1958, The Perceptron, https://doi.org/10.1037/h0042519
        Rumelhart, Hinton and Williams, 1986, Learning Representations by Back-Propagating Errors,
        https://doi.org/10.1038/323533a0
    """
    bits = keras.Input((num_bits,), name="bits")
    out = functools.partial(layers.Dense, 1, dtype=keras.config.floatx(), name="logits")
    if unit == "network":
        x = layers.Dense(units, activation, name="hidden")(layers.Rescaling(2, offset=-1)(bits))
        return keras.Model(bits, out()(x), name="logic_gates")
    if unit == "rosenblatt":
        return keras.Model(bits, out()(bits), name="logic_gates")
    *hidden, last = weights_by_hand(gate, num_bits)
    x = bits
    for kernel, bias in hidden:
        threshold_units = layers.Dense(len(bias))
        x = ops.cast(threshold_units(x) > 0, "float32")
        threshold_units.set_weights([kernel, bias])
    output = out()
    model = keras.Model(bits, output(x), name="logic_gates")
    output.set_weights(list(last))
    return model


def weights_by_hand(gate: Gate, num_bits: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel `(inputs, units)` and bias `(units,)` of each layer of threshold units for a gate.

    AND, OR and NAND take one unit. For XOR a hidden layer counts the ones, of which unit k fires if
    there are k or more, and the output adds and subtracts them in turn.
    """
    ones = np.ones((num_bits, 1))
    match gate:
        case "and":
            return [(ones, np.array([0.5 - num_bits]))]
        case "or":
            return [(ones, np.array([-0.5]))]
        case "nand":
            return [(-ones, np.array([num_bits - 0.5]))]
        case "xor":
            counts = np.arange(1, num_bits + 1)
            turns = np.where(counts % 2, 1.0, -1.0)[:, None]
            return [(np.repeat(ones, num_bits, axis=1), 0.5 - counts), (turns, np.array([-0.5]))]


def rosenblatt_loss(y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
    """The loss whose gradient step is Rosenblatt's rule: the size of the sum, if it is wrong.

    The gradient by the sum is the answer minus the target, so that a step adds the input to the
    weights, subtracts it, or leaves them alone.

    Args:
        y_true: Targets of 0 and 1, `(batch, 1)`.
        y_pred: Sums, `(batch, 1)`.
    """
    answers = ops.cast(y_pred > 0, y_pred.dtype)
    return ops.mean((answers - y_true) * y_pred, axis=-1)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with Rosenblatt's rule; or with cross-entropy and Adam."""
    if config.unit == "rosenblatt":
        optimizer = keras.optimizers.SGD(config.learning_rate)
        loss: Any = rosenblatt_loss
    else:
        optimizer = keras.optimizers.Adam(config.learning_rate)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    model.compile(optimizer, loss, metrics=[accuracy])
    return model


def phases(config: Config) -> list[Phase]:
    """One phase; it has no epochs if the weights are set by hand."""
    if config.unit == "mcculloch_pitts":
        return [Phase(name="by_hand")]
    return list(one_phase(config))


class StopWhenSolved(keras.callbacks.Callback):
    """Ends the training after an epoch with which all rows of the table are right."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and logs["val_accuracy"] == 1:
            self.model.stop_training = True


class Regions(keras.callbacks.Callback):
    """Writes down the sums over the plane, before the training and after every epoch of it.

    Args:
        network: Maps bits to logits.
        folder: Folder of the run; the sums go to `regions/`, a file for every epoch.
    """

    def __init__(self, network: keras.Model, folder: Path) -> None:
        super().__init__()
        self.network, self.folder = network, folder / "regions"

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.folder.mkdir(exist_ok=True)
        if not self._path(0).exists():  # else the run is resumed
            self._write(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._write(epoch + 1)

    def _write(self, epochs: int) -> None:
        content = io.BytesIO()
        np.save(content, sums_over_plane(self.network))
        write_whole(self._path(epochs), content.getvalue())

    def _path(self, epochs: int) -> Path:
        return self.folder / f"epoch-{epochs:07}.npy"


def sums_over_plane(network: keras.Model) -> np.ndarray:
    """The logits over the plane of the first two bits, where the others are 0: `(rows, columns)`.

    The first bit grows along the columns, the second along the rows.
    """
    points = np.zeros((len(SIDE), len(SIDE), network.input_shape[-1]), np.float32)
    points[..., 0], points[..., 1] = np.meshgrid(SIDE, SIDE)
    logits = network(points.reshape(-1, points.shape[-1]), training=False)
    return ops.convert_to_numpy(logits).reshape(points.shape[:2])


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Ends the training when the gate is right, and writes down how its regions move."""
    [model] = fitted.networks.values()
    return [StopWhenSolved(), Regions(model, fitted.folder)]


def endpoints(fitted: Fitted) -> dict[str, keras.Model]:
    """`serve`: `bits` `(batch, bits)` to `label` `(batch,)`, int64, 0 or 1, and `logits`."""
    [model] = fitted.networks.values()
    logits = ops.squeeze(model.output, axis=-1)
    label = ops.cast(logits > 0, "int64")
    return {"serve": keras.Model(model.input, {"label": label, "logits": logits}, name=model.name)}


def findings(fitted: Fitted) -> dict[str, Any]:
    """Whether any single unit computes the gate, with a proof."""
    return {"single_unit": single_unit(*fitted.data.splits["test"].in_memory())}


def single_unit(bits: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """Decides by linear programming whether one unit has the outputs, and proves it in fractions.

    A unit needs weights by which the sum is above 0 in all rows of 1, and below 0 in all rows of 0.
    If there are none, by Farkas's lemma there are shares of the rows whose mean is the same in both
    groups. The sum of the mean would have to be above and below 0: a contradiction.

    Args:
        bits: Inputs, `(rows, bits)`.
        outputs: 0 or 1 for each row, `(rows,)`.

    Returns:
        `possible`; the `weights`, the last of them the bias, or None; the `contradiction`, the
        shares of the rows by their bits, as fractions, or None; and whether the proof `holds`,
        which is computed without rounding.

    Reference:
        Minsky and Papert, 1969, Perceptrons: An Introduction to Computational Geometry
    """
    from scipy.optimize import linprog

    signed = np.where(outputs, 1, -1)[:, None] * np.column_stack([bits, np.ones(len(bits))])
    size, width = signed.shape
    unit = linprog(np.zeros(width), -signed, -np.ones(size), bounds=(None, None))
    method = "linear programming, checked in fractions"
    if unit.status == 0:
        weights = [Fraction(weight) for weight in unit.x]
        sums = [_product(row, weights) for row in signed]
        return {
            "possible": True,
            "weights": [float(weight) for weight in weights],
            "contradiction": None,
            "holds": all(total > 0 for total in sums),
            "method": method,
        }
    equal_means = np.vstack([signed.T, np.ones(size)])
    shares = linprog(np.zeros(size), A_eq=equal_means, b_eq=np.eye(width + 1)[-1]).x
    exact = [Fraction(share).limit_denominator(10_000) for share in shares]
    means = [_product(column, exact) for column in signed.T]
    return {
        "possible": False,
        "weights": None,
        "contradiction": {
            "".join(str(int(bit)) for bit in row): str(share)
            for row, share in zip(bits, exact, strict=True)
            if share
        },
        "holds": sum(exact) == 1 and min(exact) >= 0 and not any(means),
        "method": method,
    }


def _product(row: np.ndarray, fractions: list[Fraction]) -> Fraction:
    """The sum of the products of whole numbers with fractions, without rounding."""
    return sum((int(a) * b for a, b in zip(row, fractions, strict=True)), Fraction())


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws the regions of 0 and 1 over the first two bits as they moved, the others being 0."""
    [model] = fitted.networks.values()
    paths = sorted((fitted.folder / "regions").glob("epoch-*.npy"))
    frames = {f"after epoch {int(path.stem[6:])}": np.load(path) for path in paths}
    if not frames:
        frames = {"set by hand": sums_over_plane(model)}
    corners = table(fitted.config.gate, fitted.config.bits)
    shown = corners.rows(np.flatnonzero(~corners.inputs[:, 2:].any(axis=1)))
    return {"regions": moving_regions(frames, SIDE, shown.inputs[:, :2], shown.targets)}


def predict(app: App, *bits: str, exports: Exports = Exports()) -> None:
    """Ask the gate.

    Args:
        bits: A 0 or a 1 for each input.
    """
    exported = exports.open(app.name)
    config = app.config_from_record(exported.metadata("config")["config"])
    if len(bits) != config.bits or not set(bits) <= {"0", "1"}:
        raise InputError(f"predict needs {config.bits} bits, each 0 or 1", " ".join(bits) or "none")
    outputs = exported.call(np.array([[float(bit) for bit in bits]], np.float32))
    print(f"{config.gate} of {' '.join(bits)}: {outputs['label'][0]}")


app = App(
    name="logic_gates",
    topic="tables",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    callbacks=callbacks,
    endpoints=endpoints,
    findings=findings,
    figures=draw,
    commands={"predict": predict},
    try_next=lambda report: "predict" + " 1" + " 0" * (report["config"]["bits"] - 1),
    recipes={
        "by_hand": {"unit": "mcculloch_pitts"},
        "rosenblatt": {"unit": "rosenblatt", "gate": "nand"},
        "parity": {"bits": 7},
    },
    objective="val_accuracy",
    tiny={"epochs": 1, "learning_rate": 1e-4},  # too little for the gate to be right at once
)

if __name__ == "__main__":
    main(app)
