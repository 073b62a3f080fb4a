"""Runs Keras's `fit` phase by phase, from a saved state or from the beginning."""

import functools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from suite.app import Built, Fitted, Phase
from suite.data.pipelines import Data, steps_per_execution
from suite.data.stored import damage_error
from suite.errors import InputError, InputFailed, Interrupted
from suite.placement.keras_3_15 import fit_on_replicas
from suite.placement.replicas import (
    distribute,
    distribute_passes,
    many_hosts,
    refuse_disagreement,
)
from suite.training.batch_norm import fused_batch_normalization
from suite.training.callbacks import (
    BestEpoch,
    Callbacks,
    LogFile,
    ProgressBar,
    StopOnNaN,
    Throughput,
)
from suite.training.session import Session
from suite.training.signals import StopSignals
from suite.training.state import (
    Finishing,
    Progress,
    Remembering,
    TrainingState,
    build_optimizers,
)

log = logging.getLogger(__name__)

History = dict[str, list[float | None]]


class FitResult(NamedTuple):
    """What `fit` returns.

    Args:
        fitted: The trained model, on one device.
        history: The logs by name, with a value for each epoch, None in epochs of a phase that does
            not log the name.
        last_epochs: How many of these epochs are of the last phase.
        examples_per_second: Training examples; None if too few steps were run to measure them.
    """

    fitted: Fitted
    history: History
    last_epochs: int
    examples_per_second: float | None


def fit(session: Session) -> FitResult:
    """Trains all phases, or what is left of them after a resume.

    Raises:
        InputError: The saved state is damaged, or of another model; or memory does not suffice.
        InputFailed: An example cannot be read any more, or an environment fails.
        Interrupted: A signal came; the state is saved.
    """
    phases, placement, folder = session.phases, session.placement, session.folder
    signals = StopSignals()
    state_folder = session.resumed_from or folder
    state = TrainingState(folder / "checkpoints", placement, signals, 60 * session.run.save_minutes)
    start = _resume_point(session, state, state_folder / "checkpoints")
    refuse_disagreement(placement, state=start)
    # The log is written after the state: if there is a log, a state was saved before.
    log_file = LogFile(folder / "log.csv", start.rows)
    if session.run.resume and start == Progress():
        if (state_folder / log_file.path.name).exists():
            raise InputError(
                "`resume` needs a saved state that is whole",
                f"{state_folder / 'checkpoints'}, without one",
            )
        log.warning("%s was stopped before its first state was saved: it starts again.", folder)
    # A signal may have come after the state of an epoch was saved, and before its row was written.
    log_file.write()
    if start.phase == len(phases):
        log.info("%s is already trained to its end.", state_folder)
    fitting = _Fitting(session, state, log_file)
    try:
        with signals:
            # A finished training restores its last phase, to return the trained model.
            for number in range(min(start.phase, len(phases) - 1), len(phases)):
                fitting.run(number)
                state.stop_at_signal()
    except (InputFailed, tf.errors.InvalidArgumentError) as error:
        failed = error if isinstance(error, InputFailed) else damage_error(error)
        if failed is None or state.progress == Progress():
            raise failed or error from None
        raise with_saved_state(failed, session) from None
    except tf.errors.ResourceExhaustedError as error:
        if "OOM" not in str(error):  # a full disk has the same error
            raise
        data = session.data
        refusal = InputError(
            f"`{data.batch_knob}` must let a batch and the model fit into memory", data.batch_size
        )
        if state.progress == Progress():
            raise refusal from error
        raise with_saved_state(refusal, session) from error
    except Interrupted as interrupted:
        stopped = state.progress
        where = f"in epoch {len(stopped.rows) + 1} after {stopped.step} steps"
        if stopped.phase == len(phases):
            where = "after the last epoch"
        raise Interrupted(
            f"stopped {where}; {session.resume_advice}", interrupted.signal_number
        ) from None
    progress = state.progress
    history = _history(progress.rows)
    return FitResult(fitting.on_one_device(), history, progress.epoch, fitting.examples_per_second)


