"""The state of a training, saved after each epoch, every few minutes, and when a signal comes.

Objects that have a state beside variables are `Resumable`: a callback that counts, a model that
plays environments, a replay buffer.
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

# The files of a checkpoint, and the temporary folder of one that is being written.
CHECKPOINT_FILE = re.compile(r"(ckpt-[1-9]\d{0,8})(\.index|\.data-\d{5}-of-\d{5}|_temp)")
# The names of the networks' variables and of the JSON in a checkpoint.
NETWORK_VARIABLE = re.compile(r"networks/[^/]+/\d+/\.ATTRIBUTES/VARIABLE_VALUE")
PROGRESS = "progress/.ATTRIBUTES/py_state"
OF_CALLER = "caller "  # begins the names of callbacks that the caller has passed
# The attributes that hold the state of Keras's callbacks.
CALLBACK_ATTRIBUTES = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "cooldown_counter", "best"),
    keras.callbacks.ModelCheckpoint: ("best",),
}


@runtime_checkable
class Resumable(Protocol):
    """An object whose state is saved and restored with the training."""

    def state(self) -> Any:
        """The state: nested dicts with text keys, lists, NumPy arrays, numbers, text and None."""

    def restore(self, state: Any) -> None:
        """Restores the state of an object that was created in the same way."""


@runtime_checkable
class Remembering(Protocol):
    """A model that knows of its training what its weights do not say, such as its cost."""

    def remember(self, trained: Any) -> None:
        """Takes over what the trained model knows, of which this one is a copy on one device."""


@runtime_checkable
class Finishing(Protocol):
    """A callback that has other weights for the end than those that are trained."""

    def set_model(self, model: keras.Model) -> None:
        """Makes a model the one that is trained, as in every callback of Keras."""

    def finish(self) -> None:
        """Gives the model the weights for the end; does so again after a resume."""


class KerasCallbackState:
    """The state of one of Keras's callbacks, as `Resumable`.

    Args:
        callback: An instance of one of the classes in `CALLBACK_ATTRIBUTES`.
    """

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        self.callback = callback
        [self.names] = [
            names
            for callback_class, names in CALLBACK_ATTRIBUTES.items()
            if isinstance(callback, callback_class)
        ]

    def state(self) -> Any:
        return {name: getattr(self.callback, name, None) for name in self.names}

    def restore(self, state: Any) -> None:
        vars(self.callback).update(state)


class Progress(NamedTuple):
    """How far a training has come.

    Args:
        phase: The phase to continue with, counted from 0; the number of phases at the end.
        epoch: The epoch of that phase to continue with, counted from 0; the number of its epochs,
            also if it ended early, if only the weights for its end are to be chosen. At the end,
            the epochs of the last phase that were trained.
        step: The steps of that epoch that are done.
        rows: The logs of the finished epochs, over all phases.
        epochs: The epochs that the phase of the last one was to have.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    rows: tuple[dict[str, Any], ...] = ()
    epochs: int = 0


