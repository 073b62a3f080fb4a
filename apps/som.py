"""A map of pictures that draws itself: like pictures come to lie beside each other.

Every unit of a plane has a code, a picture of its own. An example goes to the unit whose code is
nearest, and that unit and its neighbours move towards it. No label is needed, and no gradient.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase, evaluate_on_test
from suite.cli import main
from suite.data import Data, batches
from suite.data.examples import Split, classes_of, spread
from suite.data.images.preparation import to_grey
from suite.export.endpoints import Endpoint, of_model
from suite.export.exported import Exports
from suite.figures import images as figures
from suite.figures.classes import AS_TEXT
from suite.knobs import BatchSize, Epochs, Share, Steps
from suite.tasks import neighbours, pictures
from suite.trainers.self_organizing import (
    ExponentialDecay,
    Lattice,
    SelfOrganizingMap,
    pca_initialization,
    positions_of,
    u_matrix,
)

Side = Annotated[int, Field(ge=1, le=200)]
PLANE_EXAMPLES = 1000  # by which the plane of the first codes is found
LONGEST_NAME = 8  # characters of a class that are written on a unit


@settings
class Config(pictures.Config):
    """The settings of the training.

    Args:
        epochs: Passes over the training split.
        batch_size: Images of a step, over all replicas; as many as there are make the steps of the
            batch rule those of Kohonen.
        min_steps_per_epoch: Smallest number of steps in an epoch, which makes several passes over
            few images.
        update: `batch` moves every code to the mean of the images near its unit; `online` moves
            the codes after each image.
        start: `plane` lays the map into the plane of the first two principal components; `random`
            begins with random codes.
        radius: Of the neighbourhood in the first step, in distances of two neighbours. Defaults to
            half the longer side of the map.
        final_radius: Of the neighbourhood in the last step.
        initial_rate: Share of the way to an image that its winner goes, in the first step of
            `online`.
        final_rate: The same in the last step.
    """

    epochs: Epochs = 20
    batch_size: BatchSize = 500
    min_steps_per_epoch: Steps = 1
    update: Literal["batch", "online"] = "batch"
    start: Literal["plane", "random"] = "plane"
    radius: Annotated[float, Field(gt=0, le=1000)] | None = None
    final_radius: Annotated[float, Field(gt=0, le=1000)] = 0.7
    initial_rate: Share = 0.5
    final_rate: Share = 0.01


@keras.saving.register_keras_serializable(package="suite")
class Codebook(keras.layers.Layer):
    """The codes of a map: features `(batch, features)` to squared distances `(batch, units)`.

    Args:
        rows: Rows of the map.
        columns: Columns of the map.
        lattice: How its units lie.
    """

    def __init__(self, rows: int, columns: int, lattice: Lattice, **layer: Any) -> None:
        super().__init__(**layer)
        self.rows, self.columns, self.lattice = rows, columns, lattice

    @property
    def positions(self) -> np.ndarray:
        """Where the units are, `(units, 2)`."""
        return positions_of(self.rows, self.columns, self.lattice)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.codes = self.add_weight(
            shape=(self.rows * self.columns, input_shape[-1]),
            initializer=keras.initializers.RandomUniform(0.0, 1.0),
            name="codes",
        )

    def call(self, inputs: Any) -> Any:
        products = ops.matmul(inputs, ops.transpose(self.codes))
        lengths = ops.sum(ops.square(inputs), axis=-1, keepdims=True)
        return ops.maximum(lengths - 2 * products + ops.sum(ops.square(self.codes), axis=-1), 0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.rows * self.columns)

    def get_config(self) -> dict[str, Any]:
        knobs = {"rows": self.rows, "columns": self.columns, "lattice": self.lattice}
        return {**super().get_config(), **knobs}


def load_data(config: Config, run: Run) -> Data:
    """Images `(height, width, channels)`, values in 0..255; labels only name units."""
    return pictures.load_data(config, run)


@checked
def build_model(
    input_shape: pictures.ImageShape = (28, 28, 1),
    *,
    rows: Side = 10,
    columns: Side = 10,
    lattice: Lattice = "hexagonal",
) -> keras.Model:
    """Builds the map.

    Args:
        input_shape: `(height, width, channels)`.
        rows: Rows of units.
        columns: Units in a row.
        lattice: `hexagonal`, where a unit has 6 neighbours; or `square`, where it has 8.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to a dict
        of the `distance` of the image, with values in 0..1, from the code of every unit,
        `(batch, rows * columns)`, float32.

    Raises:
        InputError: An argument is out of range, or the map has one unit only.

    Reference:
        Kohonen, 1982, Self-Organized Formation of Topologically Correct Feature Maps,
        https://doi.org/10.1007/BF00337288
    """
    if rows * columns < 2:
        raise InputError("`rows` times `columns` must be 2 or more", rows * columns)
    floatx = keras.config.floatx()
    image = keras.Input(input_shape, name="image")
    features = layers.Rescaling(1 / 255, dtype=floatx)(image)
    features = layers.Flatten(dtype=floatx, name="features")(features)
    squared = Codebook(rows, columns, lattice, dtype=floatx, name="codebook")(features)
    return keras.Model(image, {"distance": ops.sqrt(squared)}, name="som")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Wraps the map as a `SelfOrganizingMap`, which remembers about one epoch of images."""
    codebook = model.get_layer("codebook")
    radius = config.radius or max(codebook.rows, codebook.columns) / 2
    online = config.update == "online"
    trained = SelfOrganizingMap(
        model,
        codebook.positions,
        radius=ExponentialDecay(radius, config.final_radius),
        rate=ExponentialDecay(config.initial_rate, config.final_rate) if online else None,
        memory=max(1 - config.epochs / steps, 0.0),
        steps=steps,
    )
    trained.compile(keras.optimizers.SGD(1.0), auto_scale_loss=False)
    return trained


