"""The order of events of a training: open, fit, judge, publish."""

import contextlib
import dataclasses
import errno
import importlib
import logging
import random
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

from suite.app import App, Fitted, Metrics, Recipe, networks_of
from suite.data.examples import Examples, Source
from suite.errors import Diverged, InputError, Interrupted, Unwritable, WorkerLost
from suite.export.saved_model import try_endpoints, write_saved_model
from suite.figures import curves
from suite.files import refuse_path, unwritable
from suite.placement.keras_3_15 import refuse_other_keras
from suite.placement.replicas import (
    is_chief,
    many_hosts,
    refuse_disagreement,
    reporting_lost_worker,
    workers_leave_together,
)
from suite.placement.strategy import connect
from suite.run import Run
from suite.training import report
from suite.training.fit import History, fit
from suite.training.record import (
    RUNS,
    claim,
    new_folder,
    plain,
    refuse_folder_in_use,
    refuse_other_data,
    refuse_unwritable,
    reopen,
    versions,
    write_record,
)
from suite.training.session import Session, build

log = logging.getLogger(__name__)

Stage = Literal["open", "fit", "judge", "publish"]
STAGES: tuple[Stage, ...] = ("open", "fit", "judge", "publish")
# What a file system says that is full, or takes no more.
OF_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.EIO,
}
SEEDS_OF_KERAS = ("global_random_seed", "global_seed_generator")
SEEDS_OF_TENSORFLOW = ("_seed", "_rng")

# Taken when the last heavy import is done; the first began with the process.
SECONDS_TO_IMPORT = report.process_seconds()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves behind.

    Args:
        model: The trained model.
        networks: What the builder has made, by name.
        data: What it was trained on.
        history: Logs by name, one for each epoch; None in a phase that does not log the name.
        metrics: On the test split; empty where it was not looked at.
        report: What `report.json` says; empty on every worker but the chief, and where nothing
            was published.
        folder: The run's folder.
        saved_model: The exported version; None on every worker but the chief, and where nothing
            was published.
    """

    model: keras.Model
    networks: Mapping[str, keras.Model]
    data: Any
    history: History
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
    """Trains an app, judges it on the test split, draws and exports it.

    Args:
        app: The application.
        recipe: Its knobs: `app.recipe("fast", epochs=3)`, or the name of a recipe; by default
            `app.recipe()`.
        run: How and where; by default `Run()`.
        until: The last stage: `open` loads and builds, `fit` trains, `judge` looks at the test
            split and draws, `publish` exports and writes the report.
        data: Your own examples in memory instead of the app's: `(inputs, targets)`, a mapping of
            `train`, `validation` and `test` to such pairs, or a `suite.data.Source`.
        callbacks: Of Keras's or your own, beside those of the app. One with `state()` and
            `restore(state)` is part of the saved state.
        optimizer: Instead of the app's.

    Raises:
        InputError: Something that was given cannot be used. Nothing was written.
        Diverged: The loss is no longer a finite number.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        Unwritable: The disk is full, say; the last state is saved.
    """
    _check_types(app, recipe, run, until, callbacks, optimizer)
    if not isinstance(recipe, Recipe):
        recipe = app.recipe(recipe)
    run = run or Run()
    if data is not None:
        run = dataclasses.replace(run, data="arrays", arrays=_source(data))
    with _progress(run), _process_as_it_was(), contextlib.ExitStack() as stack:
        session = _open(app, recipe, run, callbacks, optimizer)
        if until == "open":
            return _trained(session, session.fitted(session.first_model, session.built), {})
        _begin(session, stack)
        with session.watch.part("fit"):
            fitted, history, rate = fit(session)
        if until == "fit":
            return _trained(session, fitted, history)
        stack.enter_context(workers_leave_together(session.placement))
        if not is_chief(session.placement):
            return _trained(session, fitted, history)
        with _saying_that_fit_is_done(session):
            judgement = _judge(session, fitted, history)
            if until == "judge":
                return _trained(session, fitted, history, judgement["metrics"])
            return _publish(session, fitted, history, rate, judgement)


def _check_types(
    app: Any, recipe: Any, run: Any, until: Any, callbacks: Any, optimizer: Any
) -> None:
    for name, value, kinds, wanted in (
        ("app", app, App, "an application, such as apps.mnist_cnn.app"),
        ("recipe", recipe, (Recipe, str, type(None)), "app.recipe(...), or the name of a recipe"),
        ("run", run, (Run, type(None)), "a suite.Run"),
        ("callbacks", callbacks, Sequence, "a list of callbacks"),
        ("optimizer", optimizer, (keras.Optimizer, str, type(None)), "a Keras optimizer"),
    ):
        if not isinstance(value, kinds):
            raise InputError(f"`{name}` must be {wanted}", f"an object of {type(value).__name__}")
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            must = "`callbacks` must be a list of callbacks"
            raise InputError(must, f"an object of {type(callback).__name__} in it")
    if until not in STAGES:
        raise InputError(f"`until` must be one of: {', '.join(STAGES)}", until)


def _optimizer(optimizer: keras.Optimizer | str | None) -> keras.Optimizer | None:
    try:
        return optimizer if optimizer is None else keras.optimizers.get(optimizer)
    except ValueError:  # a name that Keras does not know
        raise InputError("`optimizer` must be a Keras optimizer", optimizer) from None


def _source(data: Any) -> Source:
    """The caller's own examples as a source."""
    if isinstance(data, Source):
        return data
    splits = data if isinstance(data, Mapping) and "train" in data else {"train": data}
    unknown = splits.keys() - {"train", "validation", "test"}
    pairs = [isinstance(pair, tuple) and 1 <= len(pair) <= 2 for pair in splits.values()]
    if unknown or not all(pairs):
        raise InputError(
            "`data` must be (inputs, targets), or such pairs by `train`, `validation` and `test`",
            f"an object of {type(data).__name__}",
        )

    def examples(pair: tuple[Any, ...]) -> Examples:
        arrays = [keras.tree.map_structure(np.asarray, part) for part in pair]
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
    callbacks: Sequence[keras.callbacks.Callback],
    optimizer: keras.Optimizer | str | None,
) -> Session:
    """Checks what was given, loads the data, and builds the model; writes nothing."""
    watch = report.Stopwatch()
    resumed_from, prolonged = None, False
    if run.resume:
        resumed_from, recipe, run, prolonged = reopen(app, recipe, run)
    elif run.run_dir is not None:
        refuse_folder_in_use(run.run_dir)
    else:
        refuse_unwritable(RUNS / app.name, "run_dir")
    refuse_path(run.export_dir, "export_dir")
    refuse_unwritable(run.export_dir / app.name, "export_dir")

    keras.utils.set_random_seed(run.seed)
    keras.config.set_dtype_policy(run.precision)
    if run.deterministic:
        tf.config.experimental.enable_op_determinism()
    placement = connect(run.strategy)
    _refuse_on_replicas(run, placement)

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
    _try_export(session)
    refuse_disagreement(
        placement,
        data=data.description.fingerprint,
        config=plain(recipe.config),
        architecture=plain(recipe.architecture),
    )
    if resumed_from is not None:
        refuse_other_data(resumed_from, data.description.fingerprint)
    return session