class _Saved(tf.train.experimental.PythonState):
    """The part of a state that is not in variables, as JSON in the same checkpoint."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    def serialize(self) -> str:
        return json.dumps(self.content)

    def deserialize(self, string: str) -> None:
        self.content = json.loads(string)


class TrainingState(keras.callbacks.Callback):
    """Saves and restores the complete state of a training.

    Weights, optimizers, seeds and running metrics are saved together with the phase, the epoch,
    the step, the logs so far and the states of `Resumable` callbacks and of a `Resumable` model.
    The callback must come after those that add to the logs of an epoch.

    TensorFlow's list of checkpoints is not written: if the process is killed between a state and
    its entry in the list, the list names an older state.

    Args:
        folder: The folder of the checkpoints; the last two that are whole are kept.
        placement: The strategy of the training. A signal to one worker stops all of them, after
            the same step. By default the strategy of the current scope.
        signals: The signals that stop the training after the current step.
        save_seconds: A state is saved within an epoch when the last one is older than this.
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
        self.epochs, self.is_last, self.resumed = 0, True, False
        self._path: str | None = None  # the state that will be restored
        self._newest: str | None = None  # the newest state that is whole
        self._saved_at = time.monotonic()

    def find(self, folder: Path | None = None) -> Progress:
        """Finds the newest saved state that is whole, for `restore`, and returns its progress.

        All bytes are read, so that damage is found here, and the state before it is used. Without
        a state the training starts at 0.

        Args:
            folder: The folder of the checkpoints; by default the one that states are saved to.
        """
        for path in reversed(checkpoint_paths(folder or self.folder)):
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

    def attach(
        self,
        networks: Mapping[str, keras.Model],
        model: keras.Model,
        callbacks: Iterable[keras.callbacks.Callback],
        epochs: int,
        resumed: bool,
        is_last: bool = True,
        of_caller: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        """Makes a phase the one whose state is saved and restored.

        Args:
            networks: The networks of the builder, whose weights pass from phase to phase.
            model: The compiled model of the phase.
            callbacks: The callbacks of the phase; those that are `Resumable`, or of the classes in
                `CALLBACK_ATTRIBUTES`, become part of the state.
            epochs: Number of epochs of the phase.
            resumed: Whether the saved state is of this phase. Otherwise it is of the phase before,
                and only its networks are restored.
            is_last: Whether no phase follows. The state of a phase that others follow is ended by
                `end_phase`, after callbacks have chosen its weights.
            of_caller: Those callbacks that the caller has passed. They are the same ones in all
                phases, and restored from the state of an earlier one, too.
        """
        self.networks, self.epochs, self.resumed = networks, epochs, resumed
        self.is_last = is_last
        self.set_model(model)
        self.resumables = {}
        numbers = {id(callback): number for number, callback in enumerate(of_caller)}
        for number, callback in enumerate(callbacks):
            name = f"{number}:{type(callback).__name__}"
            if id(callback) in numbers:
                name = f"{OF_CALLER}{numbers[id(callback)]}:{type(callback).__name__}"
            if isinstance(callback, Resumable):
                self.resumables[name] = callback
            elif isinstance(callback, tuple(CALLBACK_ATTRIBUTES)):
                self.resumables[name] = KerasCallbackState(callback)

    def restore(self, again: bool = False) -> None:
        """Restores the state that `find` has found; does nothing when it is called again.

        The running metrics are restored only if they exist, for example after an `evaluate`.

        Args:
            again: Whether the next call is to restore the state again.

        Raises:
            InputError: The state is damaged or of another model.
        """
        if self._path is None:
            return
        path = self._path
        if not again:
            self._path = None
        checkpoint = self._checkpoint(self.resumed)
        try:
            reader = tf.train.load_checkpoint(path)
            # Compared first, because TensorFlow logs pages about values without a variable.
            shapes = reader.get_variable_to_shape_map()
            saved = [shape for name, shape in shapes.items() if NETWORK_VARIABLE.fullmatch(name)]
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
        for name, resumable in self.resumables.items():
            if name in content["callbacks"] and (self.resumed or name.startswith(OF_CALLER)):
                resumable.restore(_with_arrays(content["callbacks"][name], reader))
        if self.resumed:
            self._restore_model(content["model"], reader)

    def _restore_model(self, contents: Sequence[Any], reader: Any) -> None:
        """Restores the state of a `Resumable` model.

        Args:
            contents: The content of the state on each worker, in their order.
            reader: Reads the arrays of the checkpoint.
        """
        number = worker_number(self.placement)
        if isinstance(self.model, Resumable) and number < len(contents):
            content = contents[number]
            packed = isinstance(content, str)
            self.model.restore(_unpacked(content) if packed else _with_arrays(content, reader))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Not in `on_train_begin`: `fit` resets the running metrics after that.
        self.restore()
        if not self.progress.step:
            self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # After the last step of an epoch, `on_epoch_end` saves the state.
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
        progress = self.progress._replace(rows=(*self.progress.rows, row), epochs=self.epochs)
        phase_ends = self.model.stop_training or progress.epoch + 1 == self.epochs
        if not phase_ends:
            progress = progress._replace(epoch=progress.epoch + 1, step=0)
        elif self.is_last:
            progress = progress._replace(phase=progress.phase + 1, epoch=progress.epoch + 1, step=0)
        else:
            progress = progress._replace(epoch=self.epochs, step=0)
        self._save(progress)
        if not phase_ends:
            self.stop_at_signal()

    def end_phase(self) -> None:
        """Saves the state after a phase that has no epochs, or that others follow."""
        progress = self.progress._replace(
            phase=self.progress.phase + 1, epoch=0, step=0, epochs=self.epochs
        )
        self._save(progress)
        self.stop_at_signal()

    def stop_at_signal(self) -> None:
        """Ends the training if a signal came to any worker. All workers must call this.

        Raises:
            Interrupted: A signal came.
        """
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
        earlier = checkpoint_paths(self.folder)
        number = _number(earlier[-1]) + 1 if earlier else 1
        path = str(self.folder / f"ckpt-{number}")
        checkpoint = self._checkpoint(whole=True)
        checkpoint.progress = saved
        with tf.device("CPU:0"):  # a replay may be larger than the memory of a GPU
            checkpoint.arrays = {name: tf.Variable(array) for name, array in arrays.items()}
        try:
            checkpoint.write(path)
        except (OSError, tf.errors.OpError) as error:
            _remove(self.folder, keep=set(earlier))
            variables = [*self.model.variables, *_optimizer_variables(self.model)]
            size = sum(v.value.dtype.size * math.prod(v.shape) for v in variables)
            size += sum(array.nbytes for array in arrays.values())
            raise unwritable(Path(path), size, error) from error
        _remove(self.folder, keep={self._newest, path})
        self._newest = path
        self._saved_at = time.monotonic()

    def _checkpoint(self, whole: bool) -> tf.train.Checkpoint:
        """The variables to save: those of the networks.

        Args:
            whole: Whether to add the model's other variables, its optimizers and its metrics,
                which belong to one phase.
        """
        model = self.model
        # By position rather than name: Keras numbers models without a name differently each time.
        networks = [_values(network.variables) for network in self.networks.values()]
        if not whole:
            return tf.train.Checkpoint(networks=networks)
        build_optimizers(model)
        network_ids = {id(v) for network in self.networks.values() for v in network.variables}
        others = [v for v in model.variables if id(v) not in network_ids]
        return tf.train.Checkpoint(
            networks=networks,
            model=_values(others),
            optimizers=[_values(optimizer.variables) for optimizer in optimizers(model)],
            metrics=_values(model.metrics_variables),
        )


def optimizers(model: keras.Model) -> list[keras.Optimizer]:
    """The optimizers of a model: its `optimizers` if it has this attribute, or its `optimizer`."""
    several = getattr(model, "optimizers", None)
    if several is not None:
        return list(several)
    return [model.optimizer] if getattr(model, "optimizer", None) is not None else []


def build_optimizers(model: keras.Model) -> None:
    """Creates the variables of optimizers that have none yet, as the first training step would.

    TensorFlow traces a step that creates variables twice, and saved states hold these variables.
    """
    for optimizer in optimizers(model):
        if not optimizer.built:
            with model.distribute_strategy.scope():
                optimizer.build(model.trainable_variables)


def checkpoint_paths(folder: Path) -> list[str]:
    """The paths of saved states, whole or in part, oldest first."""
    return sorted(
        {state for state, path in _checkpoint_files(folder) if path.is_file()}, key=_number
    )


def _checkpoint_files(folder: Path) -> list[tuple[str, Path]]:
    """The files of saved states, each with the path of its state; other files are ignored."""
    if not folder.is_dir():
        return []
    named = ((CHECKPOINT_FILE.fullmatch(path.name), path) for path in folder.iterdir())
    return [(str(folder / match[1]), path) for match, path in named if match]


def _remove(folder: Path, keep: Set[str | None]) -> None:
    """Removes all states except some, and the temporary folders of saves that were killed."""
    for state, path in _checkpoint_files(folder):
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
    """Converts a state to JSON with the names of its arrays; the arrays are added to `arrays`.

    Args:
        state: The state of a `Resumable`.
        name: The name of its owner, from which names of arrays are made.
        arrays: Gets the arrays by name.
    """
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
    """The state that `_without_arrays` has converted.

    Args:
        content: The JSON.
        reader: Has the arrays: a mapping, or a reader of the checkpoint.
    """
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
