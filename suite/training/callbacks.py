"""What every `fit` carries: progress, logs, a stop on NaN."""

import csv
import io
import logging
import math
import statistics
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


class Callbacks(keras.callbacks.CallbackList):
    """Lets the callbacks see one training, though `fit` is called twice after a resume.

    The rest of a broken-off epoch is a shorter epoch of its own to `fit`. Here its steps go on
    being counted, and the training begins and ends once.

    Args:
        callbacks: In the order in which they are called.
        model: Whose training it is.
        epochs: In all.
        steps: Of an epoch.
        done: Steps of the first epoch that a run did before it was broken off.
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
        pass

    def close(self) -> None:
        """Ends the training, if it began."""
        if self._begun:
            super().on_train_end({})


class ProgressBar(keras.callbacks.Callback):
    """One bar an epoch with rate and remaining time, and one line for each finished epoch.

    Where the output is no terminal only the lines are printed.

    Args:
        epochs: In all.
        steps: Of an epoch.
    """

    def __init__(self, epochs: int, steps: int) -> None:
        super().__init__()
        self.epochs, self.steps = epochs, steps
        self._bar: rich_progress.Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = time.perf_counter()
        console = Console()
        if not console.is_terminal:
            return
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
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _text(logs: Logs | None) -> str:
    return "  ".join(f"{name} {float(value):.4f}" for name, value in (logs or {}).items())


class LogFile(keras.callbacks.Callback):
    """Writes the logs of all epochs as a CSV, whole each time: a resume leaves no trace in it."""

    def __init__(self, path: Path, rows: Sequence[Logs] = ()) -> None:
        super().__init__()
        self.path, self._rows = path, list(rows)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._write()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._rows.append({name: float(value) for name, value in (logs or {}).items()})
        self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        lines = io.StringIO()
        writer = csv.writer(lines)
        writer.writerow(["epoch", *self._rows[0]])
        writer.writerows([n, *row.values()] for n, row in enumerate(self._rows, start=1))
        write_whole(self.path, lines.getvalue())


class StopOnNaN(keras.callbacks.Callback):
    """Ends the training with a sentence as soon as a loss or metric is no finite number."""

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
                    "smaller --learning-rate"
                )


class Throughput(keras.callbacks.Callback):
    """Measures examples a second over the training steps, validation left out."""

    def __init__(self, examples_per_step: float) -> None:
        super().__init__()
        self.examples_per_step = examples_per_step
        self._rates: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._first: tuple[int, float] | None = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        # Counted from the end of the first execution, which compiles.
        now = (batch, time.perf_counter())
        self._first, self._last = self._first or now, now

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._first and self._last[0] > self._first[0]:
            steps = self._last[0] - self._first[0]
            self._rates.append(steps * self.examples_per_step / (self._last[1] - self._first[1]))

    @property
    def examples_per_second(self) -> float | None:
        """The median over the epochs; None where an epoch is a single call."""
        return statistics.median(self._rates) if self._rates else None