def _refuse_on_replicas(run: Run, placement: tf.distribute.Strategy) -> None:
    if placement.num_replicas_in_sync == 1:
        return
    refuse_other_keras()
    if run.precision == "mixed_float16":
        # Keras asks one replica alone whether a gradient has overflown.
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
    """Tries the endpoints of the untrained model: what they lack shows now, and not after `fit`."""
    with session.watch.part("trial"), session.placement.scope():
        fitted = session.fitted(session.first_model, session.built)
        try_endpoints(session.app.endpoints(fitted), session.app.example(fitted))


def _begin(session: Session, stack: contextlib.ExitStack) -> None:
    """Makes or takes up the run's folder, and says what begins."""
    app, run, placement = session.app, session.run, session.placement
    if is_chief(placement):
        log.info("%s on %s", app.name, _counts(session))
        session.folder = session.resumed_from or new_folder(app, run)
        claim(session.folder, stack)
        if session.resumed_from is None or session.prolonged:
            write_record(session)
        if session.prolonged:
            log.info(
                "The run is prolonged to %s epochs, and so is its schedule of learning rates.",
                getattr(session.config, "epochs", "more"),
            )
        session.resume_command = _resume_command(session)
        stack.enter_context(_stopped_with_advice(session))
    else:  # what another worker writes is the same, and nobody reads it
        session.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        session.resume_command = "the chief says how to go on"
    stack.enter_context(reporting_lost_worker(placement, session.resume_command))


def _judge(session: Session, fitted: Fitted, history: History) -> dict[str, Any]:
    """Looks at the test split, and draws. The only stage that may."""
    app, watch = session.app, session.watch
    with watch.part("evaluate"):
        judgement = {
            "metrics": plain(app.evaluate(fitted)),
            "findings": plain(app.findings(fitted)),
        }
    with watch.part("figures"):
        if session.run.figures:
            drawn = {"learning_curves": curves.learning_curves(history)} if history else {}
            curves.save(drawn | dict(app.figures(fitted)), session.folder / "figures")
    return judgement


