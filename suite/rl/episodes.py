"""The data of reinforcement learning: seeds of episodes, which a model plays while it trains."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from suite.data.examples import Description, Examples
from suite.data.pipelines import Data, Shard, stream_seeds
from suite.errors import InputError
from suite.rl.checks import check_environment
from suite.rl.environments import Environments
from suite.rl.spaces import is_composite

if TYPE_CHECKING:
    from suite.run import Run

log = logging.getLogger(__name__)

DATA_LAYOUTS = (
    "`--environment` names what is played: any environment of Gymnasium's, `module:Name` of one "
    "that a module registers, or `module:Class` of your own."
)
EPISODES = 100  # of an evaluation
# How the episodes of the test and of the validation begin; no run is likely to have these seeds.
TEST_SEED, VALIDATION_SEED = 1_000_003, 2_000_003


def load_episodes(
    run: "Run",
    name: str,
    num_envs: int,
    *,
    rollout_length: int,
    steps_per_epoch: int,
    max_episode_steps: int | None = None,
    flatten: bool = True,
    frame_stack: int = 1,
    scale_observations: bool = True,
    validation_episodes: int | None = EPISODES,
) -> Data:
    """The seeds of episodes as training data: the model collects experience while it trains.

    Batches hold the seeds of the environments `(num_envs,)`. The builder gets `observation_dim`,
    or `observation_shape` without `flatten`; `observation_scale` with `scale_observations`; and
    `num_actions`, `action_bounds` and `action_choices`: see `suite.rl.spaces.Spaces`.

    Args:
        run: Its `data` is checked, and its `seed` decides the seeds of the episodes.
        name: The name of the environment in Gymnasium.
        num_envs: Number of copies of the environment, over all replicas.
        rollout_length: Steps in each copy between two updates.
        steps_per_epoch: Number of updates in an epoch.
        max_episode_steps: Steps after which an episode is cut off; None leaves that to the
            environment.
        flatten: Whether observations of several axes become vectors.
        frame_stack: Number of newest observations that are joined along the last axis into one.
        scale_observations: Whether a model should scale them to their bounds.
        validation_episodes: Episodes after an epoch, for the description; None if there are none.

    Raises:
        InputError: There is no such environment, its spaces are not supported, or it breaks
            Gymnasium's rules; or `run.data` names another source.
    """
    if run.data not in ("auto", "embedded", "gymnasium"):
        raise InputError("`data` must be auto: `environment` says what is played", run.data)
    environments = Environments(
        name, 1, max_episode_steps=max_episode_steps, flatten=flatten, frame_stack=frame_stack
    )
    environments.close()
    check_environment(name, max_episode_steps)
    if is_composite(environments.observation_space):
        log.info(
            "Observations are flattened to %d numbers by gymnasium.spaces.flatten: %s",
            environments.spaces.observation_dim,
            environments.observation_space,
        )
    (seed,) = stream_seeds(run.seed, 1)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor]:
        pair = tf.stack([step, tf.cast(seed, tf.int64)])
        return (tf.random.stateless_uniform([num_envs], pair, 0, 2**31 - 1, tf.int64),)

    def train(step: int, shard: Shard = Shard()) -> tf.data.Dataset:  # noqa: B008
        return shard.of(tf.data.Dataset.counter(step).map(batch))

    spaces = environments.spaces
    arguments: dict[str, Any] = {
        "num_actions": spaces.num_actions,
        "action_bounds": spaces.action_bounds,
        "action_choices": spaces.action_choices,
    }
    if flatten:
        arguments["observation_dim"] = spaces.observation_dim
    else:
        arguments["observation_shape"] = spaces.observation_shape
    if scale_observations:
        arguments["observation_scale"] = spaces.observation_scale
    described = np.frombuffer(repr((name, max_episode_steps, spaces)).encode(), np.uint8)
    return Data(
        train=train,
        steps_per_epoch=steps_per_epoch,
        batch_size=num_envs,
        batch_knob="num_envs",
        even_shards=True,
        examples_per_step=num_envs * rollout_length,
        model_arguments=arguments,
        description=Description(
            source=f"gymnasium:{name}",
            fingerprint=Examples(described).digest(),
            train=steps_per_epoch * num_envs * rollout_length,
            validation=0,
            test=0,
            notes={"episodes of each validation": validation_episodes}
            if validation_episodes
            else {},
        ),
    )
