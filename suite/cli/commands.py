"""The commands of an application: its training, the studies of every application, its others."""

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from pydantic import PositiveInt

from suite.app import App, Recipe
from suite.cli.flags import fill_in_recipe, flags_of_recipe, flat, listed_type
from suite.cli.printing import columns, show_messages, summary
from suite.errors import InputError
from suite.export.exported import Exports
from suite.export.reopened import reopen
from suite.knobs import Seed
from suite.run import Run
from suite.studies.attack import attack
from suite.studies.compare import checked_values, compare
from suite.studies.cross_validation import cross_validate
from suite.studies.explain import explain
from suite.studies.gradient_check import agree, check_gradients, worst_errors
from suite.studies.gradients import measure_gradients, write_gradients, write_table
from suite.studies.search import Search, command_of, find_best
from suite.studies.see import see
from suite.training.record import RUNS, refuse_unwritable, timed_folder
from suite.training.stages import refuse_unusable_folders, train

# The studies that applications name in `studies`, as commands.
STUDIES: dict[str, Callable[..., Any]] = {"explain": explain, "attack": attack, "see": see}


def command_line_of(app: App) -> cyclopts.App:
    """The command line of an application; without the name of a command it trains."""
    # `fill_in_recipe` adds the knobs that were typed or come from a recipe, before a command runs.
    given: dict[str, bool] = {}  # the knobs that are set: whether they were typed
    command_line = cyclopts.App(
        name=f"python -m apps.{app.name}",
        help=_help(app),
        help_format="markdown",
        version_flags=[],
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(consume_multiple=True, negative_iterable=(), negative_none=()),
        config=functools.partial(fill_in_recipe, app.recipes, given),
    )
    command_line.default(_train_command(app, given))
    commands: dict[str, Callable[..., Any]] = {
        "evaluate": evaluate,
        **{name: STUDIES[name] for name in app.studies},
        **app.commands,
    }
    for name, command in commands.items():
        command_line.command(_bound(command, app), name=name)
    for name, make in EVERY_APP.items():
        command_line.command(make(app, given), name=name)
    return command_line


def _train_command(app: App, given: Mapping[str, bool]) -> Callable[..., None]:
    """The training itself, which has all flags."""
    recipe_flag: Any
    config_flags: Any
    architecture_flags: Any
    recipe_flag, config_flags, architecture_flags, defaults = flags_of_recipe(app)

    def train_app(
        *,
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = defaults,
        run: Annotated[Run, flat("Run", 3)] = Run(),
    ) -> None:
        """Train, evaluate, draw figures and export.

        Args:
            recipe: Named set of knobs; single flags still override it.
        """
        show_messages(run.quiet)
        knobs = _chosen(architecture, given)
        trained = train(app, Recipe(config=config, architecture=knobs, given=frozenset(given)), run)
        if trained.report:
            print(summary(app, trained))

    return train_app


def _cross_validate_command(app: App, given: Mapping[str, bool]) -> Callable[..., None]:
    """The command `cross-validate`."""
    recipe_flag: Any
    config_flags: Any
    architecture_flags: Any
    recipe_flag, config_flags, architecture_flags, defaults = flags_of_recipe(app)

    def cross_validate_app(
        *,
        folds: int = 10,
        repeats: PositiveInt = 1,
        folds_seed: Seed = 1,
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = defaults,
        data: str = "auto",
        data_dir: Path | None = None,
        seed: Seed = 0,
    ) -> None:
        """Train fresh models on all folds but one, and test them on that one.

        Args:
            folds: Parts of all examples, each of which is held out once.
            repeats: Number of cross-validations, each on other folds.
            folds_seed: Decides the folds.
            recipe: Named set of knobs; single flags still override it.
            data: Where examples come from, as in training.
            data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
            seed: Decides initial weights and the order of the examples.
        """
        show_messages(quiet=False)
        knobs = _chosen(architecture, given)
        result = cross_validate(
            app,
            Recipe(config=config, architecture=knobs),
            Run(data=data, data_dir=data_dir, seed=seed),
            folds=folds,
            repeats=repeats,
            folds_seed=folds_seed,
        )
        print(columns(result))

    return cross_validate_app


def _search_command(app: App, given: Mapping[str, bool]) -> Callable[..., None]:
    """The command `search`, with the flags of a training."""
    recipe_flag: Any
    config_flags: Any
    architecture_flags: Any
    recipe_flag, config_flags, architecture_flags, defaults = flags_of_recipe(app)

    def search_app(
        *,
        search: Search = Search(),  # noqa: B008
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = defaults,
        run: Annotated[Run, flat("Run", 3)] = Run(),
    ) -> None:
        """Search for the knobs with the best validation objective.

        Knobs that are given hold for all trials. `run_dir`, `figures` and `export_dir` are of the
        last training, if there is one.

        Args:
            recipe: Named set of knobs to begin with; single flags still override it.
        """
        if run.resume:
            raise InputError("`resume` must be left out; `storage` takes a search up again")
        show_messages(run.quiet)
        values = vars(config) | vars(architecture)
        knobs = {name: value for name, value in values.items() if given.get(name)}
        runs = given.keys() - {"run_dir", "figures", "export_dir", "quiet"}
        settings = {name: value for name, value in vars(run).items() if name in runs}
        if search.train:
            refuse_unusable_folders(app, run)
        best = find_best(app, search, recipe, knobs, settings)
        print(
            "\n"
            + columns(
                {
                    app.objective: best.objective,
                    "trial": f"{best.number + 1} of {best.trials}",
                    "stopped": best.stopped,
                    "figures": best.folder / "figures",
                    "storage": best.storage,
                    "best": command_of(app, recipe, {**best.knobs, **settings}),
                }
            )
        )
        if search.train:
            trained = train(app, app.recipe(recipe, **best.knobs), run)
            print(summary(app, trained))

    return search_app


