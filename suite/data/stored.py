"""Examples on disk, which are read and decoded when a batch needs them.

Like `Examples` they are a `Split`, and the same pipelines feed them: the step alone decides which
examples a batch holds, so a training on data larger than the memory resumes and shards like any
other. Only row numbers, paths or positions, and small targets such as class labels stay in memory.
"""

import contextlib
import dataclasses
import hashlib
import logging
import os
import re
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from suite.data.examples import (
    BY_FILES,
    Examples,
    Source,
    Split,
    content_digest,
    gatherer,
    padded,
    take_rows,
)
from suite.data.pipelines import untuned
from suite.errors import InputError, InputFailed
from suite.knobs import InMemory

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

log = logging.getLogger(__name__)

# A TensorFlow function of the stored form of an example: returns `(inputs, targets)`, or inputs.
Decode = Callable[[Any], Any]

MOST_IN_MEMORY = 2 * 2**30  # bytes of decoded examples that `in_memory` auto allows
AT_ONCE = 256  # examples in a batch when all are read
SAMPLE = 32  # examples by which the size of all is estimated
MOST_NAMES = 5  # damaged files that an error names
SECONDS_BETWEEN_LOGS = 10.0
RANDOM_ACCESS = "array_record"  # the format of TensorFlow Datasets in which any row can be read


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """Examples on disk, row by row. Made by the functions of this module.

    `fetch`, `decode` and `names_of` are TensorFlow functions.

    Args:
        numbers: The numbers of the rows in their store, `(examples,)`, int64.
        fetch: Maps numbers `(batch,)` to the stored form of their examples, such as encoded bytes.
        decode: Maps the stored form of one example to `(inputs, targets)`, or to the inputs.
        names_of: Maps numbers to names of the examples for errors, such as paths.
        paths_of: Maps numbers to the paths of the files that hold their examples.
        targets: Targets in memory, `(examples, ...)`, which replace decoded ones.
    """

    numbers: np.ndarray
    fetch: Callable[[tf.Tensor], tf.Tensor]
    decode: Decode
    names_of: Callable[[tf.Tensor], tf.Tensor]
    paths_of: Callable[[np.ndarray], Sequence[str]]
    targets: Any = None

    fingerprint_of = BY_FILES

    @property
    def num_examples(self) -> int:
        """Number of rows."""
        return len(self.numbers)

    def rows(self, index: np.ndarray) -> "Stored":
        """The examples at these rows, in this order."""
        numbers, targets = self.numbers[index], take_rows(self.targets, index)
        return dataclasses.replace(self, numbers=numbers, targets=targets)

    def with_targets(self, targets: Any) -> "Stored":
        """The same inputs with other targets."""
        return dataclasses.replace(self, targets=targets)

    def reader(self) -> Callable[[tf.Tensor], tuple[Any, ...]]:
        """A TensorFlow function of row numbers that returns `(inputs, targets)`, or `(inputs,)`.

        It raises `tf.errors.InvalidArgumentError` if an example cannot be read: see `damage_error`.
        """
        read = self._ragged_reader()
        return lambda rows: padded(read(rows))

    def parts(self) -> tuple[Any, ...]:
        """`(inputs, targets)` as arrays, as Keras takes them, or `(inputs,)`."""
        return self.in_memory().parts()

    def in_memory(self) -> Examples:
        """The examples as arrays.

        Raises:
            InputError: An example is damaged or gone.
        """
        read, count = self._ragged_reader(), self.num_examples
        starts = tf.data.Dataset.range(0, count, AT_ONCE)
        chunks = starts.map(
            lambda start: read(tf.range(start, tf.minimum(start + AT_ONCE, count))),
            tf.data.AUTOTUNE,
            deterministic=True,
        )
        return _collected(chunks, count)

    def digest(self) -> str:
        """SHA-256 over names, sizes and times of the files, the row numbers, and the targets."""
        paths = self.paths_of(self.numbers)
        root = os.path.commonpath([Path(path).parent for path in paths])
        digest = hashlib.sha256()
        for path in paths:
            status = Path(path).stat()
            name = os.path.relpath(path, root)
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        targets = [] if self.targets is None else self.targets
        digest.update(content_digest((self.numbers, targets)).encode())
        return digest.hexdigest()

    def _ragged_reader(self) -> Callable[[tf.Tensor], tuple[Any, ...]]:
        numbers, targets = tf.constant(self.numbers), gatherer(self.targets)

        def read(rows: tf.Tensor) -> tuple[Any, ...]:
            parts = self._decoded(tf.gather(numbers, rows))
            return parts if self.targets is None else (parts[0], targets(rows))

        return read

    def _decoded(self, numbers: tf.Tensor) -> tuple[Any, ...]:
        """The examples with these numbers: `(inputs, targets)`, or `(inputs,)`.

        Sequences of different lengths are ragged.
        """
        count = tf.size(numbers)
        places = tf.range(count)
        fetched = tf.data.Dataset.from_tensor_slices((places, self.fetch(numbers)))
        # One after the other, since whole batches are decoded in parallel, one on each core.
        decoded = fetched.map(lambda place, example: (place, _parts(self.decode(example))))
        # Examples that fail are left out here, and named below. The additional last element makes
        # sure that there is one to batch even if all examples fail.
        last = keras.tree.map_structure(
            lambda spec: tf.zeros([size or 0 for size in spec.shape], spec.dtype),
            decoded.element_spec,
        )
        readable = decoded.ignore_errors().concatenate(tf.data.Dataset.from_tensors(last))
        batch = untuned(readable.ragged_batch(tf.cast(count, tf.int64) + 1))
        decoded_places, parts = batch.get_single_element()
        succeeded = decoded_places[:-1]
        failed = tf.tensor_scatter_nd_update(
            tf.ones([count], tf.bool), succeeded[:, None], tf.zeros_like(succeeded, tf.bool)
        )
        names = self.names_of(tf.boolean_mask(numbers, failed)[:MOST_NAMES])
        message = BEFORE_NAMES + tf.strings.reduce_join(names, separator=", ") + AFTER_NAMES
        with tf.control_dependencies([tf.debugging.Assert(tf.size(succeeded) == count, [message])]):
            return keras.tree.map_structure(lambda values: values[:-1], parts)


