"""Masks: pictures whose pixels are classes, as targets of the pictures that they belong to."""

import collections
import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from suite.data.examples import Examples, Source
from suite.data.folders import composed, files_in
from suite.data.images.arrays import picture_arrays, prepared_array
from suite.data.images.files import opened, prepare_in_graph, read_opaque, upright_size
from suite.data.images.layouts import InputOptions, sample_rows
from suite.data.images.preparation import Preparation
from suite.data.pairs.polygons import BACKGROUND, IGNORED, Outlines, rasterised, read_outlines
from suite.data.pairs.shapes import CLASS_NAMES, draw_shapes
from suite.data.pairs.sources import (
    EMBEDDED_COUNT,
    EMBEDDED_SIZE,
    Pair,
    Pairs,
    check_size,
    find_pairs,
    in_parallel,
    load_pairs_of_any_kind,
)
from suite.data.text.files import read_text
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

VOID = 255  # the class of pixels that neither a loss nor a metric counts
COLOUR = 2**24  # what is added to the number of a colour, so that it differs from all grey values
MOST_CLASSES = 200
CLASSES_FILE = "classes.txt"
# `255:cell`, `#ff0000: road` or `7 car`.
VALUE_AND_NAME = re.compile(r"(?:(\d{1,5})|#([0-9a-fA-F]{6}))(?:\s*:\s*|\s+)(\S.*)")
# A value of JPEG masks is that of a class if at least this share of all pixels has it, and it
# differs by more than this from those of more frequent classes.
RAREST, NEAREST = 0.01, 24
OUTLINES_ENDING = ".json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskPreparation(Preparation):
    """Converts a picture's bytes to a model's input, and its mask to the classes of its pixels.

    Args:
        values: The value of every class in a mask, in the order of the classes: a grey value or an
            index, or for a colour `2**24 + 65536 * red + 256 * green + blue`.
        names: The names of the classes.
        resized: Whether the pictures of the training had other sizes, so that a model expects
            pictures at the scale of the preparation, and not at that of their files.
    """

    values: Sequence[int] = ()
    names: Sequence[str] = ()
    resized: bool = False

    def __post_init__(self) -> None:
        # As tuples, also when they come from JSON, so that preparations can be hashed.
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "names", tuple(self.names))

    def prepare_mask(self, classes: tf.Tensor) -> tf.Tensor:
        """Crops and resizes a mask as `prepare` crops and resizes its picture, without mixing.

        Args:
            classes: Classes, or `VOID`, `(any height, any width)`, uint8.

        Returns:
            `(height, width)`, uint8.
        """
        cropped = self.cropped(classes)[..., None]
        resized = tf.image.resize(cropped, (self.height, self.width), method="nearest")
        return tf.ensure_shape(resized[..., 0], (self.height, self.width))


class Classes(NamedTuple):
    """The classes of masks, in order.

    Args:
        values: Values in the masks, as in `MaskPreparation`.
        names: Names of the classes.
    """

    values: Sequence[int]
    names: Sequence[str]


