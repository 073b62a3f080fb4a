"""The four stages of a training, one after the other: open, fit, judge, publish.

`open` loads the data and builds the model, `fit` trains it, `judge` evaluates it on the test split
and draws figures, `publish` exports it and writes the report.
"""

import contextlib
import dataclasses
import logging
import resource
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from suite.app import App, Metrics, Recipe, networks_of
from suite.data.examples import SPLITS, Examples, Source
from suite.errors import Diverged, InputError, InputFailed, Interrupted, Unwritable, WorkerLost
from suite.export.exported import ExportedModel
from suite.export.saved_model import try_endpoints, write_saved_model
from suite.export.versions import versions
from suite.figures import curves
from suite.files import DISK_ERRNOS, refuse_path_for_tensorflow, unwritable
from suite.placement.keras_3_15 import refuse_other_keras
from suite.placement.replicas import (
    is_chief,
    many_hosts,
    refuse_disagreement,
    reporting_lost_worker,
    workers_leave_together,
)
from suite.placement.strategy import create_strategy
from suite.run import Run
from suite.training import report
from suite.training.fit import FitResult, History, fit, with_saved_state
from suite.training.process import restored_settings, showing_messages
from suite.training.record import (
    RUNS,
    claim,
    new_folder,
    package_versions,
    plain,
    refuse_folder_in_use,
    refuse_other_data,
    refuse_unwritable,
    remove_run,
    reopen,
    write_record,
)
from suite.training.session import Session, build
from suite.training.state import Finishing, checkpoint_paths

log = logging.getLogger(__name__)

Stage = Literal["open", "fit", "judge", "publish"]
STAGES: tuple[Stage, ...] = ("open", "fit", "judge", "publish")
# Of a run; its data and its folders may have other paths on other hosts.
SAME_ON_ALL_WORKERS = ("seed", "deterministic", "precision", "fused", "jit")

# From the start of the process to here, where the last heavy import has ended.
SECONDS_TO_IMPORT = report.process_seconds()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """The results of a training.

    Args:
        model: The trained model.
        networks: The networks that the builder made, by name.
        data: The examples that the model was trained on.
        history: Logs by name, a list with one value for each epoch, over all phases; None where a
            phase does not log the name.
        last_epochs: How many of these epochs are of the last phase.
        metrics: Metrics on the test split; empty if the training ended before `judge`.
        report: The content of `report.json`; empty if the training ended before `publish`, and on
            every worker but the chief.
        folder: The run's folder.
        saved_model: The folder of the exported version; None where `report` is empty.
    """

    model: keras.Model
    networks: Mapping[str, keras.Model]
    data: Any
    history: History
    last_epochs: int
    metrics: Metrics
    report: Mapping[str, Any]
    folder: Path
    saved_model: Path | None


def train(
    app: App,
    recipe: Recipe | str | None = None,
    run: Run | None = None,
    *,
    until: Stage = "publish",
    data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    optimizer: keras.Optimizer | str | None = None,
) -> Trained:
    """Trains an app, evaluates it on the test split, draws figures, and exports it.

    Args:
        app: The application.
        recipe: The knobs: `app.recipe("fast", epochs=3)`, or the name of a recipe; by default
            `app.recipe()`.
        run: How and where the training runs; by default `Run()`.
        until: The last stage: `open` loads and builds, `fit` trains, `judge` evaluates on the test
            split and draws figures, `publish` exports and writes the report.
        data: Your own examples in memory instead of the app's: `(inputs, targets)`, a mapping of
            `train`, `validation` and `test` to such pairs, or a `suite.data.Source`.
        callbacks: Keras callbacks, beside those of the app. One with `state()` and
            `restore(state)` is part of the saved state.
        optimizer: A Keras optimizer, or its name, instead of the app's.

    Raises:
        InputError: An argument cannot be used. Nothing was written.
        Diverged: The loss is no longer a finite number.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        Unwritable: A file cannot be written, for example because the disk is full; the last state
            is saved.
        WorkerLost: Another worker of the cluster is gone; the last state is saved.
    """
    _check_types(app, recipe, run, until, callbacks, optimizer)
    if not isinstance(recipe, Recipe):
        recipe = app.recipe(recipe)
    run = run or Run()
    if data is not None:
        run = dataclasses.replace(run, data="arrays", arrays=_source(data))
    with showing_messages(run.quiet), restored_settings(), contextlib.ExitStack() as stack:
        session = _open(app, recipe, run, until, callbacks, optimizer, stack)
        if until == "open":
            opened = session.fitted(session.first_model, session.built)
            return _trained(session, FitResult(opened, {}, 0, None))
        _begin(session, stack)
        with session.watch.part("fit"):
            result = fit(session)
        if until == "fit":
            return _trained(session, result)
        stack.enter_context(workers_leave_together(session.placement))
        if not is_chief(session.placement):
            return _trained(session, result)
        with _noting_saved_state(session):
            judgement = _judge(session, result)
            if until == "judge":
                return _trained(session, result, judgement["metrics"])
            return _publish(session, result, judgement)


