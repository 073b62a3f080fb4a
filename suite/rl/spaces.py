"""Converts between the spaces of environments and the arrays of networks.

Observations become vectors of float32, one-hot if they are choices. The outputs of a network become
one choice, several choices, or numbers, which are moved into the bounds of the environment.
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

# Lowest and highest value of each component of an action; None if it has no such bound.
Bounds: TypeAlias = tuple[tuple[float | None, ...], tuple[float | None, ...]]

LARGEST_BOUND = 1e6  # observations with a larger bound are not scaled
MOST_CHOICES = 1024  # most values of each component of an action


class Spaces(NamedTuple):
    """The shapes of observations and actions.

    Args:
        observation_shape: Shape of an observation.
        observation_dtype: `uint8` for pictures that keep their shape, else `float32`.
        observation_scale: A factor for each value of an observation, which moves it into -1..1
            by the larger of its bounds; 1 if it has none, or one that is too large.
        num_actions: Number of actions to choose from, if an action is one choice; else number of
            components of an action.
        action_bounds: Bounds of each component of an action; None if actions are choices.
        action_choices: Number of values of each component of an action, if an action is several
            choices; else None.
        frame_stack: Number of frames that are joined along the last axis of an observation, the
            newest last.
    """

    observation_shape: tuple[int, ...]
    observation_dtype: str
    observation_scale: tuple[float, ...]
    num_actions: int
    action_bounds: Bounds | None = None
    action_choices: tuple[int, ...] | None = None
    frame_stack: int = 1

    @property
    def observation_dim(self) -> int:
        """Number of values in an observation, over all axes."""
        return math.prod(self.observation_shape)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one of the frames that are joined to an observation."""
        *axes, last = self.observation_shape
        return (*axes, last // self.frame_stack)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of an action of the network; `()` for one choice."""
        one_choice = self.action_bounds is None and self.action_choices is None
        return () if one_choice else (self.num_actions,)

    @property
    def action_dtype(self) -> str:
        """Type of an action of the network: `int32` for choices, counted from 0, or `float32`."""
        return "int32" if self.action_bounds is None else "float32"


def describe(environment: Any, name: str, *, flatten: bool = True, frame_stack: int = 1) -> Spaces:
    """The spaces of an environment.

    Actions are choices (Discrete, MultiDiscrete, MultiBinary, or a Box of integers, whose every
    component is a choice) or numbers (a Box of floats, whose components have two bounds, one or
    none).

    Args:
        environment: Has `single_observation_space` and `single_action_space`.
        name: The name of the environment, for errors.
        flatten: Whether observations of several axes become vectors of float32. If not, a Box keeps
            its shape, and bytes and truth values become `uint8`.
        frame_stack: Number of newest observations that are joined along the last axis into one.

    Raises:
        InputError: A space is not supported.
    """
    observations, actions = environment.single_observation_space, environment.single_action_space
    if not observations.is_np_flattenable:
        raise InputError(
            "`environment` must have observations that Gymnasium can flatten",
            f"{observations} of {name}",
        )
    if frame_stack > 1 and is_composite(observations):
        raise InputError(
            "`frame_stack` must be 1 for observations that are made of several",
            f"{frame_stack} for {observations} of {name}",
        )
    box = spaces.flatten_space(observations)
    frame, dtype = box.shape, "float32"
    if isinstance(observations, spaces.Box) and observations.shape and not flatten:
        frame = observations.shape
        dtype = "uint8" if observations.dtype in (np.uint8, np.bool_) else dtype
    shape = (*frame[:-1], frame[-1] * frame_stack)
    reach = np.maximum(np.abs(box.low.astype(np.float64)), np.abs(box.high.astype(np.float64)))
    usable = (reach > 0) & (reach < LARGEST_BOUND)
    factors = np.where(usable, 1 / np.where(usable, reach, 1), 1.0).reshape(frame)
    scale = tuple(np.tile(factors, frame_stack).ravel().tolist())
    described = functools.partial(Spaces, shape, dtype, scale, frame_stack=frame_stack)
    match actions:
        case spaces.Discrete():
            return described(int(actions.n))
        case spaces.MultiDiscrete():
            choices = actions.nvec
        case spaces.MultiBinary():
            choices = np.full(actions.shape, 2)
        case spaces.Box() if actions.dtype.kind == "f":
            bounds = (_edges(actions.low), _edges(actions.high))
            return described(len(bounds[0]), action_bounds=bounds)
        case spaces.Box():
            choices = actions.high.astype(np.float64) - actions.low.astype(np.float64) + 1
        case _:
            raise InputError(
                "`environment` must have Discrete, MultiDiscrete, MultiBinary or Box actions",
                f"{actions} of {name}",
            )
    if choices.max() > MOST_CHOICES:
        raise InputError(
            f"`environment` must have at most {MOST_CHOICES:,} choices for each number of an "
            "action",
            f"{choices.max():,.0f} in {actions} of {name}",
        )
    numbers = tuple(int(number) for number in choices.ravel())
    return described(len(numbers), action_choices=numbers)


def is_composite(space: gymnasium.Space) -> bool:
    """Whether a space is made of other spaces, so that flattening it deserves a message."""
    return not isinstance(space, (spaces.Box, spaces.Discrete))


def as_arrays(
    space: gymnasium.Space, batched: gymnasium.Space, observations: Any, description: Spaces
) -> np.ndarray:
    """Observations of several environments as frames `(envs, *frame_shape)`.

    Args:
        space: The observation space of one environment.
        batched: The observation space of all environments together.
        observations: The observations of all environments, as Gymnasium returns them.
        description: The description of the spaces.
    """
    if isinstance(space, spaces.Discrete):
        one_hot = np.zeros((len(observations), int(space.n)), np.float32)
        one_hot[np.arange(len(observations)), observations - space.start] = 1
        return one_hot
    if isinstance(space, spaces.Box):
        arrays = np.asarray(observations, description.observation_dtype)
        return arrays.reshape(len(arrays), *description.frame_shape)
    vectors = [spaces.flatten(space, single) for single in iterate(batched, observations)]
    return np.asarray(vectors, np.float32)


def stack_frames(observations: np.ndarray, frames: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """The observations after a step: the oldest frame goes, the newest is joined at the end.

    Args:
        observations: The observations before the step, `(envs, *observation_shape)`.
        frames: The newest frames, `(envs, *frame_shape)`.
        begins: Whether an episode begins with the frame, which then fills all places, `(envs,)`.
    """
    channels = frames.shape[-1]
    stacked = np.concatenate([observations[..., channels:], frames], axis=-1)
    stacked[begins] = np.tile(frames[begins], observations.shape[-1] // channels)
    return stacked


def within_bounds(actions: Any, bounds: Bounds, backend: ModuleType = np) -> Any:
    """Moves numbers of any size into bounds.

    With two bounds, numbers are clipped to -1 to 1, which is then scaled to the bounds. With one
    bound, the softplus of a number is its distance from the bound. Without bounds, a number does
    not change.

    Args:
        actions: `(..., num_actions)`.
        bounds: The bounds of each component.
        backend: The module of the operations: NumPy, or `keras.ops`.
    """
    two_sided, free, reach, middle, sign, edge, low, high = _scales(bounds)
    values = backend.clip(actions, -1, 1) * reach + middle
    values = backend.minimum(backend.maximum(values, low), high)  # which rounding may leave
    if two_sided.all():
        return values
    one_sided = backend.logaddexp(actions, backend.zeros_like(actions)) * sign + edge
    return backend.where(two_sided, values, backend.where(free, actions, one_sided))


@functools.lru_cache
def _scales(bounds: Bounds) -> tuple[np.ndarray, ...]:
    """The factors and summands of `within_bounds`, one of each for every number."""
    low, high = (np.asarray(side, np.float32) for side in bounds)  # None becomes NaN
    no_low, no_high = np.isnan(low), np.isnan(high)
    two_sided = ~no_low & ~no_high
    reach = np.where(two_sided, (high - low) / 2, 0).astype(np.float32)
    middle = np.where(two_sided, (low + high) / 2, 0).astype(np.float32)
    sign = np.where(no_low, -1, 1).astype(np.float32)
    edge = np.nan_to_num(np.where(no_low, high, low))
    floor = np.where(two_sided, low, -np.inf).astype(np.float32)
    ceiling = np.where(two_sided, high, np.inf).astype(np.float32)
    return two_sided, no_low & no_high, reach, middle, sign, edge, floor, ceiling


def environment_actions(space: gymnasium.Space, actions: np.ndarray) -> np.ndarray:
    """Converts actions of a network `(envs, ...)` into actions of an environment.

    Args:
        space: The action space of one environment, which decides shape, type and the first choice.
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
