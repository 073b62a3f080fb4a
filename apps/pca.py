"""Principal components: rows of many numbers as few, which keep most of their variance.

Pictures and tables are described by the directions in which they differ most, exactly and without a
gradient: by a singular value decomposition, by covariances that are summed batch by batch, or by a
power iteration, which shares its work among replicas and never has a matrix of all covariances.
"""

import functools
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure
from pydantic import PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase
from suite.cli import main
from suite.data import Data
from suite.figures import classes, curves
from suite.figures import images as figures
from suite.knobs import BatchSize, Epochs, Units
from suite.linear.components import NAME, Components, PrincipalComponents, of_rows
from suite.linear.moments import ComponentAnalysis, SolveAfterEveryPass
from suite.tasks import rows as task

MOST_DRAWN = 64  # components in a figure


@settings
class Config(task.Config):
    """The settings of the analysis.

    Args:
        solver: `covariance` sums the covariances of all columns over the batches of one pass; `svd`
            decomposes all training rows at once; `power` turns a few directions in every pass, for
            rows of so many columns that their covariances are too many.
        epochs: Passes of `power`; the others need one.
        batch_size: Rows in a batch, over all replicas; it changes nothing but the memory.
        standardize: Whether columns are divided by their standard deviation; not with `power`.
    """

    solver: Literal["covariance", "svd", "power"] = "covariance"
    epochs: Epochs = 20
    batch_size: BatchSize = 1024
    standardize: bool = False


def load_data(config: Config, run: Run) -> Data:
    """Pictures `(height, width, channels)`, values in 0..255, or rows `(columns,)` of a table.

    Raises:
        InputError: The rows cannot be read, or standardised.
    """
    learns_deviations = config.standardize and run.preparation is None  # rather than an export
    check = functools.partial(task.refuse_constant_columns, knob="standardize")
    return task.load_data(
        config, run, batch_size=config.batch_size, check=check if learns_deviations else None
    )


@checked
def build_model(
    input_shape: task.RowShape = (28, 28, 1),
    num_rows: PositiveInt | None = None,
    *,
    components: Units = 32,
    whiten: bool = False,
) -> keras.Model:
    """Builds the projection to components and back.

    Args:
        input_shape: `(height, width, channels)` of pictures, or `(columns,)` of a table.
        num_rows: Number of training rows; None if it is not known.
        components: Number of components.
        whiten: Whether every component is divided by its standard deviation.

    Returns:
        A functional model from `image` `(batch, height, width, channels)`, or `features`
        `(batch, columns)`, to a dict of `code` `(batch, components)`, `reconstruction` in the shape
        of the input, and `error` `(batch,)`, the mean squared difference of both.

    Raises:
        InputError: There are more components than columns or rows.
    """
    task.refuse_more_than("components", components, input_shape, num_rows)
    inputs = task.named_input(input_shape)
    rows = task.as_rows(inputs)
    layer = PrincipalComponents(components, whiten, dtype=keras.config.floatx(), name=NAME)
    code, again = layer(rows)
    outputs = {
        "code": code,
        "reconstruction": task.in_shape(again, input_shape, "reconstruction"),
        "error": ops.mean(ops.square(rows - again), axis=1),
    }
    return keras.Model(inputs, outputs, name="pca")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Wraps the projection as a `ComponentAnalysis`, which has no optimizer; `svd` needs none.

    Raises:
        InputError: `standardize` is asked of `power`, which does not know all deviations in time.
    """
    if config.solver == "power" and config.standardize:
        raise InputError("`standardize` must be left out with `solver` power", config.standardize)
    if config.solver == "svd":
        return model
    analysis = ComponentAnalysis(model, solver=config.solver, standardize=config.standardize)
    analysis.compile(optimizer=None)
    return analysis


def phases(config: Config) -> list[Phase]:
    """One closed form, one pass over the batches, or several of them."""
    if config.solver == "svd":
        return [Phase(name="solve", begin=solve)]
    passes = config.epochs if config.solver == "power" else 1
    return [Phase(name="fit", epochs=passes, callbacks=lambda _: [SolveAfterEveryPass()])]


def solve(fitted: Fitted) -> None:
    """Sets the components by a singular value decomposition of the training rows."""
    layer = layer_of(fitted)
    rows = task.flat(fitted.data.splits["train"].in_memory().inputs)
    layer.set_components(of_rows(rows, layer.units, standardize=fitted.config.standardize))


def layer_of(fitted: Fitted) -> PrincipalComponents:
    """The layer with the components."""
    return fitted.networks["pca"].get_layer(NAME)


def components_of(fitted: Fitted) -> Components:
    """The components, in float64."""
    return layer_of(fitted).components()


def evaluate(fitted: Fitted) -> Metrics:
    """How well few numbers stand for a test row.

    Returns:
        `test_error`, the mean squared error of a number of a test row; `test_explained_variance`,
        the share of the variance about the training mean that is kept, of test rows; and
        `explained_variance`, of training rows.
    """
    rows = task.flat(fitted.data.splits["test"].in_memory().inputs).astype(np.float64)
    components = components_of(fitted)
    errors = np.asarray(task.outputs_of(fitted)["error"], np.float64)
    centred = (rows - components.mean) / components.scale
    again = centred @ components.axes
    variance = (centred**2).sum()
    return {
        "test_error": float(errors.mean()),
        "test_explained_variance": float((again**2).sum() / variance) if variance else None,
        "explained_variance": float(components.explained().sum()),
    }


def findings(fitted: Fitted) -> dict[str, Any]:
    """The share of the variance of every component; of a table, the loadings."""
    components = components_of(fitted)
    result: dict[str, Any] = {"explained_variance_ratio": components.explained().tolist()}
    names = fitted.data.description.feature_names
    if names:
        result["loadings"] = {
            f"component_{number + 1}": dict(zip(names, axis.tolist(), strict=True))
            for number, axis in enumerate(components.axes.T)
        }
    return result


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws variances, the plane of two components, and of pictures the components themselves."""
    components, answers = components_of(fitted), task.outputs_of(fitted)
    explained = components.explained()
    shares = {"of a component": explained[:, None], "of all so far": explained.cumsum()[:, None]}
    drawings = {"explained_variance": curves.lines(shares, "component, counted from 0")}
    if len(explained) > 1:
        labels, names = task.classes_of(fitted, "test")
        drawings["plane"] = classes.plane(
            answers["code"][:, :2], labels, names, "the first two components"
        )
    shape = fitted.networks["pca"].input.shape[1:]
    if len(shape) == 3:
        axes = components.axes.T[:MOST_DRAWN]
        drawings["components"] = figures.image_grid(task.signed_pictures(axes, shape))
        drawings["reconstructions"] = task.draw_reconstructions(fitted)
    return drawings


app = App(
    name="pca",
    topic="unsupervised",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=lambda fitted: task.endpoints(fitted, layer_of(fitted)),
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands=task.COMMANDS,
    recipes={
        "faces": {"dataset": "faces", "components": 24},
        "table": {"dataset": "wine", "components": 2, "standardize": True},
    },
    objective="val_error",
    try_next=task.try_next,
    data_layouts=task.DATA_LAYOUTS,
    tiny={"solver": "svd", "components": 8},
)

if __name__ == "__main__":
    main(app)
