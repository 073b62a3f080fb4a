"""The command line of an app, generated from its signatures and docstrings."""

import dataclasses
import functools
import gc
import inspect
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
import docstring_parser
from cyclopts import Group, Parameter, Token

from suite.app import App, Recipe
from suite.console import error_line, prepare_output
from suite.data.sources import data_knob_of
from suite.errors import (
    Diverged,
    InputError,
    Interrupted,
    Unwritable,
    WorkerLost,
    as_input_error,
)
from suite.export.exported import Exports
from suite.export.reopened import reopen
from suite.knobs import Seed
from suite.run import Run
from suite.startup import set_keras_defaults
from suite.studies.attack import attack
from suite.studies.compare import checked_values, compare, knob_types
from suite.studies.cross_validation import cross_validate
from suite.studies.explain import explain
from suite.studies.gradient_check import agree, check_gradients, worst_errors
from suite.studies.gradients import measure_gradients, write_gradients, write_table
from suite.studies.search import Search, command_of, find_best
from suite.studies.see import see
from suite.training.record import RUNS, refuse_unwritable, timed_folder
from suite.training.stages import Trained, train

# The studies that applications name in `studies`, as commands.
STUDIES: dict[str, Callable[..., Any]] = {"explain": explain, "attack": attack, "see": see}
DEBUG = "SUITE_DEBUG"  # if this variable is set, errors end in a traceback rather than a sentence


def main(app: App) -> None:
    """Runs an app from `sys.argv`, and ends the process with its exit code."""
    prepare_output()
    exit_code = run(app, sys.argv[1:])
    gc.collect()  # the thread pools of a strategy print errors if they live until Python's exit
    sys.exit(exit_code)


