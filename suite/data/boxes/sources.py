"""Loads pictures with boxes: generated scenes, or files in one of four formats."""

import dataclasses
import functools
import itertools
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from suite.data import sources
from suite.data.boxes.annotations import (
    Labelled,
    Unannotated,
    as_targets,
    as_truths,
    check,
    with_unique_names,
)
from suite.data.boxes.folders import Format, occurring_names, read_annotations
from suite.data.boxes.preparation import BoxPreparation
from suite.data.boxes.scenes import draw_scenes
from suite.data.examples import Examples, Source
from suite.data.generated import GeneratedExamples
from suite.data.images.arrays import picture_arrays, prepared_array
from suite.data.images.digits import DIGITS, embedded_digits
from suite.data.images.files import prepare_in_graph, read
from suite.data.images.folders import on_disk
from suite.data.images.layouts import sample_rows
from suite.data.images.preparation import prepare_all
from suite.data.stored import stays_on_disk
from suite.data.text.files import read_text
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

SCENES, SCENE_SIZE = 32_000, 128
HELD_OUT = 4  # scenes to train on for every one of the validation, and for every one of the test
MOST_HELD_OUT = 1000  # scenes of the validation at most, and of the test
STRIDE = 32  # the sides of inputs are multiples of this number of pixels
LARGEST = 320  # pixels of the longer side of inputs, unless a size is given
SHARES = {"validation_split": 0.1, "test_split": 0.2}  # of the digits that no other split has
MNIST = "mnist"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSize:
    """The size of a model's inputs, as far as the user sets it; the pictures decide the rest.

    Args:
        image_size: The longer side in pixels; None if the pictures decide.
        channels: 1 or 3; None if the pictures decide.
        recorded: The preparation of an exported model, which decides everything; None without one.
    """

    image_size: int | None = None
    channels: int | None = None
    recorded: BoxPreparation | None = None

    def preparation(
        self, sizes: Any, sample: Sequence[np.ndarray], class_names: Sequence[str]
    ) -> BoxPreparation:
        """The preparation of some pictures.

        Args:
            sizes: Heights and widths of the pictures, `(n, 2)`.
            sample: Some of them, decoded, `(any height, any width, channels)`.
            class_names: Names of the classes, in order.
        """
        if self.recorded is not None:
            return self.recorded
        median = np.median(np.asarray(sizes), axis=0)
        longest = self.image_size or min(float(median.max()), LARGEST)
        height, width = (
            STRIDE * math.ceil(round(longest * side / float(median.max()), 3) / STRIDE)
            for side in median.tolist()
        )
        is_grey = all(picture.shape[-1] < 3 for picture in sample)
        channels = self.channels or (1 if is_grey else 3)
        preparation = BoxPreparation(
            height=height, width=width, channels=channels, names=tuple(class_names)
        )
        log.info("Pictures are taken as %s.", preparation.description)
        return preparation


def load_boxes(
    run: "Run",
    annotations: Path | None = None,
    classes: Sequence[str] = (),
    *,
    format: Format = "auto",  # noqa: A002 - a knob
    unannotated: Unannotated = "refuse",
    image_size: int | None = None,
    channels: int | None = None,
    scenes: int = SCENES,
    most: int = 8,
    overlap: float = 0.4,
) -> Source:
    """Loads pictures and their boxes; by default the scenes of `suite.data.boxes.scenes`.

    Args:
        run: The run, for its `data`, `data_dir`, `in_memory`, `skip_broken`, `arrays` and
            `preparation`. `data` is `auto`, for scenes of MNIST's digits if they are there and else
            of scikit-learn's; `tfds` or `embedded` for one of these; or a folder of pictures with
            their annotations. Splits are those of VOC's `ImageSets/Main/*.txt`, of folders or files
            named train, val and test; others are held out. `arrays` have pictures of one size as
            inputs, and targets as in `suite.data.boxes.annotations.as_targets`.
        annotations: The file or folder of the annotations, if they are not in `data`.
        classes: Names of the classes, in order; or the file that has one in each line. By default
            those that the annotations name.
        format: COCO's JSON, Pascal VOC's XML, YOLO's text files, or a CSV of a box in each line;
            `auto` takes that of the files.
        unannotated: Whether a picture that no file mentions has nothing in it (`empty`), or is an
            error (`refuse`).
        image_size: The longer side of the model's inputs, in pixels; by default that of the
            pictures, at most 320. Both sides become multiples of 32, in about the pictures'
            proportion.
        channels: 1 or 3; by default 3 if any picture of a sample has colours.
        scenes: Generated scenes to train on; a quarter as many, but at most 1,000, are for
            validation, and as many for the test.
        most: Largest number of digits in a scene.
        overlap: Largest area that the boxes of two digits in a scene have in common, as a share of
            the smaller one.

    Returns:
        A source with inputs `(n, height, width, channels)`, uint8; targets `(n, most, 6)`, float32,
        as in `suite.data.boxes.annotations.as_targets`, in the inputs' pixels; the names of the
        classes; and a `BoxPreparation`. The number of rows of targets is the same in all splits.

    Raises:
        InputError: The pictures or boxes cannot be found or read, or do not belong together.
    """
    if run.min_per_class > 1:
        raise InputError("`min_per_class` must be 1 where targets are boxes", run.min_per_class)
    # Arrays that are prepared are parts of what was read with these knobs, such as folds.
    is_unprepared = run.arrays is not None and run.arrays.preparation is None
    if is_unprepared or (run.arrays is None and run.data in ("auto", *sources.BUILT_IN)):
        beside_files = {
            "annotations": annotations,
            "classes": run.arrays is None and classes,
            "format": format != "auto",
            "unannotated": unannotated != "refuse",
        }
        for knob, value in beside_files.items():
            if value:
                received = run.data if run.arrays is None else "arrays"
                raise InputError(f"`{knob}` needs a folder of pictures as `data`", received)
    recorded = BoxPreparation(**run.preparation) if run.preparation else None
    inputs = InputSize(image_size=image_size, channels=channels, recorded=recorded)

    def scenes_of(digits: Source) -> Source:
        return _of_scenes(digits, inputs, scenes, most, overlap)

    def of_arrays(source: Source) -> Source:
        return _of_arrays(source, inputs, _given(classes) or source.class_names)

    def read_path(path: Path) -> Source:
        names = recorded.names if recorded is not None else _given(classes)
        return _of_files(run, path, annotations, names, format, unannotated, inputs)

    return sources.load(
        run,
        tfds_name=MNIST,
        from_tfds=lambda builder, name: scenes_of(_digits_of(builder, name)),
        embedded=lambda: scenes_of(embedded_digits()),
        from_path=read_path,
        from_arrays=of_arrays,
    )


