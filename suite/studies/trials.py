"""Trials: trainings of one application side by side, each in a process of its own.

All processes are forked from one server that has imported TensorFlow and the application, so that
a trial begins in a fraction of a second. What a trial ends with lies in its folder: it is not run
again. A trial that was stopped goes on from its saved state.
"""

import contextlib
import csv
import dataclasses
import importlib
import inspect
import json
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import keras

from suite.app import App, Fitted
from suite.cluster import shares_of_cores
from suite.errors import (
    Diverged,
    InputError,
    InputFailed,
    Interrupted,
    Unwritable,
    one_line_message,
)
from suite.files import claimed, write_whole
from suite.placement.cluster_spec import in_cluster
from suite.run import Run
from suite.training.record import RECORD, plain
from suite.training.stages import Trained, train

log = logging.getLogger(__name__)

CONTEXT = multiprocessing.get_context("forkserver")
OUTCOME = "outcome.json"
LOG = "log.csv"
LOCK_SECONDS = 0.1  # between two looks at the lock of a folder
# Words in the names of metrics of which more, or less, is better.
MORE = ("accuracy", "auc", "precision", "recall", "f1", "r2", "iou")
LESS = ("loss", "error", "distance", "entropy", "perplexity")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A training to run.

    Args:
        app: The module that has the application as `app`, such as `apps.iris`.
        recipe: Name of a recipe; None for the app's own.
        knobs: Of recipe and architecture, as for `App.recipe`.
        run: Settings as for `suite.Run`, without `run_dir` and `resume`.
        folder: The run's folder, which the trial creates. What its process prints goes to a file
            beside it, `<folder>.txt`.
    """

    app: str
    recipe: str | None = None
    knobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: Path


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a trial ended with.

    Args:
        objective: The validation metric `App.objective` of the epoch whose weights are kept: the
            best one, or else the last. None where the training does not log it, or failed.
        history: Logs by name, a list with a value for each epoch, up to a failure; None where a
            phase does not log the name. Of a training without epochs, such as one in closed form,
            the metrics on the validation split.
        seconds: From the start of the trial, or from its last resume, to its end.
        error: Why it failed, in one line; None if it did not.
        refused: Whether it failed for bad input, before the training began.
        unwritable: Whether it failed because a file could not be written, as on a full disk.
    """

    objective: float | None
    history: dict[str, list[float | None]]
    seconds: float
    error: str | None = None
    refused: bool = False
    unwritable: bool = False


Callbacks = Callable[[Trial], Sequence[keras.callbacks.Callback]]
# By where its result arrives: a trial, its process, and the cores of that.
Running = dict[Any, tuple[Trial, ForkServerProcess, list[int]]]


def module_of(app: App) -> str:
    """The module that has `app`: the program that runs, or else the one with the builder.

    Raises:
        InputError: No module has it, so that another process could not import it.
    """
    main = getattr(sys.modules["__main__"].__spec__, "name", None)
    modules = (main, inspect.unwrap(app.build).__module__, f"apps.{app.name}")
    for name in filter(None, modules):  # a script or a notebook has no name to be imported by
        module = sys.modules.get("__main__" if name == main else str(name))
        if getattr(getattr(module, "app", None), "name", None) == app.name:
            return str(name)
    raise InputError("the application must be the `app` of a module", app.name)


def objective_mode(app: App) -> Literal["min", "max"]:
    """Whether less or more of the objective is better: by the app, or else by the metric's name.

    Raises:
        InputError: Neither says so.
    """
    if app.objective_mode != "auto":
        return app.objective_mode
    if any(word in app.objective for word in MORE):
        return "max"
    if any(word in app.objective for word in LESS):
        return "min"
    raise InputError("`objective_mode` must be min or max for this objective", app.objective)