def train_aside(app: App, recipe: Recipe, run: Run) -> Trained:
    """Trains up to `fit` in a folder that is removed afterwards: for commands that compare.

    So a later `--resume` finds the newest run of the user, not one of a comparison.

    Args:
        app: The application.
        recipe: The knobs.
        run: How the training runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        aside = dataclasses.replace(run, run_dir=Path(folder) / "run")
        return train(app, recipe, aside, until="fit")


def _check_types(
    app: Any, recipe: Any, run: Any, until: Any, callbacks: Any, optimizer: Any
) -> None:
    """Refuses arguments of `train` that are of another type, with a message for each."""
    for name, value, types, description in (
        ("app", app, App, "an application, such as apps.mnist_cnn.app"),
        ("recipe", recipe, (Recipe, str, type(None)), "app.recipe(...), or the name of a recipe"),
        ("run", run, (Run, type(None)), "a suite.Run"),
        ("callbacks", callbacks, Sequence, "a list of callbacks"),
        ("optimizer", optimizer, (keras.Optimizer, str, type(None)), "a Keras optimizer"),
    ):
        if not isinstance(value, types):
            raise InputError(
                f"`{name}` must be {description}", f"an object of {type(value).__name__}"
            )
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise InputError(
                "`callbacks` must be a list of callbacks",
                f"an object of {type(callback).__name__} in it",
            )
    if until not in STAGES:
        raise InputError(f"`until` must be one of: {', '.join(STAGES)}", until)


def _optimizer(optimizer: keras.Optimizer | str | None) -> keras.Optimizer | None:
    if optimizer is None:
        return None
    try:
        made: keras.Optimizer = keras.optimizers.get(optimizer)
    except ValueError:  # a name that Keras does not know
        raise InputError("`optimizer` must be a Keras optimizer", optimizer) from None
    if made.use_ema:  # Keras replaces the weights after `fit`, of which a state knows nothing
        raise InputError(
            "`optimizer` must be without `use_ema`, in whose place there is the callback "
            "suite.trainers.averages.AverageWeights",
            "use_ema=True",
        )
    return made


def _source(data: Any) -> Source:
    """The caller's own examples as a source."""
    if isinstance(data, Source):
        return data
    splits = data if isinstance(data, Mapping) and "train" in data else {"train": data}
    unknown = splits.keys() - set(SPLITS)
    pairs = [isinstance(pair, tuple) and 1 <= len(pair) <= 2 for pair in splits.values()]
    if unknown or not all(pairs):
        raise InputError(
            "`data` must be (inputs, targets), or such pairs by `train`, `validation` and `test`",
            f"an object of {type(data).__name__}",
        )

    def examples(pair: tuple[Any, ...]) -> Examples:
        pair = pair[:1] if pair[-1] is None else pair
        parts = [np.asarray(part) if isinstance(part, list) else part for part in pair]
        arrays = [keras.tree.map_structure(np.asarray, part) for part in parts]
        if not all(array.ndim for array in keras.tree.flatten(arrays)):
            raise InputError("`data` must be arrays of examples", "a single number")
        lengths = {len(array) for array in keras.tree.flatten(arrays)}
        if len(lengths) != 1:
            raise InputError(
                "`data` must have as many targets as inputs", ", ".join(map(str, sorted(lengths)))
            )
        return Examples(*arrays)

    parts: dict[str, Any] = {name: examples(pair) for name, pair in splits.items()}
    return Source(name="arrays", **parts)


