"""Loads the versions under `saved_models/<app>/<n>/`, calls them, and replaces them by new ones."""

import asyncio
import gc
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from suite.export.loading import load_saved_model
from suite.export.refusals import refusal
from suite.export.versions import CHECKSUMS, METADATA, WARMUP, versions
from suite.files import refuse_damage
from suite.serve.batching import Arrays, Batcher, Limits
from suite.serve.status import Code, RequestError

log = logging.getLogger(__name__)

DEFAULT_SIGNATURE = "serving_default"
PICTURE = "picture"  # the input that takes encoded pictures; a signature of this name is preferred
# Errors that a model raises for bad inputs, such as a picture of gigabytes.
REFUSALS = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, ValueError)
MAX_OLDER = 2  # older versions of a model that stay loaded: those that were requested last
State = ModelVersionStatus.State  # an enum of protobuf, whose values are integers


class Signature:
    """A function of a version, with named tensors as inputs and outputs.

    Args:
        function: A signature of a SavedModel, from `tf.saved_model.load`.
        model: The loaded SavedModel. The function holds a weak reference to it only, so this
            object keeps it alive.
        limits: Limits on requests and batches.
        executor: Runs the calls.
    """

    def __init__(
        self, function: Any, model: Any, limits: Limits, executor: ThreadPoolExecutor
    ) -> None:
        self.function, self._model = function, model
        self.inputs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
        self._executor, self._queue_size, self._num_requests = executor, limits.max_queue, 0
        self._batcher = Batcher(self.call, limits, executor) if self._takes_batches() else None

    async def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Computes the outputs, in one batch with other requests if the signature takes batches.

        Raises:
            RequestError: The model cannot take the inputs, or too many requests wait.
        """
        if self._num_requests >= self._queue_size:
            raise RequestError(
                f"{self._queue_size} requests are waiting already: try again later",
                Code.UNAVAILABLE,
            )
        self._num_requests += 1
        try:
            if self._batcher and len({len(array) for array in inputs.values()}) == 1:
                return await self._batcher(inputs)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self.call, inputs)
        except REFUSALS as error:
            raise RequestError(f"the model refuses: {_reason(error)}") from error
        finally:
            self._num_requests -= 1

    def call(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Computes the outputs in this thread, in the order of their names.

        A SavedModel has no order of its outputs: it differs from one loading to the next.
        """
        tensors = {
            name: tf.constant(inputs[name], spec.dtype) for name, spec in self.inputs.items()
        }
        outputs = self.function(**tensors)
        return {name: _array(outputs[name]) for name in sorted(outputs)}

    def takes_pictures(self) -> bool:
        """Whether the only input is `picture`, strings `(batch,)` that hold encoded pictures."""
        if self.inputs.keys() != {PICTURE}:
            return False
        spec = self.inputs[PICTURE]
        return spec.dtype == tf.string and spec.shape.rank == 1 and spec.shape[0] is None

    def _takes_batches(self) -> bool:
        """Whether all tensors have rows, and a row of an answer depends on that request alone.

        An axis of unknown length that no input has may be as long as another request needs, as that
        of the tokens of texts.
        """
        inputs = [spec.shape for spec in self.inputs.values()]
        outputs = [spec.shape for spec in self.function.structured_outputs.values()]
        if not all(shape.rank and shape[0] is None for shape in [*inputs, *outputs]):
            return False
        return not _have_unknown_axes(outputs) or _have_unknown_axes(inputs)


