"""The nearest training pictures of a new one: an endpoint, and the command `nearest`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from suite.app import App, Fitted
from suite.data.examples import classes_of, spread_rows
from suite.data.images.files import tiled, writable_picture, write_picture
from suite.export import neighbours
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.tasks import pictures


def of_pictures(embed: Endpoint, output: str, fitted: Fitted) -> Endpoint:
    """An endpoint that finds the training pictures nearest to a new one, by their codes.

    It returns what `of_examples` does, and the `picture` of each neighbour
    `(batch, neighbours, height, width, channels)`, uint8.

    Args:
        embed: Computes the codes of pictures `(batch, height, width, channels)`.
        output: Which of its outputs is the code, `(batch, units)`.
        fitted: Its training pictures go into the index.
    """
    return of_examples(
        embed, output, fitted, lambda images: {"picture": np.asarray(images, np.uint8)}
    )


def of_examples(
    embed: Endpoint,
    output: str,
    fitted: Fitted,
    facts_of: Callable[[Any], dict[str, np.ndarray]],
    measure: neighbours.Measure = "euclidean",
) -> Endpoint:
    """An endpoint that finds the training examples nearest to a new one, by their codes.

    It returns `index`, the row of each neighbour in the training split, `distance` or `similarity`,
    the facts of each neighbour and, where examples have a class, its `name`.

    Args:
        embed: Computes the codes of examples.
        output: Which of its outputs is the code, `(batch, units)`.
        fitted: Its training examples go into the index.
        facts_of: Maps their inputs to further outputs for them, by name, `(examples, ...)`.
        measure: What nearness is.
    """
    train = fitted.data.splits["train"]
    rows = spread_rows(train, neighbours.MOST_EXAMPLES)
    examples = train.rows(rows).in_memory()
    facts = facts_of(examples.inputs)
    names = fitted.data.description.class_names
    classes = classes_of(examples, names)
    if classes is not None:
        facts["name"] = np.array(names, object)[classes]
    return neighbours.nearest(embed, output, examples.inputs, facts, rows=rows, measure=measure)


def show_nearest(
    app: App, file: Path, *, output: Path = Path("nearest.png"), exports: Exports = Exports()
) -> None:
    """Draw the training pictures that are nearest to a new one.

    Args:
        file: Image file of any size, dark on light or light on dark.
        output: Image file that shows the picture, and behind it its neighbours, the nearest first.
    """
    writable_picture(output)
    exported, images = pictures.read_files(app, [file], exports)
    answer = exported.call(images, "nearest")
    row_of_pictures = np.concatenate([images, answer["picture"][0]])
    write_picture(tiled(row_of_pictures, len(row_of_pictures)), output)
    for place, row in enumerate(answer["index"][0]):
        name = f" ({answer['name'][0, place].decode()})" if "name" in answer else ""
        print(f"training picture {row}{name}: {answer['distance'][0, place]:.4f}")
    print(f"{output}: {file}, and behind it its neighbours")


COMMANDS: dict[str, Callable[..., None]] = {"nearest": show_nearest}
