"""Types of the knobs that several applications share, and decorators that check knobs.

A knob is a setting that a user may choose: a hyperparameter of the training or the architecture, or
a setting of the run. On a command line it is a flag. The ranges are wide. They refuse values that
can only be typing errors, before memory is allocated.
"""

import functools
import inspect
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, dataclass_transform, get_type_hints

import docstring_parser
from pydantic import ConfigDict, Field, ValidationError, validate_call
from pydantic.dataclasses import dataclass

from suite.errors import as_input_error

P = ParamSpec("P")
R = TypeVar("R")

Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
WeightDecay = Annotated[float, Field(ge=0, le=1000)]
Units = Annotated[int, Field(ge=1, le=65_536)]
Filters = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(ge=0, lt=1)]  # a share that may be 0, such as a dropout rate
Share = Annotated[float, Field(gt=0, lt=1)]  # a part of a whole, neither none nor all
Noise = Annotated[float, Field(ge=0, le=10)]  # a standard deviation
Fraction = Annotated[float, Field(ge=0, le=1)]  # from none to all, such as a probability
# The filters of each stage of a convolutional network.
Stages = Annotated[tuple[Filters, ...], Field(min_length=1, max_length=8)]
# How many layers or blocks each stage has.
Depths = Annotated[
    tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=8)
]
LatentDim = Annotated[int, Field(ge=1, le=4096)]
NumClasses = Annotated[int, Field(ge=2)]
InMemory = Literal["auto", "yes", "no"]  # whether examples are kept in memory
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Activation = Literal[
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign", "tanh", "sigmoid"
]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[R]) -> type[R]:
    """Turns a class into a frozen dataclass that checks its values.

    A value of another type, or out of range, raises `InputError` with one sentence.

    Args:
        cls: A class whose fields all have type annotations.
    """
    docstring = _docstring_with_inherited_fields(cls)
    settings_class: Any = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(
        cls
    )
    settings_class.__init__ = _with_one_sentence_errors(settings_class.__init__)
    settings_class.__doc__ = docstring
    return settings_class


def _docstring_with_inherited_fields(cls: type) -> str | None:
    """The docstring of a class, with the `Args:` of its base classes that it lacks."""
    text = inspect.cleandoc(cls.__doc__) if cls.__doc__ else None
    bases = [inspect.cleandoc(base.__doc__ or "") for base in cls.__bases__ if base is not object]
    if text is None or not bases:
        return text or next(iter(bases), None)
    described = {parameter.arg_name for parameter in docstring_parser.parse(text).params}
    lines = [] if "Args:" in text else ["", "Args:"]
    for parameter in itertools.chain.from_iterable(docstring_parser.parse(b).params for b in bases):
        if parameter.arg_name not in described:
            described.add(parameter.arg_name)
            description = " ".join((parameter.description or "").split())
            lines.append(f"    {parameter.arg_name}: {description}")
    return "\n".join([text, *lines])


def checked(build: Callable[P, R]) -> Callable[P, R]:
    """Makes a builder check its arguments against its type annotations.

    An argument of another type, or out of range, raises `InputError` with one sentence.

    Args:
        build: A builder whose parameters all have type annotations.
    """
    validated = _with_one_sentence_errors(
        validate_call(config={"arbitrary_types_allowed": True})(build)
    )
    signature = inspect.signature(build)

    @functools.wraps(build)
    def checked_build(*args: P.args, **kwargs: P.kwargs) -> R:
        by_position: tuple[Any, ...] = args
        by_name: dict[str, Any] = kwargs
        with suppress(TypeError):  # arguments without a parameter are refused below
            # By name, so that an error can name an argument that was passed by position.
            by_position, by_name = (), signature.bind(*args, **kwargs).arguments
        return validated(*by_position, **by_name)

    # `help(build)` shows `int` rather than `Annotated[int, Field(ge=1)]`. The command line needs
    # the ranges, and reads them from the builder behind this wrapper.
    plain = get_type_hints(build)
    checked_build.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            parameter.replace(annotation=plain.get(name, parameter.annotation))
            for name, parameter in signature.parameters.items()
        ]
    )
    return checked_build


def _with_one_sentence_errors(call: Callable[..., R]) -> Callable[..., R]:
    """Converts the `ValidationError` of a call into an `InputError` of one sentence."""

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        try:
            return call(*args, **kwargs)
        except ValidationError as error:
            raise as_input_error(error) from None

    return wrapped
