"""The task of detection: the things in a picture, each with its box, its class and a score.

An application builds a network from `image` to a dict that has, besides what its loss needs,

- `boxes` `(batch, n, 4)`, or `(batch, n, classes, 4)` for another box for every class: corners
  `x1 y1 x2 y2` in pixels of the image, and
- `scores` `(batch, n, classes)`, from 0 to 1,

for a fixed number n of candidates. It passes a loss to `compile_model`, and the other functions of
this module to its `App`: `load_data`, `phases`, `callbacks`, `endpoints`, `example`, `evaluate`,
`draw` and the `COMMANDS`.
"""

import dataclasses
import functools
import io
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import keras
import numpy as np
import PIL.Image
import PIL.ImageSequence
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite.app import App, Fitted, Metrics, Objective, Phase, evaluate_on_test, first_of_test
from suite.data import Data, batches, supervised
from suite.data.boxes.annotations import Unannotated, as_truths
from suite.data.boxes.augmentation import box_crop, box_flip, colour, mosaic
from suite.data.boxes.folders import Format
from suite.data.boxes.preparation import BoxPreparation
from suite.data.boxes.sources import SCENES, load_boxes
from suite.data.examples import Split
from suite.data.images.augmentation import combined
from suite.data.images.decoding import decode_picture, to_opaque_rgb
from suite.data.images.files import (
    ENDINGS,
    is_picture,
    opened,
    read,
    read_encoded,
    upright_size,
    writable_picture,
    write_animation,
    write_picture,
)
from suite.errors import InputError
from suite.export.endpoints import Endpoint, call
from suite.export.exported import Exports, open_folder
from suite.figures.boxes import boxed_pictures, marked
from suite.figures.boxes import precision_recall as draw_precision_recall
from suite.knobs import (
    BatchSize,
    Epochs,
    Fraction,
    LearningRate,
    Rate,
    Share,
    Steps,
    WeightDecay,
    settings,
)
from suite.layers.boxes import KeptBoxes, clip, non_max_suppression
from suite.layers.networks import NetworksModel, identity_loss
from suite.metrics.detection import Detections, PrecisionRecall, box_scores, precision_recall
from suite.run import Run
from suite.tasks.pictures import DECODED_AT_ONCE, Channels
from suite.trainers.optimizers import Clip, Optimization, scheduled_optimizer

log = logging.getLogger(__name__)

NumClasses = Annotated[int, Field(ge=1, le=100_000)]
# Numbers of residual blocks, one for each stage.
Blocks = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=8)]
# Width divided by height of boxes.
Ratios = Annotated[tuple[Annotated[float, Field(ge=0.01, le=100)], ...], Field(min_length=1)]
Overlap = Fraction  # intersection over union
Score = Fraction

DATA_LAYOUTS = (
    "a folder of pictures with their boxes as COCO's JSON, Pascal VOC's XML, YOLO's text files or "
    "a CSV, beside the pictures or in `--annotations`. It may have lists or folders of splits."
)
SHOWN = 8  # test pictures in the figure
ANIMATIONS = (".gif", ".webp", ".png")
FRAMES_PER_SECOND = 10  # of an animation that is written


