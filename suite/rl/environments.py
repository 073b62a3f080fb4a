"""Gymnasium's environments, many copies side by side, as a rollout wants them."""

import difflib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import gymnasium
import numpy as np
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from suite.data.examples import Data, Shard, Split, fingerprint, refuse_uneven_shards, streams
from suite.errors import InputError
from suite.rl.snapshot import Opaque, restored, snapshot

if TYPE_CHECKING:
    from suite.run import Run

Vectorization = Literal["auto", "sync", "async"]
# Of a bound that is larger only the sign is meant.
LARGEST_BOUND = 1e6
EPISODES = 100  # of a greedy evaluation
LONGEST_EPISODE = 100_000  # steps


class Spaces(NamedTuple):
    """What an environment shows, and what it wants.

    Args:
        observation_dim: Numbers in an observation; a discrete one is one-hot.
        observation_scale: What each is multiplied with, so that its bounds are -1 and 1 where it
            has any.
        num_actions: Number of actions, or of the numbers in an action.
        action_bounds: Least and largest values of an action; None where actions are discrete.
    """

    observation_dim: int
    observation_scale: tuple[float, ...]
    num_actions: int
    action_bounds: tuple[tuple[float, ...], tuple[float, ...]] | None


class Environments:
    """Copies of an environment side by side, of one replica.

    An episode that ended is reset by the next step, whatever its action.

    Args:
        name: Gymnasium's.
        num_envs: Number of copies.
        vectorization: `auto` takes the environment's own vectorised version where it has one, and
            else plays one after the other, as `sync`; `async` gives each a process.

    Raises:
        InputError: There is no such environment, or it is of no use here.
    """

    def __init__(self, name: str, num_envs: int, vectorization: Vectorization = "auto") -> None:
        self.name, self.num_envs = name, num_envs
        self.error: str | None = None
        self.observations: np.ndarray | None = None
        self.begun = 0.0
        self._vector = _made(name, num_envs, vectorization)
        self.spaces = _spaces(self._vector)
        self.solved_at = self._vector.spec.reward_threshold

    def reset(self, seed: int) -> np.ndarray:
        """Begins new episodes: observations `(envs, observation_dim)`."""
        self.begun = self.begun or time.perf_counter()
        self._ended = np.zeros(self.num_envs, bool)
        self._returns = np.zeros(self.num_envs, np.float32)
        self._lengths = np.zeros(self.num_envs, np.float32)
        seen, _ = self._vector.reset(seed=int(seed))
        self.observations = _flat(self._vector.single_observation_space, seen)
        return self.observations

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """One step: observation, and the fields of a `Rollout` from `rewards` on."""
        valid = ~self._ended
        try:
            seen, rewards, terminated, truncated, _ = self._vector.step(self._wanted(actions))
            self.observations = _flat(self._vector.single_observation_space, seen)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            raise
        self._returns = np.where(valid, self._returns + rewards, 0).astype(np.float32)
        self._lengths = np.where(valid, self._lengths + 1, 0).astype(np.float32)
        self._ended = terminated | truncated
        return (
            self.observations,
            rewards.astype(np.float32),
            terminated,
            truncated,
            valid,
            self._returns * self._ended,
            self._lengths * self._ended,
        )

    def state(self) -> Any:
        """All that decides what comes next, as JSON can hold it.

        Raises:
            Opaque: They play in processes of their own, or it cannot be seen from Python.
        """
        if isinstance(self._vector, AsyncVectorEnv):
            raise Opaque("processes")
        return snapshot(self)

    def restore(self, state: Any) -> None:
        """Goes on from a state.

        Raises:
            Exception: It is no state of such environments, and may be anything.
        """
        self.reset(0)  # makes what environments make only then
        begun = self.begun
        restored(self, state)
        self.begun = begun  # clocks of another process tell nothing

    def close(self) -> None:
        """Ends the processes of asynchronous environments."""
        self._vector.close()

    def _wanted(self, actions: np.ndarray) -> np.ndarray:
        space = self._vector.single_action_space
        if isinstance(space, spaces.Discrete):
            return actions.astype(space.dtype) + space.start
        low, high = self.spaces.action_bounds or (space.low, space.high)
        middle, reach = np.add(low, high) / 2, np.subtract(high, low) / 2
        inside = middle + reach * np.clip(actions, -1, 1)
        return inside.reshape(self.num_envs, *space.shape).astype(space.dtype)


def _made(name: str, num_envs: int, vectorization: Vectorization) -> VectorEnv:
    if name.partition(":")[2] == "" and name not in gymnasium.registry:
        near = difflib.get_close_matches(name, gymnasium.registry, n=3, cutoff=0.4)
        known = f"; near it: {', '.join(near)}" if near else ""
        raise InputError(f"`environment` must be one of Gymnasium's{known}. Received: {name}")
    try:
        made = gymnasium.make_vec(
            name, num_envs, vectorization_mode=None if vectorization == "auto" else vectorization
        )
        if made.metadata.get("autoreset_mode") is not AutoresetMode.NEXT_STEP:
            made.close()
            made = gymnasium.make_vec(name, num_envs, vectorization_mode="sync")
    except Exception as error:  # whatever an environment's module may raise
        raise InputError(
            f"`environment` must be one that can be made. Received: {name}: {error}"
        ) from error
    return made


