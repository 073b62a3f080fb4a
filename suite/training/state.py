"""The resumable state of a training, and the signals that ask for it."""

import json
import logging
import math
import re
import shutil
import signal
import threading
from collections.abc import Sequence, Set
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self

import keras
import tensorflow as tf

from suite.errors import InputError, Interrupted
from suite.files import unwritable
from suite.placement.strategy import any_worker, average_statistics

log = logging.getLogger(__name__)

PART = re.compile(r"(ckpt-[1-9]\d{0,8})(\.index|\.data-\d{5}-of-\d{5}|_temp)")
OF_MODEL = re.compile(r"model/\d+/\.ATTRIBUTES/VARIABLE_VALUE")
PROGRESS = "progress/.ATTRIBUTES/py_state"


class Progress(NamedTuple):
    """How far a training has come.

    Args:
        epoch: The epoch to go on with, counted from 0.
        step: Its steps that are done already.
        rows: The logs of the finished epochs.
        callbacks: The counters of the callbacks, in order.
        stopped: Whether a callback has ended the training before its last epoch.
    """

    epoch: int = 0
    step: int = 0
    rows: tuple[dict[str, float], ...] = ()
    callbacks: tuple[dict[str, float], ...] = ()
    stopped: bool = False


class _SavedProgress(tf.train.experimental.PythonState):
    """Lets `Progress` travel in the same checkpoint as the variables, so that both agree."""

    def __init__(self) -> None:
        self.value = Progress()

    def serialize(self) -> str:
        return json.dumps(self.value)

    def deserialize(self, string: str) -> None:
        self.value = Progress(*json.loads(string))


