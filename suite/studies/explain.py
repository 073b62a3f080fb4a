"""The study `explain`: what an exported classifier bases its answer on."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from suite.app import App, networks_of
from suite.attacks.gradients import in_batches, traced
from suite.data.examples import spread
from suite.data.images.files import writable_picture
from suite.data.tables.preparation import TablePreparation
from suite.errors import InputError
from suite.explanations import heat_maps
from suite.explanations.coalitions import coalition_value, superpixels
from suite.explanations.shapley import shapley_values
from suite.explanations.surrogates import lime
from suite.export.endpoints import call
from suite.export.exported import ExportedModel, Exports
from suite.export.reopened import reopen
from suite.figures import explanations as figures
from suite.figures.curves import write
from suite.tasks import pictures

Method = Literal["grad_cam", "cam", "occlusion", "saliency", "integrated_gradients", "lime", "shap"]
# Methods whose network averages all views of a picture, where an export has several. Those that
# look at features see the picture as it is.
WITH_VIEWS = ("occlusion", "saliency", "integrated_gradients")
BACKGROUND_ROWS = 100


def explain(
    app: App,
    *inputs: str,
    exports: Exports = Exports(),
    method: Method | None = None,
    label: str | None = None,
    output: Path = Path("explanation.png"),
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Draw what an answer is based on.

    Of a picture a heat map: red is what speaks for the class, blue what speaks against it. Of a row
    of a table the share of each column in the probability of the class.

    Args:
        inputs: Image files of any size; or one value for each column of a table but the label, in
            the order of the training data.
        method: For pictures: `grad_cam` and `cam` weight the last features; `saliency` and
            `integrated_gradients` take gradients of pixels; `occlusion`, `lime` and `shap` hide
            parts. By default grad_cam, or occlusion without convolutions. For tables: shap, which
            is exact up to 12 columns.
        label: Name of the class to explain. Defaults to the most likely one.
        output: Image file to draw.
        data: For tables, where the rows come from with which a row is compared, as in training.
            Defaults to where the export's did.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
    """
    writable_picture(output)
    exported = exports.open(app.name)
    if exported.metadata("class_names").get("feature_names"):
        _explain_row(app, exported, inputs, method, label, output, data, data_dir)
    else:
        if data is not None or data_dir is not None:
            raise InputError(
                "`data` and `data_dir` must be left out for pictures", data or data_dir
            )
        images = pictures.prepare_files(exported, [Path(name) for name in inputs])
        _explain_pictures(exported, inputs, images, method, label, output)


def _explain_pictures(
    exported: ExportedModel,
    files: Sequence[str],
    images: np.ndarray,
    method: Method | None,
    label: str | None,
    output: Path,
) -> None:
    names = exported.metadata("class_names")["class_names"]
    serve = exported.signature()
    answers = call(serve, images)
    classes = _classes(answers["label"], label, names)
    if method in ("lime", "shap"):
        maps = np.stack(
            [
                part_map(method, image, functools.partial(_output, serve, "logits", index))
                for image, index in zip(images, classes, strict=True)
            ]
        )
    else:
        networks = networks_of(exported.built())
        [model] = networks.values()
        method = method or ("grad_cam" if heat_maps.has_convolution(model) else "occlusion")
        if method in WITH_VIEWS:
            model = pictures.answering(exported, networks)
        maps = _heat_maps(method, model, images, classes)
    titles = [
        f"{names[index]} ({probabilities[index]:.1%})"
        for index, probabilities in zip(classes, answers["probabilities"], strict=True)
    ]
    write(figures.overlays(images, maps, titles, method), output)
    for file, title in zip(files, titles, strict=True):
        print(f"{file}: {title}")
    print(output)


def _heat_maps(
    method: Method, model: keras.Model, images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Heat maps `(batch, height, width)` by features, gradients or logits of a model."""
    function: Callable[..., tf.Tensor] = getattr(heat_maps, method)
    inputs = [np.asarray(images, np.float32), np.asarray(classes)]
    if method in ("integrated_gradients", "occlusion"):
        inputs.append(_background(images))
    return in_batches(traced(lambda first, *rows: function(model, *rows)), *inputs)


def part_map(
    method: Method, image: np.ndarray, score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A heat map `(height, width)` by what the superpixels add to the logit."""
    parts = superpixels(image)
    value = coalition_value(score, image, _background(image[None]), parts)
    function = lime if method == "lime" else shapley_values
    return function(value, int(parts.max()) + 1)[parts]


def _background(images: np.ndarray) -> np.ndarray:
    """The median colour of each picture, `(batch, 1, 1, channels)`, float32.

    That is the paper of a drawing; a photo has no better colour for what is hidden.
    """
    return np.median(images, axis=(1, 2), keepdims=True).astype(np.float32)


def _explain_row(
    app: App,
    exported: ExportedModel,
    cells: Sequence[str],
    method: Method | None,
    label: str | None,
    output: Path,
    data: str | None,
    data_dir: Path | None,
) -> None:
    if method not in (None, "shap"):
        raise InputError("`method` must be shap for a table", method)
    metadata = exported.metadata("class_names")
    preparation = TablePreparation.of_export(metadata)
    row = preparation.features_of_row(cells)
    serve = exported.signature()
    answers = call(serve, row)
    names = metadata["class_names"]
    [index] = _classes(answers["label"], label, names)
    examples = reopen(app, exported, data, data_dir).data
    background = spread(examples.splits["train"], BACKGROUND_ROWS).in_memory().inputs

    probability = functools.partial(_output, serve, "probabilities", index)
    # A text has a feature for every category, but is one player.
    columns = preparation.columns
    players = np.repeat(np.arange(len(columns)), [len(column.feature_names) for column in columns])
    value = coalition_value(probability, row[0], background, players)
    points = 100 * shapley_values(value, len(columns))
    title = f"{names[index]} ({answers['probabilities'][0, index]:.1%})"
    average = float(probability(background).mean())
    about = f"{average:.1%} on average over {len(background)} rows"
    labels = [f"{column.name} = {cell}" for column, cell in zip(columns, cells, strict=True)]
    write(figures.shares(labels, points, title, f"percentage points, from {about}"), output)
    print(f"{title}; {about} of {examples.description.source}. Percentage points by column:")
    width = max(map(len, labels))
    for name, share in zip(labels, points, strict=True):
        print(f"{name:{width}}  {share:+.1f}")
    print(output)


def _output(serve: Any, name: str, index: int, inputs: np.ndarray) -> np.ndarray:
    """The logit or the probability of a class for each input, `(batch,)`."""
    return call(serve, inputs)[name][:, index]


def _classes(most_likely: np.ndarray, label: str | None, names: Sequence[str]) -> np.ndarray:
    """The class to explain for each input, `(batch,)`.

    Raises:
        InputError: There is no class of the name `label`.
    """
    if label is None:
        return most_likely
    if label not in names:
        raise InputError(f"`label` must be one of: {', '.join(names)}", label)
    return np.full_like(most_likely, names.index(label))
