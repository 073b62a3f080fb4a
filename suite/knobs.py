"""Types of knobs that more than one app has, with their ranges, and what holds apps to them.

The ranges are wide, and there to refuse what could only be a slip before memory is taken for it.
"""

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError, validate_call
from pydantic.dataclasses import dataclass

from suite.errors import InputError, sentence

P = ParamSpec("P")
R = TypeVar("R")

Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
WeightDecay = Annotated[float, Field(ge=0, le=1000)]
Units = Annotated[int, Field(ge=1, le=65_536)]
Filters = Annotated[int, Field(ge=1, le=4096)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Stages = Annotated[tuple[Filters, ...], Field(min_length=1, max_length=8)]
LatentDim = Annotated[int, Field(ge=1, le=4096)]
NumClasses = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Activation = Literal[
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign", "tanh", "sigmoid"
]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[R]) -> type[R]:
    """Makes a class a frozen dataclass that refuses, in one sentence, what does not suit its types.

    Args:
        cls: Has types at all its fields.
    """
    made: Any = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(cls)
    made.__init__ = _in_one_sentence(made.__init__)
    return made


def checked(build: Callable[P, R]) -> Callable[P, R]:
    """Has a builder refuse arguments that are not of their types, in one sentence.

    Args:
        build: Has types at all its parameters; is otherwise left as it is.
    """
    of_types = _in_one_sentence(validate_call(config={"arbitrary_types_allowed": True})(build))
    signature = inspect.signature(build)

    @functools.wraps(build)
    def checked_build(*args: P.args, **kwargs: P.kwargs) -> R:
        by_position: tuple[Any, ...] = args
        by_name: dict[str, Any] = kwargs
        with suppress(TypeError):  # what fits no parameter is refused below
            # So that an error can name what was given by position.
            by_position, by_name = (), signature.bind(*args, **kwargs).arguments
        return of_types(*by_position, **by_name)

    return checked_build


def _in_one_sentence(call: Callable[..., R]) -> Callable[..., R]:
    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        try:
            return call(*args, **kwargs)
        except ValidationError as error:
            raise InputError(sentence(error)) from None

    return wrapped