def phases(config: Config) -> list[Phase]:
    """One phase, before which the map is laid into a plane, unless its codes are to be random."""
    begin = lay_on_plane if config.start == "plane" else None
    return [Phase(name="fit", epochs=config.epochs, begin=begin)]


def lay_on_plane(fitted: Fitted) -> None:
    """Sets the codes to points of the plane of the first two principal components."""
    model, train = fitted.model, fitted.data.splits["train"]
    features = model.features(spread(train, PLANE_EXAMPLES).in_memory().inputs)
    rows = keras.ops.convert_to_numpy(features).astype(np.float64)
    model.codebook.set_weights([pca_initialization(rows, model.codebook.positions)])


def codebook_of(fitted: Fitted) -> Codebook:
    """The trained codes."""
    [network] = fitted.networks.values()
    return network.get_layer("codebook")


def winners(network: keras.Model, split: Split) -> np.ndarray:
    """The unit that wins every example of a split, `(examples,)`."""

    def win(images: tf.Tensor) -> tf.Tensor:
        return tf.argmin(network(images, training=False)["distance"], axis=1)

    function = tf.function(win, reduce_retracing=True, autograph=False)
    return np.concatenate([function(images).numpy() for images, *_ in batches(split)])


def training_winners(fitted: Fitted) -> np.ndarray:
    """The unit that wins every training image, `(examples,)`."""
    [network] = fitted.networks.values()
    train = fitted.data.splits["train"]
    return fitted.once("training winners", lambda: winners(network, train))


