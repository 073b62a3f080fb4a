"""What an environment shows and wants, as arrays that a network takes and gives.

Observations become vectors of float32, one-hot where they are choices. Actions become one choice,
several choices, or numbers without bounds that are brought within those of the environment.
"""

import functools
import math
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import iterate

from suite.errors import InputError

# Lowest and highest value of each number of an action; None where it has no such bound.
Bounds: TypeAlias = tuple[tuple[float | None, ...], tuple[float | None, ...]]

LARGEST_BOUND = 1e6  # of a larger one only the sign is meant
MOST_CHOICES = 1024  # for each number of an action


class Spaces(NamedTuple):
    """The shapes of observations and actions.

    Args:
        observation_shape: Shape of an observation.
        observation_dtype: `uint8` for pictures that keep their shape, else `float32`.
        observation_scale: What each number is multiplied with to have bounds of -1 and 1; 1 where
            it has no bounds.
        num_actions: Number of actions to choose from; or of the numbers in an action.
        action_bounds: Bounds of the numbers in an action; None where actions are choices.
        action_choices: Number of values that each number in an action may have, where an action
            is several choices; else None.
    """

    observation_shape: tuple[int, ...]
    observation_dtype: str
    observation_scale: tuple[float, ...]
    num_actions: int
    action_bounds: Bounds | None = None
    action_choices: tuple[int, ...] | None = None

    @property
    def observation_dim(self) -> int:
        """Numbers in an observation."""
        return math.prod(self.observation_shape)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of an action of the network: one choice has none."""
        one_choice = self.action_bounds is None and self.action_choices is None
        return () if one_choice else (self.num_actions,)

    @property
    def action_dtype(self) -> str:
        """Choices are counted from 0."""
        return "int32" if self.action_bounds is None else "float32"


def describe(environment: Any, name: str, *, flatten: bool = True) -> Spaces:
    """The spaces of an environment.

    Choices are Discrete, MultiDiscrete and MultiBinary actions, and a Box of integers, of which
    each value is one. Numbers are a Box of floats, with two bounds, one or none.

    Args:
        environment: Has `single_observation_space` and `single_action_space`.
        name: What it is called in errors.
        flatten: Whether observations of several axes become vectors. If not, a Box keeps its shape,
            and bytes stay bytes.

    Raises:
        InputError: A space cannot be learnt from or acted in here.
    """
    observed, wanted = environment.single_observation_space, environment.single_action_space
    if not observed.is_np_flattenable:
        raise InputError(
            "`environment` must have observations that Gymnasium can flatten",
            f"{observed} of {name}",
        )
    box = spaces.flatten_space(observed)
    shape, dtype = box.shape, "float32"
    if isinstance(observed, spaces.Box) and not flatten:
        shape = observed.shape
        dtype = "uint8" if observed.dtype == np.uint8 else dtype
    reach = np.maximum(np.abs(box.low.astype(np.float64)), np.abs(box.high.astype(np.float64)))
    usable = (reach > 0) & (reach < LARGEST_BOUND)
    scale = tuple(np.where(usable, 1 / np.where(usable, reach, 1), 1.0).tolist())
    match wanted:
        case spaces.Discrete():
            return Spaces(shape, dtype, scale, int(wanted.n))
        case spaces.MultiDiscrete():
            choices = wanted.nvec
        case spaces.MultiBinary():
            choices = np.full(wanted.shape, 2)
        case spaces.Box() if wanted.dtype.kind == "f":
            bounds = (_edges(wanted.low), _edges(wanted.high))
            return Spaces(shape, dtype, scale, len(bounds[0]), action_bounds=bounds)
        case spaces.Box():
            choices = wanted.high.astype(np.float64) - wanted.low.astype(np.float64) + 1
        case _:
            raise InputError(
                "`environment` must have Discrete, MultiDiscrete, MultiBinary or Box actions",
                f"{wanted} of {name}",
            )
    if choices.max() > MOST_CHOICES:
        raise InputError(
            f"`environment` must have at most {MOST_CHOICES:,} choices for each number of an "
            "action",
            f"{choices.max():,.0f} in {wanted} of {name}",
        )
    numbers = tuple(int(number) for number in choices.ravel())
    return Spaces(shape, dtype, scale, len(numbers), action_choices=numbers)


def is_composite(space: gymnasium.Space) -> bool:
    """Whether observations are flattened in a way that should be mentioned."""
    return not isinstance(space, (spaces.Box, spaces.Discrete))


def as_arrays(
    space: gymnasium.Space, batched: gymnasium.Space, observations: Any, description: Spaces
) -> np.ndarray:
    """Observations of several environments as `(envs, *observation_shape)`.

    Args:
        space: Of one environment.
        batched: Of all of them.
        observations: As the environments gave them.
        description: Of these spaces.
    """
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[observations - space.start]
    if isinstance(space, spaces.Box):
        arrays = np.asarray(observations, description.observation_dtype)
        return arrays.reshape(len(arrays), *description.observation_shape)
    vectors = [spaces.flatten(space, single) for single in iterate(batched, observations)]
    return np.asarray(vectors, np.float32)


def within_bounds(numbers: Any, bounds: Bounds, numpy: ModuleType = np) -> Any:
    """Numbers of any size as values within bounds.

    Between two bounds -1 and 1 stand for them, and what lies outside is clipped. Beside one bound
    softplus keeps a value on the right side of it. Without bounds a number stays as it is.

    Args:
        numbers: `(..., num_actions)`.
        bounds: Of each number.
        numpy: What computes: NumPy, or `keras.ops`.
    """
    two_sided, free, reach, middle, sign, edge = _scales(bounds)
    values = numpy.clip(numbers, -1, 1) * reach + middle
    if two_sided.all():
        return values
    one_sided = numpy.logaddexp(numbers, numpy.zeros_like(numbers)) * sign + edge
    return numpy.where(two_sided, values, numpy.where(free, numbers, one_sided))


@functools.lru_cache
def _scales(bounds: Bounds) -> tuple[np.ndarray, ...]:
    """What numbers are multiplied with and added to, by the kind of their bounds."""
    low, high = (np.asarray(side, np.float32) for side in bounds)  # None becomes NaN
    no_low, no_high = np.isnan(low), np.isnan(high)
    two_sided = ~no_low & ~no_high
    reach = np.where(two_sided, (high - low) / 2, 0).astype(np.float32)
    middle = np.where(two_sided, (low + high) / 2, 0).astype(np.float32)
    sign = np.where(no_low, -1, 1).astype(np.float32)
    edge = np.nan_to_num(np.where(no_low, high, low))
    return two_sided, no_low & no_high, reach, middle, sign, edge


def as_wanted(space: gymnasium.Space, actions: np.ndarray) -> np.ndarray:
    """Actions `(envs, ...)` in the shape, the type and the count of the environment.

    Args:
        space: Of an action.
        actions: Choices, counted from 0; or numbers within their bounds.
    """
    first: Any = 0
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        first = space.start
    elif isinstance(space, spaces.Box) and space.dtype.kind != "f":
        first = space.low
    shaped = np.asarray(actions).reshape(-1, *space.shape)
    return (shaped.astype(space.dtype) + first).astype(space.dtype)


def _edges(side: np.ndarray) -> tuple[float | None, ...]:
    return tuple(float(edge) if np.isfinite(edge) else None for edge in side.ravel())
