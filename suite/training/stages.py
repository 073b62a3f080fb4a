"""The order of events of a training, from the seed to the report."""

import contextlib
import dataclasses
import functools
import logging
import math
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import tensorflow as tf

from suite.app import App
from suite.data.examples import Data, steps_per_execution
from suite.errors import InputError, Interrupted, Unwritable, sentence
from suite.export.saved_model import export
from suite.figures import classes as figures
from suite.files import unwritable
from suite.placement.keras_3_15 import fit_on_replicas, refuse_other_keras
from suite.placement.strategy import (
    is_chief,
    many_hosts,
    noticing_loss,
    refuse_disagreement,
    spread,
    spread_passes,
    strategy,
    while_others_wait,
)
from suite.run import (
    RUNS,
    Run,
    claim,
    new_folder,
    plain,
    refuse_folder_in_use,
    refuse_other_data,
    reopen,
    versions,
    writable,
    write_record,
)
from suite.training import report
from suite.training.batch_norm import fused_batch_normalization
from suite.training.callbacks import Callbacks, LogFile, ProgressBar, StopOnNaN, Throughput
from suite.training.state import Progress, StopSignals, TrainingState

log = logging.getLogger(__name__)

# Taken when the last heavy import is done; the first began with the process.
SECONDS_TO_IMPORT = report.process_seconds()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves behind.

    Args:
        model: The trained model.
        history: Metric values by name, one for each epoch.
        report: What `report.json` says; empty on every worker but the chief.
        folder: The run's folder.
        saved_model: The exported version; None on every worker but the chief.
    """

    model: keras.Model
    history: Mapping[str, list[float]]
    report: Mapping[str, Any]
    folder: Path
    saved_model: Path | None


def train(
    app: App,
    config: Any = None,
    run: Run | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> Trained:
    """Trains an app: data, model, `fit`, evaluation, figures, export and report.

    Args:
        app: The application.
        config: Its training recipe; by default `app.config()`.
        run: How and where; by default `Run()`.
        architecture: Keyword arguments for `app.build`.

    Raises:
        InputError: Something that was given cannot be used. Nothing was written.
        Diverged: The loss is no longer a finite number.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        Unwritable: The disk is full, say; the last state is saved.
    """
    policy = keras.config.dtype_policy()
    try:
        return _train(app, config or app.config(), run or Run(), dict(architecture or {}))
    finally:
        keras.config.set_dtype_policy(policy)


def _train(app: App, config: Any, run: Run, architecture: dict[str, Any]) -> Trained:
    watch = report.Stopwatch()
    begun = None
    if run.resume:
        begun, (config, architecture), run = reopen(app, config, architecture, run)
    elif run.run_dir is not None:
        refuse_folder_in_use(run.run_dir)
    else:
        writable(RUNS / app.name, "--run-dir")
    writable(run.export_dir / app.name, "--export-dir")

    keras.utils.set_random_seed(run.seed)
    keras.config.set_dtype_policy(run.precision)
    if run.deterministic:
        tf.config.experimental.enable_op_determinism()
    placement = strategy(run.strategy)
    if placement.num_replicas_in_sync > 1:
        refuse_other_keras()
        if run.precision == "mixed_float16":
            # Keras asks one replica alone whether a gradient has overflown.
            raise InputError(
                "--precision must be float32 or mixed_bfloat16 on several replicas. Received: "
                "mixed_float16"
            )
        if run.jit and not tf.config.list_physical_devices("GPU"):
            raise InputError(
                "--jit must be left out on several replicas without GPUs, whose gradients XLA "
                "cannot sum. Received: --jit"
            )

    with watch.part("data"):
        data = app.data(config, run)
        spread(functools.partial(data.train, 0), placement)  # refuses what cannot be spread
    build = functools.partial(compiled, app, config, run, architecture, data)
    with watch.part("build"), placement.scope():
        model = build()

    fingerprint = data.description["fingerprint"]
    refuse_disagreement(
        placement, data=fingerprint, config=plain(config), architecture=plain(architecture)
    )
    if begun is not None:
        refuse_other_data(begun, fingerprint)
    with contextlib.ExitStack() as stack:
        if is_chief(placement):
            log.info("%s on %s", app.name, _counts(data))
            folder = begun or new_folder(app, run)
            claim(folder, stack)
            if not begun:
                write_record(folder, app, config, architecture, run, fingerprint)
            how = _go_on(app, folder, placement)
            stack.enter_context(_resumable(folder, how))
        else:  # what another worker writes is the same, and nobody's business
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            how = "the chief says how to go on"
        stack.enter_context(noticing_loss(placement, how))
        with watch.part("fit"):
            model, history, rate = _fit(
                app, model, build, config, run, data, placement, folder, begun or folder, how
            )
        trained = functools.partial(Trained, model=model, history=history, folder=folder)
        stack.enter_context(while_others_wait(placement))
        if not is_chief(placement):
            return trained(report={}, saved_model=None)
        with watch.part("evaluate"):
            metrics = app.evaluate(model, data, config)
            findings = plain(app.findings(model))
        with watch.part("figures"):
            drawn = {"learning_curves": figures.learning_curves(history)}
            drawn |= app.figures(model, data, config)
            figures.save(drawn, folder / "figures")
        with watch.part("export"):
            example = app.example(model, data)
            described = {
                "app": app.name,
                "config": plain(config),
                "metrics": metrics,
                **plain(data.description),
                **findings,
            }
            saved_model, difference = export(
                run.export_dir / app.name, model, app.endpoints(model), example, described
            )
        defaults = {name: knob.default for name, knob in app.architecture_knobs().items()}
        account = {
            "app": app.name,
            "config": plain(config),
            "architecture": plain({**defaults, **architecture}),
            "run": plain(run),
            "data": plain(data.description),
            "metrics": metrics,
            **findings,
            "parameters": keras.Model(model.input, model.output).count_params(),
            "replicas": placement.num_replicas_in_sync,
            "examples_per_second": rate,
            "seconds": watch.seconds | {"import": SECONDS_TO_IMPORT, "total": watch.total()},
            "versions": versions(),
            "saved_model": {"path": str(saved_model), "reload_difference": difference},
        }
        report.write(folder, account, sys.modules[app.build.__module__].__doc__ or app.name)
        return trained(report=account, saved_model=saved_model)


def compiled(
    app: App, config: Any, run: Run, architecture: Mapping[str, Any], data: Data
) -> keras.Model:
    """The model of an app as it is trained: built for the data, and compiled for the run.

    Raises:
        InputError: The builder refuses an argument.
    """
    try:
        built = app.build(**{**data.model_arguments, **architecture})
    except ValueError as error:
        raise InputError(sentence(error)) from error
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        given = ", ".join(f"{name}={value}" for name, value in architecture.items())
        raise InputError(f"the model must fit into memory. Received: {given}") from error
    model = app.compile(built, config, config.epochs * data.steps_per_epoch)
    if run.jit and not model.supports_jit:
        raise InputError(f"--jit must be left out: {app.name} cannot be compiled. Received: --jit")
    model.jit_compile = run.jit
    model.steps_per_execution = steps_per_execution(data.steps_per_epoch)
    return model


def _fit(
    app: App,
    model: keras.Model,
    build: Callable[[], keras.Model],
    config: Any,
    run: Run,
    data: Data,
    placement: tf.distribute.Strategy,
    folder: Path,
    begun: Path,
    how: str,
) -> tuple[keras.Model, dict[str, list[float]], float | None]:
    """Trains from the saved state, or from the beginning, to the end.

    Args:
        app: The application.
        model: Built and compiled where it is placed.
        build: Makes another one.
        config: The recipe.
        run: How and where.
        data: What to train on.
        placement: Where the model is.
        folder: Gets what is written.
        begun: Holds the saved state.
        how: How to go on, should it be stopped.

    Returns:
        The trained model, on one device; the history; and the examples trained on in a second.
    """
    throughput = Throughput(data.examples_per_step)
    keep_best = [
        keras.callbacks.EarlyStopping(
            app.monitor, mode=app.monitor_mode, patience=config.epochs, restore_best_weights=True
        )
    ] * bool(app.monitor)
    own = list(app.callbacks(model, config, data, folder))
    signals = StopSignals(placement)
    state = TrainingState(folder / "checkpoints", [*keep_best, *own], signals)
    start = state.find(begun / "checkpoints")
    refuse_disagreement(placement, state=start)
    # Written after the state: where there is a log, there was a state.
    log_file = LogFile(folder / "log.csv", start.rows)
    if run.resume and start == Progress():
        if (begun / log_file.path.name).exists():
            raise InputError(
                "--resume needs a saved state that is whole. Received: "
                f"{begun / 'checkpoints'}, without one"
            )
        log.warning("%s was stopped before its first epoch was over: it begins anew.", folder)
    silent = run.quiet or not is_chief(placement)
    bar = [] if silent else [ProgressBar(config.epochs, data.steps_per_epoch)]
    callbacks = Callbacks(
        [
            StopOnNaN(),
            throughput,
            *own,  # what they log, the others see
            *bar,
            keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
            *keep_best,
            state,
            log_file,
        ],
        model,
        config.epochs,
        data.steps_per_epoch,
        start.step,
    )
    validation = validation_steps = None
    if data.validation is not None:
        validation, validation_steps = spread_passes(data.validation, placement)
    # No execution may run past the end of an epoch, of what is left of one, or of a validation.
    together = math.gcd(data.steps_per_epoch, start.step, validation_steps or 0)
    model.steps_per_execution = steps_per_execution(together)
    if many_hosts(placement):
        # TensorFlow cannot put several steps together that the hosts do at the same time.
        model.steps_per_execution = 1
    # What is left of a broken-off epoch is a shorter epoch of its own to `fit`.
    parts = [(start.epoch, start.epoch + 1, start.step)] if start.step else []
    parts += [(start.epoch + len(parts), config.epochs, 0)]
    if start.stopped:
        parts = []
    if start.stopped or start.epoch == config.epochs:
        log.info("%s is trained to its end already.", begun)
    try:
        with signals, fused_batch_normalization(model), fit_on_replicas(placement):
            if start.step and validation is not None:
                # Makes the running metrics, so that the state finds where to put their values.
                model.evaluate(validation, steps=1, verbose=0)
            for first, last, done in parts:
                model.fit(
                    spread(
                        functools.partial(data.train, first * data.steps_per_epoch + done),
                        placement,
                    ),
                    validation_data=validation,
                    validation_steps=validation_steps,
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=data.steps_per_epoch - done,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
                if model.stop_training:
                    break
            signals.check()
    except Interrupted as interrupted:
        stopped = state.progress
        raise Interrupted(
            f"stopped in epoch {stopped.epoch + 1} after {stopped.step} steps; {how}",
            interrupted.signal_number,
        ) from None
    finally:
        callbacks.close()
    # Where nothing was left to train, no epoch has restored the state.
    state.set_model(model)
    state.restore()
    if placement.num_replicas_in_sync > 1:
        spread_out, model = model, build()
        model.set_weights(spread_out.get_weights())
        for callback in own:
            callback.set_model(model)
    for kept in keep_best:
        model.set_weights(kept.best_weights)
    rows = state.progress.rows
    history = {name: [row[name] for row in rows] for name in rows[0]}
    return model, history, throughput.examples_per_second


@contextlib.contextmanager
def _resumable(folder: Path, how: str) -> Iterator[None]:
    """Says how to go on where a disk is full, or a signal comes that nobody else waits for."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped; {how}", number)

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, each, signal.signal(each, stop))
        try:
            yield
        except OSError as error:
            raise Unwritable(f"{error}; once it can be written, {how}") from error
        except tf.errors.OpError as error:
            events = folder / "tensorboard"
            if str(events) not in str(error):
                raise
            said = unwritable(events, resource.getpagesize(), error)
            raise Unwritable(f"{said}; once it can be written, {how}") from error


def _go_on(app: App, folder: Path, placement: tf.distribute.Strategy) -> str:
    if many_hosts(placement):
        return f"go on with the same command, on all workers, and --resume --run-dir {folder}"
    return f"go on with python -m apps.{app.name} --resume --run-dir {folder}"


def _counts(data: Data) -> str:
    splits = ("train", "validation", "test")
    counts = (f"{data.description[split]:,} {split}" for split in splits)
    return f"{data.description['source']}: {', '.join(counts)} examples"
