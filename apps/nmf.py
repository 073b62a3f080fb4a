"""Non-negative factors: pictures and tables as sums of parts, none of which is subtracted.

What can only be added must be a part: of faces the eyes and the hair, of digits the strokes. Codes
and parts are improved in turn, by multiplications or one part after the other, without a gradient
and without a learning rate.
"""

from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase
from suite.cli import main
from suite.data import Data
from suite.figures import images as figures
from suite.knobs import Epochs, Steps, Units
from suite.linear.factors import (
    NAME,
    Divergence,
    NonnegativeFactorization,
    NonnegativeParts,
    Solver,
    begin_by_singular_vectors,
    kkt_violation,
)
from suite.tasks import rows as task

MOST_DRAWN = 64  # parts in a figure


@settings
class Config(task.Config):
    """The settings of the training.

    Args:
        solver: `multiplicative` multiplies codes and parts by factors with which the divergence
            never rises; `coordinate` solves for one part after the other, which needs fewer steps.
        inner_steps: Improvements of the codes, and of the parts, in a step.
        start: The first codes and parts: `svd` has them from singular vectors, `random` draws them.
        epochs: Number of epochs; after each, the rows for validation are described.
        steps_per_epoch: Steps in an epoch, each over all training rows.
    """

    solver: Solver = "multiplicative"
    inner_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    start: Literal["svd", "random"] = "svd"
    epochs: Epochs = 10
    steps_per_epoch: Steps = 20


def load_data(config: Config, run: Run) -> Data:
    """Pictures `(height, width, channels)`, values in 0..255, or rows `(columns,)` of a table.

    The targets of a training batch are the numbers of its rows.

    Raises:
        InputError: The rows cannot be read, or a number is negative.
    """
    data = task.load_data(config, run, min_steps=config.steps_per_epoch)
    for split in data.splits.values():
        rows = task.flat(split.in_memory().inputs)
        task.refuse_negative(rows, data.description.feature_names)
    return task.with_row_numbers(data)


@checked
def build_model(
    input_shape: task.RowShape = (28, 28, 1),
    num_rows: PositiveInt = 100,
    *,
    components: Units = 32,
    divergence: Divergence = "frobenius",
    code_steps: Annotated[int, Field(ge=1, le=100_000)] = 200,
) -> dict[str, keras.Model]:
    """Builds the network that describes rows by parts, and the codes of the training rows.

    Args:
        input_shape: `(height, width, channels)` of pictures, or `(columns,)` of a table.
        num_rows: Number of training rows.
        components: Number of parts.
        divergence: How far sums of parts are from a row: `frobenius` for squared differences,
            `kullback_leibler` for counts.
        code_steps: Steps towards the best code of a row that is described.

    Returns:
        Two functional models. `nmf`: from `image` `(batch, height, width, channels)`, or `features`
        `(batch, columns)`, to a dict of `code` `(batch, components)`, not negative,
        `reconstruction` in the shape of the input, and `error` `(batch,)`, the mean squared
        difference of both. `memory`: from the number of a training `row` `(batch,)`, int32, to its
        code `(batch, components)`.

    Raises:
        InputError: There are more parts than columns or rows.
    """
    task.refuse_more_than("components", components, input_shape, num_rows)
    inputs = task.named_input(input_shape)
    rows = task.as_rows(inputs)
    layer = NonnegativeParts(
        components,
        divergence,
        steps=code_steps,
        unit=255.0 if len(input_shape) == 3 else 1.0,
        dtype=keras.config.floatx(),
        name=NAME,
    )
    code, again = layer(rows)
    outputs = {
        "code": code,
        "reconstruction": task.in_shape(again, input_shape, "reconstruction"),
        "error": ops.mean(ops.square(rows - again), axis=1),
    }
    row = keras.Input((), dtype="int32", name="row")
    codes = layers.Embedding(
        num_rows,
        components,
        embeddings_initializer=keras.initializers.RandomUniform(0.0, 1.0),
        dtype=keras.config.floatx(),
        name="codes",
    )(row)
    return {
        "nmf": keras.Model(inputs, outputs, name="nmf"),
        "memory": keras.Model(row, codes, name="memory"),
    }


def compile_model(built: dict[str, keras.Model], config: Config, steps: int) -> keras.Model:
    """Wraps the networks as a `NonnegativeFactorization`, whose optimizer only adds its changes.

    Raises:
        InputError: The coordinate solver is asked to minimise another divergence than the squared.
    """
    if config.solver == "coordinate" and layer_of(built).divergence != "frobenius":
        raise InputError(
            "`divergence` must be frobenius with `solver` coordinate", layer_of(built).divergence
        )
    trained = NonnegativeFactorization(
        built["nmf"], built["memory"], solver=config.solver, inner_steps=config.inner_steps
    )
    trained.compile(keras.optimizers.SGD(1.0), auto_scale_loss=False)
    return trained


