"""Which data a run uses: TensorFlow Datasets, the embedded set, or the user's own path."""

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

# The sources that are no paths, as `--data` calls them and as their full names begin.
BUILT_IN = ("tfds", "embedded", "synthetic", "gymnasium")


def load(
    run: "Run",
    *,
    tfds_name: str,
    from_tfds: Callable[[Any, str], Source],
    embedded: Callable[[], Source] | None,
    from_path: Callable[[Path], Source],
    from_arrays: Callable[[Source], Source] | None = None,
) -> Source:
    """The examples that `--data` asks for, in memory or on disk as `--in-memory` does.

    Args:
        run: Says `data`, `data_dir`, `in_memory` and `min_per_class`.
        tfds_name: The dataset's name in TensorFlow Datasets.
        from_tfds: Makes examples of a prepared `tfds.core.DatasetBuilder`; is told how to name
            the source.
        embedded: Makes the examples that are always there; None where none are.
        from_path: Reads the user's own file or folder.
        from_arrays: Checks and completes what was given in Python; None takes it as it is.

    Raises:
        InputError: The source is not to be had, or holds something else than expected.
    """
    if run.arrays is not None:
        source = from_arrays(run.arrays) if from_arrays else run.arrays
    else:
        source = _load(run, tfds_name, from_tfds, embedded, from_path)
    return into_memory(without_rare_classes(source, run.min_per_class), run.in_memory)


def without_rare_classes(source: Source, minimum: int) -> Source:
    """A source without the classes that have fewer training examples than wanted; says which."""
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

    def remaining(examples: Split | None) -> Split | None:
        if examples is None:
            return None
        rows = examples.rows(np.flatnonzero(np.isin(examples.targets, kept)))
        return rows.with_targets(label[rows.targets])

    splits: dict[str, Any] = {
        name: remaining(getattr(source, name)) for name in ("train", "validation", "test")
    }
    groups = source.groups
    if groups is not None:
        groups = groups[np.isin(source.train.targets, kept)]
    names = tuple(source.class_names[index] for index in kept)
    return dataclasses.replace(source, class_names=names, groups=groups, **splits)


def _load(
    run: "Run",
    tfds_name: str,
    from_tfds: Callable[[Any, str], Source],
    embedded: Callable[[], Source] | None,
    from_path: Callable[[Path], Source],
) -> Source:
    if run.data == "embedded":
        if embedded is None:
            raise InputError(
                f"`data` must be auto, tfds or a path: no {tfds_name} comes with the suite",
                "embedded",
            )
        return embedded()
    if run.data == "arrays":
        raise InputError("`data` must be given in Python to go on with such a run", "none")
    if run.data not in ("auto", "tfds"):
        path = _expanded(run.data)
        # Not by the methods of Path, which raise for names too long; and a pipe would not end.
        if not (os.path.isfile(path) or os.path.isdir(path)):  # noqa: PTH112, PTH113
            raise InputError(
                "`data` must be auto, tfds, embedded or the path of a file or folder", run.data
            )
        return from_path(path)

    data_dir = _data_dir(run)
    prepared = None
    if data_dir is not None:
        prepared = _prepared(data_dir / tfds_name)
        if prepared is None and _reachable(HOST):
            prepared = _download(tfds_name, data_dir)
    if prepared is not None:
        return _read_prepared(prepared, tfds_name, from_tfds)
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
    """The folder of TensorFlow Datasets; None where none is named and there is no home folder."""
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
        raise InputError("a path must begin with the home of a user", path) from None


def _prepared(folder: Path) -> Path | None:
    """The newest prepared version of a dataset; asks the file system only, never the network."""
    versions = [path.parent for path in folder.glob("*.*.*/dataset_info.json")]
    if not versions:
        return None
    return max(versions, key=lambda path: [int(p) for p in path.name.split(".") if p.isdigit()])


def _read_prepared(folder: Path, tfds_name: str, from_tfds: Callable[[Any, str], Source]) -> Source:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        return from_tfds(builder, f"tfds:{tfds_name}/{folder.name}")
    except InputError:
        raise
    except Exception as error:  # whatever reads it, damaged bytes may fail anywhere
        raise InputError(
            f"the dataset under {folder} is damaged; remove that folder to have it made anew",
            type(error).__name__,
        ) from error


def _reachable(host: str) -> bool:
    """Whether a connection opens within `SECONDS_TO_ANSWER`, name look-up included.

    TensorFlow Datasets itself tries for minutes before it gives up.
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
        except (OSError, UnicodeError):  # UnicodeError: of a name that can be none
            pass

    # A name look-up has no time-out of its own; a daemon thread may outlive its answer.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER)
    return answered.is_set()


def _download(tfds_name: str, data_dir: Path) -> Path | None:
    """Prepares a dataset aside and moves it into place whole; None if that fails."""
    import tensorflow_datasets as tfds

    log.info("Downloading %s to %s", tfds_name, data_dir)
    aside = None
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{tfds_name.replace('/', '-')}-", dir=data_dir))
        builder = tfds.builder(tfds_name, data_dir=aside)
        builder.download_and_prepare()
        made = Path(builder.data_dir)
        target = data_dir / made.relative_to(aside)  # its configuration may be more than the name
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
        return target
    except Exception as error:  # whatever failed, the run goes on without the download
        log.warning("Downloading %s failed: %s", tfds_name, " ".join(str(error).split())[:200])
        return _prepared(data_dir / tfds_name)  # by another run, meanwhile
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def asked_for(source: str) -> str:
    """What `--data` calls a source that a run or an export names."""
    kind = source.partition(":")[0]
    return kind if kind in BUILT_IN else source
