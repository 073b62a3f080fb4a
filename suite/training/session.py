"""The state that the stages of a training share: app, recipe, data, placement, model, folder."""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from suite.app import App, Built, Fitted, Phase, Recipe, networks_of
from suite.data.pipelines import Data, steps_per_execution
from suite.errors import InputError
from suite.placement.replicas import is_chief
from suite.run import Run
from suite.training.report import Stopwatch
from suite.training.state import optimizers

log = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class Session:
    """One training, from the loaded data to the report.

    Args:
        app: The application.
        recipe: Its knobs.
        run: How and where the training runs.
        placement: The strategy that places the model.
        data: The examples to train and evaluate on.
        built: What the builder returned, built in the scope of `placement`.
        watch: Measures the seconds of the parts of the run.
        callbacks: Callbacks of the caller, beside those of the app.
        optimizer: Optimizer of the caller, instead of the app's; None for the app's.
        first_model: The compiled model of the first phase.
        folder: The run's folder; the current folder until the run has one.
        resumed_from: Folder that holds the saved state; None for a new run.
        prolonged: Whether the resumed run has more epochs than before.
        resume_advice: The end of a message: how to resume the training if it is stopped.
    """

    app: App
    recipe: Recipe
    run: Run
    placement: tf.distribute.Strategy
    data: Data
    built: Built
    watch: Stopwatch
    callbacks: Sequence[keras.callbacks.Callback] = ()
    optimizer: keras.Optimizer | None = None
    first_model: keras.Model | None = None
    folder: Path = Path()
    resumed_from: Path | None = None
    prolonged: bool = False
    resume_advice: str = ""

    @property
    def config(self) -> object:
        """The settings of the training, an instance of the app's `config`."""
        return self.recipe.config

    @functools.cached_property
    def phases(self) -> Sequence[Phase]:
        """The parts of the training, the same objects each time."""
        return self.app.phases(self.recipe.config)

    @property
    def shows_progress(self) -> bool:
        """Whether this process shows a progress bar: only the chief does, and only if not quiet."""
        return not self.run.quiet and is_chief(self.placement)

    def build(self) -> Built:
        """Calls the app's builder once more, for a new copy of its networks.

        Raises:
            InputError: The builder refuses an argument, or memory does not suffice.
        """
        return build(self.app, self.recipe, self.data)

    def compiled(self, built: Built, phase: Phase) -> keras.Model:
        """The compiled model of a phase.

        Args:
            built: The networks, from the builder.
            phase: The phase that trains the model.

        Raises:
            InputError: The run asks for XLA, which cannot compile the model; or the caller has an
                optimizer, and the model several of its own.
        """
        steps = phase.epochs * self.data.steps_per_epoch
        model = self.app.compiled(phase, built, self.config, steps)
        if self.run.jit and not model.supports_jit:
            raise InputError(
                f"`jit` must be left out: {self.app.name} cannot be compiled", self.run.jit
            )
        model.jit_compile = self.run.jit
        if self.optimizer is not None:
            self._exchange_optimizer(model, self.optimizer, phase)
        model.steps_per_execution = steps_per_execution(self.data.steps_per_epoch)
        return model

    def _exchange_optimizer(
        self, model: keras.Model, optimizer: keras.Optimizer, phase: Phase
    ) -> None:
        """Gives the model a copy of the caller's optimizer.

        Every phase and placement has its own: an optimizer has state for the weights it trains. A
        later phase with several optimizers keeps these.
        """
        count = len(optimizers(model))
        if count == 1:
            copy = type(optimizer).from_config(optimizer.get_config())
            scaling = keras.optimizers.LossScaleOptimizer
            model.optimizer = scaling(copy) if isinstance(model.optimizer, scaling) else copy
        elif phase is self.phases[0]:
            raise InputError(
                f"`optimizer` must be left out: {self.app.name} trains with {count} optimizers",
                type(optimizer).__name__,
            )
        else:
            log.warning("The phase %s keeps its %d optimizers.", phase.name, count)

    def fitted(self, model: keras.Model, built: Built) -> Fitted:
        """The argument of the app's hooks."""
        return Fitted(
            model=model,
            networks=networks_of(built),
            data=self.data,
            config=self.config,
            folder=self.folder,
        )


def build(app: App, recipe: Recipe, data: Data) -> Built:
    """Calls an app's builder with what the data decides and the recipe's architecture.

    Raises:
        InputError: The builder refuses an argument, or memory does not suffice.
    """
    architecture: Mapping[str, object] = recipe.architecture
    try:
        return app.build(**{**data.model_arguments, **architecture})
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        given = ", ".join(f"{name}={value}" for name, value in architecture.items())
        raise InputError("the model must fit into memory", given or "the default one") from error
