"""What all tasks on pictures share: their data, an endpoint for files, and a reader of files."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import AfterValidator, Field, PositiveInt

from suite.app import App, Fitted
from suite.data import Augmentation, Data, supervised
from suite.data.examples import Split
from suite.data.images.decoding import (
    MOST_PIXELS,
    allowed_size,
    decode_picture,
    to_opaque_rgb,
)
from suite.data.images.files import (
    read_encoded,
    read_picture,
    tiled,
    writable_picture,
    write_picture,
)
from suite.data.images.preparation import Layout, Preparation
from suite.data.images.sources import load_pictures
from suite.errors import InputError
from suite.export.endpoints import Endpoint, to_logits
from suite.export.exported import ExportedModel, Exports
from suite.knobs import BatchSize, Share, Steps, settings
from suite.layers.views import average_views
from suite.run import Run

# Pictures of a request, whose pixels are in memory together.
DECODED_AT_ONCE = 2
DATA_LAYOUTS = (
    "a folder with a folder of image files for every class, of any formats and sizes; it may have "
    "`train`, `validation` and `test` above the class folders. Or an `.npz` with `x_train`, "
    "`y_train` and, if there are any, `x_test`, `y_test` and `class_names`."
)


def _grey_or_colour(channels: int) -> int:
    if channels not in (1, 3):
        raise ValueError("should be 1 or 3")
    return channels


# Not a Literal of numbers: a command line has only texts, which would not match.
Channels = Annotated[int, AfterValidator(_grey_or_colour)]
ImageShape = tuple[PositiveInt, PositiveInt, PositiveInt]  # height, width, channels


@settings
class Config:
    """The settings that concern the images of a training: their source, size and batches.

    Args:
        batch_size: Images per optimizer step, over all replicas.
        validation_split: Share of the training images that is held out for validation.
        min_steps_per_epoch: Smallest number of steps in an epoch, which makes several passes over
            few images.
        dataset: Name of any image-classification dataset in TensorFlow Datasets.
        layout: Layout of your own pictures: `drawing` cuts out the ink and centres it, as in MNIST;
            `photo` crops about the centre; `auto` decides by a sample of them.
        image_size: Height and width of the model's images. Defaults to 28 for drawings, to the
            size of photos but at most 64, and to that of the images of an `.npz`.
        channels: 1 for grey, 3 for colour. Defaults to that of the data.
    """

    batch_size: BatchSize = 100
    validation_split: Share = 0.1
    min_steps_per_epoch: Steps = 100
    dataset: str = "mnist"
    layout: Layout | Literal["auto"] = "auto"
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    channels: Channels | None = None


def redrawing(redraw: Callable[[tf.Tensor], tf.Tensor], output: str) -> Endpoint:
    """Makes an endpoint from image files of any size to PNG files, one file after the other.

    Args:
        redraw: Maps a picture `(height, width, 3)`, float32, values in 0..255, to the pixels of
            another, uint8, of any size. It is traced once.
        output: Name of the output.

    Returns:
        An endpoint of `picture` `(batch,)`, the bytes of files, to those of PNG files `(batch,)`.
    """

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    def answer(content: tf.Tensor) -> tf.Tensor:
        colours = to_opaque_rgb(decode_picture(content))
        return tf.io.encode_png(redraw(tf.ensure_shape(colours, (None, None, 3))))

    def picture(contents: tf.Tensor) -> dict[str, tf.Tensor]:
        files = tf.map_fn(
            answer,
            contents,
            fn_output_signature=tf.TensorSpec((), tf.string),
            parallel_iterations=1,  # so that one picture at a time is in memory
        )
        return {output: files}

    return Endpoint(picture, [tf.TensorSpec((None,), tf.string, "picture")])


def at_scale(image: tf.Tensor, preparation: Preparation) -> tf.Tensor:
    """Resizes a picture as the preparation of photos does, but keeps what that crops.

    Args:
        image: `(height, width, channels)`, float32.
        preparation: Its size fits into the resized picture, exactly along one axis.

    Raises:
        tf.errors.InvalidArgumentError: The resized picture would have more than `MOST_PIXELS`.
    """
    size = tf.shape(image)[:2]
    ratio = tf.reduce_min(size / tf.constant(preparation.shape[:2]))
    new_size = tf.cast(tf.round(tf.cast(size, tf.float64) / ratio), tf.int64)
    # A picture one pixel high, enlarged to the height of the training, would be enormously wide.
    new_size = allowed_size(new_size, MOST_PIXELS, "a picture at the scale of the training")
    scaled = tf.image.resize(image, tf.maximum(tf.cast(new_size, tf.int32), 1), antialias=True)
    return tf.clip_by_value(tf.round(scaled), 0, 255)


def load_data(
    config: Config,
    run: Run,
    *,
    labelled: bool = False,
    relabel: Callable[[Split], Callable[[Any], Any]] | None = None,
    corrupt: Callable[[np.ndarray], np.ndarray] | None = None,
    model_arguments: Callable[[Split], Mapping[str, Any]] | None = None,
    augment: Augmentation | None = None,
) -> Data:
    """Images `(height, width, channels)` with values in 0..255, and labels `()`, if there are any.

    The app's `build` gets the `input_shape`, and the `num_classes` of labelled pictures.

    Args:
        config: The settings of the images.
        run: The run, which decides where the pictures come from.
        labelled: Whether the pictures must have labels.
        relabel: Replaces the labels, as in `suite.data.supervised`.
        corrupt: Replaces the labels of the training split alone, as in `suite.data.supervised`.
        model_arguments: Further arguments of `build`, as in `suite.data.supervised`.
        augment: Distorts the training images.

    Raises:
        InputError: The pictures cannot be found or read, or must have labels and have none.
    """
    source = load_pictures(run, config.dataset, config.layout, config.image_size, config.channels)
    if labelled and len(source.class_names) < 2:
        received = f"{source.name}, with {', '.join(source.class_names) or 'none'}"
        flag = "dataset" if source.name.startswith("tfds:") else "data"
        raise InputError(f"`{flag}` must have two classes or more", received)

    # So that a client of the raw signature can read what its arrays must be like.
    notes = {**source.notes, "inputs": source.preparation.description}
    source = dataclasses.replace(source, notes=notes)

    def arguments(train: Split) -> dict[str, Any]:
        known: dict[str, Any] = {"input_shape": source.preparation.shape}
        if labelled:
            known["num_classes"] = len(source.class_names)
        return {**known, **(model_arguments(train) if model_arguments else {})}

    return supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        relabel=relabel,
        corrupt=corrupt,
        model_arguments=arguments,
        augment=augment,
    )


def endpoint(serve: Endpoint, preparation: Preparation) -> Endpoint:
    """Makes an endpoint that takes `picture` `(batch,)`, the bytes of image files, for arrays.

    Args:
        serve: The endpoint that takes images `(batch, height, width, channels)`.
        preparation: Converts the bytes of a file to an image `(height, width, channels)`.
    """

    def picture(contents: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = tf.TensorSpec(preparation.shape, tf.uint8)
        images = tf.map_fn(
            preparation, contents, fn_output_signature=spec, parallel_iterations=DECODED_AT_ONCE
        )
        return dict(serve.function(tf.cast(images, serve.inputs[0].dtype)))

    return Endpoint(picture, [tf.TensorSpec((None,), tf.string, "picture")], serve.resources)


def with_pictures(serve: Endpoint, fitted: Fitted) -> dict[str, Endpoint]:
    """An endpoint of arrays as `serve`; and as `picture` one that takes the bytes of image files.

    Args:
        serve: Takes images `(batch, height, width, channels)`.
        fitted: Its source prepares pictures; without a preparation there is no `picture`.
    """
    source = fitted.data.source
    if source is None or source.preparation is None:
        return {"serve": serve}
    return {"serve": serve, "picture": endpoint(serve, source.preparation)}


def read_files(
    app: App, files: Sequence[Path], exports: Exports
) -> tuple[ExportedModel, np.ndarray]:
    """Opens an exported model, and prepares picture files as its inputs.

    Returns:
        The model, and the pictures `(files, height, width, channels)`, uint8.

    Raises:
        InputError: A file is no picture, or shows nothing; or there is no exported model.
    """
    _refuse_none(files)
    for path in files:
        read_encoded(path)  # refuses what is no picture, before a model is loaded
    exported = exports.open(app.name)
    return exported, prepare_files(exported, files)


def reconstruct(
    app: App, *files: Path, output: Path = Path("reconstruction.png"), exports: Exports = Exports()
) -> None:
    """Encode pictures, and draw their reconstructions.

    Args:
        files: Image files of any size, dark on light or light on dark.
        output: Image file that shows the pictures above their reconstructions.
    """
    writable_picture(output)
    exported, images = read_files(app, files, exports)
    again = np.clip(exported.call(images)["reconstruction"], 0, 255)
    write_picture(tiled(np.concatenate([images, again]), len(files)), output)
    print(f"{output}: {len(files)} above, reconstructed below")


def prepare_files(exported: ExportedModel, files: Sequence[Path]) -> np.ndarray:
    """Prepares picture files as inputs of an exported model, `(files, height, width, channels)`.

    Raises:
        InputError: There is no file, or one is no picture, or shows nothing.
    """
    _refuse_none(files)
    preparation = Preparation.of_export(exported.metadata())
    return np.stack([read_picture(path, preparation) for path in files])


def answering(exported: ExportedModel, networks: Mapping[str, keras.Model]) -> keras.Model:
    """The network of an exported classifier, to logits, as it answers: after the recipe's views."""
    [network] = networks.values()
    views = exported.metadata("config")["config"].get("views", "plain")
    return average_views(to_logits(network), views)


def _refuse_none(files: Sequence[Path]) -> None:
    if not files:
        raise InputError("there must be one image file or more", "none")