class Version(NamedTuple):
    """A loaded version of a model.

    Args:
        number: The number that its folder is named by.
        signatures: Signatures by name.
        definitions: The definitions of the signatures in the SavedModel, for `/metadata`.
        metadata: The metadata that the training exported; None if the export has no such file.
    """

    number: int
    signatures: Mapping[str, Signature]
    definitions: Mapping[str, SignatureDef]
    metadata: Any = None

    def signature(self, name: str) -> Signature:
        """The signature of a name; the default one for an empty name.

        Raises:
            RequestError: There is no signature of that name.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            names = ", ".join(sorted(self.signatures))
            raise RequestError(f"signature_name must be one of: {names}. Received: {name}")
        return self.signatures[name]

    def picture_signature(self) -> Signature | None:
        """A signature that takes encoded pictures: the default one, `picture`, any, or None."""
        names = [DEFAULT_SIGNATURE, PICTURE, *self.signatures]
        signatures = [self.signatures[name] for name in names if name in self.signatures]
        return next((signature for signature in signatures if signature.takes_pictures()), None)


class Damage(NamedTuple):
    """The reason why a version cannot be loaded.

    Args:
        message: The error message of the last attempt.
        files: Names, sizes and times of the files at that attempt. When they change, the version
            is loaded again.
    """

    message: str
    files: frozenset[tuple[str, int, int]]


class Model:
    """All versions of one model.

    Args:
        folder: Holds a folder for each version.
        limits: Limits on requests and batches.
        executor: Runs the calls.
    """

    def __init__(self, folder: Path, limits: Limits, executor: ThreadPoolExecutor) -> None:
        self.folder, self._limits, self._executor = folder, limits, executor
        self.newest: Version | None = None
        self.damaged: dict[int, Damage] = {}
        self._older: OrderedDict[int, Version] = OrderedDict()
        self._loading = asyncio.Lock()
        self._tasks: set[asyncio.Task[Version | None]] = set()  # which nothing else keeps alive

    def states(self) -> dict[int, tuple[int, str]]:
        """State and error message of every version in the folder, newest first."""

        def state(number: int) -> tuple[int, str]:
            if number in self.damaged:
                return State.END, self.damaged[number].message
            if self.newest and number <= self.newest.number:
                return State.AVAILABLE, ""
            return State.LOADING, ""

        return {number: state(number) for number in reversed(versions(self.folder))}

    async def refresh(self) -> None:
        """Loads the newest intact version, and drops versions whose folders are gone."""
        async with self._loading:
            numbers = await asyncio.to_thread(versions, self.folder)
            for number in list(self._older):
                if number not in numbers:
                    del self._older[number]
            for number, damage in list(self.damaged.items()):
                if number not in numbers or damage.files != _files(self.folder / str(number)):
                    del self.damaged[number]
            for number in reversed(numbers):
                if self.newest and number == self.newest.number:
                    return
                if number in self.damaged:
                    continue
                version = self._older.pop(number, None) or await self._load(number)
                if version:
                    self.newest = version
                    log.info("%s: version %d answers", self.folder.name, number)
                    return
            self.newest = None

    async def version(self, number: int | None) -> Version:
        """The version of a number, which is loaded if necessary; without a number, the newest.

        Raises:
            RequestError: There is no such version.
        """
        version = self.newest if number is None else self._loaded(number)
        if number is not None and not version:
            # It is loaded to its end though this request is cancelled, so that the next one does
            # not begin anew.
            task = asyncio.create_task(self._load_older(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            version = await asyncio.shield(task)
        if not version:
            raise _not_found(self.folder.name, number)
        return version

    def _loaded(self, number: int) -> Version | None:
        if self.newest and number == self.newest.number:
            return self.newest
        if number in self._older:
            self._older.move_to_end(number)
        return self._older.get(number)

    async def _load_older(self, number: int) -> Version | None:
        async with self._loading:
            if version := self._loaded(number):  # by another request in the meantime
                return version
            numbers = await asyncio.to_thread(versions, self.folder)
            if number not in numbers or number in self.damaged:
                return None
            version = await self._load(number)
            if version:
                self._older[number] = version
                while len(self._older) > MAX_OLDER:
                    self._older.popitem(last=False)
            return version

    async def _load(self, number: int) -> Version | None:
        """Loads a version from its folder; if that fails, adds it to `damaged` and returns None."""
        files = _files(self.folder / str(number))
        try:
            version = await asyncio.to_thread(self._read, number)
            if files != await asyncio.to_thread(_files, self.folder / str(number)):
                raise OSError("its files have changed while they were read")
            return version
        except Exception as error:  # a damaged file can raise anything
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.damaged[number] = Damage(message, files)
            log.warning("%s: version %d is skipped: %s", self.folder.name, number, message)
            return None

    def _read(self, number: int) -> Version:
        folder = self.folder / str(number)
        refuse_damage(folder / CHECKSUMS, folder)
        saved_model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        loaded = load_saved_model(folder)
        signatures = {
            name: Signature(function, loaded, self._limits, self._executor)
            for name, function in loaded.signatures.items()
        }
        definitions = dict(saved_model.meta_graphs[0].signature_def)
        version = Version(number, signatures, definitions, _read_metadata(folder / METADATA))
        _warm_up(version, folder / WARMUP)
        return version


class Models:
    """All models under a folder.

    Args:
        folder: Holds `<app>/<n>/`.
        limits: Limits on requests and batches.
        labels: Numbers of versions by model and label.
    """

    def __init__(
        self, folder: Path, limits: Limits, labels: Mapping[str, Mapping[str, int]] | None = None
    ) -> None:
        self.folder, self.labels = folder, labels or {}
        self._limits = limits
        self._executor = ThreadPoolExecutor(thread_name_prefix="model")
        self._models: dict[str, Model] = {}

    @property
    def names(self) -> list[str]:
        """Names of the models with a loaded version."""
        return sorted(name for name, model in self._models.items() if model.newest)

    async def refresh(self) -> None:
        """Loads new models and versions, and drops those whose folders are gone."""
        folders = await asyncio.to_thread(self._folders)
        before = self._numbers()
        for name in self._models.keys() - folders.keys():
            del self._models[name]
        for name, folder in folders.items():
            if name not in self._models:
                self._models[name] = Model(folder, self._limits, self._executor)
            await self._models[name].refresh()
        if self._numbers() != before:
            _exempt_from_garbage_collection()

    @asynccontextmanager
    async def watched(self, seconds: float = 1.0) -> AsyncIterator[None]:
        """Refreshes the models regularly in a `with` block, and at its end waits for running calls.

        Args:
            seconds: Time between two refreshes.
        """
        await self.refresh()
        refreshing = asyncio.create_task(self._refresh_regularly(seconds))
        try:
            yield
        finally:
            refreshing.cancel()
            await asyncio.to_thread(self._executor.shutdown)

    async def _refresh_regularly(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except OSError as error:  # a folder may vanish while it is read
                log.warning("%s will be read again: %s", self.folder, error)

    def all_states(self) -> dict[str, dict[int, tuple[int, str]]]:
        """State and error message of every version of every model."""
        return {name: self._models[name].states() for name in sorted(self._models)}

    def states(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> dict[int, tuple[int, str]]:
        """State and error message of a model's versions, or of one of them.

        Raises:
            RequestError: There is no such model or version.
        """
        if name not in self._models:
            raise RequestError(f"Could not find any versions of model {name}", Code.NOT_FOUND)
        states = self._models[name].states()
        number = self._version_number(name, number, label)
        if number is None:
            return states
        if number not in states:
            raise RequestError(f"Could not find version {number} of model {name}", Code.NOT_FOUND)
        return {number: states[number]}

    async def version(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Version:
        """The version of a number or a label; without both, the newest.

        Raises:
            RequestError: There is no such version.
        """
        number = self._version_number(name, number, label)
        if name not in self._models:
            raise _not_found(name, number)
        return await self._models[name].version(number)

    def _version_number(self, name: str, number: int | None, label: str | None) -> int | None:
        """The number that a label stands for; without a label, `number` itself.

        Raises:
            RequestError: The model has no such label.
        """
        if label is None:
            return number
        if label not in self.labels.get(name, {}):
            raise RequestError(f"Unrecognized servable version label: {label}")
        return self.labels[name][label]

    def _numbers(self) -> dict[str, int | None]:
        """The number of every model's newest version, or None.

        Whoever held the version itself would keep one that is replaced in memory.
        """
        models = self._models.items()
        return {name: model.newest.number if model.newest else None for name, model in models}

    def _folders(self) -> dict[str, Path]:
        if not self.folder.is_dir():
            return {}
        return {path.name: path for path in self.folder.iterdir() if versions(path)}


def _exempt_from_garbage_collection() -> None:
    """Exempts all existing objects, loaded models above all, from Python's garbage collector.

    The collector would otherwise visit every object of every model in every full collection.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _have_unknown_axes(shapes: Sequence[tf.TensorShape]) -> bool:
    """Whether an axis behind the first has no length that is known."""
    return any(None in shape[1:].as_list() for shape in shapes)


