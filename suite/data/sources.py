"""Decides where a run's data come from: TensorFlow Datasets, an embedded dataset, or a path."""

import dataclasses
import logging
import os
import shutil
import socket
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.data.examples import Source, Split
from suite.data.stored import into_memory
from suite.errors import InputError

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

HOST = "storage.googleapis.com"
SECONDS_TO_ANSWER = 2.5

# The sources that are no paths: values of `data`, with which the names of sources begin.
BUILT_IN = ("tfds", "embedded", "synthetic", "gymnasium")
# The values of `data` with which an application makes its examples itself, if it can.
MADE_HERE = ("auto", "embedded", "synthetic")


def refuse_given_data(run: "Run", made: str) -> None:
    """Refuses other data than what an application makes.

    Args:
        run: The run, for its `data`.
        made: What it makes, with the verb, such as "the sums are".

    Raises:
        InputError: `data` names another source, or examples are given in Python.
    """
    if run.arrays is not None or run.data not in MADE_HERE:
        received = run.data if run.arrays is None else "arrays"
        raise InputError(f"`data` must be auto: {made} made by the program", received)


def load(
    run: "Run",
    *,
    embedded: Callable[[], Source] | None,
    from_path: Callable[[Path], Source],
    tfds_name: str | None = None,
    from_tfds: Callable[[Any, str], Source] | None = None,
    from_arrays: Callable[[Source], Source] | None = None,
) -> Source:
    """Loads the examples that a run asks for, into memory if it asks for that.

    Args:
        run: The run, for its `data`, `data_dir`, `in_memory`, `min_per_class` and `arrays`.
        embedded: Makes the source that needs no download; None if there is none.
        from_path: Reads a file or folder of the user.
        tfds_name: Name of the dataset in TensorFlow Datasets; None if there is none.
        from_tfds: Makes a source of a prepared `tfds.core.DatasetBuilder` and a name for it.
        from_arrays: Checks and completes a source given in Python; None takes it as it is.

    Raises:
        InputError: The source cannot be found, downloaded or read, or its examples are unsuitable.
    """
    if run.arrays is not None:
        source = from_arrays(run.arrays) if from_arrays else run.arrays
    else:
        source = _load(run, tfds_name, from_tfds, embedded, from_path)
    return into_memory(without_rare_classes(source, run.min_per_class), run.in_memory)


def without_rare_classes(source: Source, minimum: int) -> Source:
    """A source without the classes of fewer than `minimum` training examples, which are logged.

    Raises:
        InputError: Fewer than two classes remain.
    """
    if minimum == 1 or not source.class_names:
        return source
    sizes = np.bincount(source.train.targets, minlength=len(source.class_names))
    kept = np.flatnonzero(sizes >= minimum)
    if len(kept) == len(sizes):
        return source
    if len(kept) < 2:
        raise InputError("`min_per_class` must leave two classes or more", minimum)
    rare = [source.class_names[index] for index in np.flatnonzero(sizes < minimum)]
    log.warning("Left out, with fewer than %d examples: %s.", minimum, ", ".join(rare))
    label = np.full(len(sizes), -1, np.int32)
    label[kept] = np.arange(len(kept))

    def remaining(examples: Split) -> Split:
        rows = examples.rows(np.flatnonzero(np.isin(examples.targets, kept)))
        return rows.with_targets(label[rows.targets])

    splits: dict[str, Any] = {name: remaining(part) for name, part in source.splits().items()}
    groups = source.groups
    if groups is not None:
        groups = groups[np.isin(source.train.targets, kept)]
    names = tuple(source.class_names[index] for index in kept)
    return dataclasses.replace(source, class_names=names, groups=groups, **splits)


def _load(
    run: "Run",
    tfds_name: str | None,
    from_tfds: Callable[[Any, str], Source] | None,
    embedded: Callable[[], Source] | None,
    from_path: Callable[[Path], Source],
) -> Source:
    if run.data == "embedded":
        if embedded is None:
            choices = _choices(from_tfds, embedded)
            raise InputError(
                f"`data` must be {choices}: no {tfds_name} comes with the suite", "embedded"
            )
        return embedded()
    if run.data == "arrays":
        raise InputError(
            "`data` must be passed in Python for a model that was trained on arrays", "none"
        )
    if run.data not in ("auto", "tfds"):
        path = _expanded(run.data)
        # Not with methods of Path, which raise for long names. A pipe might never end.
        if not (os.path.isfile(path) or os.path.isdir(path)):  # noqa: PTH112, PTH113
            raise InputError(
                f"`data` must be {_choices(from_tfds, embedded)}", f"{run.data}, which is not there"
            )
        return from_path(path)

    if tfds_name is None or from_tfds is None:
        if run.data == "tfds" or embedded is None:
            raise InputError(f"`data` must be {_choices(from_tfds, embedded)}", run.data)
        return embedded()
    data_dir = _data_dir(run)
    if data_dir is not None:
        prepared = _prepared(data_dir, tfds_name)
        if prepared is None and _reachable(HOST):
            prepared = _download(tfds_name, data_dir)
        if prepared is not None:
            name = prepared.relative_to(data_dir).as_posix()  # with configuration and version
            return _read_prepared(prepared, f"tfds:{name}", from_tfds)
    if run.data == "tfds" and data_dir is None:
        raise InputError(
            f"`data` tfds needs `data_dir`, the folder of {tfds_name}, where the user has no home "
            "folder",
            "none",
        )
    if run.data == "tfds" or embedded is None:
        instead = "; `data` embedded needs nothing" if embedded else ""
        raise InputError(
            f"{tfds_name} must be prepared under {data_dir}, or be a name in TensorFlow Datasets "
            f"that can be downloaded{instead}",
            "neither",
        )
    source = embedded()
    if data_dir is None:
        reason = f"No home folder that could hold {tfds_name}, and no --data-dir"
    else:
        reason = f"No prepared {tfds_name} under {data_dir}, and no network"
    log.warning(
        "%s: using %s instead.%s",
        reason,
        source.name,
        "" if source.comparable else f" Its figures are not comparable with {tfds_name}'s.",
    )
    return source