def files(paths: Sequence[str | Path], decode: Decode, targets: Any = None) -> Stored:
    """Examples of which each is a file, such as a picture.

    Args:
        paths: Paths of the files.
        decode: Maps the content of a file, a scalar string, to an example of a fixed shape.
        targets: Targets in memory, `(examples, ...)`; None if there are none, or decoded ones.
    """
    names = [os.fspath(path) for path in paths]
    table = tf.constant(names)
    return Stored(
        numbers=np.arange(len(names)),
        fetch=lambda numbers: tf.gather(table, numbers),
        decode=lambda path: decode(tf.io.read_file(path)),
        names_of=lambda numbers: tf.gather(table, numbers),
        paths_of=lambda numbers: [names[number] for number in numbers],
        targets=targets,
    )


def text_lines(paths: Sequence[str | Path], decode: Decode) -> Stored:
    """Examples of which each is a line of text; blank lines are skipped.

    Args:
        paths: Paths of the text files.
        decode: Maps a line without its end, a scalar string, to an example.

    Raises:
        InputError: There are no lines.
    """
    number_of_file, begins, sizes = array("i"), array("q"), array("q")
    for number, path in enumerate(paths):
        begin = 0
        with Path(path).open("rb") as file:
            for line in file:
                if not line.isspace():
                    number_of_file.append(number)
                    begins.append(begin)
                    sizes.append(len(line.rstrip(b"\r\n")))
                begin += len(line)
    table = [np.asarray(column) for column in (number_of_file, begins, sizes)]
    return _pieces(paths, len(begins), lambda numbers: [c[numbers] for c in table], decode)