def run(app: App, arguments: Sequence[str]) -> int:
    """Runs an app from the arguments of a command line.

    Returns:
        The exit code: 0; 1 if the training diverged, a disk is full or another worker is gone;
        2 for bad input; 130 or 143 if a signal stopped it.
    """
    command_line = _command_line(app)
    complain = functools.partial(_complain, command_line)
    try:
        set_keras_defaults()
        command_line(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except cyclopts.UnusedCliTokensError as error:
        return complain(_unused(command_line, arguments, error.unused_tokens or ()), 2)
    except cyclopts.CycloptsError as error:
        return complain(_cause(error), 2, error.argument.name if error.argument else "value")
    except InputError as error:
        return complain(error, 2)
    except MemoryError as error:
        return complain(InputError("there must be enough memory", error), 2)
    except (Diverged, WorkerLost, Unwritable) as error:
        return complain(error, 1)
    except Interrupted as error:
        return complain(error, 128 + error.signal_number)
    except KeyboardInterrupt:
        return complain(KeyboardInterrupt("interrupted"), 130)
    return 0


def _unused(
    command_line: cyclopts.App, arguments: Sequence[str], unused: Sequence[str]
) -> InputError:
    """The error for arguments that no command takes."""
    commands = [name for name in command_line if not name.startswith("-")]
    before = list(arguments[: list(arguments).index(unused[0])]) if unused[0] in arguments else []
    if arguments[0] in commands:
        requirement = f"{arguments[0]} takes options only"
    elif misplaced := set(commands) & set(unused):
        requirement = f"{min(misplaced)} must come first"
    elif len(before) > 1 and before[-2].startswith("--"):
        requirement = f"{before[-2]} takes one value"
    else:
        requirement = f"a command must be one of: {', '.join(commands)}; or none"
    return InputError(requirement, " ".join(unused))


def _complain(
    command_line: cyclopts.App, error: BaseException, exit_code: int, name: str = "value"
) -> int:
    """Prints what is wrong, and returns the exit code.

    Args:
        command_line: Its flags are the knobs' names in the sentence.
        error: What was raised.
        exit_code: To return.
        name: The knob that the error is about, if the error does not name one.
    """
    error = as_input_error(error, name)
    if os.environ.get(DEBUG):
        raise error
    print(error_line(error, command_line), file=sys.stderr)
    return exit_code


def _cause(error: BaseException) -> BaseException:
    """The error that a check of the suite raised, if the parser only wraps it; else the error."""
    while isinstance(error, cyclopts.CycloptsError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _command_line(app: App) -> cyclopts.App:
    # Types made at run time, which only the parser can check.
    architecture_type: Any = _architecture(app)
    recipe_flag: Any = _recipe_flag(app)
    config_flags: Any = Annotated[app.config, _flat("Recipe", 1)]
    architecture_flags: Any = Annotated[architecture_type, _flat("Architecture", 2)]
    # `_fill_in_recipe` adds the knobs that were typed or come from a recipe, before a command runs.
    given: set[str] = set()

    def train_app(
        *,
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = architecture_type(),  # noqa: B008
        run: Annotated[Run, _flat("Run", 3)] = Run(),
    ) -> None:
        """Train, evaluate, draw figures and export.

        Args:
            recipe: Named set of knobs; single flags still override it.
        """
        show_messages(run.quiet)
        knobs = {n: v for n, v in dataclasses.asdict(architecture).items() if n in given}
        trained = train(app, Recipe(config=config, architecture=knobs, given=frozenset(given)), run)
        if trained.report:
            print(_summary(app, trained))

    def cross_validate_app(
        *,
        folds: int = 10,
        repeats: int = 1,
        folds_seed: int = 1,
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = architecture_type(),  # noqa: B008
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
        knobs = {n: v for n, v in dataclasses.asdict(architecture).items() if n in given}
        result = cross_validate(
            app,
            Recipe(config=config, architecture=knobs),
            Run(data=data, data_dir=data_dir, seed=seed),
            folds=folds,
            repeats=repeats,
            folds_seed=folds_seed,
        )
        print(columns(result))

    def search_app(
        *,
        search: Search = Search(),  # noqa: B008
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = architecture_type(),  # noqa: B008
        run: Annotated[Run, _flat("Run", 3)] = Run(),
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
        named = app.recipes.get(recipe or "", {})
        values = vars(config) | vars(architecture)
        knobs = {n: v for n, v in values.items() if n in given and (n, v) not in named.items()}
        runs = given - {"run_dir", "figures", "export_dir", "quiet"}
        settings = {name: value for name, value in vars(run).items() if name in runs}
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
            print(_summary(app, trained))

    command_line = cyclopts.App(
        name=f"python -m apps.{app.name}",
        help=_help(app),
        help_format="markdown",
        version_flags=[],
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(consume_multiple=True, negative_iterable=(), negative_none=()),
        config=functools.partial(_fill_in_recipe, app.recipes, given),
    )
    command_line.default(train_app)
    commands: dict[str, Callable[..., Any]] = {
        "evaluate": evaluate,
        **{name: STUDIES[name] for name in app.studies},
        **app.commands,
    }
    for name, command in commands.items():
        command_line.command(_bound(command, app), name=name)
    command_line.command(cross_validate_app, name="cross-validate")
    command_line.command(search_app, name="search")
    for name, make in EVERY_APP.items():
        command_line.command(make(app), name=name)
    return command_line


def _compare_command(app: App) -> Callable[..., None]:
    """The command `compare`, whose flags are the knobs of the app, each with a list of values."""
    listed_type: Any = _listed(app)

    def compare_app(
        *,
        listed: Annotated[listed_type, Parameter(name="*")] = listed_type(),  # noqa: B008
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


def _gradients_command(app: App) -> Callable[..., None]:
    """The command `gradients`, with the flags of recipe and architecture of a training."""
    architecture_type: Any = _architecture(app)
    recipe_flag: Any = _recipe_flag(app)
    config_flags: Any = Annotated[app.config, _flat("Recipe", 1)]
    architecture_flags: Any = Annotated[architecture_type, _flat("Architecture", 2)]

    def gradients_app(
        *,
        steps: int = 100,
        check: bool = False,
        recipe: recipe_flag = None,
        config: config_flags = app.config(),  # noqa: B008
        architecture: architecture_flags = architecture_type(),  # noqa: B008
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
        defaults = dataclasses.asdict(architecture_type())
        knobs = {n: v for n, v in dataclasses.asdict(architecture).items() if v != defaults[n]}
        chosen = Recipe(config=config, architecture=knobs)
        run = Run(data=data, data_dir=data_dir, seed=seed)
        parent = RUNS / app.name / "gradients"
        refuse_unwritable(parent, "run_dir")
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


# Commands that every application has beside `evaluate` and `cross-validate`, by name. Each is made
# for the application, by a function that takes it and returns the command: what that takes becomes
# flags.
EVERY_APP: dict[str, Callable[[App], Callable[..., None]]] = {
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


def _bound(command: Callable[..., Any], app: App) -> Callable[..., Any]:
    """A command bound to its app, with the name and docstring of the command."""
    bound: Any = functools.partial(command, app)
    bound.__doc__, bound.__name__ = command.__doc__, command.__name__
    return bound


def _help(app: App) -> str:
    text = inspect.cleandoc(app.summary or app.name)
    return f"{text}\n\nYour own data (`--data PATH`): {app.own_data}"


def _group(name: str, position: int) -> Group:
    return Group(name, sort_key=position)


def _recipe_flag(app: App) -> Any:
    """The type of the flag `--recipe`, which an app without recipes does not have."""
    names: Any = Literal[tuple(app.recipes) or ("default",)]  # type: ignore[valid-type]
    return Annotated[names | None, Parameter(group=_group("Recipe", 1), parse=bool(app.recipes))]


def _flat(group: str, position: int) -> Parameter:
    """Makes the fields of a dataclass flags of the command line, under one heading."""
    return Parameter(name="*", group=_group(group, position))


def _architecture(app: App) -> type:
    """The knobs of `build` as a dataclass, so that they are parsed like those of the config."""
    parsed = docstring_parser.parse(inspect.getdoc(app.build) or "")
    described = {parameter.arg_name: parameter.description for parameter in parsed.params}
    fields = [
        (
            name,
            Annotated[knob.annotation, Parameter(help=described.get(name))],
            dataclasses.field(default=knob.default),
        )
        for name, knob in app.architecture_knobs().items()
    ]
    # In this module: cyclopts does not make flags of a class of the standard library.
    return dataclasses.make_dataclass(
        "Architecture", fields, frozen=True, kw_only=True, namespace={"__module__": __name__}
    )


def _listed(app: App) -> type:
    """All knobs as fields of a dataclass, each a list of texts."""
    documented = (app.config, inspect.unwrap(app.build), Run)
    parsed = [docstring_parser.parse(inspect.getdoc(source) or "").params for source in documented]
    described = {p.arg_name: p.description for parameters in parsed for p in parameters}
    described["recipe"] = "Named sets of knobs; `none` is the app's own."
    groups = {
        **dict.fromkeys(app.architecture_knobs(), _group("Architecture", 2)),
        **{field.name: _group("Run", 3) for field in dataclasses.fields(Run)},
    }
    fields = [
        (
            name,
            Annotated[
                tuple[str, ...],
                Parameter(
                    help=described.get(name),
                    group=groups.get(name, _group("Recipe", 1)),
                    consume_multiple=(1, None),
                    show_default=False,
                ),
            ],
            dataclasses.field(default=()),
        )
        for name in knob_types(app)
    ]
    return dataclasses.make_dataclass(
        "Listed", fields, frozen=True, kw_only=True, namespace={"__module__": __name__}
    )


def _fill_in_recipe(
    recipes: Mapping[str, Mapping[str, Any]],
    given: set[str],
    command_line: cyclopts.App,
    commands: tuple[str, ...],
    arguments: cyclopts.ArgumentCollection,
) -> None:
    """Sets the flags that were not typed to the recipe's knobs; adds all that are set to `given`.

    Args:
        recipes: Knobs by the name of the recipe.
        given: Gets the names of the knobs that were typed or come from the recipe.
        command_line: Passed by cyclopts, as are `commands` and `arguments`; not used.
        commands: The command that was typed, if any.
        arguments: The flags with what was typed for them; changed in place.
    """
    if commands == ("compare",):  # which takes several recipes, one for each trial
        return
    chosen = [token.value for a in arguments if a.name == "--recipe" for token in a.tokens]
    for name, value in recipes.get(chosen[0] if chosen else "", {}).items():
        flag = "--" + name.replace("_", "-")
        [argument] = [a for a in arguments if a.name == flag]
        values = value if isinstance(value, tuple) else (value,)
        if not argument.tokens:
            if not values:
                argument.append(Token(keyword=flag, source="recipe", implicit_value=()))
            for index, word in enumerate(values):
                argument.append(Token(keyword=flag, value=str(word), source="recipe", index=index))
    given.update(a.name.removeprefix("--").replace("-", "_") for a in arguments if a.tokens)


def show_messages(quiet: bool) -> None:
    """Prints the suite's log messages to standard output.

    Args:
        quiet: Whether to print only warnings and errors.
    """
    logger = logging.getLogger("suite")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def _summary(app: App, trained: Trained) -> str:
    return "\n" + columns(
        {
            **trained.report["metrics"],
            "seconds": trained.report["seconds"]["total"],
            "figures": trained.folder / "figures",
            "report": trained.folder / "REPORT.md",
            "SavedModel": trained.saved_model,
            "try next": f"python -m apps.{app.name} {_try_next(app, trained.report)}",
        }
    )


def _try_next(app: App, report: Mapping[str, Any]) -> str:
    """A command that works with the new export, as typed after the app's name.

    The app's suggestion may not fit a model of the user's own data, but `evaluate` does.
    """
    source, folder = report["data"]["source"], report["run"]["export_dir"]
    command = "evaluate" if data_knob_of(source) == source else app.try_next
    if folder == str(Run().export_dir):
        return command
    return f"{command} --export-dir {shlex.quote(folder)}"


def columns(values: Mapping[str, Any]) -> str:
    """Names and values in two columns; tables are indented, and None is a dash."""
    flat = dict(_lines(values))
    width = max(map(len, flat))
    return "\n".join(f"{name:{width}}  {value}".rstrip() for name, value in flat.items())


def _lines(values: Mapping[str, Any], indent: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}", ""
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{name}", _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