def _spaces(vector: VectorEnv) -> Spaces:
    seen, wanted = vector.single_observation_space, vector.single_action_space
    if isinstance(seen, spaces.Discrete):
        scale = (1.0,) * int(seen.n)
    elif isinstance(seen, spaces.Box):
        reach = np.maximum(np.abs(seen.low), np.abs(seen.high)).astype(np.float64).ravel()
        usable = (reach > 0) & (reach < LARGEST_BOUND)
        scale = tuple(np.where(usable, 1 / np.where(usable, reach, 1), 1.0).tolist())
    else:
        raise InputError(
            f"`environment` must have Box or Discrete observations. Received: {seen} of "
            f"{vector.spec.id}"
        )
    if isinstance(wanted, spaces.Discrete):
        return Spaces(len(scale), scale, int(wanted.n), None)
    bounded = isinstance(wanted, spaces.Box) and wanted.is_bounded("both")
    if not bounded or wanted.dtype.kind != "f":
        raise InputError(
            f"`environment` must have Discrete actions, or a bounded Box of them. Received: "
            f"{wanted} of {vector.spec.id}"
        )
    low, high = (tuple(map(float, side.ravel())) for side in (wanted.low, wanted.high))
    return Spaces(len(scale), scale, len(low), (low, high))


def load_episodes(
    run: "Run",
    name: str,
    num_envs: int,
    *,
    rollout_length: int,
    steps_per_epoch: int,
    scale_observations: bool = True,
) -> Data:
    """What decides how episodes begin: experience itself is made while a model trains.

    Batches hold the seeds of the environments `(num_envs,)`.

    Args:
        run: Says `data` and `seed`.
        name: Gymnasium's.
        num_envs: Number of copies, over all replicas.
        rollout_length: Steps in each of them between two updates.
        steps_per_epoch: Updates of an epoch.
        scale_observations: Whether a model should scale them to their bounds.

    Raises:
        InputError: There is no such environment, or it is of no use here; or another source is
            asked for.
    """
    if run.data not in ("auto", "embedded", "gymnasium"):
        raise InputError(
            f"--data must be auto: --environment says what is played. Received: {run.data}"
        )
    found = Environments(name, 1)
    found.close()
    (seed,) = streams(run.seed, 1)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor]:
        pair = tf.stack([step, tf.cast(seed, tf.int64)])
        return (tf.random.stateless_uniform([num_envs], pair, 0, 2**31 - 1, tf.int64),)

    def train(step: int, shard: Shard = Shard()) -> tf.data.Dataset:  # noqa: B008
        refuse_uneven_shards("num_envs", num_envs, shard)
        return shard.of(tf.data.Dataset.counter(step).map(batch))

    arguments = found.spaces._asdict()
    if not scale_observations:
        del arguments["observation_scale"]
    described = np.frombuffer(repr((name, found.spaces)).encode(), np.uint8)
    return Data(
        train=train,
        steps_per_epoch=steps_per_epoch,
        examples_per_step=num_envs * rollout_length,
        validation=None,
        test=None,
        model_arguments=arguments,
        description={
            "source": f"gymnasium:{name}",
            "fingerprint": fingerprint(Split(described, described)),
            "train": steps_per_epoch * num_envs * rollout_length,
            "validation": EPISODES,
            "test": EPISODES,
        },
    )


def returns_of(
    act: Callable[[np.ndarray], np.ndarray], environments: Environments, seed: int
) -> np.ndarray:
    """The undiscounted return of one episode in each environment, `(envs,)`.

    Args:
        act: Actions of observations `(envs, observation_dim)`.
        environments: Are reset first.
        seed: Of the episodes.

    Raises:
        InputError: An episode does not end.
    """
    observations = environments.reset(seed)
    found = np.full(environments.num_envs, np.nan)
    for _ in range(LONGEST_EPISODE):
        if not np.isnan(found).any():
            return found
        observations, _, terminated, truncated, _, returns, _ = environments.step(act(observations))
        first = np.isnan(found) & (terminated | truncated)
        found[first] = returns[first]
    raise _endless(environments.name)


def film(name: str, act: Callable[[np.ndarray], np.ndarray], seed: int) -> tuple[np.ndarray, float]:
    """Watches one episode.

    Args:
        name: Gymnasium's.
        act: Actions of observations `(1, observation_dim)`, as the environment wants them.
        seed: Decides how it begins.

    Returns:
        The frames `(steps + 1, height, width, 3)`, and the return.

    Raises:
        InputError: The environment cannot be drawn here.
    """
    try:
        environment = gymnasium.make(name, render_mode="rgb_array")
        space, wanted = environment.observation_space, environment.action_space
        observation, _ = environment.reset(seed=seed)
        frames, total, over = [environment.render()], 0.0, False
        while not over:
            if len(frames) > LONGEST_EPISODE:
                raise _endless(name)
            action: Any = np.asarray(act(_flat(space, np.asarray(observation)[None]))[0])
            action = action.astype(wanted.dtype).reshape(wanted.shape)
            if isinstance(wanted, spaces.Discrete):
                action = int(action + wanted.start)
            observation, reward, terminated, truncated, _ = environment.step(action)
            frames.append(environment.render())
            total, over = total + float(reward), terminated or truncated
        environment.close()
    except gymnasium.error.DependencyNotInstalled:
        raise InputError(
            f"drawing {name} needs a package more: pip install '.[render]'. Received: no such "
            "package"
        ) from None
    except InputError:
        raise
    except Exception as error:  # whatever an environment may raise
        raise InputError(
            f"`environment` must be one that can be drawn. Received: {name}: {error}"
        ) from error
    return np.stack(frames), total


def _endless(name: str) -> InputError:
    return InputError(
        f"`environment` must end its episodes within {LONGEST_EPISODE:,} steps. Received: {name}, "
        "which does not"
    )


def _flat(space: gymnasium.Space, observations: np.ndarray) -> np.ndarray:
    """Observations `(envs, ...)` as `(envs, observation_dim)`, discrete ones one-hot."""
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[observations - space.start]
    return np.asarray(observations, np.float32).reshape(len(observations), -1)