def text_windows(paths: Sequence[str | Path], length: int, dtype: str = "uint8") -> Stored:
    """Examples for language models: tokens `(length,)`, and the token after each as its target.

    The windows do not overlap; the rest at the end of a file is no example.

    Args:
        paths: Paths of files of text, or of consecutive tokens.
        length: Tokens in an example.
        dtype: Type of a token in the file: `uint8` for the bytes of a text, or a wider integer.

    Raises:
        InputError: No file is long enough for an example.
    """
    width = np.dtype(dtype).itemsize
    counts = [max(Path(path).stat().st_size // width - 1, 0) // length for path in paths]
    firsts = np.cumsum([0, *counts[:-1]])

    def piece(numbers: np.ndarray) -> list[np.ndarray]:
        number_of_file = np.searchsorted(firsts, numbers, side="right") - 1
        begins = (numbers - firsts[number_of_file]) * length * width
        return [number_of_file, begins, np.full(len(numbers), (length + 1) * width)]

    def decode(window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        tokens = tf.cast(tf.io.decode_raw(window, dtype), tf.int32)
        tokens = tf.ensure_shape(tokens, (length + 1,))
        return tokens[:-1], tokens[1:]

    return _pieces(paths, sum(counts), piece, decode)


def records(
    builder: "tfds.core.DatasetBuilder",
    split: str,
    decode: Decode,
    *,
    label: str | None = None,
) -> Stored:
    """Examples of a dataset of TensorFlow Datasets that is prepared for random access.

    Args:
        builder: Builder of the prepared dataset.
        split: Name of the split, or a part of it such as `train[:10%]`.
        decode: Maps the features of an example, a dict of tensors, to an example.
        label: Name of the feature that becomes the targets, which are read into memory now.

    Raises:
        InputError: The dataset is prepared only for reading in order.
    """
    import tensorflow_datasets as tfds

    if not random_access(builder):
        raise InputError(
            "`in_memory` must be auto or yes where a dataset is prepared for reading in order; "
            f"`tfds build {builder.name} --file_format=array_record` prepares it for reading "
            "from disk",
            f"no, and {builder.info.file_format.value} in {builder.data_dir}",
        )
    source = builder.as_data_source(
        split=split,
        deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        file_format=RANDOM_ACCESS,
    )
    instructions = builder.info.splits[split].file_instructions
    paths = sorted({os.fspath(instruction.filename) for instruction in instructions})

    def read(numbers: np.ndarray) -> np.ndarray:
        # The reader may raise any exception.
        with _named(Exception, f"a record of {split} in {builder.data_dir}"):
            return np.array(source.data_source.__getitems__(numbers.tolist()), object)

    def with_features(features: tfds.features.FeaturesDict, decode: Decode) -> Stored:
        return Stored(
            numbers=np.arange(len(source)),
            fetch=lambda numbers: _fetched(read, numbers),
            decode=lambda record: decode(features.deserialize_example(record)),
            names_of=lambda numbers: tf.strings.join(
                ["record ", tf.strings.as_string(numbers), f" of {builder.data_dir}, {split}"]
            ),
            paths_of=lambda numbers: paths,
        )

    stored = with_features(builder.info.features, decode)
    if label is None:
        return stored
    log.info("Reading the labels of %d examples of %s.", len(source), builder.name)
    alone = tfds.decode.PartialDecoding({label: True}).extract_features(builder.info.features)
    labels = with_features(alone, lambda features: features[label]).in_memory().inputs
    return stored.with_targets(labels.astype(np.int32))


def random_access(builder: "tfds.core.DatasetBuilder") -> bool:
    """Whether a dataset is prepared in a format in which any row can be read."""
    prepared = (builder.info.file_format, *builder.info.alternative_file_formats)
    return RANDOM_ACCESS in {file_format.value for file_format in prepared}


def into_memory(source: Source, in_memory: InMemory) -> Source:
    """Reads the examples of a source into memory, if that is asked for, and logs the decision.

    Args:
        source: A source with splits on disk or in memory.
        in_memory: `yes`, `no`, or `auto`, which reads them if all splits together are no larger
            than `MOST_IN_MEMORY` once decoded.

    Raises:
        InputError: An example is damaged or gone.
    """
    splits: dict[str, Any] = source.splits()
    stored = {name: split for name, split in splits.items() if isinstance(split, Stored)}
    if not stored:
        return source
    size = sum(decoded_size(split) for split in stored.values())
    gigabytes, count = size / 2**30, sum(split.num_examples for split in stored.values())
    if stays_on_disk(in_memory, size):
        log.info(
            "%d examples are read from disk as they are needed: %.2g GiB decoded.", count, gigabytes
        )
        return source
    log.info("%d examples are read into memory: %.2g GiB.", count, gigabytes)
    splits |= {name: split.in_memory() for name, split in stored.items()}
    return dataclasses.replace(source, **splits)


def stays_on_disk(in_memory: InMemory, size: int) -> bool:
    """Whether examples that take `size` bytes in memory, once decoded, are left on disk."""
    return in_memory == "no" or (in_memory == "auto" and size > MOST_IN_MEMORY)


def decoded_size(split: Split) -> int:
    """An estimate, by a sample, of the bytes that a split would take in memory."""
    count = split.num_examples
    sample = np.unique(np.linspace(0, count - 1, SAMPLE, dtype=np.int64))
    arrays = keras.tree.flatten(split.rows(sample).parts())
    return count * sum(map(_size, arrays)) // len(sample)


def _size(values: Any) -> int:
    if isinstance(values, tf.RaggedTensor):
        return _size(values.flat_values.numpy())
    # An array of objects holds addresses, to which the sizes of the objects are added.
    return values.nbytes + (sum(map(sys.getsizeof, values.flat)) if values.dtype.hasobject else 0)


def damage_error(error: tf.errors.InvalidArgumentError) -> InputFailed | None:
    """The `InputFailed` about damaged examples whose text a TensorFlow error contains; else None.

    TensorFlow keeps only the text of errors that are raised in a graph, or by Python code that the
    graph calls.
    """
    pattern = f"{re.escape(BEFORE_NAMES)}(.*?){re.escape(AFTER_NAMES)}"
    match = re.search(pattern, error.message, re.DOTALL)
    return _damaged(match[1]) if match else None


def _damaged(names: str) -> InputFailed:
    return InputFailed("every example must be readable", f"{names}, damaged or gone")


# The text of that error before and after the names, to compose it in a graph and to find it again.
BEFORE_NAMES, AFTER_NAMES = str(_damaged("{}")).split("{}")


def _pieces(
    paths: Sequence[str | Path],
    count: int,
    piece: Callable[[np.ndarray], Sequence[np.ndarray]],
    decode: Decode,
) -> Stored:
    """Examples that are pieces of files.

    Args:
        paths: Paths of the files.
        count: Number of examples.
        piece: Maps numbers of examples to three arrays: index of the file, first byte, and size.
        decode: Maps the bytes of a piece, a scalar string, to an example.

    Raises:
        InputError: There are no examples.
    """
    names = [os.fspath(path) for path in paths]
    if not count:
        raise InputError("there must be at least one example in the files", ", ".join(names))

    def read(numbers: np.ndarray) -> np.ndarray:
        content = np.empty(len(numbers), object)
        for place, (number, begin, size) in enumerate(zip(*piece(numbers), strict=True)):
            with (
                _named(OSError, names[number]),
                Path(names[number]).open("rb", buffering=0) as file,
            ):
                content[place] = os.pread(file.fileno(), size, begin)
                if len(content[place]) < size:
                    raise OSError("it was longer when its pieces were counted")
        return content

    def names_of(numbers: tf.Tensor) -> tf.Tensor:
        return _fetched(lambda rows: np.array([names[n] for n in piece(rows)[0]], object), numbers)

    return Stored(
        numbers=np.arange(count),
        fetch=lambda numbers: _fetched(read, numbers),
        decode=decode,
        names_of=names_of,
        paths_of=lambda numbers: [names[number] for number in np.unique(piece(numbers)[0])],
    )


@contextlib.contextmanager
def _named(errors: type[Exception], name: str) -> Iterator[None]:
    """Converts errors of reading to an `InputError` that names what could not be read."""
    try:
        yield
    except errors as error:
        raise _damaged(name) from error


def _fetched(read: Callable[[np.ndarray], np.ndarray], numbers: tf.Tensor) -> tf.Tensor:
    """Calls a Python function that reads these numbers, from a TensorFlow graph.

    Returns:
        Strings `(examples,)`.
    """
    content = tf.numpy_function(read, [numbers], tf.string, stateful=False)
    content.set_shape(numbers.shape)
    return content


def _collected(batches: tf.data.Dataset, count: int) -> Examples:
    """Collects all examples of a dataset of batches into arrays, and logs the progress.

    Args:
        batches: Batches of `(inputs, targets)`, or `(inputs,)`, in the order of their rows.
        count: Number of examples.

    Raises:
        InputError: An example is damaged or gone.
    """
    last_logged, done = time.monotonic(), 0
    columns: list[Any] = []
    try:
        for parts in untuned(batches.prefetch(1)):
            leaves = keras.tree.flatten(parts)
            columns = columns or [_empty_column(values, count) for values in leaves]
            for column, values in zip(columns, leaves, strict=True):
                if isinstance(column, list):
                    column.append(values)
                else:
                    column[done : done + len(values)] = values.numpy()
            done += int(tf.shape(leaves[0])[0])
            if time.monotonic() - last_logged > SECONDS_BETWEEN_LOGS:
                last_logged = time.monotonic()
                log.info("Read %d of %d examples.", done, count)
    except tf.errors.InvalidArgumentError as error:
        raise (damage_error(error) or error) from None
    arrays = [tf.concat(c, axis=0) if isinstance(c, list) else c for c in columns]
    return Examples(*keras.tree.pack_sequence_as(parts, arrays))


def _empty_column(values: Any, count: int) -> Any:
    """An array for the rows of all batches; for ragged batches a list."""
    if isinstance(values, tf.RaggedTensor):
        return []
    return np.empty((count, *values.shape[1:]), values.dtype.as_numpy_dtype)


def _parts(decoded: Any) -> tuple[Any, ...]:
    return decoded if isinstance(decoded, tuple) else (decoded,)