def _compare_command(app: App, given: Mapping[str, bool]) -> Callable[..., None]:
    """The command `compare`, whose flags are the knobs of the app, each with a list of values."""
    listed_knobs: Any = listed_type(app)

    def compare_app(
        *,
        listed: Annotated[listed_knobs, Parameter(name="*")] = listed_knobs(),  # noqa: B008
        jobs: int = 1,
        test: bool = False,
        run_dir: Path | None = None,
        resume: bool = False,
    ) -> None:
        """Train every combination of listed knobs, and compare them on the validation split.

        Every knob takes several values, and so does the seed. A value of a knob that takes several
        in training is written with commas: `--filters 16,32 32,64`.

        Args:
            jobs: Number of trials that run at the same time; the cores are shared out.
            test: Evaluate the best line on the test split, once, at the end.
            run_dir: Folder of the comparison. Defaults to `runs/<app>/compare/<time>`.
            resume: Go on with the comparison in `run_dir`, or with the app's newest. What has ended
                is not run again.
        """
        show_messages(quiet=False)
        texts = {name: values for name, values in dataclasses.asdict(listed).items() if values}
        compared = compare(
            app,
            checked_values(app, texts),
            jobs=jobs,
            test=test,
            run_dir=run_dir,
            resume=resume,
        )
        print(f"\n{compared.table}\n")
        print(columns({**compared.metrics, "best": compared.best.label, "files": compared.folder}))

    return compare_app


def _gradients_command(app: App, given: Mapping[str, bool]) -> Callable[..., None]:
    """The command `gradients`, with the flags of recipe and architecture of a training."""
    recipe_flag: Any
    config_flags: Any
    architecture_flags: Any
    recipe_flag, config_flags, architecture_flags, defaults = flags_of_recipe(app)

    def gradients_app(
        *,
        steps: int = 100,
        check: bool = False,
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = defaults,
        data: str = "auto",
        data_dir: Path | None = None,
        seed: Seed = 0,
    ) -> None:
        """Draw the size of gradients and activations, by layer, in the first steps of a training.

        Args:
            steps: Steps of each phase of the training.
            check: Compare the gradients with central differences in float64 instead; the exit code
                is 1 if they differ.
            recipe: Named set of knobs; single flags still override it.
            data: Where examples come from, as in training.
            data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
            seed: Decides initial weights and the order of the examples.
        """
        show_messages(quiet=False)
        knobs = _chosen(architecture, given)
        chosen = Recipe(config=config, architecture=knobs)
        run = Run(data=data, data_dir=data_dir, seed=seed)
        parent = RUNS / app.name / "gradients"
        refuse_unwritable(parent, "run_dir")
        if check and "steps" in given:
            raise InputError("`steps` must be left out with `check`", steps)
        if check:
            derivatives = check_gradients(app, chosen, app.data(config, run), seed=seed)
            folder = timed_folder(parent)
            write_table(derivatives, folder / "check.csv")
            print(columns({**worst_errors(derivatives), "files": folder}))
            if not agree(derivatives):
                sys.exit(1)
        else:
            gradients = measure_gradients(app, chosen, run, steps=steps)
            folder = timed_folder(parent)
            write_gradients(gradients, folder)
            print(columns({**gradients.summary(), "files": folder}))

    return gradients_app


# Commands that every application has beside `evaluate`, by name. Each is made for the application,
# by a function that takes it and the knobs that are typed or come from a recipe, and returns the
# command: what that takes becomes flags.
EVERY_APP: dict[str, Callable[[App, Mapping[str, bool]], Callable[..., None]]] = {
    "cross-validate": _cross_validate_command,
    "search": _search_command,
    "compare": _compare_command,
    "gradients": _gradients_command,
}


def evaluate(
    app: App,
    *,
    exports: Exports = Exports(),
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Evaluate an exported model again, on the test split of a data source.

    Args:
        data: Where examples come from, as in training. Defaults to where the export's did.
        data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
    """
    show_messages(quiet=False)
    exported = exports.open(app.name)
    fitted = reopen(app, exported, data, data_dir)
    metadata, description = exported.metadata(), fitted.data.description
    everything = description.train + description.validation + description.test
    print(
        columns(
            {
                "source": description.source,
                "test examples": f"{description.test} of {everything}",
                **app.evaluate(fitted),
            }
        )
    )
    print(f"At export, on {metadata['source']}:")
    print(columns(metadata["metrics"]))


def _chosen(architecture: Any, given: Mapping[str, bool]) -> dict[str, Any]:
    """The knobs of the builder that were typed or come from a recipe."""
    return {n: v for n, v in dataclasses.asdict(architecture).items() if n in given}


def _bound(command: Callable[..., Any], app: App) -> Callable[..., Any]:
    """A command bound to its app, with the name and docstring of the command."""
    bound: Any = functools.partial(command, app)
    bound.__doc__, bound.__name__ = command.__doc__, command.__name__
    return bound


def _help(app: App) -> str:
    text = inspect.cleandoc(app.summary or app.name)
    return f"{text}\n\nYour own data (`--data PATH`): {app.data_layouts}"