def _given(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of classes that the user gives, or the lines of the file that has them."""
    names = [name.strip() for name in classes]
    # Not with methods of Path, which raise for long names.
    if len(names) == 1 and os.path.isfile(names[0]):  # noqa: PTH113
        lines = map(str.strip, read_text(Path(names[0])).splitlines())
        names = [line for line in lines if line]
    return with_unique_names(names, "`classes`") if classes else ()


def _digits_of(builder: Any, name: str) -> Source:
    """MNIST's digits, from a prepared `tfds.core.DatasetBuilder`."""
    splits: dict[str, Any] = {}
    for split in ("train", "test"):
        everything = builder.as_dataset(split=split, batch_size=-1)
        splits[split] = Examples(
            everything["image"].numpy(), everything["label"].numpy().astype(np.int32)
        )
    return Source(name=name, class_names=DIGITS, **splits)


def _of_scenes(digits: Source, inputs: InputSize, count: int, most: int, overlap: float) -> Source:
    """Scenes of the digits of the same split, so that the test has other handwriting.

    Those to train on are drawn when they are needed, the others at once.
    """
    size = STRIDE * math.ceil((inputs.image_size or SCENE_SIZE) / STRIDE)
    preparation = inputs.preparation([(size, size)], [np.zeros((size, size, 3), np.uint8)], DIGITS)
    splits: dict[str, Any] = {}
    for seed, (split, part) in enumerate(digits.split(**SHARES).items()):
        ink, labels = part.in_memory()
        make = functools.partial(
            _drawn,
            digits=ink[..., 0],
            labels=labels,
            size=size,
            most=most,
            overlap=overlap,
            seed=seed,
            preparation=preparation,
        )
        number = count if split == "train" else min(max(1, count // HELD_OUT), MOST_HELD_OUT)
        made = GeneratedExamples(
            numbers=np.arange(number),
            make=make,
            made_of=[ink, labels, size, most, overlap, seed, *dataclasses.astuple(preparation)],
        )
        splits[split] = made if split == "train" else made.in_memory()
    return Source(
        name=f"{digits.name}, scenes",
        class_names=DIGITS,
        comparable=False,
        preparation=preparation,
        **splits,
    )


def _drawn(
    numbers: np.ndarray, *, preparation: BoxPreparation, most: int, **settings: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The scenes of these numbers: inputs, and targets as in `as_targets`, prepared."""
    pictures, truths = draw_scenes(numbers=numbers, most=most, **settings)
    sizes = np.full((len(pictures), 2), pictures.shape[1:3], np.int32)
    targets = _in_input(as_targets(truths, most), sizes, preparation)
    with tf.device("CPU"):
        prepare = prepare_in_graph(preparation)
        return np.stack([prepare(picture).numpy() for picture in pictures]), targets


def _of_pictures(
    source: Source,
    pictures: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    preparation: BoxPreparation,
) -> Source:
    """A source of pictures `(n, height, width, channels)`, and targets in their pixels, prepared.

    Args:
        source: Their name and classes; its examples are replaced.
        pictures: The pictures by split.
        targets: As in `as_targets`, by split.
        preparation: Of pictures and boxes.
    """
    splits: dict[str, Any] = {}
    for split, array in pictures.items():
        sizes = np.full((len(array), 2), array.shape[1:3], np.int32)
        splits[split] = Examples(
            prepared_array(array, preparation), _in_input(targets[split], sizes, preparation)
        )
    return dataclasses.replace(source, preparation=preparation, **splits)


def _in_input(targets: np.ndarray, sizes: np.ndarray, preparation: BoxPreparation) -> np.ndarray:
    """Converts targets from the pixels of pictures of these sizes to those of the inputs."""
    changed = targets.copy()
    changed[..., :4] = preparation.to_input(targets[..., :4], sizes).numpy()
    return changed


def _of_arrays(source: Source, inputs: InputSize, class_names: Sequence[str]) -> Source:
    """Checks and prepares pictures and targets in arrays; a prepared source stays as it is."""
    if source.preparation is not None:
        return source
    parts = source.splits()
    pictures = picture_arrays({split: part.inputs for split, part in parts.items()}, source.name)
    names = with_unique_names(class_names, source.name)
    most = 1
    targets: dict[str, np.ndarray] = {}
    for split, part in parts.items():
        array = np.asarray(part.targets)
        if array.ndim != 3 or array.shape[::2] != (len(pictures[split]), 6):
            raise InputError(
                f"targets in {source.name} must have the shape ({len(pictures[split])}, boxes, 6)",
                f"{array.shape} in {split}",
            )
        targets[split] = array.astype(np.float32)
        _refuse_wrong(targets[split], pictures[split].shape[1:3], len(names), source.name)
        most = max(most, array.shape[1])
    if not (targets["train"][..., 4] >= 0).any():
        raise InputError("pictures to train on must have boxes", f"none in {source.name}")
    padded = {split: as_targets([as_truths(t) for t in targets[split]], most) for split in targets}
    height, width = pictures["train"].shape[1:3]
    sample = pictures["train"][sample_rows(len(pictures["train"]))]
    preparation = inputs.preparation([(height, width)], list(sample), names)
    return _of_pictures(
        dataclasses.replace(source, class_names=names), pictures, padded, preparation
    )


def _refuse_wrong(targets: np.ndarray, size: tuple[int, ...], num_classes: int, name: str) -> None:
    """Refuses boxes in arrays that are not in their picture, or of no class."""
    rows = np.concatenate([target[~(target[:, 4] < 0)] for target in targets])  # without padding
    x1, y1, x2, y2, label = rows[:, :5].T
    is_right = (
        np.isfinite(rows).all(axis=1)
        & (x1 >= 0)
        & (y1 >= 0)
        & (x2 > x1)
        & (y2 > y1)
        & (x2 <= size[1])
        & (y2 <= size[0])
        & (label < num_classes)
        & (label % 1 == 0)
    )
    if not is_right.all():
        raise InputError(
            f"targets in {name} must be corners x1 y1 x2 y2 inside of pictures of "
            f"{size[1]} x {size[0]} pixels, and a whole number below {num_classes}",
            rows[~is_right][0].tolist(),
        )


def _of_files(
    run: "Run",
    path: Path,
    annotations: Path | None,
    names: Sequence[str],
    format: Format,  # noqa: A002
    unannotated: Unannotated,
    inputs: InputSize,
) -> Source:
    """Reads, checks and prepares the pictures of a folder."""
    named, entries = read_annotations(path, annotations, format, names)
    names = names or named or occurring_names(entries["train"])
    labelled = {
        split: check(members, names, unannotated, run.skip_broken)
        for split, members in entries.items()
    }
    for split, members in labelled.items():
        if not members:
            raise InputError(
                "there must be pictures that can be read", f"none in {split} of {path}"
            )
    train = labelled["train"]
    if not any(len(member.truths.labels) for member in train):
        raise InputError("pictures to train on must have boxes", f"none in {path}")
    sample = [read(train[row].picture).pixels for row in sample_rows(len(train))]
    preparation = inputs.preparation([member.size for member in train], sample, names)
    everything = list(itertools.chain.from_iterable(labelled.values()))
    most = max(len(member.truths.labels) for member in everything)
    size = len(everything) * math.prod(preparation.shape)
    stays = stays_on_disk(run.in_memory, size)
    splits: dict[str, Any] = {}
    for split, members in labelled.items():
        targets = as_targets([member.truths for member in members], most)
        targets = _in_input(targets, np.array([m.size for m in members], np.int32), preparation)
        files = [member.picture for member in members]
        if stays:
            splits[split] = on_disk(files, preparation, targets)
        else:
            pictures = (read(file).pixels for file in files)
            splits[split] = Examples(prepare_all(pictures, preparation), targets)
    return Source(
        name=str(path),
        class_names=tuple(names),
        preparation=preparation,
        notes=_box_counts(labelled, names),
        **splits,
    )


def _box_counts(labelled: Mapping[str, Sequence[Labelled]], names: Sequence[str]) -> dict[str, Any]:
    """The number of boxes of every class in all splits together, for the report."""
    labels = np.concatenate(
        [member.truths.labels for members in labelled.values() for member in members]
    )
    counts = np.bincount(labels, minlength=len(names))
    return {"boxes": {name: int(count) for name, count in zip(names, counts, strict=True)}}