def _data_dir(run: "Run") -> Path | None:
    """The folder of TensorFlow Datasets; None if none is named and there is no home folder."""
    if chosen := run.data_dir or os.environ.get("TFDS_DATA_DIR"):
        return _expanded(chosen)
    try:
        return Path.home() / "tensorflow_datasets"
    except RuntimeError:
        return None


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError("`~` in a path must stand for the home folder of a user", path) from None


def _prepared(data_dir: Path, tfds_name: str) -> Path | None:
    """The folder of the newest prepared version of a dataset, or None; never uses the network.

    Args:
        data_dir: The folder of TensorFlow Datasets.
        tfds_name: Name of the dataset, with its configuration or for the default one.
    """
    folder = data_dir / tfds_name
    if any(folder.glob("*/*.*.*/dataset_info.json")):
        folder /= _default_configuration(tfds_name)
    versions = [path.parent for path in folder.glob("*.*.*/dataset_info.json")]
    if not versions:
        return None
    return max(versions, key=lambda path: [int(p) for p in path.name.split(".") if p.isdigit()])


def _default_configuration(tfds_name: str) -> str:
    """The configuration that TensorFlow Datasets takes where none is named; empty without one."""
    import tensorflow_datasets as tfds

    try:
        configuration = tfds.builder_cls(tfds_name).default_builder_config
    except ValueError:  # TensorFlow Datasets does not know the name
        return ""
    return configuration.name if configuration else ""


def _read_prepared(folder: Path, name: str, from_tfds: Callable[[Any, str], Source]) -> Source:
    import tensorflow_datasets as tfds

    try:
        return from_tfds(tfds.builder_from_directory(folder), name)
    except InputError:
        raise
    except Exception as error:  # damaged bytes can fail anywhere in the reading libraries
        raise InputError(
            f"the dataset under {folder} is damaged; remove that folder to have it prepared again",
            type(error).__name__,
        ) from error


def _choices(from_tfds: object, embedded: object) -> str:
    """What `data` may be, for errors.

    Args:
        from_tfds: What reads prepared data, or None.
        embedded: What makes embedded data, or None.
    """
    names = {"auto": from_tfds or embedded, "tfds": from_tfds, "embedded": embedded}
    known = [name for name, reader in names.items() if reader is not None]
    return " or ".join(part for part in (", ".join(known), "the path of a file or folder") if part)


def _reachable(host: str) -> bool:
    """Whether a connection opens within `SECONDS_TO_ANSWER`, name look-up included.

    TensorFlow Datasets itself would try for minutes before it gives up.
    """
    address = (host, 443)
    proxy = urllib.request.getproxies().get("https")
    if proxy:
        try:
            parts = urllib.parse.urlsplit(proxy)
            address = (parts.hostname or host, parts.port or 443)
        except ValueError:
            raise InputError("https_proxy must be like http://host:port", proxy) from None
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=SECONDS_TO_ANSWER).close()
            answered.set()
        except (OSError, UnicodeError):  # UnicodeError: the name is invalid
            pass

    # A name look-up has no time-out, so it runs in a thread that may outlive this function.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    return answered.is_set()


def _download(tfds_name: str, data_dir: Path) -> Path | None:
    """Prepares a dataset in a temporary folder, and moves the complete result into place.

    Returns:
        The folder of the prepared dataset; None if the download fails.
    """
    import tensorflow_datasets as tfds

    log.info("Downloading %s to %s", tfds_name, data_dir)
    temporary = None
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{tfds_name.replace('/', '-')}-", dir=data_dir))
        builder = tfds.builder(tfds_name, data_dir=temporary)
        builder.download_and_prepare()
        complete = Path(builder.data_dir)
        # The folder can be deeper than the name, by a configuration.
        target = data_dir / complete.relative_to(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        complete.replace(target)
        return target
    except Exception as error:  # whatever failed, the run can go on without the download
        log.warning("Downloading %s failed: %s", tfds_name, " ".join(str(error).split())[:200])
        return _prepared(data_dir, tfds_name)  # another run may have prepared it meanwhile
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def data_knob_of(source_name: str) -> str:
    """The value of the knob `data` that gives the source of this name again.

    Args:
        source_name: The name of a source, as in a report or an export.
    """
    prefix = source_name.partition(":")[0]
    return prefix if prefix in BUILT_IN else source_name