def with_saved_state(error: InputError, session: Session) -> InputFailed:
    """The error of a training that has saved a state, with how to resume it."""
    saved = f"the state before that is saved: {session.resume_advice}"
    return InputFailed(error.requirement, f"{error.received}; {saved}")


def _resume_point(session: Session, state: TrainingState, folder: Path) -> Progress:
    """Where the training continues; a finished one with more epochs now continues its last phase.

    Args:
        session: The training.
        state: Finds its saved state.
        folder: Where saved states lie.
    """
    start, phases = state.find(folder), session.phases
    # The saved state decides, not `run.json`: a run may stop between the writing of the two.
    if start.phase == len(phases) and start.epochs < phases[-1].epochs:
        start = start._replace(phase=len(phases) - 1, step=0)
        state.progress = start
    return start


def _history(rows: Sequence[dict[str, Any]]) -> History:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


class _RestoredFirst(keras.callbacks.Callback):
    """Restores a state that was saved between two epochs before other callbacks begin the next.

    What they set at the begin of an epoch, such as a learning rate, is not undone then. A state
    from within an epoch has what they set already, and is restored after them.
    """

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        self.state = state

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.state.progress.step:
            self.state.restore()


class _Fitting:
    """Trains one phase after the other, and keeps what later phases and the result need.

    Args:
        session: The training.
        state: Its resumable state.
        log_file: Gets the logs of all phases.
    """

    def __init__(self, session: Session, state: TrainingState, log_file: LogFile) -> None:
        self.session, self.state, self.log_file = session, state, log_file
        self.built: Built = session.built
        self.examples_per_second: float | None = None
        self._phase: Phase
        self._model: keras.Model
        self._app_callbacks: Sequence[keras.callbacks.Callback] = ()
        self._best: Sequence[keras.callbacks.EarlyStopping] = ()

    def run(self, number: int) -> None:
        """Trains one phase, or what is left of it after a resume.

        Args:
            number: The phase, counted from 0.
        """
        session, state = self.session, self.state
        phase = self._phase = session.phases[number]
        data = session.data
        if number == 0 and session.first_model is not None:
            model = session.first_model
        else:
            # After a resume fewer phases are compiled, which must draw the same seeds.
            keras.utils.set_random_seed((session.run.seed + number) % 2**32)
            with session.placement.scope():
                model = session.compiled(self.built, phase)
        self._model = model
        fitted = session.fitted(model, self.built)
        of_app = [*phase.callbacks(fitted), *session.app.callbacks(fitted)]
        app_callbacks = self._app_callbacks = [*of_app, *session.callbacks]
        best = self._best = self._keep_best(phase)
        start = state.progress
        phase_is_done = number < start.phase
        resumed = bool(phase_is_done or start.epoch or start.step)
        is_last = phase is session.phases[-1]
        callbacks = [*best, *app_callbacks]
        state.attach(
            fitted.networks, model, callbacks, phase.epochs, resumed, is_last, session.callbacks
        )
        if phase_is_done:
            state.restore()
            return
        if not resumed:
            state.restore()
            if phase.begin:
                phase.begin(fitted)
        if not phase.epochs:
            state.restore()
            state.end_phase()
            return
        if phase.features:
            # Of the saved weights, if there are any; `fit` restores them again, with all the rest.
            state.restore(again=True)
            data = data.with_features(phase.features(fitted.networks))
        self._fit(phase, data, number)
        # If no steps were left to train, no epoch has restored the state.
        state.restore()
        if not is_last:
            self._finish()
            state.end_phase()

    def _keep_best(self, phase: Phase) -> list[keras.callbacks.EarlyStopping]:
        """The callback that restores the best weights after the last phase, if the app asks."""
        app = self.session.app
        if not app.keep_best or phase is not self.session.phases[-1]:
            return []
        return [BestEpoch(app.objective, app.objective_mode, phase.epochs)]

    def _fit(self, phase: Phase, data: Data, number: int) -> None:
        session, state, model = self.session, self.state, self._model
        placement, start = session.placement, state.progress
        phases = session.phases
        earlier_epochs = sum(p.epochs for p in phases[:number])
        total_epochs = sum(p.epochs for p in phases)
        throughput = Throughput(data.examples_per_step or data.batch_size)
        bar = [ProgressBar(total_epochs, data.steps_per_epoch)] if session.shows_progress else []
        callbacks = Callbacks(
            [
                _RestoredFirst(state),
                StopOnNaN(),
                throughput,
                *self._app_callbacks,  # before the others, which get what these add to the logs
                *bar,
                keras.callbacks.TensorBoard(session.folder / "tensorboard", write_graph=False),
                *self._best,
                state,
                self.log_file,
            ],
            model,
            total_epochs,
            data.steps_per_epoch,
            start.step,
        )
        validation = validation_steps = None
        if data.validation is not None:
            validation, validation_steps = distribute_passes(data.validation, placement)
        # No execution may run past the end of an epoch, of its rest, or of a validation.
        divisor = math.gcd(data.steps_per_epoch, start.step, validation_steps or 0)
        model.steps_per_execution = steps_per_execution(divisor)
        if many_hosts(placement):
            # TensorFlow cannot combine several steps in which the hosts work together.
            model.steps_per_execution = 1
        # To `fit`, the rest of an interrupted epoch is a shorter epoch.
        parts = [(start.epoch, start.epoch + 1, start.step)] if start.step else []
        parts += [(start.epoch + len(parts), phase.epochs, 0)]
        # Steps are counted over all phases, so that no phase repeats batches of an earlier one.
        first_step = earlier_epochs * data.steps_per_epoch
        build_optimizers(model)
        fused = fused_batch_normalization(model, session.run.fused)
        try:
            with fused, fit_on_replicas(placement):
                if start.step and validation is not None:
                    # Creates the running metrics, so that the state can restore their values.
                    model.evaluate(validation, steps=1, verbose=0)
                for first, last, done in parts:
                    if first == last:
                        continue
                    step = first_step + first * data.steps_per_epoch + done
                    model.fit(
                        distribute(functools.partial(data.train, step), placement),
                        validation_data=validation,
                        validation_steps=validation_steps,
                        initial_epoch=earlier_epochs + first,
                        epochs=earlier_epochs + last,
                        steps_per_epoch=data.steps_per_epoch - done,
                        callbacks=callbacks,
                        shuffle=False,
                        verbose=0,
                    )
                    if model.stop_training:
                        break
        finally:
            callbacks.close()
        self.examples_per_second = throughput.examples_per_second

    def _finish(self) -> None:
        """Gives the model the weights that callbacks have for the end: averages, or the best.

        Saved states have the weights that are trained: after a resume, only these are there.
        """
        if not self._phase.epochs:
            return  # callbacks remember the weights of an earlier phase
        for callback in [*self._app_callbacks, *self._best]:
            if isinstance(callback, Finishing):
                callback.set_model(self._model)
                callback.finish()
            elif (
                isinstance(callback, keras.callbacks.EarlyStopping)
                and callback.restore_best_weights
                and callback.best_weights is not None
            ):
                self._model.set_weights(callback.best_weights)

    def on_one_device(self) -> Fitted:
        """The trained model; with several replicas a copy of it, built on one device."""
        self._finish()
        session, model, built = self.session, self._model, self.built
        if session.placement.num_replicas_in_sync > 1:
            built = session.build()
            copy = session.compiled(built, self._phase)
            copy.set_weights(model.get_weights())
            for (_, network), (_, trained) in zip(
                session.fitted(copy, built).networks.items(),
                session.fitted(model, self.built).networks.items(),
                strict=True,
            ):
                network.set_weights(trained.get_weights())
            if isinstance(copy, Remembering):
                copy.remember(model)
            for callback in self._app_callbacks:
                callback.set_model(copy)
            model = copy
        return session.fitted(model, built)