class StopSignals:
    """While entered, notes the first SIGINT or SIGTERM; the second has its usual effect.

    Args:
        placement: A signal that came to one worker stops all of them, after the same step.
    """

    def __init__(self, placement: tf.distribute.Strategy | None = None) -> None:
        self.placement = placement or tf.distribute.get_strategy()
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may handle signals: elsewhere a training just cannot be signalled.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def came(self) -> bool:
        """Whether a signal came, to this worker or to another; all must ask."""
        if any_worker(self.placement, self.received is not None):
            self.received = self.received or signal.SIGTERM
        return self.received is not None

    def check(self) -> None:
        """Ends the training if a signal came.

        Raises:
            Interrupted: One did.
        """
        if self.came() and self.received is not None:
            raise Interrupted("stopped, state saved", self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        log.warning("Stopping after this step; the state is saved. Once more stops at once.")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


class TrainingState(keras.callbacks.Callback):
    """Saves all that a training needs to go on: after each epoch, and when a signal comes.

    Weights, optimizer, seeds and running metrics are saved together with the epoch, the step,
    the logs so far and what the other callbacks count and keep (the best value, the patience, the
    best weights). Comes last of all callbacks, so that it sees what they have noted.

    TensorFlow's own list of checkpoints is not kept: a kill between a state and its entry there
    leaves a list that names an older one.

    Args:
        folder: Where the checkpoints lie; the last two that are whole are kept.
        companions: The callbacks whose counters are part of the state, and the best weights
            where one of them is a `keras.callbacks.EarlyStopping` that keeps them.
        signals: Asked after each step whether to stop.
    """

    def __init__(
        self,
        folder: Path,
        companions: Sequence[keras.callbacks.Callback] = (),
        signals: StopSignals | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.companions = companions
        self._keepers = [
            each
            for each in companions
            if isinstance(each, keras.callbacks.EarlyStopping) and each.restore_best_weights
        ]
        self.signals = signals or StopSignals()
        self.progress = Progress()
        self._path: str | None = None
        self._newest: str | None = None  # that is whole
        self._saved = _SavedProgress()

    def find(self, folder: Path | None = None) -> Progress:
        """Looks for a saved state, which the first epoch will then restore; else starts at 0.

        Every byte is read, so that a damaged state is noticed here, and the one before it taken.

        Args:
            folder: Where to look; by default where states are saved to.
        """
        for path in reversed(states(folder or self.folder)):
            try:
                reader = tf.train.load_checkpoint(path)
                stored = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}
                self.progress = Progress(*json.loads(stored[PROGRESS]))
            except (tf.errors.OpError, RuntimeError, ValueError, LookupError):
                log.warning("The saved state %s is damaged.", path)
            else:
                self._path = self._newest = path
                break
        return self.progress

    def restore(self) -> None:
        """Puts the found state back into the model, its optimizer and the other callbacks.

        The running metrics are put back only if they have been made: by an `evaluate`, say.

        Raises:
            InputError: The state is of another model.
        """
        if self._path is None:
            return
        checkpoint = self._checkpoint()
        try:
            # Compared first: of values that find no place TensorFlow complains at length.
            shapes = tf.train.load_checkpoint(self._path).get_variable_to_shape_map()
            saved = [shape for name, shape in shapes.items() if OF_MODEL.fullmatch(name)]
            own = [list(weights.shape) for weights in self.model.variables]
            if sorted(saved) != sorted(own):
                raise ValueError(saved)
            status = checkpoint.read(self._path).expect_partial()
            status.assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError):
            raise InputError(
                f"the saved state {self._path} is damaged or of another model"
            ) from None
        self._path = None
        self.progress = self._saved.value
        for companion, counters in zip(self.companions, self.progress.callbacks, strict=True):
            vars(companion).update(counters)
        for keeper, weights in zip(self._keepers, checkpoint.best, strict=True):
            keeper.best_weights = [each.numpy() for each in weights]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Not at the beginning of the training: `fit` resets the running metrics just before this.
        self.restore()
        if not self.progress.step:
            self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # After the last step the end of the epoch saves: nothing would be left of it to resume.
        if self.signals.came() and batch + 1 != self.params.get("steps"):
            self._save(self.progress._replace(step=batch + 1))
            self.signals.check()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        average_statistics(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        rows = (*self.progress.rows, row)
        self._save(Progress(epoch + 1, 0, rows, stopped=bool(self.model.stop_training)))
        self.signals.check()

    def _save(self, progress: Progress) -> None:
        average_statistics(self.model)
        counters = tuple(_counters(companion) for companion in self.companions)
        self.progress = self._saved.value = progress._replace(callbacks=counters)
        earlier = states(self.folder)
        number = _number(earlier[-1]) + 1 if earlier else 1
        path = str(self.folder / f"ckpt-{number}")
        try:
            self._checkpoint().write(path)
        except (OSError, tf.errors.OpError) as error:
            _remove(self.folder, keep=set(earlier))
            variables = [*self.model.variables, *self.model.optimizer.variables]
            size = sum(each.value.dtype.size * math.prod(each.shape) for each in variables)
            raise unwritable(Path(path), size, error) from error
        _remove(self.folder, keep={self._newest, path})
        self._newest = path

    def _checkpoint(self) -> tf.train.Checkpoint:
        model = self.model
        if not model.optimizer.built:
            with model.distribute_strategy.scope():
                model.optimizer.build(model.trainable_variables)
        # A model may have more than one, for parts of it.
        optimizers = [
            each for each in vars(model).values() if isinstance(each, keras.optimizers.Optimizer)
        ]
        return tf.train.Checkpoint(
            model=_values(model.variables),
            optimizers=[_values(optimizer.variables) for optimizer in optimizers],
            metrics=_values(model.metrics_variables),
            best=[
                [tf.Variable(weights) for weights in keeper.best_weights or model.get_weights()]
                for keeper in self._keepers
            ],
            progress=self._saved,
            **({"python": model.python_state} if hasattr(model, "python_state") else {}),
        )


def states(folder: Path) -> list[str]:
    """Where saved states lie, or what is left of them, oldest first."""
    found = {state for state, path in _parts(folder) if path.is_file()}
    return sorted(found, key=_number)


def _parts(folder: Path) -> list[tuple[str, Path]]:
    """What belongs to states, and to which; other files in the folder are somebody else's."""
    named = ((PART.fullmatch(path.name), path) for path in folder.glob("ckpt-*"))
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


def _counters(callback: keras.callbacks.Callback) -> dict[str, float]:
    """What it counts; what is private to a callback is so to its process, too."""
    return {
        name: value
        for name, value in vars(callback).items()
        if isinstance(value, (int, float))
        and not isinstance(value, bool)
        and not name.startswith("_")
    }
