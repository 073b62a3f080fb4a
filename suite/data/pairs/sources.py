"""Pairs of pictures: a picture as input, and another of the same place as target."""

import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from suite.data import sources
from suite.data.examples import SPLITS, Examples, Source
from suite.data.folders import composed, files_in, folders_in, split_folders
from suite.data.images.arrays import picture_arrays, prepared_array
from suite.data.images.files import ENDINGS, is_picture, prepare_in_graph, read_opaque
from suite.data.images.layouts import InputOptions, sample_rows
from suite.data.images.preparation import Preparation
from suite.data.pairs.shapes import CLASS_COLOURS, SURFACE_COLOURS, draw_shapes
from suite.data.text.files import read_text
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)
Result = TypeVar("Result")

# Usual names of the folders of both sides.
INPUT_FOLDERS = ("images", "image", "imgs", "pictures", "photos", "inputs", "input")
TARGET_FOLDERS = ("masks", "mask", "labels", "label", "trimaps", "annotations", "targets", "target")
# What the name of a target may have more than that of its picture.
TARGET_ENDING = re.compile("[_-](mask|masks|label|labels|seg|gt|target|trimap)$", re.IGNORECASE)
# Usual names of lists of pictures; the first that exists is read.
LISTS = {
    "train": ("train.txt", "trainval.txt"),
    "validation": ("val.txt", "validation.txt"),
    "test": ("test.txt",),
}
EMBEDDED_COUNT, EMBEDDED_SIZE = 400, 64  # pictures of shapes, and their size
NARROWEST_DOUBLE = 1.5  # least width by height of a double picture
PHOTOS = (3 / 2, 16 / 9)  # width by height of many photos
QUOTED = 60  # characters of a line that an error repeats


@dataclasses.dataclass(frozen=True, kw_only=True)
class PicturePairPreparation(Preparation):
    """Converts a picture's bytes to a model's input, and those of its target to a target.

    Args:
        target_channels: Channels of the targets, which have the size of the inputs.
        resized: Whether the pictures of the training had other sizes, so that a model expects
            pictures at the scale of the preparation, and not at that of their files.
    """

    target_channels: int = 3
    resized: bool = False

    @property
    def target(self) -> Preparation:
        """The preparation of targets."""
        return Preparation(
            layout=self.layout, height=self.height, width=self.width, channels=self.target_channels
        )


class Pair(NamedTuple):
    """The files of a picture and of its target; the same for a double picture."""

    picture: Path
    target: Path


# Pairs by the name of their split.
Pairs = Mapping[str, Sequence[Pair]]


