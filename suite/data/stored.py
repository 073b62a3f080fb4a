"""Examples that lie on disk: read and decoded when a batch wants them.

They are what `Examples` are, a `Split`, and are fed by the same pipelines: which examples a batch
holds follows from the step alone, so that a training over what is larger than the memory resumes
and shards like any other. What stays in memory are the numbers of the rows, the paths or positions,
and targets that are small, such as class labels.
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
from typing import TYPE_CHECKING, Any, Literal

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
from suite.errors import InputError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

log = logging.getLogger(__name__)

InMemory = Literal["auto", "yes", "no"]
# Turns what is stored of one example, in the graph, into `(inputs, targets)`, or into the inputs.
Decode = Callable[[Any], Any]

MOST_IN_MEMORY = 2 * 2**30  # bytes, decoded, that `--in-memory auto` allows
AT_ONCE = 256  # examples that are read together where all of them are
SAMPLE = 32  # examples by which the size of all is judged
MOST_NAMES = 5  # of damaged files in an error
SECONDS_BETWEEN_NEWS = 10.0
RANDOM_ACCESS = "array_record"  # the format of TensorFlow Datasets that can be read at any row


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """Examples on disk, row by row. Made by the functions of this module.

    Args:
        numbers: What the store calls the rows, `(examples,)`, int64.
        fetch: From numbers to what is decoded, such as encoded bytes, in the graph.
        decode: `decode(fetched)`, for one example in the graph: `(inputs, targets)` if it is a
            tuple, else the inputs.
        describe: From numbers to names of the examples for errors, such as paths, in the graph.
        files: From numbers to the paths of the files that they are read from.
        targets: In memory, `(examples, ...)`; they take the place of decoded ones.
    """

    numbers: np.ndarray
    fetch: Callable[[tf.Tensor], tf.Tensor]
    decode: Decode
    describe: Callable[[tf.Tensor], tf.Tensor]
    files: Callable[[np.ndarray], Sequence[str]]
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
        """A function in the graph from row numbers to `(inputs, targets)`, or `(inputs,)`.

        Raises `tf.errors.InvalidArgumentError` where an example cannot be read: see `unreadable`.
        """
        read = self._ragged_reader()
        return lambda rows: padded(read(rows))

    def parts(self) -> tuple[Any, ...]:
        """`(inputs, targets)` as arrays, as Keras takes them, or `(inputs,)`."""
        return self.in_memory().parts()

    def in_memory(self) -> Examples:
        """The examples as arrays.

        Raises:
            InputError: One of them is damaged or gone.
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
        """SHA-256 over names, sizes and times of the files, over the rows and the targets."""
        paths = self.files(self.numbers)
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
        """The parts of these examples; sequences of different lengths are ragged."""
        count = tf.size(numbers)
        places = tf.range(count)
        fetched = tf.data.Dataset.from_tensor_slices((places, self.fetch(numbers)))
        # One after the other: it is the batches that are decoded in parallel, one on each core.
        decoded = fetched.map(lambda place, one: (place, _parts(self.decode(one))))
        # An example that fails is left out here, so that it can be named. The last element stands
        # for no example: where all fail, there would be none to make a batch of.
        last = keras.tree.map_structure(
            lambda spec: tf.zeros([size or 0 for size in spec.shape], spec.dtype),
            decoded.element_spec,
        )
        readable = decoded.ignore_errors().concatenate(tf.data.Dataset.from_tensors(last))
        together = _untuned(readable.ragged_batch(tf.cast(count, tf.int64) + 1))
        done, parts = together.get_single_element()
        failed = tf.tensor_scatter_nd_update(
            tf.ones([count], tf.bool), done[:-1, None], tf.zeros_like(done[:-1], tf.bool)
        )
        names = self.describe(tf.boolean_mask(numbers, failed)[:MOST_NAMES])
        begin, end = str(_damaged("{}")).split("{}")
        damage = begin + tf.strings.reduce_join(names, separator=", ") + end
        with tf.control_dependencies([tf.debugging.Assert(tf.size(done) > count, [damage])]):
            return keras.tree.map_structure(lambda values: values[:-1], parts)


def files(paths: Sequence[str | Path], decode: Decode, targets: Any = None) -> Stored:
    """Examples that are a file each, such as a picture.

    Args:
        paths: Of the files, one an example.
        decode: From the content of a file, in the graph, to an example of a fixed shape.
        targets: In memory, `(examples, ...)`.
    """
    names = [os.fspath(path) for path in paths]
    table = tf.constant(names)
    return Stored(
        numbers=np.arange(len(names)),
        fetch=lambda numbers: tf.gather(table, numbers),
        decode=lambda path: decode(tf.io.read_file(path)),
        describe=lambda numbers: tf.gather(table, numbers),
        files=lambda numbers: [names[number] for number in numbers],
        targets=targets,
    )