def _open(
    app: App,
    recipe: Recipe,
    run: Run,
    until: Stage,
    callbacks: Sequence[keras.callbacks.Callback],
    optimizer: keras.Optimizer | str | None,
    stack: contextlib.ExitStack,
) -> Session:
    """Checks the arguments, loads the data, and builds the model; writes nothing."""
    watch = report.Stopwatch()
    if run.arrays is not None:
        run = dataclasses.replace(run, data="arrays")
    resumed_from, prolonged = None, False
    if run.resume:
        resumed_from, recipe, run, prolonged = reopen(app, recipe, run)
    refuse_unusable_folders(app, run, exports=until == "publish")

    keras.utils.set_random_seed(run.seed)
    keras.config.set_dtype_policy(run.precision)
    if run.deterministic:
        tf.config.experimental.enable_op_determinism()
    placement = create_strategy(run.strategy)
    _refuse_on_replicas(run, placement)
    stack.enter_context(reporting_lost_worker(placement, "start all workers again"))

    if app.keep_best and any(isinstance(callback, Finishing) for callback in callbacks):
        raise InputError(
            f"`callbacks` must be without averages of the weights: {app.name} keeps those of its "
            "best epoch",
            ", ".join(type(c).__name__ for c in callbacks if isinstance(c, Finishing)),
        )

    with watch.part("data"):
        data = app.data(recipe.config, run)
        data.check_replicas(placement.num_replicas_in_sync)
    with watch.part("build"), placement.scope():
        built = build(app, recipe, data)
    session = Session(
        app=app,
        recipe=recipe,
        run=dataclasses.replace(run, arrays=None),
        placement=placement,
        data=data,
        built=built,
        watch=watch,
        callbacks=tuple(callbacks),
        optimizer=_optimizer(optimizer),
        resumed_from=resumed_from,
        prolonged=prolonged,
    )
    with placement.scope():
        session.first_model = session.compiled(built, session.phases[0])
    if until in ("open", "publish"):  # what ends between them exports nothing
        _try_export(session)
    refuse_disagreement(
        placement,
        data=data.description.fingerprint,
        config=plain(recipe.config),
        architecture=plain(recipe.architecture),
        run={name: getattr(run, name) for name in SAME_ON_ALL_WORKERS},
    )
    if resumed_from is not None:
        refuse_other_data(resumed_from, data.description.fingerprint)
    return session


def refuse_unusable_folders(app: App, run: Run, exports: bool = True) -> None:
    """Refuses folders of a run and its export that cannot be written, or have another run.

    Args:
        app: The app.
        run: Names the folders, or has the default ones.
        exports: Whether the run exports.

    Raises:
        InputError: A folder cannot be used. Nothing was written.
    """
    if not run.resume and run.run_dir is not None:
        refuse_folder_in_use(run.run_dir)
    elif not run.resume:
        refuse_unwritable(RUNS / app.name, "run_dir")
    if exports:
        refuse_path_for_tensorflow(run.export_dir, "export_dir")
        refuse_unwritable(run.export_dir / app.name, "export_dir")


