"""Callbacks of every training: the progress bar, the log file, the stop on NaN, the throughput."""

import csv
import io
import logging
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from rich import progress as rich_progress
from rich.console import Console

from suite.errors import Diverged
from suite.files import write_whole

log = logging.getLogger(__name__)

Logs = dict[str, Any]


class BestEpoch(keras.callbacks.EarlyStopping):
    """Restores the weights of the epoch with the best objective; of equal epochs, the last.

    Early stopping keeps the first of equal epochs. But returns that are at their maximum, and
    shares of correct answers, are often equal, and a network that was trained longer, at a smaller
    rate, usually generalises better.

    Args:
        objective: Name of the metric.
        mode: Whether a better one is larger (`max`) or smaller (`min`), or its name says (`auto`).
        epochs: Epochs of the training, none of which is left out.
    """

    def __init__(self, objective: str, mode: str, epochs: int) -> None:
        super().__init__(objective, mode=mode, patience=epochs, restore_best_weights=True)

    def _is_improvement(self, monitor_value: Any, reference_value: Any) -> Any:
        is_equal = monitor_value == reference_value
        return is_equal or super()._is_improvement(monitor_value, reference_value)


class Callbacks(keras.callbacks.CallbackList):
    """A callback list that hides from its callbacks that a resumed training calls `fit` twice.

    After a resume, one `fit` completes the interrupted epoch, and another trains the epochs that
    follow. The callbacks get one beginning and one end of the training, and step numbers that
    continue from the interruption.

    Args:
        callbacks: The callbacks, in the order of their calls.
        model: The trained model.
        epochs: Total number of epochs.
        steps: Number of steps in a whole epoch.
        done: Steps of the first epoch that were done before the interruption.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        epochs: int,
        steps: int,
        done: int = 0,
    ) -> None:
        super().__init__(callbacks, add_history=True, model=model, epochs=epochs, steps=steps)
        self._done = done
        self._begun = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        super().on_train_batch_begin(self._done + batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        super().on_train_batch_end(self._done + batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self._done = 0

    def on_train_end(self, logs: Logs | None = None) -> None:
        pass  # each of the two calls of `fit` ends with this; `close` ends the training

    def close(self) -> None:
        """Calls `on_train_end` of the callbacks, if the training has begun."""
        if self._begun:
            super().on_train_end({})


class ProgressBar(keras.callbacks.Callback):
    """Shows a progress bar during an epoch, and logs a line at its end.

    Without a terminal there are the lines only.

    Args:
        epochs: Total number of epochs.
        steps: Number of steps in an epoch.
    """

    def __init__(self, epochs: int, steps: int) -> None:
        super().__init__()
        self.epochs, self.steps = epochs, steps
        self._bar: rich_progress.Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = time.perf_counter()
        if not sys.stdout.isatty():  # rich's own check would obey FORCE_COLOR
            return
        console = Console()
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("epoch {task.fields[epoch]}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[logs]}"),
            rich_progress.TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(
            "", total=self.steps, epoch=f"{epoch + 1}/{self.epochs}", logs=""
        )
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=batch + 1, logs=_text(logs))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.close()
        seconds = time.perf_counter() - self._started
        line = f"epoch {epoch + 1}/{self.epochs}  {_text(logs)}  {seconds:.1f} s"
        log.info(line)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _text(logs: Logs | None) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())


class LogFile(keras.callbacks.Callback):
    """Writes the logs of all epochs to a CSV file, again after every epoch.

    Args:
        path: The CSV file: one row for each epoch, one column for each name.
        rows: Logs of the epochs before a resume.
    """

    def __init__(self, path: Path, rows: Sequence[Logs] = ()) -> None:
        super().__init__()
        self.path, self._rows = path, list(rows)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._rows.append({name: float(value) for name, value in (logs or {}).items()})
        self.write()

    def write(self) -> None:
        """Writes the file, unless there are no logs yet."""
        if not self._rows:
            return
        lines = io.StringIO()
        writer = csv.writer(lines)
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        writer.writerow(["epoch", *names])
        # Two phases of a training may log different metrics.
        for number, row in enumerate(self._rows, start=1):
            writer.writerow([number, *(row.get(name, "") for name in names)])
        write_whole(self.path, lines.getvalue())


class StopOnNaN(keras.callbacks.Callback):
    """Raises `Diverged` as soon as a loss or a metric is not finite.

    Keras's `TerminateOnNaN` checks only the loss, and not that of the validation.

    Raises:
        Diverged: A value is NaN or infinite; the message says in which steps.
    """

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._first = batch + 1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._check(logs, f"between its steps {self._first} and {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._check(logs, "at its end")

    def _check(self, logs: Logs | None, when: str) -> None:
        for name, value in (logs or {}).items():
            if not math.isfinite(float(value)):
                raise Diverged(
                    f"the {name} became {float(value)} in epoch {self._epoch}, {when}; try a "
                    "smaller learning rate"
                )


class Throughput(keras.callbacks.Callback):
    """Measures the examples per second of the training steps, without validation.

    Args:
        examples_per_step: Examples of one step, over all replicas.
    """

    def __init__(self, examples_per_step: float) -> None:
        super().__init__()
        self.examples_per_step = examples_per_step
        self._rates: list[float] = []
        self._compiled = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        # The first execution of all includes the compilation, after which the clock starts.
        self._first = (-1, time.perf_counter()) if self._compiled else None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        now = (batch, time.perf_counter())
        self._first, self._last = self._first or now, now
        self._compiled = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._first and self._last[0] > self._first[0]:
            steps = self._last[0] - self._first[0]
            self._rates.append(steps * self.examples_per_step / (self._last[1] - self._first[1]))

    @property
    def examples_per_second(self) -> float | None:
        """The median over the epochs; None if the graph was executed only once."""
        return statistics.median(self._rates) if self._rates else None