def objective_of(
    app: App, config: Any, history: Mapping[str, Sequence[float | None]], last_epochs: int
) -> float | None:
    """The objective of the epoch whose weights a training keeps; None if it was not logged.

    Args:
        app: Says which metric it is, and whether the best epoch or the last one is kept.
        config: The settings of the training; with `patience` the best epoch is kept, too.
        history: Logs by name, a value for each epoch.
        last_epochs: How many of these epochs are of the last phase, among which is the best.
    """
    logged = history.get(app.objective, ())
    of_last = [value for value in logged[-last_epochs:] if value is not None]
    values = of_last or [value for value in logged if value is not None]
    if not values:
        return None
    if not app.keep_best and not getattr(config, "patience", None):
        return values[-1]
    best = max if objective_mode(app) == "max" else min
    return best(values)


def run_trials(
    trials: Iterable[Trial], jobs: int, callbacks: Callbacks | None = None
) -> Generator[tuple[Trial, Outcome], None, None]:
    """Trains the trials, `jobs` at a time, and yields each with its outcome when it ends.

    The next trial is taken when a process is free and all outcomes so far were yielded, so that it
    may depend on them. No trial looks at the test split. A trial whose folder has an outcome is not
    run; one with a saved state goes on. If this process stops, all trials stop, and save their
    states.

    Args:
        trials: All of one application, in folders of their own.
        jobs: Number of processes. The cores are shared out among them.
        callbacks: `callbacks(trial)` makes further callbacks in the process of the trial; a
            function of a module.

    Raises:
        Interrupted: SIGINT or SIGTERM came. States are saved.
    """
    waiting, cores = iter(trials), shares_of_cores(jobs)
    running: Running = {}
    with _interruptible(), _stopping(running):
        while True:
            while cores and (trial := next(waiting, None)) is not None:
                if (outcome := read_outcome(trial.folder)) is not None:
                    yield trial, outcome
                    continue
                share = cores.pop()
                started, process = in_process(_run, trial, callbacks, cores=share, app=trial.app)
                running[started] = trial, process, share
            if not running:
                return
            for receiver in connection.wait(list(running)):
                trial, process, share = running[receiver]
                outcome = _received(receiver, process)
                del running[receiver]
                cores.append(share)
                yield trial, outcome


def judge_trial(trial: Trial) -> dict[str, Any]:
    """The metrics of a finished trial on the test split, and its figures, in its folder.

    Raises:
        InputError: The trial cannot be judged.
        Interrupted: SIGINT or SIGTERM came.
    """
    [cores] = shares_of_cores(1)
    running: Running = {}
    with _interruptible(), _stopping(running):
        receiver, process = in_process(_judge, trial, cores=cores, app=trial.app)
        running[receiver] = trial, process, cores
        judged = _received(receiver, process)
        running.clear()
    if isinstance(judged, Outcome):
        raise InputError(f"{trial.folder} must be a training that can be judged", judged.error)
    return judged


def read_outcome(folder: Path) -> Outcome | None:
    """What the trial of a folder ended with; None if it did not end.

    Raises:
        InputError: The file is damaged.
    """
    file = folder / OUTCOME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {field.name for field in dataclasses.fields(Outcome)}
        return Outcome(**{name: content[name] for name in names & content.keys()})
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, TypeError):
        raise InputError(f"{file} must be whole", "a damaged file") from None


def in_process(
    target: Callable[..., Any], trial: Trial, *arguments: Any, cores: Sequence[int], app: str
) -> tuple[connection.Connection, ForkServerProcess]:
    """Starts `target(trial, *arguments)` in a process of its own.

    Args:
        target: A function of a module. What it returns is sent to this process.
        trial: The trial; what the process prints goes to `<trial.folder>.txt`.
        arguments: Further arguments, which can be pickled.
        cores: The cores that the process may use.
        app: The module that the server of all processes imports, if there is no server yet.

    Returns:
        Where the result arrives, or the end of the file if the process ended without one; and the
        process.
    """
    _start_server(["suite.studies.trials", app])
    receiver, sender = CONTEXT.Pipe(duplex=False)
    environment = dict(os.environ)
    process = CONTEXT.Process(
        target=_work,
        args=(target, trial, arguments, tuple(cores), environment, sender),
        daemon=True,  # one that is started while a signal comes ends with this process
    )
    with _without_main_module():
        process.start()
    sender.close()
    return receiver, process