def _refuse_on_replicas(run: Run, placement: tf.distribute.Strategy) -> None:
    """Refuses settings that do not work on several replicas."""
    if placement.num_replicas_in_sync == 1:
        return
    refuse_other_keras()
    if run.precision == "mixed_float16":
        # Keras checks only one replica's gradients for overflow.
        raise InputError(
            "`precision` must be float32 or mixed_bfloat16 on several replicas", run.precision
        )
    if run.jit and not tf.config.list_physical_devices("GPU"):
        raise InputError(
            "`jit` must be left out on several replicas without GPUs, whose gradients XLA cannot "
            "sum",
            run.jit,
        )


def _try_export(session: Session) -> None:
    """Tries the endpoints on the untrained model: errors appear now, and not after `fit`."""
    with session.watch.part("trial"), session.placement.scope():
        fitted = session.fitted(session.first_model, session.built)
        try_endpoints(session.app.endpoints(fitted), session.app.example(fitted))


def _begin(session: Session, stack: contextlib.ExitStack) -> None:
    """Creates or reopens the run's folder, and logs what begins.

    Args:
        session: Gets the folder and the advice on how to resume.
        stack: Holds the lock on the folder and the error handlers until the training ends.
    """
    app, run, placement = session.app, session.run, session.placement
    if is_chief(placement):
        log.info("%s on %s", app.name, _counts(session))
        existed = run.run_dir is not None and run.run_dir.exists()
        session.folder = session.resumed_from or new_folder(app, run)
        claim(session.folder, stack)
        if session.resumed_from is None or session.prolonged:
            write_record(session)
        if session.resumed_from is None:
            stack.enter_context(_removing_refused_run(session.folder, keep_folder=existed))
        if session.prolonged:
            log.info(
                "The run is prolonged to %s epochs, and so is its schedule of learning rates.",
                getattr(session.config, "epochs", "more"),
            )
        session.resume_advice = _resume_advice(session)
        stack.enter_context(_advising_to_resume(session))
    else:  # other workers write the same as the chief, which nobody reads
        session.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        session.resume_advice = "the chief's message says how to resume"
    stack.enter_context(reporting_lost_worker(placement, session.resume_advice))


def _judge(session: Session, result: FitResult) -> dict[str, Any]:
    """Evaluates on the test split, and draws figures; no earlier stage uses the test split.

    Returns:
        `metrics` and `findings`.
    """
    app, watch, fitted = session.app, session.watch, result.fitted
    with watch.part("evaluate"):
        judgement = {
            "metrics": plain(app.evaluate(fitted)),
            "findings": plain(app.findings(fitted)),
        }
    with watch.part("figures"):
        if session.run.figures:
            history = result.history
            figures = {"learning_curves": curves.learning_curves(history)} if history else {}
            curves.save(figures | dict(app.figures(fitted)), session.folder / "figures")
    return judgement


def _publish(session: Session, result: FitResult, judgement: Mapping[str, Any]) -> Trained:
    """Exports the model and writes the report."""
    app, run, watch, fitted = session.app, session.run, session.watch, result.fitted
    metadata = {
        "app": app.name,
        "topic": app.topic,
        "config": plain(session.config),
        "min_per_class": run.min_per_class,
        "skip_broken": run.skip_broken,
        "in_memory": run.in_memory,
        "metrics": judgement["metrics"],
        **plain(session.data.description),
        **judgement["findings"],
    }
    _warn_of_other_data(session)
    with watch.part("export"):
        saved_model, difference = write_saved_model(
            run.export_dir / app.name,
            session.built,
            app.endpoints(fitted),
            app.example(fitted),
            metadata,
        )
    defaults = {name: knob.default for name, knob in app.architecture_knobs().items()}
    content = {
        "app": app.name,
        "config": plain(session.config),
        "architecture": plain(defaults | dict(session.recipe.architecture)),
        "run": plain(run),
        "data": plain(session.data.description),
        "metrics": judgement["metrics"],
        **judgement["findings"],
        "parameters": sum(network.count_params() for network in fitted.networks.values()),
        "replicas": session.placement.num_replicas_in_sync,
        "examples_per_second": result.examples_per_second,
        "seconds": watch.seconds | {"import": SECONDS_TO_IMPORT, "total": watch.total()},
        "versions": package_versions(),
        "saved_model": {"path": str(saved_model), "reload_difference": difference},
    }
    report.write(session.folder, content, app.summary or app.name)
    return _trained(session, result, judgement["metrics"], content, saved_model)