def load_masks(
    run: "Run",
    masks: Path | None = None,
    classes: Sequence[str] = (),
    *,
    train_list: Path | None = None,
    test_list: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> Source:
    """Loads pictures and their masks; by default shapes, as `suite.data.pairs.shapes` draws them.

    Args:
        run: The run, for its `data`, `arrays` and `preparation`. `data` is a folder of pictures
            whose `masks` have the same names in another; a folder of two such folders, such as
            images and masks; or a folder of pictures beside LabelMe's `.json` files or one `.json`
            file of COCO. Any of them may have `train`, `validation` and `test` inside, or lists of
            names beside the folders, such as `trainval.txt` and `test.txt`.
        masks: Folder of the masks, or COCO's file.
        classes: Names of the classes in the order of the values in the masks, or `value:name`, as
            in `255:cell` or `#ff0000:road`; or the path of a file with one such line for each. By
            default the `classes.txt` in `data`, or else all values of the training masks; 255 is
            `VOID` then, if the others are 0, 1 and so on. Where outlines are given, the first class
            is what no outline encloses: it may be left out, and is called background then.
        train_list: File with the names of the pictures to train on, one a line.
        test_list: File with the names of the pictures to test on.
        image_size: Height and width in pixels; by default those of the pictures, if all have one
            size, else at most 64. Other pictures are cropped about their centre and resized.
        channels: 1 or 3; by default 3 if the pictures are in colour.

    Returns:
        A source with inputs `(n, height, width, channels)`, uint8, targets `(n, height, width)`,
        uint8: classes or `VOID`, the names of the classes, and a `MaskPreparation`.

    Raises:
        InputError: A file is missing, is no picture, has no partner or one of another size, is
            transparent, or has values of no class; or there is one class only.
    """
    recorded = MaskPreparation(**run.preparation) if run.preparation else None
    options = InputOptions("photo", image_size, channels, recorded)
    lists = {"train_list": train_list, "test_list": test_list}

    def read_path(path: Path) -> Source:
        named = _values_and_names(classes, path)
        has_outlines = masks is not None and masks.suffix.lower() == OUTLINES_ENDING
        annotations = masks if has_outlines else None
        if annotations is not None:
            pairs = find_pairs(
                path, None, "masks", lists, lambda _, pictures: dict.fromkeys(pictures, annotations)
            )
        else:
            pairs = find_pairs(path, masks, "masks", lists, _outlines_beside)
        known = Classes(recorded.values, recorded.names) if recorded else None
        if pairs["train"][0].target.suffix.lower() == OUTLINES_ENDING:
            decided, classes_of = _of_outlines(pairs, named, known)
        else:
            decided, classes_of = _of_pictures(pairs, named, known)
        return _of_files(str(path), pairs, options, decided, classes_of)

    def embedded() -> Source:
        shapes = draw_shapes(EMBEDDED_COUNT, image_size or EMBEDDED_SIZE, seed=0)
        source = Source(
            name="embedded:shapes",
            train=Examples(*shapes),
            class_names=CLASS_NAMES,
            comparable=False,
        )
        return _of_arrays(source, options)

    return load_pairs_of_any_kind(
        run,
        {"masks": masks, "classes": classes or None, **lists},
        embedded,
        read_path,
        functools.partial(_of_arrays, options=options),
    )


def _of_files(
    name: str,
    pairs: Pairs,
    options: InputOptions,
    classes: Classes,
    classes_of: Callable[[Pair], np.ndarray],
) -> Source:
    """Reads and prepares pictures and masks.

    Args:
        name: The name of the source.
        pairs: The files.
        options: The size and channels of the model's inputs.
        classes: The classes.
        classes_of: Reads the mask of a pair, `(height, width)`, uint8: classes or `VOID`.
    """
    train = pairs["train"]
    sample = [read_opaque(train[row].picture) for row in sample_rows(len(train))]
    preparation = _preparation(options, sample, classes)
    # Traced here, and not by every thread again.
    prepare = prepare_in_graph(preparation)
    signature = [tf.TensorSpec((None, None), tf.uint8)]
    prepare_mask = tf.function(preparation.prepare_mask, input_signature=signature, autograph=False)

    def prepared(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        picture, mask = read_opaque(pair.picture), classes_of(pair)
        check_size(pair, picture.shape[:2], mask.shape)
        with tf.device("CPU"):
            return prepare(picture).numpy(), prepare_mask(mask).numpy()

    splits: dict[str, Any] = {
        split: Examples(*map(np.stack, zip(*in_parallel(prepared, members), strict=True)))
        for split, members in pairs.items()
    }
    if options.recorded_preparation is None:
        _refuse_one_class(_counts(splits["train"].targets), classes, name)
    return Source(name=name, preparation=preparation, class_names=tuple(classes.names), **splits)


def _of_arrays(source: Source, options: InputOptions) -> Source:
    """Checks and prepares masks in arrays; a source with a preparation is returned as it is."""
    if source.preparation is not None:
        return source
    parts = source.splits()
    inputs = picture_arrays({split: part.inputs for split, part in parts.items()}, source.name)
    masks = {split: np.asarray(part.targets) for split, part in parts.items()}
    for split, mask in masks.items():
        if mask.ndim == 4 and mask.shape[-1] == 1:
            masks[split] = mask = mask[..., 0]
        if mask.dtype == bool:
            masks[split] = mask = mask.astype(np.uint8)
        if mask.shape != inputs[split].shape[:3] or mask.dtype.kind not in "iu":
            raise InputError(
                f"targets in {source.name} must be masks {inputs[split].shape[:3]} of integers",
                f"shape {mask.shape} of {mask.dtype} in {split}",
            )
    recorded = options.recorded_preparation
    if isinstance(recorded, MaskPreparation):
        classes = Classes(recorded.values, recorded.names)
    else:
        named = [(None, name) for name in source.class_names]
        classes = _decide_classes(_counts(masks["train"]), named, source.name)
    table = _table(classes)
    for split, mask in masks.items():
        _refuse_unknown(_counts(mask), table, f"{split} of {source.name}")
    sample = inputs["train"][sample_rows(len(inputs["train"]))]
    preparation = _preparation(options, list(sample), classes)
    complete: dict[str, Any] = {
        split: Examples(
            prepared_array(inputs[split], preparation),
            _prepared(_to_classes(masks[split], table), preparation),
        )
        for split in parts
    }
    return dataclasses.replace(
        source, class_names=tuple(classes.names), preparation=preparation, **complete
    )


def _prepared(masks: np.ndarray, preparation: MaskPreparation) -> np.ndarray:
    """Crops and resizes masks `(n, height, width)`, uint8."""
    if masks.shape[1:] == preparation.shape[:2]:
        return masks
    return np.stack([preparation.prepare_mask(mask).numpy() for mask in masks])


def _preparation(
    options: InputOptions, sample: Sequence[np.ndarray], classes: Classes
) -> MaskPreparation:
    if isinstance(options.recorded_preparation, MaskPreparation):
        return options.recorded_preparation
    preparation = options.preparation(sample, keep_size=True)
    resized = any(picture.shape[:2] != preparation.shape[:2] for picture in sample)
    return MaskPreparation(**dataclasses.asdict(preparation), **classes._asdict(), resized=resized)


def _values_and_names(classes: Sequence[str], folder: Path) -> list[tuple[int | None, str]]:
    """The value of every class, or None for all, and its name; empty if no names are given.

    Args:
        classes: As `load_masks` takes them.
        folder: The folder of `data`, which may have a `classes.txt`.
    """
    lines = list(classes)
    if not lines and (folder / CLASSES_FILE).is_file():
        lines = [str(folder / CLASSES_FILE)]
    if len(lines) == 1 and Path(lines[0]).is_file():
        lines = [line.strip() for line in read_text(Path(lines[0])).splitlines() if line.strip()]
    named: list[tuple[int | None, str]] = []
    for line in lines:
        match = VALUE_AND_NAME.fullmatch(line.strip())
        if match is None:
            named.append((None, line.strip()))
        else:
            grey, colour, name = match.groups()
            named.append((int(grey) if grey else _code(*bytes.fromhex(colour)), name))
    values = [value for value, _ in named]
    names = [name for _, name in named]
    if None in values and set(values) != {None}:
        raise InputError("`classes` must all have a value before their name, or none", lines[0])
    for items in (names, [value for value in values if value is not None]):
        if len(set(items)) < len(items):
            raise InputError("`classes` must differ in their values and names", ", ".join(lines))
    return named


def _of_pictures(
    pairs: Pairs, named: Sequence[tuple[int | None, str]], known: Classes | None
) -> tuple[Classes, Callable[[Pair], np.ndarray]]:
    """The classes of masks in picture files, and a function that reads a mask's classes.

    Args:
        pairs: The files.
        named: Values and names of classes, as `_values_and_names` returns them.
        known: The classes of an exported model, which are then kept; else None.
    """
    jpegs: set[Path] = set()
    palettes: dict[Path, Mapping[int, tuple[int, ...]] | None] = {}

    def counts_of(pair: Pair) -> dict[int, int]:
        values, is_jpeg, palettes[pair.target] = read_values(pair.target)
        if is_jpeg:
            jpegs.add(pair.target)
        return _counts(values)

    counts = {split: in_parallel(counts_of, members) for split, members in pairs.items()}
    _refuse_other_palettes(dict(sorted(palettes.items())))
    exact, blurred, blurred_in_training = (collections.Counter[int]() for _ in range(3))
    for split, members in pairs.items():
        for pair, mask in zip(members, counts[split], strict=True):
            if pair.target in jpegs:
                blurred.update(mask)
            if split == "train":
                (blurred_in_training if pair.target in jpegs else exact).update(mask)
    if known is None:
        place = f"the masks in {pairs['train'][0].target.parent}"
        given = [value for value, _ in named if value is not None]
        sharp = _sharpened(blurred_in_training, given or _sharp(blurred_in_training, exact))
        known = _decide_classes(exact + sharp, named, place)
    table, nearest = _table(known), _nearest(_table(known), blurred)
    if jpegs:
        exactly = sum(blurred[value] for value in table) / blurred.total()
        log.warning(
            "%d of %d masks are JPEG, which leaves values between those of the classes: %.1f%% of "
            "their pixels have another value than %s, and take the nearest one. PNG keeps the "
            "values; `classes` can name them, as in 255:cell.",
            len(jpegs),
            len(palettes),
            100 * (1 - exactly),
            _in_words(known.values),
        )
    for split, members in pairs.items():
        for pair, mask in zip(members, counts[split], strict=True):
            if pair.target not in jpegs:
                _refuse_unknown(mask, table, str(pair.target))

    def classes_of(pair: Pair) -> np.ndarray:
        values = read_values(pair.target).values
        return _to_classes(values, nearest if pair.target in jpegs else table)

    return known, classes_of


def _refuse_other_palettes(
    palettes: Mapping[Path, Mapping[int, tuple[int, ...]] | None],
) -> None:
    """Refuses masks in which an index stands for different colours.

    Args:
        palettes: As in `Values`, by file.

    Raises:
        InputError: Two palettes contradict each other, or some masks have none.
    """
    seen: dict[int, tuple[tuple[int, ...], Path]] = {}
    without = next((file for file, palette in palettes.items() if palette is None), None)
    for file, palette in palettes.items():
        for index, colour in (palette or {}).items():
            if without and colour != (index,) * 3:
                raise InputError(
                    "masks must all have a palette, or none", f"{file} has one, {without} has not"
                )
            known, where = seen.setdefault(index, (colour, file))
            if known != colour:
                raise InputError(
                    "the palettes of masks must have one colour for an index",
                    f"for {index} {_in_text(_code(*known))} in {where}, "
                    f"{_in_text(_code(*colour))} in {file}",
                )


def _of_outlines(
    pairs: Pairs, named: Sequence[tuple[int | None, str]], known: Classes | None
) -> tuple[Classes, Callable[[Pair], np.ndarray]]:
    """The same as `_of_pictures` for outlines in `.json` files."""
    files = {pair.target for members in pairs.values() for pair in members}
    outlines = {
        file: {composed(stem): outline for stem, outline in read_outlines(file).items()}
        for file in sorted(files)
    }

    outside = (BACKGROUND, "background")  # labels of what no other outline encloses

    def of(pair: Pair) -> Outlines:
        try:
            return outlines[pair.target][composed(pair.picture.stem)]
        except KeyError:
            raise InputError(
                f"{pair.target} must name every picture", f"{pair.picture}, without an entry"
            ) from None

    def labels(pair: Pair) -> set[str]:
        return {outline.label for outline in of(pair).outlines} - {IGNORED, *outside}

    if known is None:
        occurring = sorted(set().union(*map(labels, pairs["train"])))
        if not occurring:
            raise InputError("pictures to train on must have outlines", "none")
        names = [name for _, name in named] or occurring
        if outside[1] in names[1:]:
            raise InputError(f"`classes` must have {outside[1]} first", " ".join(names))
        if names[0] in occurring:
            names = [outside[1], *names]
        known = Classes(range(len(names)), names)
    index = {name: value for value, name in enumerate(known.names)}
    for members in pairs.values():
        for pair in members:
            if unknown := sorted(labels(pair) - index.keys()):
                raise InputError(
                    f"labels of outlines must be among the classes {', '.join(known.names)}",
                    f"{unknown[0]} in {pair.target}",
                )
    index |= {IGNORED: VOID, **dict.fromkeys(outside, 0)}

    def classes_of(pair: Pair) -> np.ndarray:
        outlines = of(pair)
        # Before a mask of that size is made.
        check_size(pair, upright_size(pair.picture), (outlines.height, outlines.width))
        return rasterised(outlines, index)

    return known, classes_of


def _outlines_beside(folder: Path, pictures: Mapping[str, Path]) -> Mapping[str, Path]:
    """The `.json` files beside pictures: one for each by LabelMe, or one for all by COCO."""
    files = {
        composed(file.relative_to(folder).with_suffix("").as_posix()): file
        for file in files_in(folder)
        if file.suffix.lower() == OUTLINES_ENDING
    }
    if not files:
        raise InputError(
            "`data` must hold a folder of pictures and one of masks, or .json files of LabelMe or "
            "COCO beside the pictures; or `masks` must name the masks",
            folder,
        )
    if len(files) == 1 and not files.keys() & pictures.keys():
        return dict.fromkeys(pictures, *files.values())
    return files


class Values(NamedTuple):
    """The values of a mask as they stand in its file.

    Args:
        values: `(height, width)`, integers: grey values, indices of a palette, or colours as in
            `MaskPreparation`.
        is_jpeg: Whether the file is a JPEG.
        palette: The colours `(red, green, blue)` of the indices that occur; None if the file has no
            palette.
    """

    values: np.ndarray
    is_jpeg: bool
    palette: Mapping[int, tuple[int, ...]] | None = None


def read_values(path: Path) -> Values:
    """Reads the values of a mask.

    Raises:
        InputError: The file is no picture, or has transparent parts.
    """
    with opened(path) as image:
        is_jpeg = image.format in ("JPEG", "MPO")
        if image.has_transparency_data:
            pixels = np.asarray(image.convert("RGBA"))
            if pixels[..., 3].min() < 255:
                raise InputError("a mask must be opaque", f"{path}, with transparent parts")
        if image.mode == "P":
            values = np.asarray(image)
            colours = np.reshape(image.getpalette("RGB") or [], (-1, 3))
            used = {value: tuple(colours[value].tolist()) for value in np.unique(values).tolist()}
            return Values(values, is_jpeg, used)
        if image.mode in ("1", "L", "LA"):
            return Values(np.asarray(image.convert("L")), is_jpeg)
        if image.mode.startswith(("I", "F")):
            return Values(np.rint(np.asarray(image)).astype(np.int64), is_jpeg)
        colours = np.asarray(image.convert("RGB")).astype(np.int64)
    red, green, blue = np.moveaxis(colours, -1, 0)
    grey = (red == green) & (green == blue)
    return Values(np.where(grey, red, COLOUR + 65536 * red + 256 * green + blue), is_jpeg)


def _decide_classes(
    counts: Mapping[int, int], named: Sequence[tuple[int | None, str]], place: str
) -> Classes:
    """Decides the classes by the values of training masks, and by the names that are given.

    Args:
        counts: Pixels of every value.
        named: Values and names of classes, as `_values_and_names` returns them.
        place: Where the masks are, in words, for errors.

    Raises:
        InputError: There are more values than names, too many values, or one class only.
    """
    occurring = sorted(counts)
    others = [value for value in occurring if value != VOID]
    values: Sequence[int]
    if named and named[0][0] is not None:
        values = [value for value, _ in named if value is not None]
    elif named and len(occurring) == len(named):
        values = occurring
    elif named and max(others, default=0) < len(named):
        values = range(len(named))
    elif named:
        raise InputError(
            f"`classes` must name as many classes as {place} have values, or give each its value",
            f"{len(named)} names, and the values {_in_words(occurring)}",
        )
    else:
        values = others if len(others) > 1 and others == [*range(len(others))] else occurring
    names = [name for _, name in named] or list(map(_in_text, values))
    if len(values) > MOST_CLASSES:
        raise InputError(
            f"masks must have at most {MOST_CLASSES} values", f"{len(values)} in {place}"
        )
    decided = Classes(values, names)
    table = _table(decided)
    _refuse_one_class([table[value] for value in counts if value in table], decided, place)
    if not named:
        log.info("The classes are the values of the masks: %s.", _in_words(values))
    return decided


def _refuse_one_class(labels: Iterable[int], classes: Classes, place: str) -> None:
    """Refuses training masks that show fewer than two classes.

    Args:
        labels: The classes that occur, and maybe `VOID`.
        classes: All classes.
        place: Where the masks are, in words, for the error.
    """
    present = [classes.names[label] for label in sorted({*labels} - {VOID})]
    if len(present) < 2:
        raise InputError(
            "masks to train on must show two classes or more",
            f"{present[0] if present else 'none'} alone in {place}",
        )


def _table(classes: Classes) -> dict[int, int]:
    """The class of every value of a mask; the value `VOID` stays `VOID` unless a class has it."""
    table = {value: label for label, value in enumerate(classes.values)}
    table.setdefault(VOID, VOID)
    return table


def _nearest(table: Mapping[int, int], values: Iterable[int]) -> dict[int, int]:
    """For every value of JPEG masks, what the table has for the nearest one of its values."""
    return {value: table[min(table, key=lambda other: _distance(value, other))] for value in values}


def _refuse_unknown(counts: Mapping[int, int], table: Mapping[int, int], place: str) -> None:
    """Refuses values of no class.

    Args:
        counts: Pixels of every value of masks.
        table: The class of every allowed value, or `VOID`.
        place: Where the masks are, in words, for the error.
    """
    if unknown := sorted(counts.keys() - table.keys()):
        known = sorted(value for value, label in table.items() if label != VOID)
        raise InputError(
            f"masks must have the values of the classes, {_in_words(known)}",
            f"{_in_text(unknown[0])} in {place}",
        )


def _to_classes(values: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """The classes of values that are all in the table, uint8."""
    keys = np.array(sorted(table))
    labels = np.array([table[key] for key in keys.tolist()], np.uint8)
    return labels[np.searchsorted(keys, values)]


def _counts(values: np.ndarray) -> dict[int, int]:
    """The number of pixels of every value."""
    if values.dtype == np.uint8:  # much faster than to sort them
        counts = np.bincount(values.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    unique, numbers = np.unique(values, return_counts=True)
    return dict(zip(unique.tolist(), numbers.tolist(), strict=True))


def _sharp(counts: Mapping[int, int], exact: Iterable[int]) -> list[int]:
    """The values in JPEG masks that are those of classes, without the values between them.

    Args:
        counts: Pixels of every value of JPEG masks.
        exact: The values of the other masks, which are returned first.
    """
    total, sharp = sum(counts.values()), list(exact)
    for value, count in sorted(counts.items(), key=lambda item: -item[1]):
        if count >= RAREST * total and all(_distance(value, other) > NEAREST for other in sharp):
            sharp.append(value)
    return sharp


def _sharpened(counts: Mapping[int, int], values: Sequence[int]) -> collections.Counter[int]:
    """The pixels of JPEG masks, those of every value counted for the nearest one of `values`."""
    identity = {value: value for value in values}
    sharpened: collections.Counter[int] = collections.Counter()
    for value, nearest in _nearest(identity, counts).items():
        sharpened[nearest] += counts[value]
    return sharpened


def _distance(value: int, other: int) -> int:
    """The largest difference between two values in a channel."""
    return max(abs(a - b) for a, b in zip(_channels(value), _channels(other), strict=True))


def _channels(value: int) -> tuple[int, ...]:
    """The red, green and blue of a value."""
    return (value,) * 3 if value < COLOUR else tuple((value - COLOUR).to_bytes(3, "big"))


def _code(red: int, green: int, blue: int) -> int:
    """The value of a colour, as in `MaskPreparation`."""
    return red if red == green == blue else COLOUR + 65536 * red + 256 * green + blue


def _in_text(value: int) -> str:
    """A value as `classes` takes it."""
    return str(value) if value < COLOUR else f"#{value - COLOUR:06x}"


def _in_words(values: Sequence[int]) -> str:
    first = ", ".join(map(_in_text, values[:10]))
    return f"{first} and {len(values) - 10} more" if len(values) > 10 else first