def _publish(
    session: Session,
    fitted: Fitted,
    history: History,
    rate: float | None,
    judgement: Mapping[str, Any],
) -> Trained:
    """Exports the model and writes the report."""
    app, run, watch = session.app, session.run, session.watch
    described = {
        "app": app.name,
        "topic": app.topic,
        "config": plain(session.config),
        "metrics": judgement["metrics"],
        **plain(session.data.description),
        **judgement["findings"],
    }
    with watch.part("export"):
        saved_model, difference = write_saved_model(
            run.export_dir / app.name,
            fitted.networks,
            app.endpoints(fitted),
            app.example(fitted),
            described,
        )
    defaults = {name: knob.default for name, knob in app.architecture_knobs().items()}
    account = {
        "app": app.name,
        "config": plain(session.config),
        "architecture": plain(defaults | dict(session.recipe.architecture)),
        "run": plain(run),
        "data": plain(session.data.description),
        "metrics": judgement["metrics"],
        **judgement["findings"],
        "parameters": sum(network.count_params() for network in fitted.networks.values()),
        "replicas": session.placement.num_replicas_in_sync,
        "examples_per_second": rate,
        "seconds": watch.seconds | {"import": SECONDS_TO_IMPORT, "total": watch.total()},
        "versions": versions(),
        "saved_model": {"path": str(saved_model), "reload_difference": difference},
    }
    report.write(session.folder, account, app.summary or app.name)
    return _trained(session, fitted, history, judgement["metrics"], account, saved_model)


def _trained(
    session: Session,
    fitted: Fitted,
    history: History,
    metrics: Metrics | None = None,
    account: Mapping[str, Any] | None = None,
    saved_model: Path | None = None,
) -> Trained:
    return Trained(
        model=fitted.model,
        networks=networks_of(fitted.networks),
        data=session.data,
        history=history,
        metrics=metrics or {},
        report=account or {},
        folder=session.folder,
        saved_model=saved_model,
    )


@contextlib.contextmanager
def _saying_that_fit_is_done(session: Session) -> Iterator[None]:
    """Adds to whatever goes wrong after a training that the training itself is not lost."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (InputError, Diverged, WorkerLost, Unwritable)):
            error.add_note(f"The training is done and its state saved; {session.resume_command}")
        raise


@contextlib.contextmanager
def _stopped_with_advice(session: Session) -> Iterator[None]:
    """Says how to go on where a disk is full, or a signal comes that nobody else waits for."""
    advice = session.resume_command

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped; {advice}", number)

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, stop))
        try:
            yield
        except OSError as error:
            if not isinstance(error, Unwritable) and error.errno not in OF_DISK:
                raise
            raise Unwritable(f"{error}; once it can be written, {advice}") from error
        except tf.errors.OpError as error:
            events = session.folder / "tensorboard"
            if str(events) not in str(error):
                raise
            reason = unwritable(events, resource.getpagesize(), error)
            raise Unwritable(f"{reason}; once it can be written, {advice}") from error


def _resume_command(session: Session) -> str:
    folder = shlex.quote(str(session.folder))
    if many_hosts(session.placement):
        return f"go on with the same command, on all workers, and --resume --run-dir {folder}"
    return f"go on with python -m apps.{session.app.name} --resume --run-dir {folder}"


def _counts(session: Session) -> str:
    description, data = session.data.description, session.data
    counts = {"train": description.train, "validation": description.validation}
    counts["test"] = description.test
    listed = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return f"{description.source}: {listed} examples; {data.steps_per_epoch} steps an epoch"


@contextlib.contextmanager
def _progress(run: Run) -> Iterator[None]:
    """Shows progress in notebooks and scripts that have not set up any logging."""
    logger = logging.getLogger("suite")
    if run.quiet or logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextlib.contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Leaves dtype policy, determinism and the random state of the caller as they were."""
    # Neither Keras nor TensorFlow has a public way to ask for a seed that was set.
    of_keras = importlib.import_module("keras.src.backend.common.global_state")
    context = importlib.import_module("tensorflow.python.eager.context").context()
    determinism = importlib.import_module("tensorflow.python.framework.config")
    policy, deterministic = keras.config.dtype_policy(), determinism.is_op_determinism_enabled()
    of_python, of_numpy = random.getstate(), np.random.get_state()
    seeds = {name: of_keras.get_global_attribute(name) for name in SEEDS_OF_KERAS}
    seed_of_tensorflow = {n: v for n, v in vars(context).items() if n in SEEDS_OF_TENSORFLOW}
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        for name, seed in seeds.items():
            of_keras.set_global_attribute(name, seed)
        vars(context).update(seed_of_tensorflow)
        if not deterministic and determinism.is_op_determinism_enabled():
            determinism.disable_op_determinism()
