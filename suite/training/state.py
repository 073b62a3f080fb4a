"""The resumable state of a training: saved after each epoch, every few minutes, and at a signal.

Whatever has something to go on with besides weights - a callback that counts, a model that plays
environments, a replay buffer - is `Resumable`.
"""

import base64
import io
import json
import logging
import math
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from suite.errors import InputError
from suite.files import unwritable
from suite.placement.replicas import (
    any_worker,
    average_statistics,
    gather,
    many_hosts,
    worker_number,
)
from suite.training.signals import StopSignals

log = logging.getLogger(__name__)

PART = re.compile(r"(ckpt-[1-9]\d{0,8})(\.index|\.data-\d{5}-of-\d{5}|_temp)")
OF_NETWORKS = re.compile(r"networks/[^/]+/\d+/\.ATTRIBUTES/VARIABLE_VALUE")
PROGRESS = "progress/.ATTRIBUTES/py_state"
# The attributes in which Keras's callbacks remember the epochs so far.
MEMORIES = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "cooldown_counter", "best"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


@runtime_checkable
class Resumable(Protocol):
    """Something whose memory is part of the state of a training."""

    def state(self) -> Any:
        """What it remembers: nested dicts, lists, arrays, numbers, strings and None."""

    def restore(self, state: Any) -> None:
        """Takes up a state that an object made alike has given."""


class KerasCallbackState:
    """What a callback of Keras's remembers, as `Resumable`.

    Args:
        callback: Of one of the classes in `MEMORIES`.
    """

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        self.callback = callback
        [self.names] = [names for kind, names in MEMORIES.items() if isinstance(callback, kind)]

    def state(self) -> Any:
        return {name: getattr(self.callback, name, None) for name in self.names}

    def restore(self, state: Any) -> None:
        vars(self.callback).update(state)


class Progress(NamedTuple):
    """How far a training has come.

    Args:
        phase: The phase to go on with, counted from 0; the number of phases at the end.
        epoch: The epoch of that phase to go on with.
        step: The steps of that epoch that are done.
        rows: The logs of the finished epochs, over all phases.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    rows: tuple[dict[str, Any], ...] = ()


class _Saved(tf.train.experimental.PythonState):
    """What travels in a checkpoint beside its variables, as JSON, so that both agree."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    def serialize(self) -> str:
        return json.dumps(self.content)

    def deserialize(self, string: str) -> None:
        self.content = json.loads(string)