@settings
class Config(Optimization):
    """The settings of the training of a detector.

    Args:
        batch_size: Pictures per optimizer step, over all replicas.
        min_steps_per_epoch: Smallest number of steps in an epoch, reached by several passes if the
            pictures are few.
        validation_split: Share of the training pictures that is held out for validation.
        annotations: File or folder of the annotations, if they are not in `data`.
        classes: Names of the classes, in order, or the file that has one in each line. Defaults to
            those that the annotations name.
        format: Format of the annotations; `auto` takes that of the files.
        unannotated: Whether a picture that no annotation names has nothing in it (`empty`), or is
            an error (`refuse`). COCO's file decides which pictures count; others are left out.
        image_size: The longer side that pictures are brought to, in pixels. Sides become multiples
            of 32. Defaults to the longer side of the pictures, at most 320.
        channels: 1 for grey, 3 for colour. Defaults to that of the data.
        scenes: Number of generated scenes to train on, if there is no `data`.
        most_digits: Largest number of digits in a generated scene.
        digit_overlap: Largest area that the boxes of two digits in a generated scene have in
            common, as a share of the smaller one.
        flip: Whether half of the training pictures are mirrored: left to right (`horizontal`), and
            half of them top to bottom as well (`both`).
        crop: Smallest part of a training picture that is cut out at random and enlarged, as a share
            of its sides; 1 takes whole pictures.
        mosaic: Probability that four training pictures are joined in one.
        colour: Largest random change of brightness, contrast and saturation, as a share.
        weights: Folder of an export, such as saved_models/resnet/1, whose weights the first layers
            begin with, up to the first layer of another shape. None begins with random weights.
        smallest_score: Boxes of a smaller score are left out of answers.
        suppression: Largest overlap of two boxes of one class in an answer, intersection over
            union.
        most_boxes: Largest number of boxes in an answer.
    """

    epochs: Epochs = 5
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 2e-3
    warmup: Share = 0.1
    weight_decay: WeightDecay = 0.05
    clip_norm: Clip | None = 10.0
    min_steps_per_epoch: Steps = 100
    validation_split: Share = 0.1
    annotations: Path | None = None
    classes: tuple[str, ...] = ()
    format: Format = "auto"
    unannotated: Unannotated = "refuse"
    image_size: Annotated[int, Field(ge=32, le=4096)] | None = None
    channels: Channels | None = None
    scenes: Annotated[int, Field(ge=4, le=1_000_000)] = SCENES
    most_digits: Annotated[int, Field(ge=1, le=100)] = 8
    digit_overlap: Rate = 0.4
    flip: Literal["none", "horizontal", "both"] = "none"
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    mosaic: Fraction = 0.0
    colour: Rate = 0.0
    weights: Path | None = None
    smallest_score: Score = 0.02
    suppression: Overlap = 0.5
    most_boxes: Annotated[int, Field(ge=1, le=10_000)] = 100


class Targets(NamedTuple):
    """The true things in the pictures of a batch, padded; padding has no area.

    Args:
        boxes: `(batch, m, 4)`, corners in pixels, in `keras.config.floatx()`; m is at least 1.
        labels: Classes `(batch, m)`, int32; 0 for padding.
        exists: False for padding, `(batch, m)`, bool.
        crowd: True for boxes around several things, `(batch, m)`, bool.
    """

    boxes: Any
    labels: Any
    exists: Any
    crowd: Any


# `loss(targets, outputs, fixed)` gives the loss of every picture, `(batch,)`. `fixed` has the
# values of `outputs` without their gradients: what candidates are to learn is decided by them.
DetectionLoss = Callable[[Targets, Mapping[str, Any], Mapping[str, Any]], Any]


def load_data(config: Config, run: Run) -> Data:
    """Pictures `(height, width, channels)`, values in 0..255, and their things, `(most, 6)`.

    The columns of a thing are `x1 y1 x2 y2 label crowd`, and padding has the label -1. The app's
    `build` gets the `input_shape` and the `num_classes`.

    Raises:
        InputError: The pictures or boxes cannot be read, or do not belong together.
    """
    if config.weights and run.preparation is None and not run.resume:
        open_folder(config.weights)  # which says whether there is such an export
    source = load_boxes(
        run,
        config.annotations,
        config.classes,
        format=config.format,
        unannotated=config.unannotated,
        image_size=config.image_size,
        channels=config.channels,
        scenes=config.scenes,
        most=config.most_digits,
        overlap=config.digit_overlap,
    )
    shape = source.train.rows(np.arange(1)).in_memory().inputs.shape[1:]
    data = supervised(
        source,
        batch_size=config.batch_size,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=config.min_steps_per_epoch,
        model_arguments=lambda _: {
            "input_shape": shape,
            "num_classes": len(source.class_names),
        },
        augment=combined(
            mosaic(config.mosaic),
            box_crop(config.crop),
            box_flip(horizontal=config.flip != "none", vertical=config.flip == "both"),
            colour(config.colour),
        ),
    )
    # As many pictures as in a step of the training, for which there is enough memory.
    return dataclasses.replace(data, evaluation_batch_size=config.batch_size)


def targets_of(rows: Any) -> Targets:
    """The things of a batch, from rows `(batch, most, 6)` as `load_data` has them."""
    labels = ops.cast(rows[..., 4], "int32")
    return Targets(
        boxes=ops.cast(rows[..., :4], keras.config.floatx()),
        labels=ops.maximum(labels, 0),
        exists=labels >= 0,
        crowd=rows[..., 5] > 0,
    )


