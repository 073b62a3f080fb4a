"""Loads pictures to train on: from TensorFlow Datasets, a folder, a file, or arrays."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from suite.data import sources
from suite.data.examples import SPLITS, Examples, Source
from suite.data.images.arrays import prepare_source, prepared_array, read_npz
from suite.data.images.decoding import detect_white_and_scale
from suite.data.images.digits import embedded_digits
from suite.data.images.folders import read_folder
from suite.data.images.layouts import SAMPLE, InputOptions, sample_rows
from suite.data.images.preparation import (
    Layout,
    Preparation,
    is_bright_on_black,
    prepare_all,
)
from suite.data.stored import MOST_IN_MEMORY, Stored, random_access, records, stays_on_disk
from suite.errors import InputError
from suite.knobs import InMemory

if TYPE_CHECKING:
    from suite.run import Run

# Well-known datasets by layout; the layout of others is decided by a sample of their pictures.
DRAWINGS = ("mnist", "emnist", "kmnist")
PHOTOS = ("fashion_mnist", "cifar10", "cifar100")


def load_pictures(
    run: "Run",
    dataset: str = "mnist",
    layout: Layout | Literal["auto"] = "auto",
    image_size: int | None = None,
    channels: int | None = None,
) -> Source:
    """Loads pictures and their classes: a dataset, or the data that the run names instead.

    Args:
        run: The run, for its `data`, `data_dir`, `in_memory`, `min_per_class`, `skip_broken` and
            `arrays`.
        dataset: Name of a dataset in TensorFlow Datasets whose examples have an `image`, and
            perhaps a `label`. If MNIST cannot be downloaded, the embedded digits replace it.
        layout: `drawing` or `photo`; with `auto`, the layout of most pictures in a sample.
        image_size: Height and width of the inputs in pixels. By default 28 for drawings, the size
            of the pictures but at most 64 for photos, and the size of the pictures for arrays.
        channels: 1 or 3; by default 3 if the pictures are in colour.

    Returns:
        A source with inputs `(n, height, width, channels)`, uint8, labels `0..classes-1` and a
        `Preparation`. Without labels it has neither targets nor names of classes.

    Raises:
        InputError: The pictures cannot be found or read, or are no pictures.
    """
    recorded_preparation = Preparation(**run.preparation) if run.preparation else None
    options = InputOptions(layout, image_size, channels, recorded_preparation)
    return sources.load(
        run,
        tfds_name=dataset,
        from_tfds=functools.partial(_from_tfds, options=options, in_memory=run.in_memory),
        embedded=functools.partial(_embedded, options) if dataset == "mnist" else None,
        from_path=functools.partial(_from_path, options=options, run=run),
        from_arrays=functools.partial(prepare_source, options=options),
    )


def _from_path(path: Path, options: InputOptions, run: "Run") -> Source:
    if path.is_dir():
        return read_folder(path, options, run.in_memory, run.skip_broken)
    return read_npz(path, options)


def _embedded(options: InputOptions) -> Source:
    source = embedded_digits()
    images, labels = source.train.in_memory()
    preparation = options.with_default_layout("drawing").preparation(images[:1], keep_size=True)
    train = Examples(prepared_array(images, preparation), labels)
    return dataclasses.replace(source, train=train, preparation=preparation)


def _from_tfds(builder: Any, name: str, options: InputOptions, in_memory: InMemory) -> Source:
    """The splits `train`, `validation` and `test` of a dataset, as far as it has them."""
    features, available = builder.info.features, builder.info.splits
    if "image" not in features or "train" not in available:
        raise InputError(
            f"{name} must have a split named train, whose examples have a feature named image",
            f"splits {', '.join(available)}; features {', '.join(features)}",
        )
    if features["image"].np_dtype == np.uint16 and None in features["image"].shape:
        raise InputError(f"{name} must have pictures of one size, or of 8 bits", features["image"])
    label = _label(features)
    if builder.name in (*DRAWINGS, *PHOTOS):
        options = options.with_default_layout("drawing" if builder.name in DRAWINGS else "photo")
    preparation: Preparation
    splits: dict[str, Any]
    if random_access(builder) or in_memory == "no":
        preparation, splits = _on_disk(builder, available, options, label)
    elif None in features["image"].shape or (
        features["image"].np_dtype == np.uint8
        and stays_on_disk(in_memory, _bytes_of(features["image"].shape, available))
    ):
        preparation, splits = _of_many_sizes(builder, available, options, label, in_memory)
    else:
        preparation, splits = _of_one_size(builder, available, options, label, in_memory)
    # Some test splits are published without their labels, which are -1.
    splits = {
        split: examples
        for split, examples in splits.items()
        if split == "train" or examples.targets is None or examples.targets.min() >= 0
    }
    targets = splits["train"].targets
    class_names: tuple[str, ...] = ()
    if targets is not None:
        names = getattr(features[label], "names", None) or range(targets.max() + 1)
        class_names = tuple(map(str, names))
    return Source(
        name=name,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        class_names=class_names,
        preparation=preparation,
    )


def _label(features: Any) -> str | None:
    """The name of the feature that holds the class of a picture; None if there is none.

    Labels that are text or several classes are left alone, so that pictures can still be used.
    """
    if "label" not in features:
        return None
    label = features["label"]
    is_class = label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    return "label" if is_class else None


def _on_disk(
    builder: Any, available: Iterable[str], options: InputOptions, label: str | None
) -> tuple[Preparation, dict[str, Stored]]:
    """Splits whose pictures are read and prepared when a batch needs them."""
    splits = [split for split in SPLITS if split in available]
    # Called for its `InputError` only, which refuses a dataset in another format.
    records(builder, "train", lambda features: features["image"])
    train = builder.as_data_source(split="train")
    preparation = options.preparation([train[row]["image"] for row in sample_rows(len(train))])

    def decode(features: Any) -> Any:
        return preparation.prepare(features["image"])

    return preparation, {split: records(builder, split, decode, label=label) for split in splits}


def _bytes_of(shape: Sequence[int], available: Mapping[str, Any]) -> int:
    """The bytes of all pictures of a dataset if they have this shape."""
    return math.prod(shape) * sum(available[s].num_examples for s in SPLITS if s in available)


def _refuse_large(
    builder: Any, available: Mapping[str, Any], shape: Sequence[int], in_memory: InMemory
) -> None:
    """Refuses a dataset that can only be read in order, if it is too large for `in_memory`."""
    size = _bytes_of(shape, available)
    if stays_on_disk(in_memory, size):
        raise InputError(
            "`in_memory` must be yes where a dataset is prepared for reading in order and takes "
            f"more than {MOST_IN_MEMORY / 2**30:.0f} GiB, or `image_size` be smaller; "
            f"`tfds build {builder.name} --file_format=array_record` prepares it for reading from "
            "disk",
            f"{in_memory}, and {size / 2**30:.1f} GiB",
        )


def _of_one_size(
    builder: Any,
    available: Mapping[str, Any],
    options: InputOptions,
    label: str | None,
    in_memory: InMemory,
) -> tuple[Preparation, dict[str, Examples]]:
    """Splits whose pictures have one size; they are prepared unless they are usable as they are."""
    splits = {}
    for split in SPLITS:
        if split in available:
            everything = builder.as_dataset(split=split, batch_size=-1)
            images = everything["image"].numpy()
            splits[split] = Examples(
                images if images.dtype == np.uint8 else detect_white_and_scale(images).numpy(),
                everything[label].numpy().astype(np.int32) if label else None,
            )
    train = splits["train"].inputs
    sample = train[sample_rows(len(train))]
    preparation = options.preparation(sample)
    _refuse_large(builder, available, preparation.shape, in_memory)
    usable = preparation.layout == "photo" or is_bright_on_black(sample).numpy().mean() > 0.9
    if train.shape[1:] == preparation.shape and usable:
        return preparation, splits
    return preparation, {
        split: Examples(prepared_array(examples.inputs, preparation), examples.targets)
        for split, examples in splits.items()
    }


def _of_many_sizes(
    builder: Any,
    available: Mapping[str, Any],
    options: InputOptions,
    label: str | None,
    in_memory: InMemory,
) -> tuple[Preparation, dict[str, Examples]]:
    """Splits whose pictures differ in size, or are large: few are in memory as they are."""

    def examples(split: str) -> Iterator[dict[str, np.ndarray]]:
        features = builder.as_dataset(split=split).map(
            lambda example: {key: example[key] for key in ("image", label) if key}
        )
        return features.as_numpy_iterator()

    sample = [example["image"] for example in itertools.islice(examples("train"), SAMPLE)]
    preparation = options.preparation(sample)
    _refuse_large(builder, available, preparation.shape, in_memory)
    splits = {}
    for split in SPLITS:
        if split in available:
            labels: list[int] = []

            def pictures(split: str = split, labels: list[int] = labels) -> Iterator[np.ndarray]:
                for example in examples(split):
                    labels.extend([int(example[label])] if label else [])
                    yield example["image"]

            inputs = prepare_all(pictures(), preparation)
            splits[split] = Examples(inputs, np.asarray(labels, np.int32) if labels else None)
    return preparation, splits