def phases(config: Config) -> list[Phase]:
    """One phase, which begins with codes and parts in the scale of the rows."""
    return [Phase(name="fit", epochs=config.epochs, begin=begin)]


def begin(fitted: Fitted) -> None:
    """Sets the codes and parts to begin with."""
    layer, [table] = layer_of(fitted.networks), fitted.networks["memory"].trainable_variables
    rows = task.flat(fitted.data.splits["train"].in_memory().inputs).astype(np.float32)
    rows /= layer.unit
    if fitted.config.start == "svd":
        codes, parts = begin_by_singular_vectors(rows, layer.units)
    else:  # the weights are uniform in 0..1, so that their sums are a quarter of their number
        size = np.sqrt(4 * float(rows.mean()) / layer.units)
        codes, parts = (size * ops.convert_to_numpy(weight) for weight in (table, layer.parts))
    table.assign(codes)
    layer.parts.assign(parts)


def layer_of(networks: Any) -> NonnegativeParts:
    """The layer with the parts."""
    return networks["nmf"].get_layer(NAME)


def evaluate(fitted: Fitted) -> Metrics:
    """How well sums of parts stand for rows, and whether the parts are as good as they can be.

    Returns:
        `test_error`, the mean squared error of a number of a test row; `test_residual`, the norm of
        the test rows minus their reconstructions over the norm of the rows; `train_residual`, the
        same of training rows with the codes of the training, None of other rows; `kkt_violation`, 0
        where no small change of codes and parts makes the divergence smaller; and `sparsity` of the
        parts, from 0 if all entries are alike to 1 if one is not 0.

    Reference:
        Hoyer, 2004, Non-negative Matrix Factorization with Sparseness Constraints,
        https://www.jmlr.org/papers/v5/hoyer04a.html
    """
    layer, [table] = layer_of(fitted.networks), fitted.networks["memory"].trainable_variables
    parts = np.asarray(ops.convert_to_numpy(layer.parts), np.float64)
    codes = np.asarray(ops.convert_to_numpy(table), np.float64)
    splits = fitted.data.splits
    test, train = (
        task.flat(splits[name].in_memory().inputs).astype(np.float64) / layer.unit
        for name in ("test", "train")
    )
    answers = task.outputs_of(fitted)
    missing = test - task.flat(answers["reconstruction"]) / layer.unit
    columns = parts.shape[1]
    lengths = np.maximum(np.linalg.norm(parts, axis=1), np.finfo(np.float64).tiny)
    even = np.abs(parts).sum(axis=1) / lengths
    sparsity = (np.sqrt(columns) - even) / max(np.sqrt(columns) - 1, 1e-9)
    remembered = fitted.learnt_from  # codes are remembered of the rows of the training alone
    return {
        "test_error": float(np.mean(answers["error"], dtype=np.float64)),
        "test_residual": float(np.linalg.norm(missing) / np.linalg.norm(test)),
        "train_residual": (
            float(np.linalg.norm(train - codes @ parts) / np.linalg.norm(train))
            if remembered
            else None
        ),
        "kkt_violation": (
            kkt_violation(train, codes, parts, layer.divergence) if remembered else None
        ),
        "sparsity": float(sparsity.mean()),
    }


def findings(fitted: Fitted) -> dict[str, Any]:
    """Of a table, how much of every column a part has, as a share of the part."""
    names = fitted.data.description.feature_names
    if not names:
        return {}
    parts = np.asarray(ops.convert_to_numpy(layer_of(fitted.networks).parts), np.float64)
    shares = parts / np.maximum(parts.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return {
        "parts": {
            f"part_{number + 1}": dict(zip(names, share.tolist(), strict=True))
            for number, share in enumerate(shares)
        }
    }


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws the parts of pictures, and what sums of them make of test pictures."""
    shape = fitted.networks["nmf"].input.shape[1:]
    if len(shape) != 3:
        return {}
    parts = ops.convert_to_numpy(layer_of(fitted.networks).parts)[:MOST_DRAWN]
    brightest = np.maximum(parts.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return {
        "parts": figures.image_grid((255 * parts / brightest).reshape(len(parts), *shape)),
        "reconstructions": task.draw_reconstructions(fitted),
    }


app = App(
    name="nmf",
    topic="unsupervised",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=lambda fitted: task.endpoints(fitted, layer_of(fitted.networks)),
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands=task.COMMANDS,
    recipes={
        "faces": {"dataset": "faces", "components": 24},
        "table": {"dataset": "wine", "components": 3},
        "best": {"solver": "coordinate", "inner_steps": 5, "epochs": 50},
    },
    try_next=task.try_next,
    data_layouts=task.DATA_LAYOUTS,
    tiny={"epochs": 2, "steps_per_epoch": 10, "components": 8, "code_steps": 50},
)

if __name__ == "__main__":
    main(app)
