"""Makes environments by their names, and Atari games with their usual wrappers.

A name is one of Gymnasium's, after `module:` if a module has to be imported first. It may also be
that of a class in the module. Atari games (`ALE/Pong-v5`) need the extra `atari`; MinAtar's games
(`MinAtar/Breakout-v1`) need MinAtar, which its users install.
"""

import difflib
import functools
import importlib
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import AtariPreprocessing, TransformReward

from suite.errors import InputError

Vectorization = Literal["auto", "sync", "async"]

# What registers the names with a prefix, and the command that installs it.
PACKAGES = {
    "ALE/": ("ale_py", "pip install '.[atari]'"),
    "MinAtar/": ("minatar.gym", "pip install minatar"),
}
ATARI_STEPS = 27_000  # half an hour of a game, after which an episode is cut off
ATARI_FRAMES = 4  # frames of a game in a step
ATARI_SCREEN = 84  # pixels in each direction


def register(name: str) -> str:
    """Imports the module of an environment, and returns the name by which Gymnasium knows it.

    Args:
        name: The name of the environment.

    Raises:
        InputError: There is no such environment, or its package is not installed.
    """
    module, _, plain = name.rpartition(":")
    if module:
        try:
            owner = importlib.import_module(module)
        except Exception as error:  # whatever a module may raise
            raise InputError(
                "`environment` must be one that can be made", f"{name}: {error}"
            ) from error
        made = getattr(owner, plain, None)
        if isinstance(made, type):
            plain = name.replace(":", ".")  # a name that no other environment has
            if plain not in gymnasium.registry:
                gymnasium.register(plain, made)
    for prefix, (package, command) in PACKAGES.items():
        if plain.startswith(prefix) and plain not in gymnasium.registry:
            _register_package(package, name, command)
    if plain not in gymnasium.registry:
        near = difflib.get_close_matches(plain, gymnasium.registry, n=3, cutoff=0.4)
        known = f"; near it: {', '.join(near)}" if near else ""
        raise InputError(f"`environment` must be one of Gymnasium's{known}", name)
    return plain


def is_atari(name: str) -> bool:
    """Whether a registered environment, named without its module, is an Atari game."""
    return str(gymnasium.spec(name).entry_point).startswith("ale_py")


def step_limit(name: str, max_episode_steps: int | None = None) -> int | None:
    """Most steps of an episode; None if an environment sets no limit.

    Args:
        name: The name of a registered environment, without its module.
        max_episode_steps: The limit; None leaves it to the environment.
    """
    usual = ATARI_STEPS if is_atari(name) else gymnasium.spec(name).max_episode_steps
    return max_episode_steps or usual


def make(name: str, max_episode_steps: int | None = None, **options: Any) -> gymnasium.Env:
    """Makes one environment.

    A step of an Atari game is four frames with the same action. Its observation is grey, 84 pixels
    wide and high, and the brighter one of the last two frames in every pixel, as some objects are
    drawn only in every other frame. Every episode begins with up to 30 steps without an action.

    Args:
        name: The name of the environment.
        max_episode_steps: Steps after which an episode is cut off; None leaves that to the
            environment. Those with which an Atari game begins count, too.
        options: Further arguments of `gymnasium.make`.

    Raises:
        InputError: There is no such environment, or its package is not installed.

    Reference:
        Mnih et al., 2015, Human-level control through deep reinforcement learning,
        https://doi.org/10.1038/nature14236
        Machado et al., 2018, Revisiting the Arcade Learning Environment: Evaluation Protocols and
        Open Problems for General Agents, https://arxiv.org/abs/1709.06009
    """
    plain = register(name)
    environment = gymnasium.make(plain, **_arguments(plain, max_episode_steps), **options)
    for wrapper in _wrappers(plain):
        environment = wrapper(environment)
    return environment


def make_vector(
    name: str,
    num_envs: int,
    vectorization: Vectorization,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
) -> VectorEnv:
    """Makes copies of an environment, which reset in the step after the end of an episode.

    Args:
        name: The name of the environment.
        num_envs: Number of copies.
        vectorization: See `suite.rl.environments.Environments`.
        max_episode_steps: See `make`.
        render_mode: What `render` returns, in Gymnasium's words; None for nothing.

    Raises:
        InputError: There is no such environment, its package is not installed, or it fails.
    """
    plain = register(name)
    try:
        if vectorization == "auto" and not render_mode:
            vector = _native_vector_env(plain, num_envs, max_episode_steps)
            if vector is not None:
                return vector
        # Without Gymnasium's checker, whose warnings `suite.rl.checks` has logged.
        return gymnasium.make_vec(
            plain,
            num_envs,
            vectorization_mode="async" if vectorization == "async" else "sync",
            wrappers=[*_wrappers(plain), functools.partial(TransformReward, func=_number)],
            disable_env_checker=True,
            **_arguments(plain, max_episode_steps),
            **({"render_mode": render_mode} if render_mode else {}),
        )
    except Exception as error:  # whatever an environment may raise
        verb = "drawn" if render_mode else "made"
        raise InputError(
            f"`environment` must be one that can be {verb}", f"{name}: {error}"
        ) from error


def _native_vector_env(
    plain: str, num_envs: int, max_episode_steps: int | None
) -> VectorEnv | None:
    """The vectorised version of an environment; None if it has none, or resets at another time."""
    if not gymnasium.spec(plain).vector_entry_point:
        return None
    if not is_atari(plain):
        limit = {"max_episode_steps": max_episode_steps} if max_episode_steps else {}
        vector = gymnasium.make_vec(plain, num_envs, **limit)
        if vector.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP:
            return vector
        vector.close()
        return None
    vector = gymnasium.make_vec(
        plain,
        num_envs,
        frameskip=ATARI_FRAMES,
        stack_num=1,
        use_fire_reset=False,
        reward_clipping=False,
        max_num_frames_per_episode=_frames(plain, max_episode_steps),
    )
    # Its only channel is the first axis: as the last one, the numbers are the same.
    screen = spaces.Box(0, 255, (ATARI_SCREEN, ATARI_SCREEN, 1), np.uint8)
    vector.single_observation_space = screen
    vector.observation_space = batch_space(screen, num_envs)
    return vector


def _arguments(plain: str, max_episode_steps: int | None) -> dict[str, Any]:
    """Arguments of `gymnasium.make` that limit an episode and a step."""
    if is_atari(plain):
        frames = _frames(plain, max_episode_steps)
        return {"frameskip": 1, "max_num_frames_per_episode": frames}
    return {"max_episode_steps": max_episode_steps} if max_episode_steps else {}


def _frames(plain: str, max_episode_steps: int | None) -> int:
    """Most frames of an episode of an Atari game."""
    return ATARI_FRAMES * (step_limit(plain, max_episode_steps) or ATARI_STEPS)


def _wrappers(plain: str) -> list[Any]:
    if not is_atari(plain):
        return []
    return [
        functools.partial(
            AtariPreprocessing,
            frame_skip=ATARI_FRAMES,
            screen_size=ATARI_SCREEN,
            grayscale_newaxis=True,
        )
    ]


def _register_package(package: str, name: str, command: str) -> None:
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"`environment` must be of an installed package: {command}", name
        ) from None
    if hasattr(module, "register_envs"):  # MinAtar registers only when it is asked to
        module.register_envs()


def _number(reward: Any) -> float:
    """A reward as a number; some environments return an array of one number."""
    return float(np.asarray(reward).item())
