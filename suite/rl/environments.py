"""Copies of a Gymnasium environment that are played side by side."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv

from suite.errors import InputFailed
from suite.rl.snapshot import Opaque, restore_into, snapshot
from suite.rl.spaces import (
    as_arrays,
    describe,
    environment_actions,
    stack_frames,
    within_bounds,
)
from suite.rl.wrappers import Vectorization, make_vector, register, step_limit


class Environments:
    """Copies of an environment side by side, of one replica.

    After the end of an episode, the next step resets the environment and ignores the action.

    Args:
        name: The name of the environment in Gymnasium.
        num_envs: Number of copies.
        vectorization: `auto` uses the vectorised version of the environment if there is one, or
            else `sync`, which plays the copies one after the other; `async` plays each of them in
            a process.
        max_episode_steps: Steps after which an episode is cut off; None leaves that to the
            environment.
        flatten: Whether observations of several axes become vectors of float32. If not, a Box keeps
            its shape, and bytes and truth values become `uint8`.
        frame_stack: Number of newest observations, the newest last, that are joined along the last
            axis into one; at the beginning of an episode, copies of the first fill the places.
        clip_rewards: Whether `step` returns only the signs of the rewards, -1, 0 or 1. The returns
            of episodes remain those of the environment.
        end_with_life: Whether an episode also ends when the player loses one of several `lives` in
            the environment's info. The game goes on in the next episode, whose first step is taken
            like the one that resets: it is played, but nothing is learnt of it.
        render_mode: What `render` returns, in Gymnasium's words; None for nothing.

    Attributes:
        observations: The last observations `(envs, *observation_shape)`; None before the first
            reset.
        error: Text of the error that a step raised; else None.
        begun: `time.perf_counter()` at the first reset; 0 before.
        steps: Steps so far, over all copies.
        spaces: The shapes and bounds of observations and actions.
        solved_at: The mean return at which Gymnasium counts the task as solved; None if it names
            none.

    Raises:
        InputError: There is no such environment, or its spaces are not supported.
    """

    def __init__(
        self,
        name: str,
        num_envs: int,
        vectorization: Vectorization = "auto",
        *,
        max_episode_steps: int | None = None,
        flatten: bool = True,
        frame_stack: int = 1,
        clip_rewards: bool = False,
        end_with_life: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self.name, self.num_envs = name, num_envs
        self.error: str | None = None
        self.observations: np.ndarray | None = None
        self.begun = 0.0
        self.steps = 0
        self._vector = make_vector(name, num_envs, vectorization, max_episode_steps, render_mode)
        self.observation_space = self._vector.single_observation_space
        self.spaces = describe(self._vector, name, flatten=flatten, frame_stack=frame_stack)
        self.solved_at = self._vector.spec.reward_threshold
        self.max_episode_steps = step_limit(register(name), max_episode_steps)
        self._clip_rewards, self._end_with_life = clip_rewards, end_with_life

    def begin(self, seed: int) -> None:
        """Begins the first episodes; does nothing if episodes have begun already."""
        if self.observations is None:
            self.reset(seed)

    def reset(self, seed: int) -> np.ndarray:
        """Begins new episodes, and returns observations `(envs, *observation_shape)`.

        Raises:
            Exception: Whatever the environment raises, whose text is then in `error`.
        """
        self.begun = self.begun or time.perf_counter()
        self._ended = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs, np.float32)
        self._lengths = np.zeros(self.num_envs, np.float32)
        with self._noting_errors():
            observations, info = self._vector.reset(seed=int(seed))
            self._lives = self._lives_in(info)
            frames = self._as_arrays(observations)
            _refuse_infinite(frames)
        self.observations = np.tile(frames, self.spaces.frame_stack)
        return self.observations

    def step(self, actions: np.ndarray, within: bool = False) -> tuple[np.ndarray, ...]:
        """One step of all environments.

        Args:
            actions: `(envs, *action_shape)`.
            within: Whether the actions are within the bounds of the environment already.

        Returns:
            Observations `(envs, *observation_shape)`; then, each `(envs,)`: rewards, float32;
            terminated, truncated and valid, bool; the return and the length of an episode at its
            last step, else 0, float32. Their meaning is that of the fields of `Rollout`.

        Raises:
            Exception: Whatever the environment raises, whose text is then in `error`.
        """
        self.begun = self.begun or time.perf_counter()
        valid = ~self._ended
        with self._noting_errors():
            observations, rewards, terminated, truncated, info = self._vector.step(
                self._environment_actions(actions, within)
            )
            frames = self._as_arrays(observations)
            if self.observations is not None and self.spaces.frame_stack > 1:
                frames = stack_frames(self.observations, frames, ~valid)
            self.observations = frames
            _refuse_infinite(frames, rewards)
        self.steps += self.num_envs
        self._returns = np.where(valid, self._returns + rewards, 0).astype(np.float32)
        self._lengths = np.where(valid, self._lengths + 1, 0).astype(np.float32)
        if self._end_with_life:
            before, self._lives = self._lives, self._lives_in(info)
            terminated = terminated | (self._lives < before) & valid
        self._ended = terminated | truncated
        return (
            self.observations,
            (np.sign(rewards) if self._clip_rewards else rewards).astype(np.float32),
            terminated,
            truncated,
            valid,
            self._returns * self._ended,
            self._lengths * self._ended,
        )

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            raise

    def state(self) -> Any:
        """The complete state of the environments, as `snapshot` returns it.

        Raises:
            Opaque: The environments play in other processes, or hold state outside of Python.
        """
        if isinstance(self._vector, AsyncVectorEnv):
            raise Opaque("processes")
        return snapshot(self)

    def restore(self, state: Any) -> None:
        """Continues from a state.

        Raises:
            Exception: Any error, if the state is not one of such environments.
        """
        self.reset(0)  # environments create some of their attributes here
        restore_into(self, state)
        self.begun = 0.0  # the clock of another process has another zero: the next step sets it

    def render(self) -> np.ndarray:
        """The frames that the environments draw, `(envs, height, width, 3)`."""
        return np.stack(self._vector.render())

    def close(self) -> None:
        """Ends the processes of asynchronous environments."""
        self._vector.close()

    def _as_arrays(self, observations: Any) -> np.ndarray:
        batched = self._vector.observation_space
        return as_arrays(self.observation_space, batched, observations, self.spaces)

    def _lives_in(self, info: dict[str, Any]) -> np.ndarray:
        """The lives that the players have left, `(envs,)`; 0 in environments without lives."""
        return np.asarray(info.get("lives", np.zeros(self.num_envs)))

    def _environment_actions(self, actions: np.ndarray, within: bool) -> np.ndarray:
        if self.spaces.action_bounds is not None and not within:
            actions = within_bounds(actions, self.spaces.action_bounds)
        return environment_actions(self._vector.single_action_space, actions)


@contextlib.contextmanager
def naming_errors(played: Sequence[Environments]) -> Iterator[None]:
    """Converts what a `with` block raises because an environment has failed.

    Args:
        played: The environments. More may come while they are played.

    Raises:
        InputFailed: One of them has failed; it is named, and what it raised.
    """
    try:
        yield
    except Exception:
        for environments in played:
            if environments.error:
                raise InputFailed(
                    "`environment` must not fail", f"{environments.name}: {environments.error}"
                ) from None
        raise


def _refuse_infinite(*arrays: np.ndarray) -> None:
    if not all(np.isfinite(array.sum()) for array in arrays):
        raise ValueError("an observation or a reward is NaN or infinite")
