"""Whether an environment keeps Gymnasium's rules, before anything is trained on it.

The facts decide: an environment that can be played is taken. The words are Gymnasium's: its passive
checker looks on, and what it complains of is part of the error, or a warning.
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

from suite.errors import InputError

log = logging.getLogger(__name__)

LONGEST_EPISODE = 10_000  # steps, where an environment sets no limit
ENOUGH_STEPS = 1_000  # of an environment that sets one


def check_environment(name: str, max_episode_steps: int | None = None) -> None:
    """Plays an environment, at random and, where no limit ends its episodes, without variety.

    Args:
        name: Gymnasium's.
        max_episode_steps: Steps after which an episode is cut off, if not by the environment.

    Raises:
        InputError: It breaks Gymnasium's rules in a way that would break a training, or its
            episodes may not end.
    """
    complaints: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                _play(name, max_episode_steps)
            finally:
                complaints += dict.fromkeys(map(_text, caught))
    except InputError:
        raise
    except Exception as error:  # whatever an environment may raise
        rule = f" (Gymnasium: {'; '.join(complaints)})" if complaints else ""
        raise InputError(
            "`environment` must keep Gymnasium's rules", f"{name}: {error}{rule}"
        ) from error
    for complaint in complaints:
        log.warning("Gymnasium warns of %s: %s", name, complaint)


def endless(name: str, steps: int) -> InputError:
    """What to say of an environment that does not end its episodes."""
    return InputError(
        f"`environment` must end its episodes within {steps:,} steps, or be given "
        "`max_episode_steps`",
        f"{name}, which does not",
    )


def _play(name: str, max_episode_steps: int | None) -> None:
    if gymnasium.spec(name.rpartition(":")[2]).entry_point is None:
        return  # exists only as many copies side by side
    environment = gymnasium.make(
        name, max_episode_steps=max_episode_steps, disable_env_checker=False
    )
    limit = max_episode_steps or environment.spec.max_episode_steps
    space = environment.action_space
    space.seed(0)
    _play_episode(environment, itertools.starmap(space.sample, itertools.repeat(())), limit)
    if not limit:
        # A policy that always does the same is what many a training begins or ends with.
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
    most = ENOUGH_STEPS if limit else LONGEST_EPISODE
    for action in itertools.islice(actions, most):
        observation, reward, terminated, truncated, _ = environment.step(action)
        _check_observation(environment.observation_space, observation)
        if np.size(reward) != 1 or not np.isfinite(np.asarray(reward, np.float64)).all():
            raise ValueError(f"a reward is no finite number: {reward!r}")
        if terminated or truncated:
            return
    if not limit:
        raise endless(environment.spec.id, most)


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