class Detector(NetworksModel):
    """Trains a network by a loss of all its outputs together.

    Args:
        network: Functional, from images to a dict of outputs, see the module.
        loss_of: The loss of every picture of a batch.
        held: Names of outputs that later layers of the network take as inputs, without a gradient,
            such as proposals.
    """

    def __init__(
        self, network: keras.Model, loss_of: DetectionLoss, held: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.network, self.loss_of, self.held = network, loss_of, tuple(held)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The outputs of the network by name."""
        return self.network(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean loss of the pictures, by their weights if there are any."""
        fixed = keras.tree.map_structure(ops.stop_gradient, y_pred)
        return self._mean_loss(y, y_pred, fixed, sample_weight)

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The loss, whose targets and `held` outputs stay as the present weights decide them."""
        inputs, rows, weights = keras.utils.unpack_x_y_sample_weight(batch)
        inputs = ops.cast(inputs, keras.config.floatx())
        fixed = keras.tree.map_structure(ops.stop_gradient, self(inputs, training=True))
        held = {name: fixed[name] for name in self.held}
        symbols = self.network.output
        rest = keras.Model(
            [self.network.input, *(symbols[name] for name in held)],
            {name: symbol for name, symbol in symbols.items() if name not in held},
        )

        def loss() -> Any:
            outputs = {**rest([inputs, *held.values()], training=True), **held}
            return self._mean_loss(rows, outputs, fixed, weights)

        return {"loss": Objective(loss, self.trainable_variables)}

    def _mean_loss(self, rows: Any, outputs: Any, fixed: Any, weights: Any) -> Any:
        values = self.loss_of(targets_of(rows), outputs, fixed)
        weights = None if weights is None else ops.reshape(weights, (-1,))
        # The mean is left to Keras, which divides it among replicas.
        return super().compute_loss(None, ops.zeros_like(values), values, weights)


def compile_model(
    network: keras.Model,
    config: Config,
    steps: int,
    loss: DetectionLoss,
    held: Sequence[str] = (),
) -> keras.Model:
    """Compiles a network with a loss and the settings' optimizer; `held` as in `Detector`."""
    model = Detector(network, loss, held)
    model.compile(
        optimizer=scheduled_optimizer(config, steps),
        loss=identity_loss,
    )
    return model


def phases(config: Config) -> list[Phase]:
    """One phase, which begins with the weights of an export, if one is named."""
    begin = functools.partial(begin_with, folder=config.weights) if config.weights else None
    return [Phase(name="fit", epochs=config.epochs, begin=begin)]


def begin_with(fitted: Fitted, folder: Path) -> None:
    """Gives the first layers of the network the weights of an export, as far as they are alike.

    Args:
        fitted: What is to be trained.
        folder: `<export_dir>/<app>/<version>`, or `<export_dir>/<app>` for the newest version.

    Raises:
        InputError: There is no such export, it is damaged, or its first layer has another shape.
    """
    built = open_folder(folder).built()
    exported = next(iter(built.values())) if isinstance(built, Mapping) else built
    [network] = fitted.networks.values()
    copied = copy_first_weights(exported, network)
    if not copied:
        raise InputError(
            "`weights` must be an export whose first layers are as large as those of the network",
            folder,
        )
    layers = sum(bool(layer.weights) for layer in network.layers)
    log.info("%d of %d layers begin with the weights of %s.", copied, layers, folder)


def copy_first_weights(source: keras.Model, target: keras.Model) -> int:
    """Copies weights layer by layer, up to the first layer with other shapes.

    Returns:
        The number of layers whose weights were copied.
    """
    pairs = zip(
        (layer for layer in source.layers if layer.weights),
        (layer for layer in target.layers if layer.weights),
        strict=False,
    )
    copied = 0
    for old, new in pairs:
        if [weight.shape for weight in old.weights] != [weight.shape for weight in new.weights]:
            break
        new.set_weights(old.get_weights())
        copied += 1
    return copied


class AveragePrecision(keras.callbacks.Callback):
    """Logs `val_ap`, `val_ap_50` and `val_ap_75` after every epoch; 0 if there are no things.

    Args:
        fitted: What is trained.
    """

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        self.fitted = fitted
        self.detect = compiled_detector(fitted)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        split = self.fitted.data.splits["validation"]
        answers = answers_on(split, self.detect, self.fitted.data.evaluation_batch_size)
        names = self.fitted.data.description.class_names
        scores = box_scores(precision_recall(truths_of(split), answers, len(names)), names)
        logs |= {f"val_{name}": scores[name] or 0.0 for name in ("ap", "ap_50", "ap_75")}


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Average precision on the validation split, if there is one."""
    return [AveragePrecision(fitted)] if "validation" in fitted.data.splits else []


def detector(network: keras.Model, config: Config) -> Callable[[tf.Tensor], KeptBoxes]:
    """A function of images `(batch, height, width, channels)` that returns what is in them.

    Args:
        network: See the module.
        config: The settings, which decide which boxes are left out.
    """

    def detect(images: tf.Tensor) -> KeptBoxes:
        outputs = network(images, training=False)
        kept = non_max_suppression(
            outputs["boxes"],
            outputs["scores"],
            most=config.most_boxes,
            overlap=config.suppression,
            smallest_score=config.smallest_score,
        )
        height, width = images.shape[1:3]
        return kept._replace(boxes=clip(kept.boxes, height, width))

    return detect


def compiled_detector(fitted: Fitted) -> Callable[[tf.Tensor], KeptBoxes]:
    """The detector of the one network of an application, as a graph."""
    [network] = fitted.networks.values()
    return tf.function(detector(network, fitted.config), reduce_retracing=True, autograph=False)


def endpoints(fitted: Fitted) -> dict[str, keras.Model | Endpoint]:
    """`serve`: `image`, of the size of training pictures, to boxes in its pixels.

    `picture`, if the source has a preparation: encoded pictures of any size to boxes in the pixels
    of each. The outputs of both are `boxes` `(batch, most, 4)`, corners `x1 y1 x2 y2`; `scores`,
    `labels` and `names` `(batch, most)`, the most certain first; and their `count` `(batch,)`,
    after which there is padding: zeros, and no names.
    """
    [network] = fitted.networks.values()
    detect = detector(network, fitted.config)
    class_names = tf.constant(list(fitted.data.description.class_names))

    def named(kept: KeptBoxes) -> dict[str, tf.Tensor]:
        most = tf.shape(kept.scores)[1]
        exists = tf.range(most) < kept.count[:, None]
        names = tf.where(exists, tf.gather(class_names, kept.labels), "")
        return {**kept._asdict(), "names": names}

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return named(detect(image))

    [image] = network.inputs
    spec = tf.TensorSpec(image.shape, image.dtype, "image")
    offered: dict[str, keras.Model | Endpoint] = {"serve": Endpoint(serve, [spec])}
    source = fitted.data.source
    if source is not None and source.preparation is not None:
        picture = functools.partial(detect_in_pictures, detect=detect, to_input=source.preparation)
        offered["picture"] = Endpoint(
            lambda contents: named(picture(contents)),
            [tf.TensorSpec((None,), tf.string, "picture")],
        )
    return offered


def detect_in_pictures(
    contents: tf.Tensor, detect: Callable[[tf.Tensor], KeptBoxes], to_input: BoxPreparation
) -> KeptBoxes:
    """What is in encoded pictures of any size, in the pixels of each.

    Args:
        contents: Bytes of image files, `(batch,)`.
        detect: Detects in images of the size that the network takes.
        to_input: Brings pictures to that size, and boxes back from it.
    """

    def prepared(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = decode_picture(encoded)
        return to_input.prepare(pixels), tf.shape(pixels)[:2]

    images, sizes = tf.map_fn(
        prepared,
        contents,
        fn_output_signature=(
            tf.TensorSpec(to_input.shape, tf.uint8),
            tf.TensorSpec((2,), tf.int32),
        ),
        parallel_iterations=DECODED_AT_ONCE,
    )
    kept = detect(tf.cast(images, keras.config.floatx()))
    return kept._replace(boxes=to_input.to_picture(kept.boxes, sizes))


# Few, since a picture has many boxes to agree on.
example = functools.partial(first_of_test, most=4)


def truths_of(split: Split) -> list[Any]:
    """The things in the pictures of a split, without padding."""
    return [as_truths(rows) for rows in np.asarray(split.targets)]


def answers_on(
    split: Split, detect: Callable[[tf.Tensor], KeptBoxes], batch_size: int
) -> list[Detections]:
    """What a detector finds in the pictures of a split.

    Args:
        split: The pictures.
        detect: From `compiled_detector`.
        batch_size: Largest number of pictures in a batch.
    """
    answers = []
    for inputs, *_ in batches(split, batch_size):
        kept = KeptBoxes(*(part.numpy() for part in detect(tf.cast(inputs, keras.config.floatx()))))
        for boxes, scores, labels, count in zip(*kept, strict=True):
            answers.append(Detections(boxes[:count], labels[:count], scores[:count]))
    return answers


def answers(fitted: Fitted) -> list[Detections]:
    """What is detected in the test pictures."""
    return fitted.once(
        "answers",
        lambda: answers_on(
            fitted.data.splits["test"],
            compiled_detector(fitted),
            fitted.data.evaluation_batch_size,
        ),
    )


def precision_recall_on_test(fitted: Fitted) -> PrecisionRecall:
    """Precision and recall on the test pictures."""

    def compute() -> PrecisionRecall:
        truths = truths_of(fitted.data.splits["test"])
        return precision_recall(truths, answers(fitted), len(fitted.data.description.class_names))

    return fitted.once("precision_recall", compute)


def evaluate(fitted: Fitted) -> Metrics:
    """The loss on the test split, and the average precision as `box_scores` has it."""
    scores = box_scores(precision_recall_on_test(fitted), fitted.data.description.class_names)
    of_boxes = {f"test_{name}": value for name, value in scores.items()}
    return {**evaluate_on_test(fitted), **of_boxes}


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws answers on the first test pictures, and precision by recall at an overlap of 0.5."""
    names = fitted.data.description.class_names
    test = fitted.data.splits["test"]
    some = test.rows(np.arange(min(SHOWN, test.num_examples))).in_memory()
    shown = [confident(answer, 0.3) for answer in answers(fitted)[: some.num_examples]]
    curves = precision_recall_on_test(fitted).precision[0, :, :, 0, -1]
    return {
        "answers": boxed_pictures(
            list(some.inputs),
            [answer.boxes for answer in shown],
            [answer.labels for answer in shown],
            names,
            scores=[answer.scores for answer in shown],
            truths=[truths.boxes for truths in truths_of(some)],
        ),
        "precision_and_recall": draw_precision_recall(
            dict(zip(names, curves.T, strict=True)), "at an overlap of 0.5"
        ),
    }


def confident(answer: Detections, score: float) -> Detections:
    """The boxes of an answer that have at least this score."""
    chosen = answer.scores >= score
    return Detections(*(part[chosen] for part in answer))


def predict(
    app: App,
    file: Path,
    *,
    output: Path = Path("boxes.png"),
    score: Score = 0.4,
    exports: Exports = Exports(),
) -> None:
    """Find the things in a picture.

    Args:
        file: Image file of any size.
        output: Image file of the same size for the picture with its boxes.
        score: Boxes of a smaller score are left out.
    """
    writable_picture(output)
    picture = read(file)
    signature, names = open_export(app, exports)
    answer = confident(detect_by_export(signature, picture.encoded), score)
    pixels = to_opaque_rgb(tf.constant(picture.pixels)).numpy()
    write_picture(marked(pixels, answer.boxes, answer.labels, names, scores=answer.scores), output)
    things = zip(answer.labels, answer.scores, strict=True)
    parts = [f"{names[label]} {value:.1%}" for label, value in things]
    print(f"{output}: {', '.join(parts) or 'nothing'}")


def open_export(app: App, exports: Exports) -> tuple[Any, list[str]]:
    """The signature `picture` of an export, and the names of its classes."""
    exported = exports.open(app.name)
    return exported.signature("picture"), exported.metadata("class_names")["class_names"]


def detect_by_export(signature: Any, encoded: bytes) -> Detections:
    """The answer of an export about one picture, by its signature `picture`."""
    outputs = call(signature, np.array([encoded], object))
    count = outputs["count"][0]
    return Detections(*(outputs[name][0][:count] for name in ("boxes", "labels", "scores")))


def watch(
    app: App,
    frames: Path,
    *,
    output: Path = Path("boxes.gif"),
    score: Score = 0.4,
    most_frames: PositiveInt = 500,
    exports: Exports = Exports(),
) -> None:
    """Find the things in a video, frame by frame, and say how many frames a second that takes.

    Args:
        frames: A folder of pictures, in the order of their names; an animation, such as a GIF; or,
            if OpenCV is installed (the extra `video`), a video.
        output: Animation (.gif, .webp or .png) for the frames with their boxes.
        score: Boxes of a smaller score are left out.
        most_frames: Frames after which to stop.
    """
    writable_picture(output)
    if output.suffix.lower() not in ANIMATIONS:
        raise InputError(f"`output` must end in one of: {', '.join(ANIMATIONS)}", output)
    signature, names = open_export(app, exports)
    seconds: list[float] = []

    if frames.is_dir():
        sizes = {upright_size(file) for file in pictures_in(frames, most_frames)}
        if len(sizes) > 1:
            first, second, *_ = sorted(sizes)
            raise InputError("`frames` must all have one size", f"{first} and {second} in {frames}")

    def boxed() -> Iterator[np.ndarray]:
        size = None
        for encoded in encoded_frames(frames, most_frames):
            begun = time.perf_counter()
            answer = confident(detect_by_export(signature, encoded), score)
            seconds.append(time.perf_counter() - begun)
            pixels = to_opaque_rgb(decode_picture(tf.constant(encoded))).numpy()
            size = size or pixels.shape[:2]
            if pixels.shape[:2] != size:
                raise InputError(
                    "`frames` must all have one size", f"{size} and {pixels.shape[:2]} in {frames}"
                )
            yield marked(pixels, answer.boxes, answer.labels, names, scores=answer.scores)
        if not seconds:
            raise InputError("`frames` must hold pictures", f"none in {frames}")

    write_animation(boxed(), output, duration=1000 // FRAMES_PER_SECOND, loop=0)
    later = seconds[1:]  # the first call also traces what it needs
    rate = f", {len(later) / sum(later):.1f} frames a second" if later else ""
    print(f"{output}: {len(seconds)} frames{rate}")


def encoded_frames(path: Path, most: int) -> Iterator[bytes]:
    """The first frames of a folder of pictures, an animation or a video, as bytes of image files.

    Args:
        path: The folder or file.
        most: Largest number of frames.

    Raises:
        InputError: There is nothing of that kind, or it cannot be read.
    """
    if path.is_dir():
        return map(read_encoded, pictures_in(path, most))
    if path.suffix.lower() in ENDINGS:
        return _frames_of_animation(path, most)
    return itertools.islice(_frames_of_video(path), most)


def pictures_in(folder: Path, most: int) -> Iterator[Path]:
    """The first picture files of a folder, in the order of their names, at most as many as this."""
    files = (file for file in sorted(folder.iterdir()) if is_picture(file))
    return itertools.islice(files, most)


def _frames_of_animation(path: Path, most: int) -> Iterator[bytes]:
    with opened(path) as image:
        first = itertools.islice(PIL.ImageSequence.Iterator(image), most)
        frames = [frame.convert("RGB") for frame in first]
    return map(_as_bitmap, frames)


def _frames_of_video(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise InputError("`frames` must be a folder of pictures, an animation or a video", path)
    try:
        import cv2
    except ImportError:
        raise InputError(
            "`frames` must be a folder of pictures or an animation; a video needs "
            "pip install '.[video]'",
            path,
        ) from None
    video = cv2.VideoCapture(str(path))
    try:
        readable, frame = video.read()
        if not readable:
            raise InputError("`frames` must be a video that OpenCV can read", path)
        while readable:
            yield _as_bitmap(PIL.Image.fromarray(frame[..., ::-1]))
            readable, frame = video.read()
    finally:
        video.release()


def _as_bitmap(image: PIL.Image.Image) -> bytes:
    """An image as a BMP, which is written and read faster than any other format."""
    content = io.BytesIO()
    image.save(content, "BMP")
    return content.getvalue()


COMMANDS: dict[str, Callable[..., None]] = {"predict": predict, "watch": watch}

# The training on cells in a drop of blood, which may lie any way up.
BLOOD = {
    "image_size": 320,
    "flip": "both",
    "crop": 0.5,
    "colour": 0.2,
    "mosaic": 0.2,
    "epochs": 24,
}

# The training of the tests, which all detectors of residual blocks share. Its scores are low and
# nearly equal, and their order is left to rounding: the export is compared without them.
TINY = {
    "epochs": 1,
    "batch_size": 8,
    "min_steps_per_epoch": 4,
    "scenes": 24,
    "most_digits": 4,
    "image_size": 64,
    "blocks": (1, 1, 1, 1, 1),
    "filters": 4,
    "head_filters": 8,
    "smallest_score": 0.3,
}