def _start_server(modules: Sequence[str]) -> None:
    """Starts the server that forks all processes, unless it runs, and returns at once.

    The server gets this process's `sys.path`. The lines that TensorFlow prints on its import are
    discarded: this process has printed them.
    """
    CONTEXT.set_forkserver_preload(list(modules))
    path, errors = os.environ.get("PYTHONPATH"), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    os.dup2(nowhere, 2)
    try:
        forkserver.ensure_running()
    finally:
        os.dup2(errors, 2)
        os.close(errors)
        os.close(nowhere)
        del os.environ["PYTHONPATH"]
        if path is not None:
            os.environ["PYTHONPATH"] = path


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Hides the program in a `with` block from `multiprocessing`, which would run it once more."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Raises `Interrupted` on the first SIGINT or SIGTERM in a `with` block.

    A second signal goes to the handler that was set before, which usually ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)
        previous.clear()

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        log.warning("Stopping with all states saved; a second signal stops at once.")
        raise Interrupted("stopped, states saved", number)

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def _stopping(running: Running) -> Iterator[None]:
    """Stops the processes that run at the end of a `with` block, and waits until they have ended.

    They save their states, unless another signal comes.
    """
    try:
        yield
    finally:
        processes = [process for _, process, _ in running.values()]
        for process in processes:
            process.terminate()
        try:
            for process in processes:
                process.join()
        finally:
            for process in processes:
                process.kill()


def _received(receiver: Any, process: ForkServerProcess) -> Any:
    """What a process sent; an `Outcome` with the reason if it ended without a result."""
    try:
        result = receiver.recv()
    except EOFError:
        result = None
    receiver.close()
    process.join()
    if result is not None:
        return result
    code = process.exitcode or 0
    end = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return Outcome(None, {}, math.nan, f"its process ended {end}")


def _work(
    target: Callable[..., Any],
    trial: Trial,
    arguments: Sequence[Any],
    cores: Sequence[int],
    environment: Mapping[str, str],
    sender: connection.Connection,
) -> None:
    """What a process does: calls `target`, and sends what it returns."""
    os.setpgrp()  # a Ctrl-C of the terminal is for the parent, which ends this process
    os.sched_setaffinity(0, cores)
    os.environ.clear()
    os.environ.update(environment)  # the server has that of its start
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    trial.folder.parent.mkdir(parents=True, exist_ok=True)
    output = trial.folder.with_name(f"{trial.folder.name}.txt")
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    try:
        sender.send(target(trial, *arguments))
    except Interrupted as error:
        sys.exit(128 + error.signal_number)
    except Exception:
        traceback.print_exc()  # into the file, before it is looked at
        sys.exit(1)
    finally:
        sys.stdout.flush()
        if not os.fstat(descriptor).st_size:
            output.unlink(missing_ok=True)


