"""The study `search`: the knobs with the best validation objective, found by Optuna."""

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import keras
from cyclopts import Parameter
from pydantic import Field, PositiveInt

from suite.app import App, Recipe
from suite.errors import InputError
from suite.figures import curves, searches
from suite.knobs import settings
from suite.run import Run
from suite.studies.spaces import first_trial, search_spaces
from suite.studies.trials import Trial, run_trials
from suite.training.record import plain
from suite.training.stages import train

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST_FAILURES = 5  # trials that may fail before one succeeds: then the recipe itself is wrong

log = logging.getLogger(__name__)


@Parameter(name="*")
@settings
class Search:
    """What is searched, how, and for how long.

    Args:
        knob: What to search, as `learning_rate=1e-4..1e-1 units=16..256 activation=relu,tanh`; a
            name alone takes the usual space of its type. By default what the app says, or else the
            architecture, the learning rate and the weight decay.
        trials: Number of trials, over all processes of the search.
        minutes: Time after which no trial begins any more. Defaults to no limit.
        sampler: What chooses the values: `tpe`, by estimated densities of good and of bad values;
            `evolution`, by crossing and mutating the best (NSGA-II); or `random`.
        jobs: Number of trials that run at the same time, each a process of its own.
        storage: File or database URL that keeps the search. If it has one of the same app, this
            process joins it, or takes it up again. Defaults to a file in a new folder
            `runs/<app>/search/<time>`.
        train: Train the best recipe once more, evaluate it on the test split, and export it.
    """

    knob: tuple[str, ...] = ()
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 40
    minutes: Annotated[float, Field(gt=0)] | None = None
    sampler: Literal["tpe", "evolution", "random"] = "tpe"
    jobs: PositiveInt = 1
    storage: str | None = None
    train: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a search ends with.

    Args:
        knobs: Of the best trial: those that the caller set, and those that were searched.
        objective: What it reached on the validation split.
        number: Its number, from 0.
        trials: Number of trials that have ended.
        stopped: Those of them that were stopped as hopeless, or failed.
        folder: What the search has left, with figures.
        storage: Where the search can be joined, or taken up again.
    """

    knobs: Mapping[str, Any]
    objective: float
    number: int
    trials: int
    stopped: int
    folder: Path
    storage: str


def find_best(
    app: App,
    how: Search,
    *,
    module: str,
    folder: Path,
    recipe: str | None,
    knobs: Mapping[str, Any],
    run: Mapping[str, Any],
) -> Found:
    """Searches for the knobs with the best objective on the validation split.

    No trial looks at the test split. The first trial is the recipe as it is.

    Args:
        app: The application.
        how: What is searched, how, and for how long.
        module: The application's module, which the processes of the trials import.
        folder: For the trials and figures of a new search.
        recipe: Name of a recipe.
        knobs: Knobs of all trials, which are not searched.
        run: Settings of all runs, without their folders.

    Raises:
        InputError: A space or the storage cannot be used, Optuna is not installed, or no trial has
            trained to its end.
    """
    try:
        from suite.studies import shared_study
    except ModuleNotFoundError as error:
        raise InputError(
            "search needs one more package: pip install '.[search]'", f"no module {error.name}"
        ) from None
    base = app.recipe(recipe, **knobs)
    spaces = search_spaces(app, base, knobs.keys(), how.knob)
    larger_is_better = _larger_is_better(app, base, Run(**run))
    storage = how.storage or str(folder / "search.journal")
    if not shared_study.is_url(storage):
        storage = str(Path(storage).resolve())
    record = {
        "app": app.name,
        "recipe": recipe,
        "knobs": knobs,
        "run": run,
        "spaces": {name: str(space) for name, space in spaces.items()},
    }
    study = shared_study.open_study(
        storage,
        folder,
        larger_is_better=larger_is_better,
        spaces=spaces,
        record=plain(record),
        first=first_trial(app, base, spaces),
    )
    log.info("%s keeps the search of %s", storage, "  ".join(_words(record["spaces"])))

    def trials() -> Iterator[Trial]:
        end = time.monotonic() + 60 * (how.minutes or math.inf)
        while time.monotonic() < end:
            asked = study.ask(how.sampler, Run(**run).seed, how.trials)
            if asked is None:
                return
            yield Trial(
                app=module,
                recipe=recipe,
                knobs={**knobs, **asked.values},
                run=run,
                folder=study.folder / f"{asked.number:04}",
            )

    failures = 0
    with study:
        reports = functools.partial(shared_study.reports, storage, app.objective)
        for trial, outcome in run_trials(trials(), how.jobs, reports):
            told = study.tell(int(trial.folder.name), outcome.objective, outcome.error)
            searched = {name: trial.knobs[name] for name in spaces}
            log.info(
                "trial %d of %d  %s  %s  %.1f s",
                told.number + 1,
                how.trials,
                _result(app.objective, told, outcome.error),
                "  ".join(_words(searched)),
                outcome.seconds,
            )
            failures += outcome.error is not None
            if failures == MOST_FAILURES and not study.finished():
                raise InputError(f"one of the first {failures} trials must succeed", outcome.error)
    best, ended = study.best(), study.ended()
    if best is None:
        raise InputError("a trial must train to its end", f"{len(ended)} trials that did not")
    figures = {
        "history": searches.history(
            [trial.value for trial in ended],
            [trial.state.name == "COMPLETE" for trial in ended],
            app.objective,
            larger_is_better,
        )
    }
    if shares := study.importances():
        figures["importances"] = searches.importances(shares)
    curves.save(figures, study.folder / "figures")
    return Found(
        knobs={**knobs, **study.values(best.params)},
        objective=float(best.values[0]),
        number=best.number,
        trials=len(ended),
        stopped=len(ended) - len(study.finished()),
        folder=study.folder,
        storage=storage,
    )


def _result(objective: str, trial: "FrozenTrial", error: str | None) -> str:
    """What came of a trial, in a few words."""
    if error is not None:
        return f"failed: {error}"
    if trial.value is None:
        return "stopped"
    return f"{objective} {trial.value:.4f}{'' if trial.state.name == 'COMPLETE' else ', stopped'}"


def _words(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _larger_is_better(app: App, recipe: Recipe, run: Run) -> bool:
    """Whether the app's objective is better if it is larger.

    Opens a training, which also refuses a recipe and data that no trial could use.
    """
    opened = train(app, recipe, dataclasses.replace(run, quiet=True), until="open")
    if app.objective_mode != "auto":
        return app.objective_mode == "max"
    if opened.data.validation is None:
        raise InputError("search needs a validation split", "none")
    watch = keras.callbacks.EarlyStopping(app.objective)
    watch.set_model(opened.model)
    # Keras knows the names of metrics after a step only.
    opened.model.evaluate(opened.data.validation, steps=1, verbose=0)
    watch._set_monitor_op()
    return bool(watch.monitor_op is keras.ops.greater)
