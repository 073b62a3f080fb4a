"""Checks before a training whether an environment keeps Gymnasium's rules.

Some episodes are played. An environment is refused only if one of them raises an error, has an
observation or a reward that is not finite, or does not end. Warnings of Gymnasium's passive checker
become part of that error, or are logged.
"""

import itertools
import logging
import re
import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_reset_seed_determinism

from suite.errors import InputError, InputFailed
from suite.rl.wrappers import make, register, step_limit

log = logging.getLogger(__name__)

LONGEST_EPISODE = 10_000  # steps within which an episode must end, if the environment sets no limit
STEPS_TO_PLAY = 1_000  # most steps of a trial episode, if the environment sets a limit


def check_environment(name: str, max_episode_steps: int | None = None) -> None:
    """Plays an episode with random actions; without a limit of steps, also with constant ones.

    Args:
        name: The name of the environment in Gymnasium.
        max_episode_steps: Steps after which an episode is cut off; None leaves that to the
            environment.

    Raises:
        InputError: The environment breaks Gymnasium's rules in a way that would break a training,
            or its episodes may not end.
    """
    warned: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                _play(name, max_episode_steps)
            finally:
                warned += dict.fromkeys(map(_text, caught))
    except InputError:
        raise
    except Exception as error:  # whatever an environment may raise
        rule = f" (Gymnasium: {'; '.join(warned)})" if warned else ""
        raise InputError(
            "`environment` must keep Gymnasium's rules", f"{name}: {error}{rule}"
        ) from error
    for text in warned:
        log.warning("Gymnasium warns of %s: %s", name, text)


def endless_error(name: str, steps: int, kind: type[InputError] = InputFailed) -> InputError:
    """The error for an environment that does not end its episodes.

    Args:
        name: The name of the environment.
        steps: Steps after which an episode should have ended.
        kind: The class of the error; before a training it is `InputError`.
    """
    return kind(
        f"`environment` must end its episodes within {steps:,} steps, or be given "
        "`max_episode_steps`",
        f"{name}, which does not",
    )


def _play(name: str, max_episode_steps: int | None) -> None:
    plain = register(name)
    if gymnasium.spec(plain).entry_point is None:
        return  # exists only as many copies side by side
    environment = make(name, max_episode_steps, disable_env_checker=False)
    limit = step_limit(plain, max_episode_steps)
    space = environment.action_space
    space.seed(0)
    _play_episode(environment, itertools.starmap(space.sample, itertools.repeat(())), limit)
    if not limit:
        # Many policies choose the same action in every step at the beginning of a training.
        actions = range(min(int(space.n), 8)) if isinstance(space, spaces.Discrete) else [None]
        for action in actions:
            constant = space.sample() if action is None else space.start + action
            _play_episode(environment, itertools.repeat(constant), limit)
    try:
        check_reset_seed_determinism(environment)
    except (AssertionError, gymnasium.error.Error) as error:
        warnings.warn(str(error), stacklevel=1)
    environment.close()


def _play_episode(environment: gymnasium.Env, actions: Any, limit: int | None) -> None:
    observation, _ = environment.reset(seed=0)
    _check_observation(environment.observation_space, observation)
    most = STEPS_TO_PLAY if limit else LONGEST_EPISODE
    for action in itertools.islice(actions, most):
        observation, reward, terminated, truncated, _ = environment.step(action)
        _check_observation(environment.observation_space, observation)
        if np.size(reward) != 1 or not np.isfinite(np.asarray(reward, np.float64)).all():
            raise ValueError(f"a reward is no finite number: {reward!r}")
        if terminated or truncated:
            return
    if not limit:
        raise endless_error(environment.spec.id, most, InputError)


def _check_observation(space: gymnasium.Space, observation: Any) -> None:
    numbers = np.asarray(spaces.flatten(space, observation), np.float64)
    if numbers.size != spaces.flatdim(space):
        raise ValueError(
            f"an observation has {numbers.size} numbers rather than {spaces.flatdim(space)}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError("an observation is NaN or infinite")


def _text(warning: warnings.WarningMessage) -> str:
    """A warning without colour and level."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(warning.message))
    return plain.removeprefix("WARN: ").strip()