class TrainingState(keras.callbacks.Callback):
    """Saves all that a training needs to go on.

    Weights, optimizers, seeds and running metrics are saved together with the phase, the epoch,
    the step, the logs so far and what the `Resumable` callbacks and the model remember. Comes
    last of all callbacks, so that it sees what they have logged.

    TensorFlow's own list of checkpoints is not kept: a kill between a state and its entry there
    leaves a list that names an older one.

    Args:
        folder: Where the checkpoints lie; the last two that are whole are kept.
        placement: A signal that came to one worker stops all of them, after the same step.
        signals: Asked after each step whether to stop.
        save_seconds: A state is saved in the middle of an epoch when the last one is older.
    """

    def __init__(
        self,
        folder: Path,
        placement: tf.distribute.Strategy | None = None,
        signals: StopSignals | None = None,
        save_seconds: float = math.inf,
    ) -> None:
        super().__init__()
        self.folder, self.save_seconds = folder, save_seconds
        self.placement = placement or tf.distribute.get_strategy()
        self.signals = signals or StopSignals()
        self.progress = Progress()
        self.networks: Mapping[str, keras.Model] = {}
        self.resumables: dict[str, Resumable] = {}
        self.epochs, self.resumed = 0, False
        self._path: str | None = None  # of the state that is still to be restored
        self._newest: str | None = None  # that is whole
        self._saved_at = time.monotonic()

    def find(self, folder: Path | None = None) -> Progress:
        """Looks for a saved state, which `restore` will then take up; else starts at 0.

        Every byte is read, so that a damaged state is noticed here, and the one before it taken.

        Args:
            folder: Where to look; by default where states are saved to.
        """
        for path in reversed(states(folder or self.folder)):
            try:
                reader = tf.train.load_checkpoint(path)
                for name in reader.get_variable_to_shape_map():
                    reader.get_tensor(name)
                self.progress = Progress(*_content(reader)["progress"])
            except (tf.errors.OpError, RuntimeError, ValueError, LookupError, TypeError):
                log.warning("The saved state %s is damaged.", path)
            else:
                self._path = self._newest = path
                break
        return self.progress

    def follow(
        self,
        networks: Mapping[str, keras.Model],
        model: keras.Model,
        callbacks: Iterable[keras.callbacks.Callback],
        epochs: int,
        resumed: bool,
    ) -> None:
        """Turns to a phase.

        Args:
            networks: What the builder has made; their weights go from phase to phase.
            model: What the phase trains.
            callbacks: Of the phase; those that are `Resumable` become part of the state.
            epochs: Of the phase.
            resumed: Whether the state is one of this phase; else it is that of the phase before,
                of which only the networks are taken up.
        """
        self.networks, self.epochs, self.resumed = networks, epochs, resumed
        self.set_model(model)
        self.resumables = {}
        for number, callback in enumerate(callbacks):
            name = f"{number}:{type(callback).__name__}"
            if isinstance(callback, Resumable):
                self.resumables[name] = callback
            elif isinstance(callback, tuple(MEMORIES)):
                self.resumables[name] = KerasCallbackState(callback)

    def restore(self) -> None:
        """Puts the state that was looked for back, once.

        The running metrics are put back only if they have been made: by an `evaluate`, say.

        Raises:
            InputError: The state is of another model.
        """
        if self._path is None:
            return
        path, self._path = self._path, None
        checkpoint = self._checkpoint(self.resumed)
        try:
            reader = tf.train.load_checkpoint(path)
            # Compared first: of values that have no place TensorFlow complains at length.
            shapes = reader.get_variable_to_shape_map()
            saved = [shape for name, shape in shapes.items() if OF_NETWORKS.fullmatch(name)]
            variables = [v for network in self.networks.values() for v in network.variables]
            if sorted(saved) != sorted(list(variable.shape) for variable in variables):
                raise ValueError(saved)
            checkpoint.read(path).expect_partial().assert_existing_objects_matched()
            content = _content(reader)
        except (AssertionError, ValueError, LookupError, tf.errors.OpError):
            raise InputError(
                "`resume` needs a saved state of this model that is whole",
                f"{path}, damaged or of another model",
            ) from None
        if self.resumed:
            for name, resumable in self.resumables.items():
                if name in content["callbacks"]:
                    resumable.restore(_with_arrays(content["callbacks"][name], reader))
            self._restore_model(content["model"], reader)

    def _restore_model(self, of_workers: Sequence[Any], reader: Any) -> None:
        number = worker_number(self.placement)
        if isinstance(self.model, Resumable) and number < len(of_workers):
            state = of_workers[number]
            whole = _unpacked(state) if isinstance(state, str) else _with_arrays(state, reader)
            self.model.restore(whole)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Not at the beginning of the training: `fit` resets the running metrics just before this.
        self.restore()
        if not self.progress.step:
            self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # After the last step the end of the epoch saves: nothing would be left of it to resume.
        if batch + 1 == self.params.get("steps"):
            return
        late = time.monotonic() - self._saved_at > self.save_seconds
        if any_worker(self.placement, late or self.signals.received is not None):
            self._save(self.progress._replace(step=batch + 1))
            self.stop_at_signal()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        average_statistics(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        progress = self.progress._replace(rows=(*self.progress.rows, row))
        if self.model.stop_training or progress.epoch + 1 == self.epochs:
            progress = progress._replace(phase=progress.phase + 1, epoch=0, step=0)
        else:
            progress = progress._replace(epoch=progress.epoch + 1, step=0)
        self._save(progress)
        self.stop_at_signal()

    def end_phase(self) -> None:
        """Saves a phase that has no epochs as done."""
        progress = self.progress._replace(phase=self.progress.phase + 1, epoch=0, step=0)
        self._save(progress)
        self.stop_at_signal()

    def stop_at_signal(self) -> None:
        """Ends the training if a signal came, to this worker or to another; all must ask."""
        if any_worker(self.placement, self.signals.received is not None):
            self.signals.interrupt()

    def _save(self, progress: Progress) -> None:
        average_statistics(self.model)
        self.progress = progress
        arrays: dict[str, np.ndarray] = {}
        callbacks = {
            name: _without_arrays(resumable.state(), name, arrays)
            for name, resumable in self.resumables.items()
        }
        model: Sequence[Any] = []
        if isinstance(self.model, Resumable):
            state = self.model.state()
            if many_hosts(self.placement):
                model = gather(self.placement, _packed(state))
            else:
                model = [_without_arrays(state, "model", arrays)]
        saved = _Saved()
        saved.content = {"progress": progress, "callbacks": callbacks, "model": model}
        earlier = states(self.folder)
        number = _number(earlier[-1]) + 1 if earlier else 1
        path = str(self.folder / f"ckpt-{number}")
        checkpoint = self._checkpoint(whole=True)
        checkpoint.progress = saved
        checkpoint.arrays = {name: tf.Variable(array) for name, array in arrays.items()}
        try:
            checkpoint.write(path)
        except (OSError, tf.errors.OpError) as error:
            _remove(self.folder, keep=set(earlier))
            variables = [*self.model.variables, *_optimizer_variables(self.model)]
            size = sum(v.value.dtype.size * math.prod(v.shape) for v in variables)
            raise unwritable(Path(path), size, error) from error
        _remove(self.folder, keep={self._newest, path})
        self._newest = path
        self._saved_at = time.monotonic()

    def _checkpoint(self, whole: bool) -> tf.train.Checkpoint:
        """The variables of the networks; if `whole`, also what only the phase trains with."""
        model = self.model
        # In their order: a model without a name of its own is called differently each time.
        networks = [_values(network.variables) for network in self.networks.values()]
        if not whole:
            return tf.train.Checkpoint(networks=networks)
        for optimizer in optimizers(model):
            if not optimizer.built:
                with model.distribute_strategy.scope():
                    optimizer.build(model.trainable_variables)
        of_networks = {id(v) for network in self.networks.values() for v in network.variables}
        others = [v for v in model.variables if id(v) not in of_networks]
        return tf.train.Checkpoint(
            networks=networks,
            model=_values(others),
            optimizers=[_values(optimizer.variables) for optimizer in optimizers(model)],
            metrics=_values(model.metrics_variables),
        )


def optimizers(model: keras.Model) -> list[keras.Optimizer]:
    """The optimizers of a model: its `optimizers`, where it has several, or its `optimizer`."""
    several = getattr(model, "optimizers", None)
    if several is not None:
        return list(several)
    return [model.optimizer] if getattr(model, "optimizer", None) is not None else []


def states(folder: Path) -> list[str]:
    """Where saved states lie, or what is left of them, oldest first."""
    return sorted({state for state, path in _parts(folder) if path.is_file()}, key=_number)


def _parts(folder: Path) -> list[tuple[str, Path]]:
    """The files of states, and of which state; other files in the folder are somebody else's."""
    if not folder.is_dir():
        return []
    named = ((PART.fullmatch(path.name), path) for path in folder.iterdir())
    return [(str(folder / match[1]), path) for match, path in named if match]


def _remove(folder: Path, keep: Set[str | None]) -> None:
    """Removes what is left of other states, and what a killed save has left of any."""
    for state, path in _parts(folder):
        if path.name.endswith("_temp"):
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file() and state not in keep:
            path.unlink()


def _number(state: str) -> int:
    return int(state.rpartition("-")[2])


def _values(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    return [variable.value for variable in variables]


def _optimizer_variables(model: keras.Model) -> list[keras.Variable]:
    return [variable for optimizer in optimizers(model) for variable in optimizer.variables]


def _content(reader: Any) -> dict[str, Any]:
    return json.loads(reader.get_tensor(PROGRESS))


def _without_arrays(state: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The state as JSON can hold it; its arrays go to `arrays`, and leave their names behind."""
    if isinstance(state, Mapping):
        items = {
            key: _without_arrays(value, f"{name}.{key}", arrays) for key, value in state.items()
        }
        return {"dict": items}
    if isinstance(state, (list, tuple)):
        parts = [_without_arrays(part, f"{name}.{n}", arrays) for n, part in enumerate(state)]
        return {"list": parts}
    if isinstance(state, np.ndarray):
        key = re.sub(r"[^\w]", "_", f"{len(arrays)}_{name}")
        arrays[key] = state
        return {"array": key}
    return state.item() if isinstance(state, np.generic) else state


def _with_arrays(content: Any, reader: Any) -> Any:
    """The state that `_without_arrays` took apart; `reader` has the arrays by name."""
    if not isinstance(content, dict):
        return content
    [(kind, value)] = content.items()
    if kind == "dict":
        return {key: _with_arrays(part, reader) for key, part in value.items()}
    if kind == "list":
        return [_with_arrays(part, reader) for part in value]
    if isinstance(reader, Mapping):
        return reader[value]
    return reader.get_tensor(f"arrays/{value}/.ATTRIBUTES/VARIABLE_VALUE")


def _packed(state: Any) -> str:
    """A state as text, arrays included, to be sent to the chief."""
    arrays: dict[str, Any] = {}
    content = _without_arrays(state, "model", arrays)
    file = io.BytesIO()
    named: Any = arrays
    np.savez(file, **named)
    return json.dumps([content, base64.b64encode(file.getvalue()).decode()])


def _unpacked(text: str) -> Any:
    content, encoded = json.loads(text)
    with np.load(io.BytesIO(base64.b64decode(encoded)), allow_pickle=False) as arrays:
        return _with_arrays(content, dict(arrays))
