"""Flags of the command line, made of the signatures and docstrings of an application."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import cyclopts
import docstring_parser
from cyclopts import Group, Parameter, Token

from suite.app import App
from suite.run import Run
from suite.studies.compare import knob_types


def flags_of_recipe(app: App) -> tuple[Any, Any, Any, Any]:
    """The types of three arguments of a command, whose fields become flags.

    Returns:
        The name of a recipe, which an application without recipes does not have; the settings of
        the training; and the knobs of the builder, with their defaults as the fourth value. Only
        the parser can check these types, because they are made at run time.
    """
    names: Any = Literal[tuple(app.recipes) or ("default",)]  # type: ignore[valid-type]
    name = Annotated[names | None, Parameter(group=_group("Recipe", 1), parse=bool(app.recipes))]
    architecture: Any = _architecture_type(app)
    return (
        name,
        Annotated[app.config, flat("Recipe", 1)],
        Annotated[architecture, flat("Architecture", 2)],
        architecture(),
    )


def flat(group: str, position: int) -> Parameter:
    """Makes the fields of a dataclass flags of the command line, under one heading."""
    return Parameter(name="*", group=_group(group, position))


def listed_type(app: App) -> type:
    """All knobs of an application as fields of a dataclass, each a list of texts."""
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


def fill_in_recipe(
    recipes: Mapping[str, Mapping[str, Any]],
    given: dict[str, bool],
    command_line: cyclopts.App,
    commands: tuple[str, ...],
    arguments: cyclopts.ArgumentCollection,
) -> None:
    """Sets the flags that were not typed to the recipe's knobs; adds all that are set to `given`.

    Args:
        recipes: Knobs by the name of the recipe.
        given: Gets the names of the knobs that were typed, which are True, or come from the recipe,
            False.
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
    for argument in arguments:
        if argument.tokens:
            name = argument.name.removeprefix("--").replace("-", "_")
            given[name] = argument.tokens[0].source != "recipe"


def _architecture_type(app: App) -> type:
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


def _group(name: str, position: int) -> Group:
    return Group(name, sort_key=position)
