"""Cross-validation: the metrics of a recipe on examples that it was not trained on."""

import dataclasses
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from suite.app import App, Built, Fitted, Metrics, Recipe, networks_of
from suite.data.examples import Examples, Source, classes_of
from suite.data.pipelines import Data, steps_per_execution
from suite.errors import InputError
from suite.run import Run
from suite.trainers.averages import AverageWeights
from suite.training.callbacks import BestEpoch, StopOnNaN
from suite.training.process import restored_settings
from suite.training.session import build
from suite.training.state import build_optimizers, optimizers

log = logging.getLogger(__name__)


def cross_validate(
    app: App, recipe: Recipe, run: Run, *, folds: int = 10, repeats: int = 1, folds_seed: int = 1
) -> dict[str, Any]:
    """Trains a new model for every fold on all other folds, and tests it on that fold.

    All splits of the source are used. Folds are stratified if the target is a class, and rows of
    one group stay in one fold.

    Args:
        app: An app whose examples have labels. Of its callbacks those of the phases are used, and
            the average of the weights; all of them if it keeps its best epoch, which is chosen by
            examples that are held out of the other folds.
        recipe: The knobs of the app.
        run: The run, which decides where the examples come from, and the seed of the weights.
        folds: Number of parts of the examples.
        repeats: Number of repetitions, each with other folds.
        folds_seed: Seed of the folds.

    Returns:
        `cv_<metric>_mean` and `cv_<metric>_std` of every metric on the test split, over all folds
        and repeats that have it.

    Raises:
        InputError: The app makes its examples while it trains, there are fewer of them than folds,
            a best epoch is asked for, or no metric is a number.
        Diverged: The loss of a fold is no longer a finite number.
    """
    if patience := getattr(recipe.config, "patience", None):
        raise InputError("`patience` must be left out: folds are not stopped early", patience)
    with restored_settings(), tempfile.TemporaryDirectory() as folder:
        trainer = _Trainer(app, recipe, Path(folder))
        results = _results(trainer, run, folds, repeats, folds_seed)
    values: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.items():
            if isinstance(value, int | float):  # None where a fold has nothing to measure
                values.setdefault(name.removeprefix("test_"), []).append(value)
    if not values:
        raise InputError("cross-validation needs metrics that are numbers", app.name)
    return {
        f"cv_{name}_{statistic}": float(function(of_folds))
        for name, of_folds in values.items()
        for statistic, function in (("mean", np.mean), ("std", np.std))
    }


def _results(
    trainer: "_Trainer", run: Run, folds: int, repeats: int, folds_seed: int
) -> list[Metrics]:
    """The metrics on every fold of every repeat."""
    app, recipe = trainer.app, trainer.recipe
    source = app.data(recipe.config, run).source
    if source is None:
        raise InputError(
            "cross-validation needs an app with a fixed set of examples, not one that makes them",
            app.name,
        )
    rows, groups = _all_rows(source), _all_groups(source)
    # Neither the best epoch nor a phase after the first, such as a calibration, may be decided by
    # the fold that it is tested on.
    chooses = app.keep_best or len(app.phases(recipe.config)) > 1
    results = []
    for number, (kept, held_out) in enumerate(
        _splits(rows, source.class_names, groups, folds, repeats, folds_seed), start=1
    ):
        keras.utils.set_random_seed(run.seed)
        fold = rows.rows(held_out)
        validation = None if chooses else fold
        arrays = dataclasses.replace(
            source,
            train=rows.rows(kept),
            validation=validation,
            test=fold,
            groups=groups[kept] if groups is not None else None,
        )
        data = app.data(recipe.config, dataclasses.replace(run, data="arrays", arrays=arrays))
        results.append(app.evaluate(trainer.train(data)))
        log.info("fold %d of %d", number, folds * repeats)
    return results


def _all_rows(source: Source) -> Examples:
    """The examples of all splits, one split after the other."""
    parts = [
        part.in_memory()
        for part in (source.train, source.validation, source.test)
        if part is not None
    ]
    if len(parts) == 1:
        return parts[0]
    try:
        return Examples(
            *(
                keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *side)
                if side[0] is not None
                else None
                for side in zip(*parts, strict=True)
            )
        )
    except ValueError:  # as for the parts of a series, which have other lengths
        raise InputError(
            "cross-validation needs splits whose examples have one shape", source.name
        ) from None


def _all_groups(source: Source) -> np.ndarray | None:
    """The group of every row of all splits; rows outside of `train` are groups of one row."""
    if source.groups is None:
        return None
    _, groups = np.unique(source.groups, return_inverse=True)
    others = (source.validation, source.test)
    single = sum(split.num_examples for split in others if split is not None)
    return np.concatenate([groups, groups.max() + 1 + np.arange(single)])


