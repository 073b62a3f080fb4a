"""Pictures in arrays: `.npz` files, and examples given in Python."""

import dataclasses
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from suite.data.examples import Examples, Source
from suite.data.images.decoding import scale_to_bytes, white_level
from suite.data.images.layouts import InputOptions, sample_rows
from suite.data.images.preparation import (
    Preparation,
    is_bright_on_black,
    prepare_all,
)
from suite.errors import InputError, one_line_message

# What NumPy and zipfile raise for a file that is no archive of arrays, or for a damaged one.
UNREADABLE = (
    OSError, EOFError, ValueError, AttributeError, TypeError, KeyError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
SUFFIXES = {"train": ("_train", ""), "validation": ("_validation", "_val"), "test": ("_test",)}


def read_npz(path: Path, options: InputOptions) -> Source:
    """Reads `x_train`, `y_train`, `x_test` and `y_test`, as in Keras's `mnist.npz`, or `x` and `y`.

    Labels, the test split, a validation split (`x_validation` or `x_val`) and `class_names` are
    optional.

    Args:
        path: The `.npz` file.
        options: The layout, size and channels of the model's inputs.

    Raises:
        InputError: The file cannot be read, or its arrays are no pictures or no labels.
    """
    arrays = _arrays(path)
    splits = {}
    for split, endings in SUFFIXES.items():
        for ending in endings:
            if split not in splits and f"x{ending}" in arrays:
                splits[split] = Examples(arrays[f"x{ending}"], arrays.get(f"y{ending}"))
    if "train" not in splits:
        raise InputError(
            f"{path} must hold x_train, or x; and y_train, or y, where there are labels",
            ", ".join(list(arrays)[:10]) or "nothing",
        )
    names = tuple(str(name) for name in np.ravel(arrays.get("class_names", [])))
    source = Source(
        name=str(path),
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        class_names=names,
    )
    return prepare_source(source, options)


def prepare_source(source: Source, options: InputOptions) -> Source:
    """Checks pictures in arrays, and converts them to inputs and labels of a model.

    Args:
        source: Examples whose inputs are pictures `(n, height, width[, channels])` of any numeric
            type, in 0..1, 0..255, or 10 to 16 bits, and whose targets are classes `(n,)`, as
            integers or by their names, or None. A source with a preparation is returned as it is.
        options: The layout, size and channels of the model's inputs.

    Returns:
        The source with inputs `(n, height, width, channels)`, uint8, labels `0..classes-1`, names
        of classes, and a preparation.

    Raises:
        InputError: The arrays are no pictures, or the targets are no labels of them.
    """
    if source.preparation is not None:
        return source
    splits = source.splits()
    inputs = picture_arrays({split: part.inputs for split, part in splits.items()}, source.name)
    targets, class_names = _labels(splits, source)
    train = inputs["train"]
    sample = [train[row] for row in sample_rows(len(train))]
    preparation = options.preparation(sample, keep_size=True)
    complete = {
        split: Examples(prepared_array(inputs[split], preparation), targets[split])
        for split in splits
    }
    return dataclasses.replace(
        source,
        train=complete["train"],
        validation=complete.get("validation"),
        test=complete.get("test"),
        class_names=class_names,
        preparation=preparation,
    )


def prepared_array(pictures: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Prepares pictures in an array.

    Pictures that the preparation would not change are not passed through it, which saves time.

    Args:
        pictures: `(n, height, width, channels)`, uint8.
        preparation: Converts a picture to an input.

    Returns:
        `(n, height, width, channels)` of the preparation, uint8.
    """
    rows = np.ones(len(pictures), bool)
    if pictures.shape[1:] == preparation.shape:
        if preparation.layout == "photo":
            return pictures
        rows = ~is_bright_on_black(pictures).numpy()
        if not rows.any():
            return pictures
    prepared = prepare_all((pictures[row] for row in np.flatnonzero(rows)), preparation)
    if rows.all():
        return prepared
    pictures = pictures.copy()
    pictures[rows] = prepared
    return pictures


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("no array")
    except UNREADABLE:
        raise InputError(
            "`data` must be a folder of pictures or an .npz file of arrays",
            f"{path}, which cannot be read as one",
        ) from None
    return arrays


def picture_arrays(inputs: Mapping[str, Any], name: str) -> dict[str, np.ndarray]:
    """Checks the inputs of all splits, and scales them by one white for all.

    Returns:
        By split `(n, height, width, channels)`, uint8.
    """
    arrays = {split: np.asarray(array) for split, array in inputs.items()}
    for split, array in arrays.items():
        if array.ndim == 3:
            arrays[split] = array = array[..., None]
        if array.ndim != 4 or array.shape[-1] not in (1, 2, 3, 4) or not array.size:
            raise InputError(
                f"pictures in {name} must have the shape (n, height, width) or (n, height, width, "
                "channels), n at least 1, channels last",
                f"{np.shape(inputs[split])} in {split}",
            )
        if array.dtype.kind not in "biuf":
            raise InputError(f"pixels in {name} must be numbers", f"{array.dtype} in {split}")
        # As Python's numbers, since 65535 is none of float16.
        if not np.isfinite(array).all() or array.min() < 0 or float(array.max()) > 65535:
            raise InputError(
                f"pixels in {name} must be in 0..1, 0..255, or 0..65535",
                f"{array.min()}..{array.max()} in {split}",
            )
        if array.shape[1:] != arrays["train"].shape[1:]:
            raise InputError(
                f"pictures in {name} must have the same shape in all splits",
                f"{array.shape[1:]} in {split}, {arrays['train'].shape[1:]} in train",
            )
    white = white_level(float(max(array.max() for array in arrays.values())))
    return {
        split: array
        if white == 255 and array.dtype == np.uint8
        else scale_to_bytes(array, white).numpy()
        for split, array in arrays.items()
    }


def _labels(
    splits: Mapping[str, Examples], source: Source
) -> tuple[dict[str, np.ndarray | None], tuple[str, ...]]:
    """Checks the targets of all splits, and converts them to indices of classes.

    Returns:
        By split the labels `(n,)`, int32, or None; and the names of the classes.
    """
    labels: dict[str, np.ndarray | None] = {}
    for split, part in splits.items():
        labels[split] = None
        if part.targets is None:
            continue
        values = np.asarray(part.targets)
        if values.shape == (part.num_examples, 1):  # the shape in Keras's CIFAR-10
            values = values[:, 0]
        if values.shape != (part.num_examples,) or values.dtype.kind not in "biuUSO":
            raise InputError(
                f"labels in {source.name} must be {part.num_examples} integers or names, one for "
                "each picture",
                f"shape {values.shape} of {values.dtype} in {split}",
            )
        labels[split] = values
    train = labels["train"]
    if train is None:
        return dict.fromkeys(splits), ()
    if missing := [split for split, values in labels.items() if values is None]:
        raise InputError(
            f"{source.name} must have labels in all splits or in none", f"none in {missing[0]}"
        )
    given = {split: values.tolist() for split, values in labels.items() if values is not None}
    names = source.class_names
    if not names:
        try:
            classes = sorted({value for values in given.values() for value in values})
            names = tuple(
                value.decode() if isinstance(value, bytes) else str(value) for value in classes
            )
        except (TypeError, UnicodeDecodeError) as error:
            raise InputError(
                f"labels in {source.name} must be integers, or names in UTF-8, in all splits",
                one_line_message(error),
            ) from None
    elif train.dtype.kind in "biu":
        classes = list(range(len(names)))
    else:
        classes = list(names)
    index = {value: label for label, value in enumerate(classes)}
    for split, values in given.items():
        if unknown := sorted(set(values) - set(classes)):
            raise InputError(
                f"labels in {source.name} must be among {', '.join(map(str, classes))}",
                f"{unknown[0]} in {split}",
            )
        labels[split] = np.asarray([index[value] for value in values], np.int32)
    return labels, names