def _array(tensor: tf.Tensor) -> np.ndarray:
    # A scalar string is bytes, and NumPy's arrays of bytes lose trailing zeros: hence objects.
    return np.asarray(tensor.numpy(), object if tensor.dtype == tf.string else None)


def _reason(error: Exception) -> str:
    """What the model refuses or, for other errors, the message without its place in the graph."""
    if refused := refusal(error):
        return str(refused)
    lines = [line for line in str(error).splitlines() if line]
    if lines[0] == "Graph execution error:":
        lines = lines[3:]
    return lines[0].removeprefix("assertion failed: ")


def _not_found(name: str, number: int | None) -> RequestError:
    version = "Latest" if number is None else f"Specific({number})"
    return RequestError(f"Servable not found for request: {version}({name})", Code.NOT_FOUND)


def _files(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Names, sizes and times of change of the files of a folder."""
    files = []
    for path in folder.rglob("*"):
        with suppress(OSError):  # a broken link, or a file that was just deleted
            stat = path.stat()
            files.append((str(path), stat.st_size, stat.st_mtime_ns))
    return frozenset(files)


def _read_metadata(file: Path) -> Any:
    """The metadata of an export; None without a file, and None for numbers that are not finite."""
    if not file.exists():
        return None
    return json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda name: None)


def _warm_up(version: Version, file: Path) -> None:
    """Calls the version with the requests in the export, so that the first client need not wait."""
    if not file.exists():
        return
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        logged = PredictionLog.FromString(record)
        if logged.WhichOneof("log_type") != "predict_log":  # of another interface
            continue
        request = logged.predict_log.request
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        version.signature(request.model_spec.signature_name).call(inputs)
