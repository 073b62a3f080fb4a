"""Types of knobs that more than one app has, with their ranges.

The ranges are wide, and there to refuse what could only be a slip before memory is taken for it.
"""

from typing import Annotated, Literal

from pydantic import Field

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
