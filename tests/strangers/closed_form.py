"""A closed form: principal components, without an optimizer and without epochs."""

import keras
import numpy as np
from keras import layers

from suite import App, checked, settings
from suite.app import Phase
from suite.data import Examples, Source, supervised
from suite.knobs import Units


@settings
class Config:
    """The recipe.

    Args:
        whiten: Whether components are brought to variance 1.
    """

    whiten: bool = False


def load_data(config, run):
    """Rows `(5,)`, without targets."""
    random = np.random.default_rng(0)
    rows = (random.normal(size=(100, 2)) @ random.normal(size=(2, 5))).astype(np.float32)
    return supervised(
        Source(name="synthetic:plane", train=Examples(rows)),
        batch_size=100,
        validation_split=0.2,
        seed=run.seed,
        min_steps=1,
    )


@checked
def build_model(*, units: Units = 2) -> keras.Model:
    """Builds the projection.

    Args:
        units: Number of components.
    """
    row = keras.Input((5,), name="row")
    return keras.Model(row, layers.Dense(units, name="components")(row), name="closed_form")


def solve(fitted):
    """Sets the weights to the principal components of the training rows."""
    from sklearn.decomposition import PCA

    [layer] = [layer for layer in fitted.model.layers if layer.name == "components"]
    pca = PCA(layer.units, whiten=fitted.config.whiten, svd_solver="full")
    pca.fit(fitted.data.splits["train"].inputs)
    kernel = pca.components_.T
    if fitted.config.whiten:
        kernel = kernel / np.sqrt(pca.explained_variance_)
    layer.set_weights([kernel, -pca.mean_ @ kernel])


def evaluate(fitted):
    """The share of the test rows' variance that the components keep."""
    rows = fitted.data.splits["test"].inputs
    variance = np.asarray(fitted.outputs()).var(axis=0).sum()
    return {"test_variance": float(variance / rows.var(axis=0).sum())}


app = App(
    name="closed_form",
    topic="tables",
    config=Config,
    data=load_data,
    build=build_model,
    compile=lambda model, config, steps: model,
    phases=lambda config: [Phase(name="solve", begin=solve)],
    evaluate=evaluate,
    tiny={},
)
