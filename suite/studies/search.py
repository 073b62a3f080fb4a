"""The study `search`: the knobs with the best validation objective, found by Optuna."""

import contextlib
import dataclasses
import functools
import logging
import math
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite.app import App
from suite.errors import Diverged, InputError, Interrupted, Unwritable
from suite.figures import curves, searches
from suite.knobs import settings
from suite.run import Run
from suite.studies.spaces import first_trial, search_spaces
from suite.studies.trials import (
    Outcome,
    Trial,
    module_of,
    objective_mode,
    refuse_cluster,
    run_trials,
    without_objective,
)
from suite.training.record import RUNS, plain, timed_folder
from suite.training.stages import train

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from suite.studies.shared_study import SharedStudy

JOURNAL = "search.journal"
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
class Best:
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
    search: Search,
    recipe: str | None,
    knobs: Mapping[str, Any],
    run: Mapping[str, Any],
) -> Best:
    """Searches for the knobs with the best objective on the validation split.

    No trial looks at the test split. The first one is the recipe as it is.

    Args:
        app: The application.
        search: What is searched, how, and for how long.
        recipe: Name of a recipe; None for the app's own.
        knobs: Knobs of all trials, which are not searched.
        run: Settings of the runs of all trials.

    Raises:
        InputError: A space or the storage cannot be used, Optuna is not installed, or no trial has
            logged the objective.
        Diverged: No trial has trained to its end.
        Unwritable: The disk is full.
        Interrupted: SIGINT or SIGTERM came. The storage has all that ended; states are saved.
    """
    try:
        from suite.studies import shared_study
    except ModuleNotFoundError as error:
        raise InputError(
            "search needs one more package: pip install '.[search]'", f"no module {error.name}"
        ) from None
    refuse_cluster("search")
    chosen, larger_is_better = app.recipe(recipe, **knobs), objective_mode(app) == "max"
    spaces = search_spaces(app, chosen, knobs.keys(), search.knob)
    # Refuses a recipe and data that no trial could use.
    train(app, chosen, Run(**{**run, "quiet": True}), until="open")
    storage, new_folder = _place(app, search.storage)
    texts = {name: str(space) for name, space in spaces.items()}
    study = shared_study.open_study(
        storage,
        new_folder,
        larger_is_better=larger_is_better,
        spaces=spaces,
        record=plain(
            {
                "app": app.name,
                "recipe": recipe,
                "knobs": dict(knobs),
                "run": dict(run),
                "spaces": texts,
            }
        ),
        first=first_trial(app, chosen, spaces),
    )
    log.info("searching %s; kept in %s", _words(texts), storage)
    # Not an absolute path: TensorFlow refuses brackets, which folders above may have.
    folder = Path(os.path.relpath(study.folder))
    base = Trial(app=module_of(app), recipe=recipe, knobs=knobs, run=run, folder=folder)
    reports = functools.partial(shared_study.reports, storage, app.objective)
    outcomes = run_trials(_trials(study, search, base), search.jobs, reports)
    try:
        with study, contextlib.closing(outcomes):  # type: ignore[type-var]  # a generator
            _tell(study, app.objective, search.trials, outcomes)
    except Interrupted as error:
        raise Interrupted(
            f"stopped; with --storage {shlex.quote(storage)} it goes on", error.signal_number
        ) from None
    except Unwritable as error:
        raise Unwritable(f"{error}; with --storage {shlex.quote(storage)} it goes on") from None
    best, ended = study.best(), study.ended()
    if best is None:
        errors = [trial.user_attrs["error"] for trial in ended if "error" in trial.user_attrs]
        raise without_objective(app, errors, study.folder)
    curves.save(_figures(app.objective, larger_is_better, study), study.folder / "figures")
    return Best(
        knobs={**knobs, **study.values(best.params)},
        objective=float(best.values[0]),
        number=best.number,
        trials=len(ended),
        stopped=len(ended) - len(study.finished()),
        folder=study.folder,
        storage=storage,
    )


def _place(app: App, storage: str | None) -> tuple[str, Callable[[], Path]]:
    """Where a search is kept, by an absolute path or a URL; and what makes a folder for it."""
    new_folder = functools.partial(timed_folder, RUNS / app.name / "search")
    if storage is None:
        folder = new_folder().resolve()
        return str(folder / JOURNAL), lambda: folder
    return storage if "://" in storage else str(Path(storage).resolve()), new_folder


def command_of(app: App, recipe: str | None, knobs: Mapping[str, Any]) -> str:
    """The command that trains with some knobs, as typed in a shell."""
    words = ["python", "-m", f"apps.{app.name}", *(["--recipe", recipe] if recipe else [])]
    for name, value in knobs.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _trials(study: "SharedStudy", search: Search, base: Trial) -> Iterator[Trial]:
    """The trials that this process runs, each asked for when a process is free."""
    end = time.monotonic() + 60 * (search.minutes or math.inf)
    seed = Run(**base.run).seed
    while time.monotonic() < end:
        asked = study.ask(search.sampler, seed, search.trials)
        if asked is None:
            return
        yield dataclasses.replace(
            base,
            knobs={**base.knobs, **asked.values},
            folder=study.folder / f"{asked.number:04}",
        )


def _tell(
    study: "SharedStudy", objective: str, most: int, outcomes: Iterable[tuple[Trial, Outcome]]
) -> None:
    """Tells the study what comes of the trials, and logs a line for each.

    Raises:
        Diverged: The first trials have all failed.
        Unwritable: A trial could not be written; it is left, and goes on with the next search.
    """
    failures = 0
    for trial, outcome in outcomes:
        if outcome.unwritable:
            raise Unwritable(outcome.error)
        ended = study.tell(int(trial.folder.name), outcome.objective, outcome.error)
        searched = {name: trial.knobs[name] for name in study.spaces}
        result = _result(objective, ended)
        log.info("trial %d of %d: %s, %s", ended.number + 1, most, result, _words(searched))
        failures += outcome.error is not None
        if failures == MOST_FAILURES and not study.finished():
            raise Diverged(f"the first {failures} trials have all failed: {outcome.error}")


def _figures(objective: str, larger_is_better: bool, study: "SharedStudy") -> dict[str, Figure]:
    """The history of a search, and the importances of its knobs, if they can be told."""
    ended = study.ended()
    figures = {
        "history": searches.history(
            [trial.value for trial in ended],
            [trial.state.name == "COMPLETE" for trial in ended],
            objective,
            larger_is_better,
        )
    }
    if shares := study.importances():
        figures["importances"] = searches.importances(shares)
    return figures


def _result(objective: str, trial: "FrozenTrial") -> str:
    """What came of a trial, in a few words."""
    if error := trial.user_attrs.get("error"):
        return f"failed ({error})"
    value = "" if trial.value is None else f"{objective} {trial.value:.4f}"
    stopped = "" if trial.state.name == "COMPLETE" else "stopped"
    return " ".join(filter(None, (stopped, value)))


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())