def text_lines(paths: Sequence[str | Path], decode: Decode) -> Stored:
    """Examples that are a line of text each; blank lines are passed over.

    Args:
        paths: Of the files.
        decode: From a line, as bytes without its end, in the graph, to an example.
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
    """Examples for language models: tokens, and as targets the tokens that follow each of them.

    The windows lie side by side; what is left over at the end of a file is no example.

    Args:
        paths: Of files of text, or of tokens written one after the other.
        length: Tokens of an example.
        dtype: Of a token in the file: `uint8` for text byte by byte, or a wider integer.
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
    decoders: Any = None,
) -> Stored:
    """Examples of a dataset of TensorFlow Datasets that is prepared for random access.

    Args:
        builder: Of the prepared dataset.
        split: Its name, or a part of it such as `train[:10%]`.
        decode: From the dataset's features, in the graph, to an example.
        label: A feature that becomes the targets, and is read into memory now.
        decoders: Of the features, where they differ from the dataset's:
            `{"image": tfds.decode.SkipDecoding()}` gives the bytes of a picture.

    Raises:
        InputError: The dataset is prepared for reading in order alone.
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
        # The reader raises whatever its file gives rise to.
        with _named(Exception, f"a record of {split} in {builder.data_dir}"):
            return np.array(source.data_source.__getitems__(numbers.tolist()), object)

    def with_features(
        features: tfds.features.FeaturesDict, decode: Decode, decoders: Any = None
    ) -> Stored:
        return Stored(
            numbers=np.arange(len(source)),
            fetch=lambda numbers: _fetched(read, numbers),
            decode=lambda record: decode(features.deserialize_example(record, decoders=decoders)),
            describe=lambda numbers: tf.strings.join(
                ["record ", tf.strings.as_string(numbers), f" of {builder.data_dir}, {split}"]
            ),
            files=lambda numbers: paths,
        )

    stored = with_features(builder.info.features, decode, decoders)
    if label is None:
        return stored
    log.info("Reading the labels of %d examples of %s.", len(source), builder.name)
    alone = tfds.decode.PartialDecoding({label: True}).extract_features(builder.info.features)
    labels = with_features(alone, lambda features: features[label]).in_memory().inputs
    return stored.with_targets(labels.astype(np.int32))


def from_tfds(
    builder: "tfds.core.DatasetBuilder",
    split: str,
    decode: Decode,
    *,
    in_memory: InMemory = "auto",
    label: str | None = None,
    decoders: Any = None,
) -> Split:
    """Examples of a dataset of TensorFlow Datasets, in whatever format it is prepared.

    Args:
        builder: See `records`, as for all that is not said here.
        split: Its name.
        decode: From the dataset's features to an example.
        in_memory: With `no`, the dataset must be prepared for random access; any other is read
            into memory here.
        label: A feature that becomes the targets.
        decoders: Of the features.
    """
    if random_access(builder) or in_memory == "no":
        return records(builder, split, decode, label=label, decoders=decoders)
    dataset = builder.as_dataset(split=split, decoders=decoders)

    def example(features: Any) -> tuple[Any, ...]:
        parts = _parts(decode(features))
        return parts if label is None else (parts[0], tf.cast(features[label], tf.int32))

    parts = dataset.map(example, tf.data.AUTOTUNE, deterministic=True)
    count = builder.info.splits[split].num_examples
    few = min(SAMPLE, count)
    size = decoded_size(_collected(parts.take(few).ragged_batch(few), few)) * count // few
    if size > MOST_IN_MEMORY:
        log.warning(
            "%d examples of %s are read into memory, %.2g GiB; `tfds build %s "
            "--file_format=array_record` prepares them for reading from disk.",
            *(count, builder.name, size / 2**30, builder.name),
        )
    return _collected(parts.ragged_batch(AT_ONCE), count)


def random_access(builder: "tfds.core.DatasetBuilder") -> bool:
    """Whether a dataset is prepared so that any row can be read."""
    prepared = (builder.info.file_format, *builder.info.alternative_file_formats)
    return RANDOM_ACCESS in {file_format.value for file_format in prepared}


def into_memory(source: Source, in_memory: InMemory) -> Source:
    """A source whose examples are read into memory where that is asked for; says so.

    Args:
        source: Its examples may lie on disk, or be in memory already.
        in_memory: `yes`, `no`, or `auto`: if all splits together are no larger than
            `MOST_IN_MEMORY` once decoded.

    Raises:
        InputError: An example is damaged or gone.
    """
    splits: dict[str, Any] = {n: getattr(source, n) for n in ("train", "validation", "test")}
    stored = {name: split for name, split in splits.items() if isinstance(split, Stored)}
    if not stored:
        return source
    size = sum(decoded_size(split) for split in stored.values())
    gigabytes, count = size / 2**30, sum(split.num_examples for split in stored.values())
    if in_memory == "no" or (in_memory == "auto" and size > MOST_IN_MEMORY):
        log.info(
            "%d examples are read from disk as they are needed: %.2g GiB decoded.", count, gigabytes
        )
        return source
    log.info("%d examples are read into memory: %.2g GiB.", count, gigabytes)
    splits |= {name: split.in_memory() for name, split in stored.items()}
    return dataclasses.replace(source, **splits)


def decoded_size(split: Split) -> int:
    """Bytes that a split would have in memory, going by some of its examples."""
    count = split.num_examples
    some = np.unique(np.linspace(0, count - 1, SAMPLE, dtype=np.int64))
    arrays = keras.tree.flatten(split.rows(some).parts())
    return count * sum(map(_size, arrays)) // len(some)


def _size(values: Any) -> int:
    if isinstance(values, tf.RaggedTensor):
        return _size(values.flat_values.numpy())
    # Of text, an array holds addresses.
    return values.nbytes + (sum(map(sys.getsizeof, values.flat)) if values.dtype.hasobject else 0)


def unreadable(error: tf.errors.InvalidArgumentError) -> InputError | None:
    """The error about damaged examples that an error of TensorFlow quotes; None where it does not.

    Of what is raised in the graph, or by Python that the graph calls, TensorFlow passes on the text
    alone.
    """
    begin, end = map(re.escape, str(_damaged("{}")).split("{}"))
    match = re.search(f"{begin}(.*?){end}", error.message, re.DOTALL)
    return _damaged(match[1]) if match else None


def _damaged(names: str) -> InputError:
    return InputError("every example must be readable", f"{names}, damaged or gone")


def _pieces(
    paths: Sequence[str | Path],
    count: int,
    piece: Callable[[np.ndarray], Sequence[np.ndarray]],
    decode: Decode,
) -> Stored:
    """Examples that are pieces of files: `piece` gives number of the file, begin and size."""
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

    def describe(numbers: tf.Tensor) -> tf.Tensor:
        return _fetched(lambda rows: np.array([names[n] for n in piece(rows)[0]], object), numbers)

    return Stored(
        numbers=np.arange(count),
        fetch=lambda numbers: _fetched(read, numbers),
        decode=decode,
        describe=describe,
        files=lambda numbers: [names[number] for number in np.unique(piece(numbers)[0])],
    )


@contextlib.contextmanager
def _named(errors: type[Exception], name: str) -> Iterator[None]:
    """Errors of reading say what could not be read."""
    try:
        yield
    except errors as error:
        raise _damaged(name) from error


def _fetched(read: Callable[[np.ndarray], np.ndarray], numbers: tf.Tensor) -> tf.Tensor:
    """What Python reads for these numbers: strings, `(examples,)`."""
    content = tf.numpy_function(read, [numbers], tf.string, stateful=False)
    content.set_shape(numbers.shape)
    return content


def _collected(batches: tf.data.Dataset, count: int) -> Examples:
    """All examples of batches that come in their order; says how far it is."""
    news, done = time.monotonic(), 0
    columns: list[Any] = []
    try:
        for parts in _untuned(batches.prefetch(1)):
            leaves = keras.tree.flatten(parts)
            columns = columns or [_empty_column(values, count) for values in leaves]
            for column, values in zip(columns, leaves, strict=True):
                if isinstance(column, list):
                    column.append(values)
                else:
                    column[done : done + len(values)] = values.numpy()
            done += int(tf.shape(leaves[0])[0])
            if time.monotonic() - news > SECONDS_BETWEEN_NEWS:
                news = time.monotonic()
                log.info("Read %d of %d examples.", done, count)
    except tf.errors.InvalidArgumentError as error:
        raise (unreadable(error) or error) from None
    arrays = [tf.concat(c, axis=0) if isinstance(c, list) else c for c in columns]
    return Examples(*keras.tree.pack_sequence_as(parts, arrays))


def _empty_column(values: Any, count: int) -> Any:
    """Where the rows of all batches go; a list of ragged ones."""
    if isinstance(values, tf.RaggedTensor):
        return []
    return np.empty((count, *values.shape[1:]), values.dtype.as_numpy_dtype)


def _parts(decoded: Any) -> tuple[Any, ...]:
    return decoded if isinstance(decoded, tuple) else (decoded,)


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    # A thread that tunes a pipeline can sleep through its end, for up to a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
