"""Examples, the sources that hold them, and how a source is split.

An example may have several named inputs and any targets: a class, a mask, boxes, numbers, a
sentence. `Examples` holds many of them, row by row, as nested structures (`keras.tree`) of arrays
of equal length. Sequences of different lengths are `tf.RaggedTensor`s. Examples that are too large
for the memory are read from disk instead (`suite.data.stored`). Both have the interface `Split`.
"""

import dataclasses
import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from suite.errors import InputError

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")

# The held-out examples are the same for every seed of a run, so that runs can be compared.
SPLIT_SEED = 0

# What a fingerprint can be computed from.
BY_CONTENT, BY_FILES = "content", "sizes and times"


class Split(Protocol):
    """Examples, in memory or on disk, row by row."""

    @property
    def targets(self) -> Any:
        """An array, or a structure of arrays; None if there are none, or none in memory."""

    @property
    def num_examples(self) -> int:
        """Number of rows."""

    @property
    def fingerprint_of(self) -> str:
        """What `digest` is computed from: `content`, or `sizes and times` of files."""

    def rows(self, index: np.ndarray) -> "Split":
        """The examples at these rows, in this order."""

    def with_targets(self, targets: Any) -> "Split":
        """The same inputs with other targets."""

    def reader(self) -> Callable[[tf.Tensor], tuple[Any, ...]]:
        """A TensorFlow function of row numbers that returns `(inputs, targets)`, or `(inputs,)`.

        Sequences of different lengths are padded: numbers with 0, text with empty strings.
        """

    def parts(self) -> tuple[Any, ...]:
        """`(inputs, targets)` as arrays, as `fit` takes them, or `(inputs,)`."""

    def in_memory(self) -> "Examples":
        """Reads the examples into memory, as arrays."""

    def digest(self) -> str:
        """SHA-256 that changes when the examples do."""