def _warn_of_other_data(session: Session) -> None:
    """Says so if the last exported version was trained on other data than the next one."""
    folder = session.run.export_dir / session.app.name
    numbers = versions(folder)
    if not numbers:
        return
    try:
        source = ExportedModel(folder / str(numbers[-1])).metadata()["source"]
    except InputError:  # a damaged version cannot be served: there is nothing to warn of
        return
    if source != session.data.description.source:
        log.warning(
            "Version %d of %s was trained on %s, and is no longer the newest; another --export-dir "
            "keeps them apart.",
            numbers[-1],
            folder,
            source,
        )


def _trained(
    session: Session,
    result: FitResult,
    metrics: Metrics | None = None,
    content: Mapping[str, Any] | None = None,
    saved_model: Path | None = None,
) -> Trained:
    return Trained(
        model=result.fitted.model,
        networks=networks_of(result.fitted.networks),
        data=session.data,
        history=result.history,
        last_epochs=result.last_epochs,
        metrics=metrics or {},
        report=content or {},
        folder=session.folder,
        saved_model=saved_model,
    )


@contextlib.contextmanager
def _removing_refused_run(folder: Path, *, keep_folder: bool) -> Iterator[None]:
    """Removes what a new run has written if it is refused before it has saved a state.

    Phases refuse what only shows in their beginning, such as weights of another shape.

    Args:
        folder: The folder of the run.
        keep_folder: Whether the folder itself stays, because it was there before.
    """
    try:
        yield
    except InputError:
        if not checkpoint_paths(folder / "checkpoints"):
            remove_run(folder, keep_folder=keep_folder)
        raise


@contextlib.contextmanager
def _noting_saved_state(session: Session) -> Iterator[None]:
    """Adds a note to errors after `fit`: the trained state is saved, and how to resume."""
    try:
        yield
    except InputFailed as failed:
        raise with_saved_state(failed, session) from None
    except Exception as error:
        if not isinstance(error, (InputError, Diverged, WorkerLost, Unwritable)):
            error.add_note(f"The training is done and its state saved; {session.resume_advice}")
        raise


@contextlib.contextmanager
def _advising_to_resume(session: Session) -> Iterator[None]:
    """Adds how to resume to the errors of a full disk, and to signals outside of `fit`."""
    advice = session.resume_advice

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped; {advice}", number)

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, stop))
        try:
            yield
        except OSError as error:
            if not isinstance(error, Unwritable) and error.errno not in DISK_ERRNOS:
                raise
            raise Unwritable(f"{error}; once it can be written, {advice}") from error
        except tf.errors.OpError as error:
            events = session.folder / "tensorboard"
            if str(events) not in str(error):
                raise
            reason = unwritable(events, resource.getpagesize(), error)
            raise Unwritable(f"{reason}; once it can be written, {advice}") from error


def _resume_advice(session: Session) -> str:
    folder = shlex.quote(str(session.folder))
    if many_hosts(session.placement):
        return f"go on with the same command, on all workers, and --resume --run-dir {folder}"
    if session.run.data == "arrays" or session.callbacks or session.optimizer is not None:
        return f'go on with the same call and Run(resume=True, run_dir="{session.folder}")'
    strategy = session.run.strategy
    flags = f"--strategy {strategy} " if strategy != "auto" else ""
    return f"go on with python -m apps.{session.app.name} {flags}--resume --run-dir {folder}"


def _counts(session: Session) -> str:
    description, data = session.data.description, session.data
    counts = {"train": description.train, "validation": description.validation}
    counts["test"] = description.test
    listed = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return f"{description.source}: {listed} examples; {data.steps_per_epoch} steps an epoch"
