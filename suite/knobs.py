"""Types of knobs that more than one app has, with their ranges, and what holds builders to them.

The ranges are wide, and there to refuse what could only be a slip before memory is taken for it.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Literal, ParamSpec, TypeVar

from pydantic import Field, ValidationError, validate_call

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


def checked(build: Callable[P, R]) -> Callable[P, R]:
    """Has a builder refuse arguments that are not of their types, in one sentence.

    Args:
        build: Has types at all its parameters; is otherwise left as it is.
    """
    of_types = validate_call(config={"arbitrary_types_allowed": True})(build)

    @functools.wraps(build)
    def checked_build(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return of_types(*args, **kwargs)
        except ValidationError as error:
            raise InputError(sentence(error)) from None

    return checked_build
