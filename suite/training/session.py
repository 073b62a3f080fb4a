"""What the stages of a training hand on: the app, its recipe, data, placement and folder."""

import dataclasses
import functools
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


@dataclasses.dataclass(kw_only=True)
class Session:
    """One training, from when its data are loaded until it is published.

    Args:
        app: The application.
        recipe: Its knobs.
        run: How and where.
        placement: The strategy that places the model.
        data: What to train and judge on.
        built: What the builder has made, where it is placed.
        watch: Times the parts of the run.
        callbacks: The caller's own, beside the app's.
        optimizer: The caller's own, instead of the one that the app compiles with.
        first_model: What the first phase trains.
        folder: The run's folder; the current one before there is any.
        resumed_from: Folder that holds the saved state; None for a new run.
        prolonged: Whether the run had fewer epochs when it was last stopped.
        resume_command: What to type to go on, should the training be stopped.
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
    resume_command: str = ""

    @property
    def config(self) -> object:
        """The training recipe."""
        return self.recipe.config

    @functools.cached_property
    def phases(self) -> Sequence[Phase]:
        """The parts of the training, the same objects each time."""
        return self.app.phases(self.recipe.config)

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that shows progress."""
        return not self.run.quiet and is_chief(self.placement)

    def data_of(self, phase: Phase) -> Data:
        """What a phase trains on."""
        return phase.data(self.data) if phase.data else self.data

    def build(self) -> Built:
        """Builds what the data and the recipe ask for.

        Raises:
            InputError: The builder refuses an argument, or memory does not suffice.
        """
        return build(self.app, self.recipe, self.data)

    def compiled(self, built: Built, phase: Phase) -> keras.Model:
        """The model that a phase trains.

        Raises:
            InputError: It cannot be compiled by XLA, as the run asks.
        """
        data = self.data_of(phase)
        compile_model = phase.compile or self.app.compile
        model = compile_model(built, self.config, phase.epochs * data.steps_per_epoch)
        if self.run.jit and not model.supports_jit:
            raise InputError(
                f"`jit` must be left out: {self.app.name} cannot be compiled", self.run.jit
            )
        if type(model).call is keras.Model.call:
            # A model with a step of its own that is never called has nothing to be built by.
            model.built = True
        model.jit_compile = self.run.jit
        if self.optimizer is not None:
            # A copy for each phase and placement: an optimizer belongs to the weights it moves.
            model.optimizer = type(self.optimizer).from_config(self.optimizer.get_config())
        model.steps_per_execution = steps_per_execution(data.steps_per_epoch)
        return model

    def fitted(self, model: keras.Model, built: Built) -> Fitted:
        """What hooks are given."""
        return Fitted(
            model=model,
            networks=networks_of(built),
            data=self.data,
            config=self.config,
            folder=self.folder,
        )


def build(app: App, recipe: Recipe, data: Data) -> Built:
    """Builds what the data and the recipe ask for.

    Raises:
        InputError: The builder refuses an argument, or memory does not suffice.
    """
    architecture: Mapping[str, object] = recipe.architecture
    try:
        return app.build(**{**data.model_arguments, **architecture})
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        given = ", ".join(f"{name}={value}" for name, value in architecture.items())
        raise InputError("the model must fit into memory", given) from error