def load_picture_pairs(
    run: "Run",
    targets: Path | None = None,
    *,
    swap: bool = False,
    train_list: Path | None = None,
    test_list: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> Source:
    """Loads pairs of pictures; by default flat drawings of shapes, and pictures of the same shapes.

    Args:
        run: The run, for its `data`, `arrays` and `preparation`. `data` is a folder of pictures
            whose `targets` have the same names in another; a folder of two such folders; or a
            folder of double pictures, the input in their left half. Any of them may have `train`,
            `validation` and `test` inside, or lists of names beside the folders, such as
            `train.txt` and `test.txt`.
        targets: Folder of the pictures that are the targets of those of `data`.
        swap: Whether the second of a pair is the input, and the first the target.
        train_list: File with the names of the pictures to train on, one a line.
        test_list: File with the names of the pictures to test on.
        image_size: Height and width in pixels; by default those of the pictures, if all have one
            size, else at most 64. Other pictures are cropped about their centre and resized.
        channels: 1 or 3 for inputs and targets alike; by default 3 for those in colour.

    Returns:
        A source with inputs and targets `(n, height, width, channels)`, uint8, and a
        `PicturePairPreparation`.

    Raises:
        InputError: A file is missing, is no picture, has no partner or one of another size, is
            transparent, or is no double picture.
    """
    recorded = PicturePairPreparation(**run.preparation) if run.preparation else None
    options = InputOptions("photo", image_size, channels, recorded)
    lists = {"train_list": train_list, "test_list": test_list}

    def read_path(path: Path) -> Source:
        # Without a folder of targets every picture is double, and its own target.
        pairs = find_pairs(path, targets, "targets", lists, lambda folder, pictures: pictures)
        return _of_files(str(path), pairs, options, swap)

    def embedded() -> Source:
        shapes = draw_shapes(EMBEDDED_COUNT, image_size or EMBEDDED_SIZE, 0, SURFACE_COLOURS)
        sides = (CLASS_COLOURS[shapes.masks], shapes.pictures)
        source = Source(name="embedded:shapes", train=Examples(*sides), comparable=False)
        return _of_arrays(source, options, swap)

    return load_pairs_of_any_kind(
        run,
        {"targets": targets, **lists},
        embedded,
        read_path,
        functools.partial(_of_arrays, options=options, swap=swap),
    )


def load_pairs_of_any_kind(
    run: "Run",
    folder_knobs: Mapping[str, object],
    embedded: Callable[[], Source],
    from_path: Callable[[Path], Source],
    from_arrays: Callable[[Source], Source],
) -> Source:
    """Loads pairs that are made by code, read from files, or given as arrays.

    Args:
        run: The run, for its `data` and `arrays`.
        folder_knobs: The values of the knobs that need a folder in `data`; None for one that is not
            given.
        embedded: Makes pairs by code.
        from_path: Reads the pairs of a folder.
        from_arrays: Prepares pairs given in Python.

    Raises:
        InputError: The pairs cannot be found or read.
    """
    if run.min_per_class > 1:
        raise InputError("`min_per_class` must be 1 where targets are pictures", run.min_per_class)
    if run.skip_broken:
        raise InputError("`skip_broken` must be left out where targets are pictures")
    if run.data == "tfds":
        raise InputError("`data` must be auto, embedded or the path of a folder", run.data)
    if run.data in ("auto", *sources.BUILT_IN):
        for knob, value in folder_knobs.items():
            if value is not None:
                raise InputError(f"`{knob}` needs a folder of pictures as `data`", run.data)
        if run.data in ("auto", "synthetic"):
            run = dataclasses.replace(run, data="embedded")
    return sources.load(run, embedded=embedded, from_path=from_path, from_arrays=from_arrays)


def find_pairs(
    path: Path,
    targets: Path | None,
    knob: str,
    lists: Mapping[str, Path | None],
    targets_of: Callable[[Path, Mapping[str, Path]], Mapping[str, Path]],
) -> Pairs:
    """Finds the files that belong together by their names, and the split of each pair.

    Args:
        path: The folder that `data` names.
        targets: The folder of the targets; None if `path` holds both.
        knob: The knob that names `targets`.
        lists: `train_list` and `test_list`, files of names.
        targets_of: `targets_of(folder, pictures)` returns the targets of pictures that have no
            folder of targets. Both are files by name.

    Raises:
        InputError: A folder, a partner or a listed picture is missing.
    """
    if not path.is_dir():
        raise InputError("`data` must be a folder of pictures", path)
    if targets is not None and not targets.is_dir():
        raise InputError(f"`{knob}` must be a folder", targets)
    places = _places(path, targets)
    files = {name.removesuffix("_list"): file for name, file in lists.items() if file is not None}
    if places.keys() != {"train"} and files:
        raise InputError(
            f"`{next(name for name, file in lists.items() if file)}` needs pictures in one folder, "
            "not in folders of splits",
            path,
        )
    if places.keys() == {"train"}:
        files = lists_in(path) | files
    pairs: dict[str, list[Pair]] = {}
    for split, (folder, partners_folder) in places.items():
        pictures = _by_name(folder)
        if not pictures:
            raise InputError(f"{folder} must hold image files", "none")
        if partners_folder is None:
            partners = targets_of(folder, pictures)
        else:
            partners = _by_name(partners_folder, TARGET_ENDING)
        if not files and (without := sorted(partners.keys() - pictures.keys())):
            raise InputError(
                f"every target must have a picture of its name in {folder}",
                f"{partners[without[0]]}, without one",
            )
        chosen = listed(files, pictures) if files else {split: list(pictures)}
        for part, names in chosen.items():
            for name in names:
                if name not in partners:
                    raise InputError(
                        f"every picture must have a target of its name in "
                        f"{partners_folder or folder}",
                        f"{pictures[name]}, without one",
                    )
            pairs[part] = [Pair(pictures[name], partners[name]) for name in names]
    if not pairs["train"]:
        raise InputError("there must be pictures to train on", f"none, since {path} lists others")
    return {split: pairs[split] for split in SPLITS if pairs.get(split)}


def check_size(pair: Pair, size: tuple[int, ...], target_size: tuple[int, ...]) -> None:
    """Refuses a pair whose sides, `(height, width)`, differ in size.

    Raises:
        InputError: They differ.
    """
    if size != target_size:
        raise InputError(
            f"{pair.target} must have the size of {pair.picture}, {size[0]} x {size[1]}",
            f"{target_size[0]} x {target_size[1]}",
        )


def in_parallel(function: Callable[[Pair], Result], pairs: Sequence[Pair]) -> list[Result]:
    """The results of a function for many pairs, in order, computed in threads."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, pairs))


def _of_files(name: str, pairs: Pairs, options: InputOptions, swap: bool) -> Source:
    train = pairs["train"]
    sample = [_sides(train[row], swap) for row in sample_rows(len(train))]
    if train[0].target == train[0].picture:
        _tell_of_doubles([side.shape[:2] for side, _ in sample], len(train), name, swap)
    preparation = _preparation(options, *zip(*sample, strict=True))
    # Traced here, and not by every thread again.
    prepare = prepare_in_graph(preparation)
    prepare_target = prepare_in_graph(preparation.target)

    def prepared(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        picture, target = _sides(pair, swap)
        with tf.device("CPU"):
            return prepare(picture).numpy(), prepare_target(target).numpy()

    splits: dict[str, Any] = {
        split: Examples(*map(np.stack, zip(*in_parallel(prepared, members), strict=True)))
        for split, members in pairs.items()
    }
    return Source(name=name, preparation=preparation, **splits)


def _tell_of_doubles(sizes: Sequence[tuple[int, ...]], count: int, name: str, swap: bool) -> None:
    """Says which half of double pictures is which, and warns where they look like photos.

    Args:
        sizes: Heights and widths of some halves.
        count: Number of pictures.
        name: The name of the source.
        swap: Whether the right half is the input.
    """
    left, right = ("target", "input") if swap else ("input", "target")
    log.info(
        "%d pictures in %s are doubles: %s in the left half, %s in the right one.",
        count,
        name,
        left,
        right,
    )
    if all(2 * width / height in PHOTOS for height, width in sizes):
        log.warning(
            "The pictures in %s have the shape of photos. If they are no doubles, `targets` must "
            "name the folder of their targets.",
            name,
        )


def _of_arrays(source: Source, options: InputOptions, swap: bool) -> Source:
    """Checks and prepares pairs in arrays; a source with a preparation is returned as it is."""
    if source.preparation is not None:
        return source
    parts = source.splits()
    if missing := [split for split, part in parts.items() if part.targets is None]:
        raise InputError(f"{source.name} must have pictures as targets", f"none in {missing[0]}")
    inputs = picture_arrays({split: part.inputs for split, part in parts.items()}, source.name)
    targets = picture_arrays({split: part.targets for split, part in parts.items()}, source.name)
    for split in parts:
        if inputs[split].shape[:3] != targets[split].shape[:3]:
            raise InputError(
                f"inputs and targets in {source.name} must have the same number and size",
                f"{inputs[split].shape[:3]} and {targets[split].shape[:3]} in {split}",
            )
    if swap:
        inputs, targets = targets, inputs
    rows = sample_rows(len(inputs["train"]))
    preparation = _preparation(options, list(inputs["train"][rows]), list(targets["train"][rows]))
    complete: dict[str, Any] = {
        split: Examples(
            prepared_array(inputs[split], preparation),
            prepared_array(targets[split], preparation.target),
        )
        for split in parts
    }
    return dataclasses.replace(source, preparation=preparation, **complete)


def _preparation(
    options: InputOptions, inputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> PicturePairPreparation:
    """The preparation of pairs like these, whose sides have one size."""
    if isinstance(options.recorded_preparation, PicturePairPreparation):
        return options.recorded_preparation
    preparation = options.preparation(inputs, keep_size=True)
    return PicturePairPreparation(
        **dataclasses.asdict(preparation),
        target_channels=options.preparation(targets, keep_size=True).channels,
        resized=any(picture.shape[:2] != preparation.shape[:2] for picture in inputs),
    )


def _sides(pair: Pair, swap: bool) -> tuple[np.ndarray, np.ndarray]:
    """Reads the input and the target of a pair, `(height, width, channels)` each."""
    picture = read_opaque(pair.picture)
    if pair.target == pair.picture:
        height, width = picture.shape[:2]
        if width % 2 or width < NARROWEST_DOUBLE * height:
            raise InputError(
                f"double pictures must have an even width of at least {NARROWEST_DOUBLE} times "
                "their height",
                f"{pair.picture}, {width} wide and {height} high",
            )
        sides = (picture[:, : width // 2], picture[:, width // 2 :])
    else:
        sides = (picture, read_opaque(pair.target))
        check_size(pair, sides[0].shape[:2], sides[1].shape[:2])
    return (sides[1], sides[0]) if swap else sides


def _places(path: Path, targets: Path | None) -> dict[str, tuple[Path, Path | None]]:
    """The folder of the pictures of every split, and that of their targets or None."""
    if targets is not None:
        return _by_split(path, targets)
    if splits := split_folders(path):
        return {split: _two_sides(folder) for split, folder in splits.items()}
    folder, partners = _two_sides(path)
    return _by_split(folder, partners) if partners else {"train": (folder, None)}


def _by_split(pictures: Path, targets: Path) -> dict[str, tuple[Path, Path | None]]:
    splits = split_folders(pictures)
    if not splits:
        return {"train": (pictures, targets)}
    for folder in splits.values():
        if not (targets / folder.name).is_dir():
            raise InputError(f"{targets} must hold the folders of {pictures}", f"no {folder.name}")
    return {split: (folder, targets / folder.name) for split, folder in splits.items()}


def _two_sides(folder: Path) -> tuple[Path, Path | None]:
    """The folders of pictures and of targets in a folder, or the folder alone if it has none.

    Their names decide; else the one that comes first in the alphabet holds the pictures.
    """
    inside = folders_in(folder)
    if not inside:
        return folder, None
    pictures = [child for child in inside if child.name.lower() in INPUT_FOLDERS]
    targets = [child for child in inside if child.name.lower() in TARGET_FOLDERS]
    if len(pictures) == len(targets) == 1:
        return pictures[0], targets[0]
    if len(inside) != 2:
        raise InputError(
            f"{folder} must hold a folder of pictures and one of targets, such as images and masks",
            ", ".join(child.name for child in inside),
        )
    first, second = inside
    return (second, first) if first in targets or second in pictures else (first, second)


def _by_name(folder: Path, ending: re.Pattern[str] | None = None) -> dict[str, Path]:
    """The pictures in a folder and below it by their paths without the ending of the format.

    Args:
        folder: The folder.
        ending: What else is left out at the end of a name.
    """
    named: dict[str, Path] = {}
    for file in files_in(folder):
        if not is_picture(file):
            continue
        name = composed(file.relative_to(folder).with_suffix("").as_posix())
        if ending is not None:
            name = ending.sub("", name)
        if name in named:
            raise InputError(
                f"pictures in {folder} must have different names",
                f"{named[name].name} and {file.name}",
            )
        named[name] = file
    return named


def lists_in(folder: Path) -> dict[str, Path]:
    """Lists of names beside the folders of pictures, by split."""
    lists: dict[str, Path] = {}
    for split, names in LISTS.items():
        for name in names:
            if (folder / name).is_file():
                lists[split] = folder / name
                break
    if "train" in lists and lists["train"].name == "trainval.txt":
        lists.pop("validation", None)  # trainval.txt has the pictures of the validation, too
    return lists


def listed(lists: Mapping[str, Path], pictures: Mapping[str, Path]) -> dict[str, list[str]]:
    """The names of the pictures of every split; without a list for training, it gets the others."""
    chosen = {split: _names_in(file, pictures) for split, file in lists.items()}
    split_of: dict[str, str] = {}
    for split, names in chosen.items():
        for name in names:
            if split_of.setdefault(name, split) != split:
                raise InputError(
                    "a picture must be in one list only",
                    f"{name} in {lists[split_of[name]]} and {lists[split]}",
                )
    if "train" not in chosen:
        chosen["train"] = [name for name in pictures if name not in split_of]
    elif count := len(pictures) - len(split_of):
        log.info("%d pictures are in no list, and are left out.", count)
    return chosen


def _names_in(file: Path, pictures: Mapping[str, Path]) -> list[str]:
    """The pictures that a list names: the first word of a line, or the whole line, names one."""
    names: dict[str, None] = {}
    for line in filter(None, map(str.strip, composed(read_text(file)).splitlines())):
        candidates = [_without_ending(line), _without_ending(line.split()[0])]
        known = [name for name in candidates if name in pictures]
        if not known:
            raise InputError(
                f"all names in {file} must be those of pictures",
                f"{line[:QUOTED]!r}, without a picture",
            )
        names[known[0]] = None
    return list(names)


def _without_ending(name: str) -> str:
    path = Path(name)
    return (path.with_suffix("") if path.suffix.lower() in ENDINGS else path).as_posix()
