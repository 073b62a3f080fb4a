"""Evaluation of a policy: its returns without exploration, and an episode as an animation."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium
import keras
import numpy as np

from suite.app import App, Fitted, Metrics
from suite.data.images.files import writable_picture, write_animation
from suite.errors import InputError
from suite.export.endpoints import call
from suite.export.exported import Exports
from suite.knobs import Seed
from suite.rl.checks import LONGEST_EPISODE, endless_error
from suite.rl.environments import Environments, naming_errors
from suite.rl.episodes import TEST_SEED
from suite.rl.players import Player
from suite.rl.policies import on_arrays
from suite.rl.snapshot import Opaque

# A policy: maps observations `(envs, ...)` to actions `(envs, ...)`.
Policy: TypeAlias = Callable[[np.ndarray], np.ndarray]

MILLISECONDS_PER_FRAME = 40
SMALLEST_PICTURE = 160  # pixels in height; smaller frames are enlarged


def returns_of(act: Policy, environments: Environments, seed: int) -> np.ndarray:
    """The undiscounted return of one episode in each environment, `(envs,)`.

    Args:
        act: The policy.
        environments: The environments, which are reset first.
        seed: Decides how the episodes begin.

    Raises:
        InputError: An episode does not end, or an environment fails.
    """
    with naming_errors([environments]):
        observations = environments.reset(seed)
    returns = np.full(environments.num_envs, np.nan)
    limit = environments.max_episode_steps or LONGEST_EPISODE
    for _ in range(limit):
        actions = act(observations)
        with naming_errors([environments]):
            observations, _, terminated, truncated, _, ended, _ = environments.step(actions)
        first = np.isnan(returns) & (terminated | truncated)
        returns[first] = ended[first]
        if not np.isnan(returns).any():
            return returns
    raise endless_error(environments.name, limit)


def state_restorer(environments: Environments) -> Callable[[], None]:
    """A function that puts environments back into the state that they are in now.

    Some keep more than they should from one episode to the next: MinAtar's remember the last action
    through a reset. An evaluation that begins so depends on nothing that was evaluated before. What
    `Environments.state` cannot see stays as it is.
    """
    try:
        state = environments.state()
    except Opaque:
        return lambda: None

    def restore() -> None:
        with contextlib.suppress(Exception):  # an environment may raise anything; a reset follows
            environments.restore(state)

    return restore


def metrics_of(act: Policy, environments: Environments, model: keras.Model) -> Metrics:
    """The returns of a policy in the test episodes, and what the training of a `Player` cost.

    Args:
        act: The policy.
        environments: One for each episode.
        model: The trained model, or a network of it.
    """
    returns = returns_of(act, environments, TEST_SEED)
    return {
        "eval_return_mean": float(returns.mean()),
        "eval_return_std": float(returns.std()),
        "eval_return_min": float(returns.min()),
        **solved_metric(returns.mean(), environments.solved_at),
        **(model.cost.metrics() if isinstance(model, Player) else {}),
    }


def solved_metric(mean: float, solved_at: float | None) -> Metrics:
    """`solved`: 1 if a mean return counts as a solution, else 0; nothing if none is defined."""
    return {} if solved_at is None else {"solved": float(mean >= solved_at)}


def unit_observations(fitted: Fitted) -> np.ndarray:
    """Observations `(64, *observation_shape)` to check an export with: unit vectors, then zeros."""
    shape = fitted.model.input_shape[1:]
    return np.eye(64, math.prod(shape), dtype="float32").reshape(64, *shape)


def observations_of(act: Policy, environments: Environments, seed: int) -> np.ndarray:
    """What the policy sees in the first episode of each environment, one step after the other.

    Args:
        act: The policy.
        environments: The environments.
        seed: Decides how the episodes begin.

    Returns:
        Observations `(steps * envs, *observation_shape)`.
    """
    observed: list[np.ndarray] = []

    def act_and_record(observations: np.ndarray) -> np.ndarray:
        observed.append(observations)
        return act(observations)

    returns_of(act_and_record, environments, seed)
    return np.concatenate(observed)


class GreedyReturns(keras.callbacks.Callback):
    """Evaluates a `Player` without exploration after every epoch, and updates its `cost`.

    `val_return` is the mean return of the evaluation's episodes, `val_return_std` its standard
    deviation. The model's `cost` counts the steps and seconds of the training without evaluations,
    from the first step of an environment, also up to the first epoch whose `val_return` reaches
    `solved_at`.

    Args:
        environments: One for each episode of the evaluation.
        solved_at: The mean return at which the task counts as solved; None if there is no such
            return.
        seed: Decides how the episodes of the evaluation begin.
    """

    def __init__(self, environments: Environments, solved_at: float | None, seed: int) -> None:
        super().__init__()
        self.environments, self.solved_at, self.seed = environments, solved_at, seed
        self._begin_anew = state_restorer(environments)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._act = on_arrays(lambda observations: model.act(observations, None, explore=False))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._since = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._steps = self.model.env_steps()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.perf_counter()
        cost = self.model.cost
        # Environments may be created in the first step: the clock starts with their first reset.
        cost.seconds += now - max([self._since, *(played.begun for played in self.model.played)])
        cost.env_steps += self.model.env_steps() - self._steps
        self._since = now

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self._begin_anew()
        returns = returns_of(self._act, self.environments, self.seed)
        logs["val_return"] = float(returns.mean())
        logs["val_return_std"] = float(returns.std())
        cost = self.model.cost
        solved = self.solved_at is not None and logs["val_return"] >= self.solved_at
        if solved and not cost.env_steps_to_solve:
            cost.seconds_to_solve, cost.env_steps_to_solve = cost.seconds, cost.env_steps


def render_episode(
    name: str,
    act: Policy,
    seed: int,
    max_episode_steps: int | None = None,
    *,
    flatten: bool = True,
    frame_stack: int = 1,
) -> tuple[np.ndarray, float]:
    """Plays one episode and renders its frames.

    Args:
        name: The name of the environment in Gymnasium.
        act: The policy. Its actions are choices, counted from 0, or numbers within their bounds.
        seed: Decides how the episode begins.
        max_episode_steps: Steps after which the episode is cut off; None leaves that to the
            environment.
        flatten: Whether observations of several axes become vectors.
        frame_stack: Number of newest observations that are joined along the last axis into one.

    Returns:
        The frames `(steps + 1, height, width, 3)`, uint8, and the return.

    Raises:
        InputError: The environment cannot be rendered, or the episode does not end.
    """
    try:
        environments = Environments(
            name,
            1,
            max_episode_steps=max_episode_steps,
            flatten=flatten,
            frame_stack=frame_stack,
            render_mode="rgb_array",
        )
        limit = environments.max_episode_steps or LONGEST_EPISODE
        observations = environments.reset(seed)
        frames, over = [environments.render()], False
        while not over:
            if len(frames) > limit:
                raise endless_error(name, limit)
            actions = act(observations)
            observations, _, terminated, truncated, _, returns, _ = environments.step(
                actions, within=True
            )
            frames.append(environments.render())
            over = bool(terminated[0] | truncated[0])
        environments.close()
    except gymnasium.error.DependencyNotInstalled:
        raise InputError(
            f"drawing {name} needs one more package: pip install '.[render]'", "no such package"
        ) from None
    except InputError:
        raise
    except Exception as error:  # whatever an environment may raise
        raise InputError(
            "`environment` must be one that can be drawn", f"{name}: {error}"
        ) from error
    return _as_pictures(np.concatenate(frames)), float(returns[0])


def _as_pictures(frames: np.ndarray) -> np.ndarray:
    """Frames as bytes, from bytes or from 0 to 1; small ones are enlarged."""
    if frames.dtype.kind == "f":
        frames = (255 * frames).round()
    factor = -(-SMALLEST_PICTURE // frames.shape[1])
    return frames.astype(np.uint8).repeat(factor, axis=1).repeat(factor, axis=2)


def write_episode(
    output: Path,
    name: str,
    act: Policy,
    seed: int,
    max_episode_steps: int | None,
    milliseconds: int = MILLISECONDS_PER_FRAME,
    **options: Any,
) -> None:
    """Plays one episode, writes it as an animation, and prints its length and its return.

    Args:
        output: Image file that gets the animation.
        name: As for `render_episode`, like the following and `options`.
        act: The policy.
        seed: Decides how the episode begins.
        max_episode_steps: Steps after which the episode is cut off.
        milliseconds: How long a frame is shown.
        options: More arguments of `render_episode`.
    """
    frames, total = render_episode(name, act, seed, max_episode_steps, **options)
    write_animation(frames, output, duration=milliseconds, loop=0)
    print(f"{output}: {len(frames) - 1} steps of {name}, return {total:g}")


def show_episode(
    app: App,
    *,
    output: Path = Path("episode.gif"),
    seed: Seed = 0,
    exports: Exports = Exports(),
) -> None:
    """Show an episode of the exported policy; needs `pip install '.[render]'`.

    Args:
        output: Image file that gets the animation.
        seed: Decides how the episode begins.
    """
    writable_picture(output)
    exported = exports.open(app.name)
    config = exported.metadata()["config"]
    name, limit = config["environment"], config.get("max_episode_steps")
    serve = exported.signature()
    [observation] = serve.structured_input_signature[1].values()
    write_episode(
        output,
        name,
        lambda observations: call(serve, observations)["action"],
        seed,
        limit,
        flatten=observation.shape.rank == 2,
        frame_stack=config.get("frame_stack", 1),
    )


COMMANDS = {"play": show_episode}
