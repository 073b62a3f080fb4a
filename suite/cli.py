"""The command line of an app, made of its signatures and docstrings."""

import dataclasses
import functools
import gc
import inspect
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
import docstring_parser
from cyclopts import Group, Parameter, Token

from suite.app import App
from suite.data.sources import asked_for
from suite.errors import Diverged, InputError, Interrupted, WorkerLost, sentence
from suite.export.saved_model import Export
from suite.run import Run
from suite.training.stages import Trained, train


def main(app: App) -> None:
    """Runs an app from `sys.argv`, and ends the process with its exit code."""
    exit_code = run(app, sys.argv[1:])
    gc.collect()  # the thread pools of a strategy complain where Python's end finds them
    sys.exit(exit_code)


def run(app: App, arguments: Sequence[str]) -> int:
    """Runs an app from the words of a command line.

    Returns:
        The exit code: 0; 1 where the training diverged, a disk is full or another worker is gone;
        2 for bad input; 130 or 143 where a signal stopped it.
    """
    command_line = _command_line(app)
    complain = functools.partial(_complain, command_line)
    try:
        command_line(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except cyclopts.UnusedCliTokensError as error:
        known = [name for name in command_line if not name.startswith("-")]
        wrong = " ".join(error.unused_tokens or ())
        must = f"a command must be one of: {', '.join(known)}; or none"
        if arguments[0] in known:
            must = f"{arguments[0]} takes options only"
        elif misplaced := set(known) & set(error.unused_tokens or ()):
            must = f"{min(misplaced)} must come first"
        return complain(InputError(f"{must}. Received: {wrong}"), 2)
    except cyclopts.CycloptsError as error:
        return complain(_cause(error), 2, error.argument.name if error.argument else "value")
    except InputError as error:
        return complain(error, 2)
    except MemoryError as error:
        return complain(InputError(f"there must be memory enough. Received: {error}"), 2)
    except (Diverged, WorkerLost, OSError) as error:
        return complain(error, 1)
    except Interrupted as error:
        return complain(error, 128 + error.signal_number)
    except KeyboardInterrupt:
        return complain(KeyboardInterrupt("interrupted"), 130)
    return 0


def _complain(
    command_line: cyclopts.App, error: BaseException, exit_code: int, name: str = "value"
) -> int:
    """Says what is wrong, and calls knobs as they are typed."""
    commands = (command_line[each] for each in command_line if not each.startswith("-"))
    flags = {
        flag
        for command in (command_line, *commands)
        for argument in command.assemble_argument_collection()
        for flag in argument.names
    }

    def as_typed(knob: re.Match[str]) -> str:
        flag = f"--{knob[1].removeprefix('--').replace('_', '-')}"
        return flag if flag in flags else knob[0]

    said, received, came_in = sentence(error, name).partition(" Received: ")
    print(re.sub("`([^`]*)`", as_typed, said) + received + came_in, file=sys.stderr)
    return exit_code


def _cause(error: BaseException) -> BaseException:
    """What a check of ours said, where the parser has only passed it on."""
    while isinstance(error, cyclopts.CycloptsError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _command_line(app: App) -> cyclopts.App:
    config_type: Any = app.config
    architecture_type: Any = _architecture(app)
    # Types made at run time, which only the parser can check.
    recipe_names: Any = Literal[tuple(app.recipes) or ("default",)]  # type: ignore[valid-type]

    def train_app(
        *,
        recipe: Annotated[
            recipe_names | None,
            Parameter(group=_group("Recipe", 1), parse=bool(app.recipes)),
        ] = None,
        config: Annotated[config_type, _flat("Recipe", 1)] = app.config(),  # noqa: B008
        architecture: Annotated[architecture_type, _flat("Architecture", 2)] = architecture_type(),  # noqa: B008
        run: Annotated[Run, _flat("Run", 3)] = Run(),
    ) -> None:
        """Train, evaluate, draw and export.

        Args:
            recipe: Named set of knobs; single flags still override it.
        """
        _speak(run.quiet)
        knobs = dataclasses.asdict(architecture)
        trained = train(app, config, run, _changed(knobs, app))
        if trained.report:
            print(_summary(app, trained))

    def evaluate(
        *,
        export: Export = Export(),
        data: str | None = None,
        data_dir: Path | None = None,
    ) -> None:
        """Evaluate an exported model again, on the test split of a data source.

        Args:
            data: Where examples come from, as in training. Defaults to where the export's did.
            data_dir: TFDS folder. Defaults to `TFDS_DATA_DIR`, then to TFDS's own.
        """
        _speak(quiet=False)
        metadata = export.metadata(app.name)
        try:
            config = app.recorded(metadata["config"])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"an exported model must be one of this version of {app.name}. Received: "
                f"{export.folder(app.name)}: {sentence(error)}"
            ) from None
        source = data or asked_for(metadata["source"])
        examples = app.data(config, Run(data=source, data_dir=data_dir))
        for what in ("class_names", "feature_names"):
            found, wanted = examples.description.get(what), metadata.get(what)
            if found != wanted:
                raise InputError(f"`{what}` of --data must be {wanted}. Received: {found}")
        model = app.compile(export.keras_model(app.name), config, 1)
        metrics = app.evaluate(model, examples, config)
        print(_columns({"source": examples.description["source"], **metrics}))
        print(f"At export, on {metadata['source']}:")
        print(_columns(metadata["metrics"]))

    command_line = cyclopts.App(
        name=f"python -m apps.{app.name}",
        help=inspect.getdoc(sys.modules[app.build.__module__]),
        help_format="markdown",
        version_flags=[],
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(consume_multiple=True, negative_iterable=(), negative_none=()),
        config=functools.partial(_fill_in_recipe, app.recipes),
    )
    command_line.default(train_app)
    command_line.command(evaluate)
    for name, command in app.commands.items():
        command_line.command(command, name=name)
    return command_line


def _group(name: str, position: int) -> Group:
    return Group(name, sort_key=position)


def _flat(group: str, position: int) -> Parameter:
    """Fields become flags of their own, under one heading."""
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
    # Named as ours: a class of a standard module would not be taken apart.
    return dataclasses.make_dataclass(
        "Architecture", fields, frozen=True, kw_only=True, namespace={"__module__": __name__}
    )


def _changed(knobs: Mapping[str, Any], app: App) -> dict[str, Any]:
    defaults = app.architecture_knobs()
    return {name: value for name, value in knobs.items() if value != defaults[name].default}


def _fill_in_recipe(
    recipes: Mapping[str, Mapping[str, Any]],
    command_line: cyclopts.App,
    commands: tuple[str, ...],
    arguments: cyclopts.ArgumentCollection,
) -> None:
    """Gives the knobs of the chosen recipe to the flags that were not given."""
    chosen = [token.value for a in arguments if a.name == "--recipe" for token in a.tokens]
    for name, value in recipes.get(chosen[0] if chosen else "", {}).items():
        flag = "--" + name.replace("_", "-")
        [argument] = [a for a in arguments if a.name == flag]
        values = value if isinstance(value, tuple) else (value,)
        if not argument.tokens:
            for index, each in enumerate(values):
                argument.append(Token(keyword=flag, value=str(each), source="recipe", index=index))


def _speak(quiet: bool) -> None:
    logger = logging.getLogger("suite")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def _summary(app: App, trained: Trained) -> str:
    return "\n" + _columns(
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
    """What fits what was exported, and finds it."""
    source, folder = report["data"]["source"], report["run"]["export_dir"]
    words = "evaluate" if asked_for(source) == source else app.try_next
    return words if folder == str(Run().export_dir) else f"{words} --export-dir {folder}"


def _columns(values: Mapping[str, Any]) -> str:
    width = max(map(len, values))
    return "\n".join(
        f"{name:{width}}  {value:.4f}" if isinstance(value, float) else f"{name:{width}}  {value}"
        for name, value in values.items()
    )
