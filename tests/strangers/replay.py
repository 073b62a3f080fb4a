"""An off-policy agent with a replay buffer, which is part of the state of its training."""

import functools
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from pydantic import Field

from suite import App, checked, settings
from suite.export.endpoints import most_likely
from suite.knobs import Epochs, Units
from suite.rl.environments import Environments
from suite.rl.episodes import load_episodes
from suite.rl.evaluation import GreedyReturns
from suite.rl.off_policy import OffPolicyPlayer
from suite.rl.policies import epsilon_greedy
from suite.rl.replay import Sampling

NAME = "CartPole-v1"


@settings
class Config:
    """The recipe.

    Args:
        epochs: Evaluations.
        num_envs: Copies of the environment.
        steps_per_epoch: Updates of an epoch.
    """

    epochs: Epochs = 2
    num_envs: Annotated[int, Field(ge=1)] = 4
    steps_per_epoch: Annotated[int, Field(ge=1)] = 12


def load_data(config, run):
    """The seeds of the episodes."""
    return load_episodes(
        run, NAME, config.num_envs, rollout_length=2, steps_per_epoch=config.steps_per_epoch
    )


@checked
def build_model(
    observation_dim: int = 4,
    observation_scale: tuple[float, ...] | None = None,
    num_actions: int = 2,
    action_bounds: object = None,
    action_choices: object = None,
    *,
    units: Units = 8,
) -> keras.Model:
    """Builds the network: an observation in, the value of every action out.

    Args:
        units: Units of the hidden layer.
    """
    observation = keras.Input((observation_dim,), name="observation")
    x = layers.Dense(units, activation="relu")(observation)
    value = layers.Dense(num_actions, dtype=keras.config.floatx())(x)
    return keras.Model(observation, {"value": value}, name="replay")


class DeepQ(OffPolicyPlayer):
    """Learns the value of every action."""

    def act(self, observations, seed, explore=True):
        values = self(observations, training=False)["value"]
        best = tf.argmax(values, axis=-1, output_type=tf.int32)
        return epsilon_greedy(best, values.shape[-1], 0.3, seed) if explore else best

    def examples(self, batch):
        following = self.target.network(batch["next_observations"], training=False)["value"]
        worth = batch["rewards"] + batch["discount"] * tf.reduce_max(following, axis=-1)
        return batch["observations"], {"action": batch["actions"], "worth": worth}, None

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        value = tf.gather(y_pred["value"], y["action"], batch_dims=1)
        losses = (value - y["worth"]) ** 2
        return self.mean(losses, losses, sample_weight)


def compile_model(model, config, steps):
    """A deep Q-network under Adam."""
    player = DeepQ(
        model,
        functools.partial(Environments, NAME),
        num_envs=config.num_envs,
        rollout_length=2,
        capacity=64,
        batch_size=8,
        warm_up=16,
        target_period=5,
        sampling=Sampling(discount=0.9),
    )
    player.compile(keras.optimizers.Adam(0.01))
    return player


def endpoints(fitted):
    """`observation` to `value` and `action`."""
    model = fitted.networks["replay"]
    value = model.output["value"]
    outputs = {"value": value, "action": most_likely(value)}
    return {"serve": keras.Model(model.input, outputs)}


app = App(
    name="replay",
    topic="control",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=lambda fitted: [GreedyReturns(Environments(NAME, 5), 475, 1)],
    endpoints=endpoints,
    example=lambda fitted: np.eye(4, dtype="float32"),
    evaluate=lambda fitted: {"env_steps": fitted.model.cost.env_steps},
    objective="val_return",
    objective_mode="max",
    tiny={"epochs": 2},
)