class Examples(NamedTuple):
    """Examples in memory, row by row.

    Args:
        inputs: An array, or a nested structure of arrays, `(examples, ...)`.
        targets: The same, with as many rows; None if there are only inputs.
    """

    inputs: Any
    targets: Any = None

    @property
    def fingerprint_of(self) -> str:
        """What `digest` is computed from: the `content`."""
        return BY_CONTENT

    @property
    def num_examples(self) -> int:
        """Number of rows."""
        return _length(keras.tree.flatten(self.inputs)[0])

    def rows(self, index: np.ndarray) -> "Examples":
        """The examples at these rows, in this order."""
        return Examples(*(take_rows(part, index) for part in self))

    def with_targets(self, targets: Any) -> "Examples":
        """The same inputs with other targets."""
        return Examples(self.inputs, targets)

    def reader(self) -> Callable[[tf.Tensor], tuple[Any, ...]]:
        """A TensorFlow function of row numbers that returns `(inputs, targets)`, or `(inputs,)`.

        Sequences of different lengths are padded: numbers with 0, text with empty strings.
        """
        return gatherer(self.parts())

    def parts(self) -> tuple[Any, ...]:
        """`(inputs, targets)` as arrays, as `fit` takes them, or `(inputs,)`."""
        return tuple(self) if self.targets is not None else (self.inputs,)

    def in_memory(self) -> "Examples":
        """The examples as arrays, which they are already."""
        return self

    def digest(self) -> str:
        """SHA-256 over bytes, shapes and types of all arrays, in order."""
        return content_digest(self.parts())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """The examples of a dataset, a file or a folder, and what is known about them.

    Args:
        name: `tfds:mnist/3.0.1`, `embedded:digits`, `arrays` or a path.
        train: Examples to train on.
        test: Examples to test on; None if the source has no split of that name.
        validation: Examples to validate on after every epoch; None if the source has no such split.
        class_names: Names of the classes, in the order of their indices; empty if the target is no
            class.
        feature_names: Names of the columns of a table.
        comparable: Whether metrics can be compared with published ones.
        groups: The group of every row of `train`, such as the person in a picture: rows of one
            group are never divided between splits. None if rows are independent.
        preparation: A dataclass that converts a user's input, such as the bytes of a picture, to an
            input of the model; becomes part of the export. None if there is nothing to convert.
        notes: Further facts for the report, by name.
    """

    name: str
    train: Split
    test: Split | None = None
    validation: Split | None = None
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    comparable: bool = True
    groups: np.ndarray | None = None
    preparation: Any = None
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def splits(self) -> dict[str, Any]:
        """The splits that the source has, by name."""
        parts = {name: getattr(self, name) for name in SPLITS}
        return {name: part for name, part in parts.items() if part is not None}

    def split(self, validation_split: float, test_split: float = 0.2) -> dict[str, Split]:
        """Train, validation and test examples by name; missing splits are held out of `train`.

        Args:
            validation_split: Share of the training examples that becomes the validation split, if
                the source has none.
            test_split: Share of all examples that becomes the test split, if the source has none.

        Raises:
            InputError: There are too few examples.
        """
        train, groups = self.train, self.groups
        splits = {"validation": self.validation, "test": self.test}
        shares = {"test": test_split, "validation": validation_split}
        missing = [name for name in shares if splits[name] is None]
        for number, name in enumerate(missing):
            kept, held_out = held_out_rows(
                train, shares[name], self.class_names, groups, keep=len(missing) - number
            )
            splits[name] = train.rows(held_out)
            train = train.rows(kept)
            groups = None if groups is None else groups[kept]
        return {"train": train} | {name: part for name, part in splits.items() if part is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What a report and an export say about the data.

    Args:
        source: The name of the source.
        fingerprint: SHA-256 that changes when the examples do.
        fingerprint_of: What the fingerprint is computed from: `content`, or `sizes and times` of
            the files that hold the examples.
        train: Number of training examples.
        validation: Number of validation examples.
        test: Number of test examples.
        comparable: Whether metrics can be compared with published ones.
        class_names: Names of the classes, in the order of their indices; empty if the target is no
            class.
        feature_names: Names of the columns of a table.
        notes: Further facts, by name.
    """

    source: str
    fingerprint: str
    train: int
    validation: int
    test: int
    fingerprint_of: str = BY_CONTENT
    comparable: bool = True
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def recorded_preparation(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The preparation of a source as its description recorded it in the metadata of an export."""
    return metadata.get("notes", {}).get("preparation")


def fingerprint(*splits: Split) -> str:
    """SHA-256 over the digests of some splits, in order."""
    return hashlib.sha256("".join(split.digest() for split in splits).encode()).hexdigest()


def held_out_rows(
    examples: Split,
    share: float,
    class_names: tuple[str, ...] = (),
    groups: np.ndarray | None = None,
    keep: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Splits row numbers into rows to keep and rows to hold out, the same in every call.

    If the target is a class, the share of every class is held out, but at least one example.

    Args:
        examples: The examples to split.
        share: Share of the examples to hold out, in (0, 1).
        class_names: Names of the classes; empty if the target is no class.
        groups: The group of every row; rows of one group stay together.
        keep: Smallest number of examples of every class, or of groups, to keep.

    Returns:
        The rows to keep and the rows to hold out.

    Raises:
        InputError: There are too few examples, of one class or in all, or too few groups.
    """
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    count = examples.num_examples
    if count < keep + 1:
        raise InputError(f"there must be at least {keep + 1} examples to hold some out", count)
    rows = np.arange(count)
    if groups is not None:
        if (num_groups := len(np.unique(groups))) < keep + 1:
            raise InputError(f"there must be at least {keep + 1} groups of examples", num_groups)
        size = int(np.clip(math.ceil(share * num_groups), 1, num_groups - keep))
        splitter = GroupShuffleSplit(1, test_size=size, random_state=SPLIT_SEED)
        return next(splitter.split(rows, groups=groups))
    classes = classes_of(examples, class_names)
    if classes is not None:
        sizes = np.bincount(classes, minlength=len(class_names))
        rarest = int(np.argmin(np.where(sizes, sizes, count + 1)))
        if sizes[rarest] < keep + 1:
            raise InputError(
                f"every class must have at least {keep + 1} examples, so that some can be held "
                f"out; `min_per_class` {keep + 1} leaves smaller classes out",
                f"{sizes[rarest]} of {class_names[rarest]}",
            )
        # With so few examples scikit-learn can leave a class out on one side.
        if share * sizes[rarest] < 1 or (1 - share) * sizes[rarest] < keep:
            return _stratified_rows(classes, share, keep)
    size = int(np.clip(math.ceil(share * count), 1, count - keep))
    kept, held_out = train_test_split(
        rows, test_size=size, random_state=SPLIT_SEED, stratify=classes
    )
    return np.sort(kept), np.sort(held_out)


def spread(examples: Split, most: int) -> Split:
    """At most `most` examples at evenly spaced rows: of sorted ones not only the first classes."""
    return examples.rows(spread_rows(examples, most))


def spread_rows(examples: Split, most: int) -> np.ndarray:
    """The rows that `spread` takes, int32."""
    count = examples.num_examples
    return np.linspace(0, count - 1, min(most, count)).astype(np.int32)


def classes_of(examples: Split, class_names: tuple[str, ...]) -> np.ndarray | None:
    """The class of every example; None if they have none, or one for each pixel, as masks have.

    Args:
        examples: The examples.
        class_names: Names of the classes; empty if the target is no class.
    """
    return examples.targets if class_names and np.ndim(examples.targets) == 1 else None


def _stratified_rows(classes: np.ndarray, share: float, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Holds out the share of every class, rounded, but at least one example, and keeps `keep`."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(classes))
    held_out = []
    for label in np.unique(classes):
        rows = order[classes[order] == label]
        held_out.append(rows[: int(np.clip(round(share * len(rows)), 1, len(rows) - keep))])
    rows = np.sort(np.concatenate(held_out))
    log.info(
        "%d of %d examples are held out instead of %d: at least one of each class.",
        len(rows),
        len(classes),
        round(share * len(classes)),
    )
    return np.setdiff1d(np.arange(len(classes)), rows), rows


def take_rows(structure: Any, index: np.ndarray) -> Any:
    """The rows with these indices, of every array of a structure; None for None."""
    return _mapped(
        lambda array: tf.gather(array, index) if _ragged(array) else array[index], structure
    )


def gatherer(structure: Any) -> Callable[[tf.Tensor], Any]:
    """A TensorFlow function of row numbers that returns those rows of a structure, padded."""
    tensors = _mapped(lambda a: a if _ragged(a) else tf.convert_to_tensor(a), structure)
    return lambda rows: padded(_mapped(lambda tensor: tf.gather(tensor, rows), tensors))


def padded(structure: Any) -> Any:
    """Pads the ragged tensors of a structure: numbers with 0, text with empty strings."""
    return _mapped(lambda tensor: tensor.to_tensor() if _ragged(tensor) else tensor, structure)


def content_digest(structure: Any) -> str:
    """SHA-256 over bytes, shapes and types of all arrays of a structure, in order."""
    digest = hashlib.sha256()
    for array in keras.tree.flatten(structure):
        parts = (array.flat_values, *array.nested_row_splits) if _ragged(array) else (array,)
        for part in parts:
            _update(digest, np.asarray(part))
    return digest.hexdigest()


def _mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    return None if structure is None else keras.tree.map_structure(function, structure)


def _ragged(array: Any) -> bool:
    return isinstance(array, tf.RaggedTensor)


def _length(array: Any) -> int:
    return int(array.nrows()) if _ragged(array) else len(array)


def _update(digest: Any, array: np.ndarray) -> None:
    if array.dtype.hasobject or array.dtype.kind in "US":  # the text itself, not its address
        array = np.asarray(
            [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel()],
            object,
        ).reshape(array.shape)
        digest.update(f"text{array.shape}".encode())
        for text in array.ravel():
            digest.update(len(text).to_bytes(8, "little") + text)
        return
    digest.update(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
