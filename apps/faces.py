"""Who is it? Faces are recognised by linear codes: eigenfaces, Fisherfaces and subspaces.

A picture is projected to a few numbers, once and for all and without a gradient, and compared with
the pictures of people who are known. Any other pictures by class will do as well.
"""

import math
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Phase
from suite.cli import main
from suite.data import Data, supervised
from suite.data.examples import Split
from suite.data.images.preparation import Layout
from suite.export.endpoints import Endpoint, classifier, with_class_names
from suite.figures import classes
from suite.figures import images as figures
from suite.knobs import NumClasses, Share, Units
from suite.linear.recognition import (
    Comparison,
    Method,
    NearestSubspaces,
    Similarity,
    Sizes,
    fit_recognizer,
    sizes_of,
)
from suite.tasks import image_classification, pictures
from suite.tasks import rows as task

BATCH = 100  # pictures that are looked at together, which changes no result
MOST_DRAWN = 64  # directions in a figure


@settings
class Config:
    """The settings of the recognition.

    Args:
        dataset: `faces`, which are made here, or any image-classification dataset in TensorFlow
            Datasets.
        validation_split: Share of the pictures to learn from that is held out for validation.
        layout: Layout of your own pictures: `photo` crops about the centre; `drawing` cuts out the
            ink and centres it, as in MNIST; `auto` decides by a sample of them.
        image_size: Height and width of the pictures. Defaults to the size of photos, but at most
            64, to 28 for drawings, and to that of the pictures of an `.npz`.
        channels: 1 for grey, 3 for colour. Defaults to that of the data.
        shrinkage: Share of the scatter within people that Fisherfaces take to be alike in all
            directions: the fewer pictures of each, the more should be.
    """

    dataset: str = task.FACES
    validation_split: Share = 0.1
    layout: Layout | Literal["auto"] = "photo"
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    channels: pictures.Channels | None = None
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 0.1


def load_data(config: Config, run: Run) -> Data:
    """Pictures `(height, width, channels)`, values in 0..255, and who they show `()`.

    Raises:
        InputError: The pictures cannot be read, or do not show two people or more, or show one of
            them once only.
    """
    source = task.load_pictures_or_faces(
        run, config.dataset, config.layout, config.image_size, config.channels
    )
    names = source.class_names
    if len(names) < 2:
        raise InputError(
            "`data` must show two people or more",
            f"{source.name}, with {', '.join(names) or 'none'}",
        )

    def arguments(train: Split) -> dict[str, Any]:
        counts = np.bincount(train.targets, minlength=len(names))
        if counts.min() < 2 and run.preparation is None:
            raise InputError(
                "`data` must have two pictures or more of every person to learn from",
                f"{counts.min()} of {names[counts.argmin()]}",
            )
        return {
            "input_shape": source.preparation.shape,
            "num_classes": len(names),
            "num_rows": train.num_examples,
        }

    return supervised(
        source,
        batch_size=BATCH,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=1,
        model_arguments=arguments,
    )