def _stop_with_parent() -> None:
    """Stops this process when its parent is gone: it saves its state, and leaves its folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run(trial: Trial, callbacks: Callbacks | None) -> Outcome:
    """Trains a trial in this process, and writes its outcome.

    A failure that would come again, a divergence, is an outcome as well; others are not written.
    """
    app = importlib.import_module(trial.app).app
    started, objective, error = time.perf_counter(), None, None
    history: dict[str, list[float | None]] = {}
    refused = failed = unwritable = False
    try:
        _wait_for_lock(trial.folder)
        if (outcome := read_outcome(trial.folder)) is not None:
            return outcome
        trained = _train(app, trial, "fit", callbacks)
        config = app.recipe(trial.recipe, **trial.knobs).config
        history = _logged(trial.folder / LOG) or _validated(app, config, trained)
        objective = objective_of(app, config, history, trained.last_epochs)
    except Diverged as diverged:
        error = one_line_message(diverged)
    except InputFailed as broken:  # in the middle of the training: its state is saved
        error, failed = one_line_message(broken), True
    except InputError as bad_input:
        error, refused = one_line_message(bad_input), True
    except Unwritable as full:
        error, failed, unwritable = one_line_message(full), True, True
    except Exception as failure:
        traceback.print_exc()
        error, failed = f"{type(failure).__name__}: {one_line_message(failure)}", True
    seconds = round(time.perf_counter() - started, 3)
    history = history or _logged(trial.folder / LOG)
    outcome = Outcome(objective, history, seconds, error, refused, unwritable)
    if not refused and not failed:
        content = {"trial": plain(trial), **dataclasses.asdict(outcome)}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        try:
            write_whole(trial.folder / OUTCOME, text + "\n")
        except Unwritable as full:
            error = one_line_message(full)
            outcome = dataclasses.replace(outcome, error=error, unwritable=True)
    return outcome


def refuse_cluster(command: str) -> None:
    """Refuses to run a command that starts trainings on every worker of a cluster.

    Raises:
        InputError: The environment describes a cluster.
    """
    if in_cluster():
        raise InputError(
            f"{command} must be run outside of a cluster", "this process is a worker of one"
        )


def _judge(trial: Trial) -> dict[str, Any]:
    """Evaluates a finished trial on the test split in this process."""
    trained = _train(importlib.import_module(trial.app).app, trial, "judge", None, figures=True)
    return dict(trained.metrics)


def _train(
    app: App,
    trial: Trial,
    until: Literal["fit", "judge"],
    callbacks: Callbacks | None,
    figures: bool = False,
) -> Trained:
    """Trains a trial, or what is left of it, up to a stage."""
    settings: dict[str, Any] = {"quiet": True, "figures": figures, **trial.run}
    resume = (trial.folder / RECORD).exists()
    return train(
        app,
        app.recipe(trial.recipe, **trial.knobs),
        Run(**settings, run_dir=trial.folder, resume=resume),
        until=until,
        callbacks=callbacks(trial) if callbacks else (),
    )


def _validated(app: App, config: Any, trained: Trained) -> dict[str, list[float | None]]:
    """The metrics on the validation split, as one epoch, of a training that has no epochs.

    Those of a model that is not compiled are the app's, of the test split, whose place it takes.
    """
    data = trained.data
    if data.validation is None:
        return {}
    if trained.model.compiled:
        metrics = trained.model.evaluate(data.validation, return_dict=True, verbose=0)
        return {f"val_{name}": [float(value)] for name, value in metrics.items()}
    splits = {**data.splits, "test": data.splits["validation"]}
    metrics = app.evaluate(
        Fitted(
            model=trained.model,
            networks=trained.networks,
            data=dataclasses.replace(data, splits=splits),
            config=config,
            folder=trained.folder,
        )
    )
    return {
        name.replace("test_", "val_", 1): [float(value)]
        for name, value in metrics.items()
        if name.startswith("test_") and isinstance(value, int | float)
    }


def _wait_for_lock(folder: Path) -> None:
    """Waits for a process of an earlier start, which its parent's end has told to stop."""
    while folder.exists():
        with claimed(folder) as alone:
            if alone:
                return
        time.sleep(LOCK_SECONDS)


def _logged(file: Path) -> dict[str, list[float | None]]:
    """The logs of all epochs by name, from the log of a run; none if there is no file."""
    if not file.exists():
        return {}
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    names = [name for name in rows[0] if name != "epoch"]
    return {name: [float(row[name]) if row[name] else None for row in rows] for name in names}


def without_objective(app: App, errors: Sequence[str], folder: Path) -> Exception:
    """What to raise where no trial has an objective.

    Args:
        app: The application.
        errors: Why trials failed, in one line each.
        folder: Holds the outputs of all trials.
    """
    if not errors:
        return InputError("the trials must log their objective", f"{app.objective}, in none")
    return Diverged(f"no trial has trained to its end: {errors[0]}; {folder} has the others")
