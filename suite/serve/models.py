"""The versions under `saved_models/<app>/<n>/`: found, loaded, called, and replaced in time."""

import asyncio
import gc
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
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

from suite.export.versions import CHECKSUMS, WARMUP, versions
from suite.files import refuse_damage
from suite.serve.batches import Arrays, Batcher, Limits
from suite.serve.status import Kind, RequestError

log = logging.getLogger(__name__)

OLDER_ONES_KEPT = 2  # of each model, those asked for last
State = ModelVersionStatus.State  # a number


class Signature:
    """An endpoint of a version.

    Args:
        function: Of named tensors.
        model: What the function belongs to, and holds on to only weakly.
        limits: Of its batches.
        executor: Where it is called.
    """

    def __init__(
        self, function: Any, model: Any, limits: Limits, executor: ThreadPoolExecutor
    ) -> None:
        self.function, self._model = function, model
        self.inputs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
        self._executor, self._most, self._asked = executor, limits.queue, 0
        self._batcher = Batcher(self._call, limits, executor) if self._takes_batches() else None

    async def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Calls it, together with other requests where it takes batches.

        Raises:
            RequestError: What the model says against its inputs, or there are too many requests.
        """
        if self._asked >= self._most:
            raise RequestError(
                f"{self._most} requests are waiting already: try again later", Kind.UNAVAILABLE
            )
        self._asked += 1
        try:
            if self._batcher and len({len(each) for each in inputs.values()}) == 1:
                return await self._batcher(inputs)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._call, inputs)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            raise RequestError(f"the model refuses: {_reason(error)}") from error
        finally:
            self._asked -= 1

    def _call(self, inputs: Arrays) -> dict[str, np.ndarray]:
        tensors = {
            name: tf.constant(inputs[name], spec.dtype) for name, spec in self.inputs.items()
        }
        return {name: each.numpy() for name, each in self.function(**tensors).items()}

    def _takes_batches(self) -> bool:
        shapes = [spec.shape for spec in self.inputs.values()]
        shapes += [spec.shape for spec in self.function.structured_outputs.values()]
        return all(shape.rank and shape[0] is None for shape in shapes)


class Version(NamedTuple):
    """One that answers.

    Args:
        number: Of the version.
        signatures: Its endpoints.
        definitions: What its file says of them.
    """

    number: int
    signatures: Mapping[str, Signature]
    definitions: Mapping[str, SignatureDef]

    def signature(self, name: str) -> Signature:
        """An endpoint.

        Raises:
            RequestError: There is none of that name.
        """
        if name not in self.signatures:
            known = ", ".join(sorted(self.signatures))
            raise RequestError(f"signature_name must be one of: {known}. Received: {name}")
        return self.signatures[name]


class Damage(NamedTuple):
    """Why a version does not answer.

    Args:
        said: What was said when it was loaded.
        files: Sizes and times of its files then: it is tried again when they change.
    """

    said: str
    files: frozenset[tuple[str, int, int]]


class Model:
    """All versions of one name.

    Args:
        folder: Holds a folder for each.
        limits: Of batches.
        executor: Where they are called.
    """

    def __init__(self, folder: Path, limits: Limits, executor: ThreadPoolExecutor) -> None:
        self.folder, self._limits, self._executor = folder, limits, executor
        self.newest: Version | None = None
        self.broken: dict[int, Damage] = {}
        self._older: OrderedDict[int, Version] = OrderedDict()
        self._loading = asyncio.Lock()

    def states(self) -> dict[int, tuple[int, str]]:
        """The state of each version that is there, newest first, and what is wrong with it."""

        def state(number: int) -> tuple[int, str]:
            if number in self.broken:
                return State.END, self.broken[number].said
            if self.newest and number <= self.newest.number:
                return State.AVAILABLE, ""
            return State.LOADING, ""

        return {number: state(number) for number in reversed(versions(self.folder))}

    async def refresh(self) -> None:
        """Loads the newest version that can be loaded, and lets go of those that are gone."""
        async with self._loading:
            there = await asyncio.to_thread(versions, self.folder)
            for number in list(self._older):
                if number not in there:
                    del self._older[number]
            for number, damage in list(self.broken.items()):
                if number not in there or damage.files != _files(self.folder / str(number)):
                    del self.broken[number]
            for number in reversed(there):
                if self.newest and number == self.newest.number:
                    return
                if number in self.broken:
                    continue
                loaded = self._older.pop(number, None) or await self._loaded(number)
                if loaded:
                    self.newest = loaded
                    log.info("%s: version %d answers", self.folder.name, number)
                    return
            self.newest = None

    async def version(self, number: int | None) -> Version:
        """One that answers, by default the newest.

        Raises:
            RequestError: There is none.
        """
        found = self.newest if number is None else self._at_hand(number)
        if number is not None and not found:
            async with self._loading:
                # Another request may have waited for the same one.
                found = self._at_hand(number) or await self._older_one(number)
        if not found:
            raise _not_found(self.folder.name, number)
        return found

    def _at_hand(self, number: int) -> Version | None:
        if self.newest and number == self.newest.number:
            return self.newest
        if number in self._older:
            self._older.move_to_end(number)
        return self._older.get(number)

    async def _older_one(self, number: int) -> Version | None:
        there = await asyncio.to_thread(versions, self.folder)
        if number not in there or number in self.broken:
            return None
        loaded = await self._loaded(number)
        if loaded:
            self._older[number] = loaded
            while len(self._older) > OLDER_ONES_KEPT:
                self._older.popitem(last=False)
        return loaded

    async def _loaded(self, number: int) -> Version | None:
        files = _files(self.folder / str(number))
        try:
            return await asyncio.to_thread(self._load, number)
        except Exception as error:  # whatever reading a damaged file can lead to
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.broken[number] = Damage(said, files)
            log.warning("%s: version %d is passed over: %s", self.folder.name, number, said)
            return None

    def _load(self, number: int) -> Version:
        folder = self.folder / str(number)
        refuse_damage(folder / CHECKSUMS, folder)
        definitions = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        loaded = tf.saved_model.load(str(folder))
        signatures = {
            name: Signature(function, loaded, self._limits, self._executor)
            for name, function in loaded.signatures.items()
        }
        version = Version(number, signatures, dict(definitions.meta_graphs[0].signature_def))
        _warm_up(version, folder / WARMUP)
        return version


class Models:
    """Everything under a folder.

    Args:
        folder: Holds `<app>/<n>/`.
        limits: Of batches.
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
        """Of the models that answer."""
        return sorted(name for name, model in self._models.items() if model.newest)

    async def refresh(self) -> None:
        """Looks for new models and versions, and for those that are gone."""
        there = await asyncio.to_thread(self._folders)
        for name in self._models.keys() - there.keys():
            del self._models[name]
        before = self._answering()
        for name, folder in there.items():
            if name not in self._models:
                self._models[name] = Model(folder, self._limits, self._executor)
            await self._models[name].refresh()
        if self._answering() != before:
            _settle()

    @asynccontextmanager
    async def watched(self, seconds: float = 1.0) -> AsyncIterator[None]:
        """Loads everything, and then looks again and again; ends when all calls have.

        Args:
            seconds: Between two looks.
        """
        await self.refresh()
        watching = asyncio.create_task(self._watch(seconds))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.to_thread(self._executor.shutdown)

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except OSError as error:  # a folder that vanishes while it is looked at
                log.warning("%s is looked at again later: %s", self.folder, error)

    def states(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> dict[int, tuple[int, str]]:
        """The states of a model's versions, or of one of them: see `Model.states`.

        Raises:
            RequestError: There are none.
        """
        if name not in self._models:
            raise RequestError(f"Could not find any versions of model {name}", Kind.NOT_FOUND)
        found = self._models[name].states()
        number = self._number(name, number, label)
        if number is None:
            return found
        if number not in found:
            raise RequestError(f"Could not find version {number} of model {name}", Kind.NOT_FOUND)
        return {number: found[number]}

    async def version(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Version:
        """One that answers.

        Raises:
            RequestError: There is none.
        """
        number = self._number(name, number, label)
        if name not in self._models:
            raise _not_found(name, number)
        return await self._models[name].version(number)

    def _number(self, name: str, number: int | None, label: str | None) -> int | None:
        if label is None:
            return number
        if label not in self.labels.get(name, {}):
            raise RequestError(f"Unrecognized servable version label: {label}")
        return self.labels[name][label]

    def _answering(self) -> list[Version | None]:
        return [model.newest for model in self._models.values()]

    def _folders(self) -> dict[str, Path]:
        if not self.folder.is_dir():
            return {}
        return {path.name: path for path in self.folder.iterdir() if versions(path)}


def _settle() -> None:
    """Spares what is loaded from the garbage collector, which would go through it all the time."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _reason(error: Exception) -> str:
    """What a model has against its inputs, without where in its graph that was."""
    lines = [line for line in str(error).splitlines() if line]
    if lines[0] == "Graph execution error:":
        lines = lines[3:]
    return lines[0].removeprefix("assertion failed: ")


def _not_found(name: str, number: int | None) -> RequestError:
    which = "Latest" if number is None else f"Specific({number})"
    return RequestError(f"Servable not found for request: {which}({name})", Kind.NOT_FOUND)


def _files(folder: Path) -> frozenset[tuple[str, int, int]]:
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):  # a link into nowhere, or a file that has just gone
            stat = path.stat()
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return frozenset(found)


def _warm_up(version: Version, file: Path) -> None:
    """Asks what the export says that should be asked before the first client does."""
    if not file.exists():
        return
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        asked = PredictionLog.FromString(record).predict_log.request
        name = asked.model_spec.signature_name or "serving_default"
        inputs = {key: tf.make_ndarray(proto) for key, proto in asked.inputs.items()}
        version.signatures[name]._call(inputs)