def _splits(
    rows: Examples,
    class_names: tuple[str, ...],
    groups: np.ndarray | None,
    folds: int,
    repeats: int,
    folds_seed: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The row numbers to train on, and those to test on, of every fold.

    Raises:
        InputError: There are fewer than two folds, or a fold would lack a row, a row of a class or
            a group.
    """
    from sklearn import model_selection

    classes = classes_of(rows, class_names)
    most = rows.num_examples
    if classes is not None:
        sizes = np.bincount(classes)
        most = int(sizes[sizes > 0].min())
    unit = "rows of the smallest class" if classes is not None else "rows"
    if groups is not None and (count := len(np.unique(groups))) <= most:
        most, unit = count, "groups"
    if not 2 <= folds <= most:
        raise InputError(f"`folds` must be from 2 to the {most} {unit}", folds)
    indices = np.arange(rows.num_examples)
    if groups is None:
        repeated = (
            model_selection.RepeatedStratifiedKFold
            if classes is not None
            else model_selection.RepeatedKFold
        )
        splitter = repeated(n_splits=folds, n_repeats=repeats, random_state=folds_seed)
        yield from splitter.split(indices, classes)
        return
    stratified = classes is not None
    grouped = model_selection.StratifiedGroupKFold if stratified else model_selection.GroupKFold
    for repeat in range(repeats):
        splitter = grouped(n_splits=folds, shuffle=True, random_state=folds_seed + repeat)
        yield from splitter.split(indices, classes, groups)


class _Trainer:
    """Trains models of one recipe on different data, and compiles their steps only once.

    All trainings share the networks and the compiled models. Each starts with the weights of a
    newly built model, and with optimizers and seeds in their state after compilation.

    Args:
        app: The app.
        recipe: Its knobs.
        folder: For what callbacks write.
    """

    def __init__(self, app: App, recipe: Recipe, folder: Path) -> None:
        self.app, self.recipe, self.folder = app, recipe, folder
        self.built: Built = None
        self.constants: dict[str, Any] | None = None
        self.models: dict[tuple[str, int], tuple[keras.Model, list[np.ndarray]]] = {}

    def train(self, data: Data) -> Fitted:
        """Trains a newly initialised model on these data, phase after phase."""
        app, config = self.app, self.recipe.config
        fresh = build(app, self.recipe, data)
        arguments = data.model_arguments.items()
        constants = {n: value for n, value in arguments if not isinstance(value, np.ndarray)}
        if constants != self.constants:
            # Arrays become weights; other arguments change the networks, which are then replaced.
            self.built, self.constants, self.models = fresh, constants, {}
        networks = networks_of(self.built)
        # By their order, since a model without an explicit name gets another name each time.
        for network, new in zip(networks.values(), networks_of(fresh).values(), strict=True):
            network.set_weights(new.get_weights())
        initial = {name: network.get_weights() for name, network in networks.items()}
        phases = app.phases(config)
        steps = data.steps_per_epoch
        for phase in phases:
            if (phase.name, steps) not in self.models:
                compiled = app.compiled(phase, self.built, config, phase.epochs * steps)
                compiled.steps_per_execution = steps_per_execution(steps)
                build_optimizers(compiled)
                self.models[phase.name, steps] = compiled, _values(compiled)
            model, values = self.models[phase.name, steps]
            for variable, value in zip(_variables(model), values, strict=True):
                variable.assign(value)
            for name, weights in initial.items():
                networks[name].set_weights(weights)
            fitted = Fitted(
                model=model, networks=networks, data=data, config=config, folder=self.folder
            )
            if phase.begin:
                phase.begin(fitted)
            if phase.epochs:
                callbacks = [StopOnNaN(), *phase.callbacks(fitted), *self._callbacks(fitted)]
                if app.keep_best and phase is phases[-1]:
                    callbacks.append(BestEpoch(app.objective, app.objective_mode, phase.epochs))
                trained_on = data
                if phase.features:
                    trained_on = data.with_features(phase.features(networks))
                model.fit(
                    trained_on.train(0),
                    validation_data=trained_on.validation if app.keep_best else None,
                    steps_per_epoch=steps,
                    epochs=phase.epochs,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            initial = {name: network.get_weights() for name, network in networks.items()}
        return fitted

    def _callbacks(self, fitted: Fitted) -> list[keras.callbacks.Callback]:
        """The callbacks of the app that decide which weights are tested."""
        of_app = self.app.callbacks(fitted)
        return [c for c in of_app if self.app.keep_best or isinstance(c, AverageWeights)]


def _variables(model: keras.Model) -> list[keras.Variable]:
    moments = [variable for optimizer in optimizers(model) for variable in optimizer.variables]
    return [*model.variables, *moments]


def _values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(variable) for variable in _variables(model)]