@checked
def build_model(
    input_shape: pictures.ImageShape = (32, 32, 1),
    num_classes: NumClasses = 30,
    num_rows: PositiveInt = 240,
    *,
    method: Method = "fisherfaces",
    components: Units | None = None,
    compared_with: Comparison = "pictures",
    similarity: Similarity = "cosine",
    dimensions: Annotated[int, Field(ge=1, le=1000)] = 3,
) -> keras.Model:
    """Builds the projection of pictures to codes, and their comparison with those of people.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: Number of people.
        num_rows: Number of pictures to learn from.
        method: `eigenfaces` are principal components; `fisherfaces` the directions within these
            that set people apart; `subspaces` compares a picture with what each person's pictures
            span.
        components: Number of principal components. Defaults to as many as there can be.
        compared_with: The codes of all `pictures` to learn from, or the `means` of each person's;
            `subspaces` lie about means.
        similarity: `cosine` brings codes to length 1; `euclidean` leaves them.
        dimensions: Dimensions of each person's subspace, for `subspaces`.

    Returns:
        A functional model, `image` `(batch, height, width, channels)`, values in 0..255, to logits
        `(batch, num_classes)`, float32.

    Raises:
        InputError: There are more components than pixels, or pictures to learn from.
    """
    columns = math.prod(input_shape)
    if components is not None:
        task.refuse_more_than("components", components, input_shape, num_rows)
    sizes = sizes_of(
        method,
        compared_with,
        components=components,
        dimensions=dimensions,
        columns=columns,
        num_rows=num_rows,
        num_classes=num_classes,
    )
    floatx = keras.config.floatx()
    image = keras.Input(input_shape, name="image")
    rows = layers.Rescaling(1 / 255, dtype=floatx)(task.as_rows(image))
    code = layers.Dense(sizes.components, trainable=False, dtype=floatx, name="components")(rows)
    if sizes.discriminants:
        code = layers.Dense(
            sizes.discriminants,
            use_bias=False,
            trainable=False,
            dtype=floatx,
            name="discriminants",
        )(code)
    if similarity == "cosine":
        code = layers.UnitNormalization(dtype=floatx, name="direction")(code)
    logits = NearestSubspaces(
        num_classes, sizes.places, sizes.dimensions, dtype=floatx, name="logits"
    )(code)
    return keras.Model(image, logits, name="faces")


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Compiles with cross-entropy and accuracy, to be judged by; there is no optimizer."""
    model.compile(
        optimizer=None,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[image_classification.accuracy_metric()],
    )
    return model


def phases(config: Config) -> list[Phase]:
    """A closed form."""
    return [Phase(name="solve", begin=solve)]


def solve(fitted: Fitted) -> None:
    """Sets the weights by all training pictures at once."""
    [model] = fitted.networks.values()
    train, nearest = fitted.data.splits["train"].in_memory(), model.get_layer("logits")
    components = model.get_layer("components")
    sizes = Sizes(
        components=components.units,
        discriminants=model.get_layer("discriminants").units if has_discriminants(model) else 0,
        places=nearest.places,
        dimensions=nearest.dimensions,
    )
    recognizer = fit_recognizer(
        task.flat(train.inputs) / 255,
        train.targets,
        sizes,
        similarity="cosine" if has_layer(model, "direction") else "euclidean",
        shrinkage=fitted.config.shrinkage,
    )
    components.set_weights([recognizer.kernel, recognizer.bias])
    if sizes.discriminants:
        model.get_layer("discriminants").set_weights([recognizer.discriminants])
    nearest.set_recognizer(recognizer)


def has_discriminants(model: keras.Model) -> bool:
    """Whether the network is one of Fisherfaces."""
    return has_layer(model, "discriminants")


def has_layer(model: keras.Model, name: str) -> bool:
    """Whether a network has a layer of that name."""
    return any(layer.name == name for layer in model.layers)


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image` to `logits`, `probabilities`, `label` and `name`.

    `picture`, if the source has a preparation: encoded pictures to the same outputs. `encode`:
    `image` to `code`.
    """
    [model] = fitted.networks.values()
    serve = with_class_names(classifier(model), fitted.data.description.class_names)
    return {**pictures.with_pictures(serve, fitted), "encode": encoder_of(model)}


def encoder_of(model: keras.Model) -> keras.Model:
    """The part of a network from `image` to `code`, as the comparison gets it."""
    return keras.Model(model.input, {"code": model.get_layer("logits").input}, name="encode")


def findings(fitted: Fitted) -> dict[str, Any]:
    """The number of people, and of numbers in a code."""
    [model] = fitted.networks.values()
    return {
        "people": len(fitted.data.description.class_names),
        "code_size": model.get_layer("logits").input.shape[1],
    }


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws directions of the code as faces, the confusion of people, and the worst mistakes."""
    [model] = fitted.networks.values()
    test, names = fitted.data.splits["test"].in_memory(), fitted.data.description.class_names
    probabilities = ops.convert_to_numpy(ops.softmax(fitted.outputs()))
    predicted = probabilities.argmax(axis=1)
    kernel = ops.convert_to_numpy(model.get_layer("components").kernel)
    if has_discriminants(model):
        kernel = kernel @ ops.convert_to_numpy(model.get_layer("discriminants").kernel)
    shape = model.input.shape[1:]
    return {
        "directions": figures.image_grid(task.signed_pictures(kernel.T[:MOST_DRAWN], shape)),
        "confusion_matrix": classes.confusion_matrix(test.targets, predicted, names),
        "worst_mistakes": classes.worst_mistakes(
            test.inputs.__getitem__, test.targets, probabilities, names
        ),
    }


app = App(
    name="faces",
    topic="images",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    phases=phases,
    endpoints=endpoints,
    findings=findings,
    figures=draw,
    commands=image_classification.COMMANDS,
    studies=("explain", "attack"),
    recipes={
        "eigenfaces": {"method": "eigenfaces", "components": 50, "similarity": "euclidean"},
        "subspaces": {"method": "subspaces", "similarity": "euclidean"},
    },
    objective="val_accuracy",
    data_layouts=(
        "a folder with a folder of pictures for every person; at least four of each, or two under "
        "`train` where `test` and `validation` stand beside it."
    ),
    tiny={"components": 40},
)

if __name__ == "__main__":
    main(app)