def unit_classes(fitted: Fitted) -> np.ndarray | None:
    """The class of most of the training images that a unit wins, `(units,)`, -1 without any.

    None if the images have no classes.
    """
    names = fitted.data.description.class_names
    classes = classes_of(fitted.data.splits["train"], names)
    if classes is None:
        return None
    codebook = codebook_of(fitted)
    counts = np.zeros((codebook.rows * codebook.columns, len(names)), np.int64)
    np.add.at(counts, (training_winners(fitted), classes), 1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def unit_names(fitted: Fitted) -> list[str] | None:
    """The name of the class of every unit, empty for one that wins no training image, or None."""
    classes, names = unit_classes(fitted), fitted.data.description.class_names
    return None if classes is None else [names[n] if n >= 0 else "" for n in classes]


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `image` to `row` and `column` of its unit, counted from 0, and its `distance`.

    With classes, `name` is that of most training images which the unit wins. `picture`, if the
    source has a preparation: encoded pictures to the same outputs; `nearest`: `image` to the
    training pictures whose distances from all units are most alike; `map`: `image` to its distance
    from the code of every unit, `(batch, rows, columns)`.
    """
    [network] = fitted.networks.values()
    codebook, names, embed = codebook_of(fitted), unit_names(fitted), of_model(network)
    rows, columns = codebook.rows, codebook.columns

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        distances = embed.function(image)["distance"]
        unit = tf.argmin(distances, axis=1, output_type=tf.int32)
        answer = {"row": unit // columns, "column": unit % columns}
        answer["distance"] = tf.reduce_min(distances, axis=1)
        return answer if names is None else {**answer, "name": tf.gather(names, unit)}

    def distances_on_map(image: tf.Tensor) -> dict[str, tf.Tensor]:
        distances = embed.function(image)["distance"]
        return {"distance": tf.reshape(distances, [-1, rows, columns])}

    placing = Endpoint(serve, embed.inputs)
    return {
        **pictures.with_pictures(placing, fitted),
        "map": Endpoint(distances_on_map, embed.inputs),
        "nearest": neighbours.of_pictures(embed, "distance", fitted),
    }


def evaluate(fitted: Fitted) -> Metrics:
    """The errors of the map on the test images, and how many of them a unit names rightly.

    `test_accuracy` is the share of the images whose class is that of their unit; None without
    classes, and on other data, whose training images do not name the units.
    """
    test, classes = fitted.data.splits["test"], unit_classes(fitted)
    accuracy = None
    if classes is not None and fitted.learnt_from:
        [network] = fitted.networks.values()
        accuracy = float((classes[winners(network, test)] == test.targets).mean())
    return {**evaluate_on_test(fitted), "test_accuracy": accuracy}


def findings(fitted: Fitted) -> dict[str, Any]:
    """Where borders run: the mean distance of every code from its neighbours', row by row."""
    codebook = codebook_of(fitted)
    return {"u_matrix": heights(codebook).reshape(codebook.rows, codebook.columns).tolist()}


def heights(codebook: Codebook) -> np.ndarray:
    """The mean distance of every code from those of its neighbours, `(units,)`."""
    return u_matrix(keras.ops.convert_to_numpy(codebook.codes), codebook.positions)


@matplotlib.rc_context(AS_TEXT)
def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws the codes as pictures; and the borders, and what the units win, on the map."""
    codebook = codebook_of(fitted)
    shape = fitted.data.splits["test"].rows(np.arange(1)).in_memory().inputs.shape[1:]
    codes = keras.ops.convert_to_numpy(codebook.codes).reshape(-1, *shape)
    won = np.bincount(training_winners(fitted), minlength=len(codes))
    names = unit_names(fitted) or [""] * len(codes)
    panels = {"distance from neighbours": heights(codebook), "training images": won}
    size = min(0.6, 9 / max(codebook.rows, codebook.columns))  # of a unit, in inches
    width, height = 2 * (size * codebook.columns + 1.5), size * codebook.rows + 1
    figure = Figure(figsize=(width, height), layout="constrained")
    for axes, (title, values) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        tiles = draw_units(axes, codebook, values, names)
        axes.set_title(title)
        figure.colorbar(tiles, ax=axes, shrink=0.7)
    pictures_of_codes = np.clip(255 * codes, 0, 255)
    return {
        "codes": figures.image_grid(pictures_of_codes, codebook.columns),
        "map": figure,
    }


def draw_units(
    axes: Axes, codebook: Codebook, values: np.ndarray, names: list[str]
) -> PolyCollection:
    """Draws the units of a map as tiles, and returns them.

    Args:
        axes: Where to draw.
        codebook: Its positions are drawn.
        values: Decide the colours, `(units,)`.
        names: Written on the units, `(units,)`.
    """
    sides, reach = (6, np.sqrt(1 / 3)) if codebook.lattice == "hexagonal" else (4, np.sqrt(1 / 2))
    angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    corners = reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    positions = codebook.positions
    tiles = PolyCollection(list(positions[:, None] + corners), edgecolors="white", linewidths=0.5)
    tiles.set_array(values)
    axes.add_collection(tiles)
    bright = to_grey(255 * tiles.to_rgba(values)[:, :3]).numpy()[:, 0] > 127
    for (x, y), name, is_bright in zip(positions, names, bright, strict=True):
        colour = "black" if is_bright else "white"
        axes.text(x, y, name[:LONGEST_NAME], ha="center", va="center", fontsize=7, color=colour)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.autoscale_view()
    axes.invert_yaxis()  # the first row above
    axes.spines[:].set_visible(False)
    return tiles


def place(app: App, *files: Path, exports: Exports = Exports()) -> None:
    """Say where on the map pictures belong.

    Args:
        files: Image files of any size, dark on light or light on dark.
    """
    exported, images = pictures.read_files(app, files, exports)
    answers: Mapping[str, np.ndarray] = exported.call(images)
    for number, file in enumerate(files):
        row, column = (int(answers[name][number]) + 1 for name in ("row", "column"))
        name = answers["name"][number].decode() if "name" in answers else ""
        among = f", among {name}" if name else ""
        print(f"{file}: row {row}, column {column}{among}")


app = App(
    name="som",
    topic="unsupervised",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=endpoints,
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands={"place": place, **neighbours.COMMANDS},
    recipes={
        "online": {"update": "online", "batch_size": 100},
        "large": {"rows": 30, "columns": 40, "epochs": 40, "final_radius": 1.0},
    },
    try_next="nearest your_picture.png",
    objective="val_quantization_error",
    objective_mode="min",
    data_layouts=pictures.DATA_LAYOUTS,
    tiny={"epochs": 2, "batch_size": 200, "rows": 4, "columns": 4},
)

if __name__ == "__main__":
    main(app)
