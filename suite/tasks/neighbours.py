"""The nearest training pictures of a new one: an endpoint, and the command `nearest`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from suite.app import App, Fitted
from suite.data.examples import classes_of
from suite.data.images.files import tiled, writable_picture, write_picture
from suite.export import neighbours
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.tasks import pictures


def of_pictures(
    embed: Endpoint, output: str, fitted: Fitted, measure: neighbours.Measure = "euclidean"
) -> Endpoint:
    """An endpoint that finds the training pictures nearest to a new one, by their codes.

    It returns `index`, `distance` or `similarity`, the `picture` of each neighbour
    `(batch, neighbours, height, width, channels)`, uint8, and, where pictures have a class, its
    `name`.

    Args:
        embed: Computes the codes of pictures `(batch, height, width, channels)`.
        output: Which of its outputs is the code, `(batch, units)`.
        fitted: Its training pictures go into the index.
        measure: What nearness is.
    """
    examples = neighbours.indexed(fitted.data.splits["train"])
    facts = {"picture": np.asarray(examples.inputs, np.uint8)}
    names = fitted.data.description.class_names
    classes = classes_of(examples, names)
    if classes is not None:
        facts["name"] = np.array(names, object)[classes]
    return neighbours.nearest(embed, output, examples.inputs, facts, measure=measure)


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
    [near] = (answer[name][0] for name in ("distance", "similarity") if name in answer)
    for place, row in enumerate(answer["index"][0]):
        name = f" ({answer['name'][0, place].decode()})" if "name" in answer else ""
        print(f"training picture {row}{name}: {near[place]:.4f}")
    print(f"{output}: {file}, and behind it its neighbours")


COMMANDS: dict[str, Callable[..., None]] = {"nearest": show_nearest}
