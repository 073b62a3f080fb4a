"""Advantage actor-critic: a policy that learns by playing, inside `fit`.

An actor says what to do and a critic what may be expected; what went better than expected is done
more often. Many copies of an environment are played side by side, a rollout for each update. Any
Gymnasium environment with vectors or numbers to see and numbers or a choice to give will do.
"""

import functools
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, Run, checked, settings
from suite.app import Metrics
from suite.cli import main
from suite.data.examples import Data
from suite.figures import classes as figures
from suite.knobs import Activation, Epochs, LearningRate, Units
from suite.rl.environments import EPISODES, Environments, Vectorization, load_episodes, returns_of
from suite.rl.rollouts import (
    GreedyReturns,
    Player,
    Rollout,
    advantages,
    commands,
    distribution,
    greedy,
)

TEST_SEED, WATCHING_SEED = 1_000_003, 2_000_003
Weight = Annotated[float, Field(ge=0, le=1000)]
FEW_COPIES = {  # makes more of each step
    "epochs": 20,
    "num_envs": 16,
    "steps_per_epoch": 400,
    "learning_rate": 1e-3,
    "entropy_weight": 0.0,
    "reward_scale": 0.03,
}


@settings
class Config:
    """The training recipe.

    Args:
        epochs: Evaluations, so to speak: after each the policy is tried without exploring.
        environment: Name of a Gymnasium environment.
        num_envs: Copies of it, over all replicas.
        rollout_length: Steps in each copy between two updates.
        steps_per_epoch: Updates of an epoch.
        learning_rate: At the beginning; it falls linearly to zero.
        discount: Weight of the next step's return.
        gae_lambda: 1 for returns of as many steps as the rollout has; less trusts the critic more.
        entropy_weight: Reward of a policy for staying undecided.
        value_weight: Weight of the critic's loss.
        clip_norm: Largest norm of all gradients together.
        reward_scale: Rewards are multiplied with it to learn from, not in what is reported.
        scale_observations: Whether their bounds are made -1 and 1; not where most are far inside.
        normalize_advantages: Whether those of a rollout are made to have mean 0 and deviation 1.
        vectorization: `auto` takes the environment's own vectorised version where it has one, and
            else plays one copy after the other, as `sync`; `async` gives each a process.
    """

    epochs: Epochs = 30
    environment: str = "CartPole-v1"
    num_envs: Annotated[int, Field(ge=1, le=65_536)] = 128
    rollout_length: Annotated[int, Field(ge=1, le=65_536)] = 8
    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)] = 25
    learning_rate: LearningRate = 3e-3
    discount: Annotated[float, Field(ge=0, le=1)] = 0.99
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    entropy_weight: Weight = 0.01
    value_weight: Weight = 0.5
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] = 0.5
    reward_scale: Annotated[float, Field(gt=0, le=1e6)] = 0.1
    scale_observations: bool = True
    normalize_advantages: bool = False
    vectorization: Vectorization = "auto"


def load_data(config: Config, run: Run) -> Data:
    """The seeds of the episodes; experience is made while the model trains."""
    return load_episodes(
        run,
        config.environment,
        config.num_envs,
        rollout_length=config.rollout_length,
        steps_per_epoch=config.steps_per_epoch,
        scale_observations=config.scale_observations,
    )


@checked
def build_model(
    observation_dim: PositiveInt = 4,
    observation_scale: tuple[float, ...] | None = None,
    num_actions: PositiveInt = 2,
    action_bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    *,
    units: tuple[Units, ...] = (64, 64),
    activation: Activation = "relu",
    shared_torso: bool = False,
) -> keras.Model:
    """Builds actor and critic: an observation in, what to do and what to expect out.

    Args:
        observation_dim: Numbers in an observation.
        observation_scale: What each of them is multiplied with first; by default 1.
        num_actions: Number of actions to choose from, or of numbers in an action.
        action_bounds: Least and largest values of these numbers; None where there is a choice.
        units: Units of the hidden layers.
        activation: Keras's name of their activation.
        shared_torso: Whether actor and critic share the hidden layers.

    Returns:
        A functional model, `observation` `(batch, observation_dim)` to a dict, float32: `policy`
        `(batch, num_actions)`, the logits of the actions, or the means of normal distributions in
        which the bounds are -1 and 1, with `log_scale` `(batch, num_actions)` beside it; `value`
        `(batch,)`, the expected return; and `action`, the likeliest one, `(batch,)`, or
        `(batch, num_actions)` within the bounds.

    Raises:
        ValueError: An argument is out of range, or does not fit the others.

    Reference:
        Mnih et al., 2016, Asynchronous Methods for Deep Reinforcement Learning,
        https://arxiv.org/abs/1602.01783
        Differs from the paper: the copies of the environment are played in step.
    """
    scale = observation_scale or (1.0,) * observation_dim
    if len(scale) != observation_dim:
        raise ValueError(f"`observation_scale` must be {observation_dim} values. Received: {scale}")
    observation = keras.Input((observation_dim,), name="observation")
    scaled = layers.Rescaling(list(scale))(observation)

    def torso() -> keras.KerasTensor:
        x = scaled
        for width in units:
            x = layers.Dense(width, activation=activation, kernel_initializer="orthogonal")(x)
        return x

    of_actor = torso()
    of_critic = of_actor if shared_torso else torso()
    # Small weights, so that at first every action is as likely as any other.
    undecided = keras.initializers.Orthogonal(0.01)
    policy = layers.Dense(
        num_actions, kernel_initializer=undecided, dtype="float32", name="policy"
    )(of_actor)
    value = ops.squeeze(layers.Dense(1, dtype="float32", name="value")(of_critic), axis=-1)
    said = {"policy": policy, "value": value}
    if action_bounds is None:
        said["action"] = ops.cast(ops.argmax(policy, axis=-1), "int64")
    else:
        low, high = np.asarray(action_bounds, np.float32)
        middle, reach = (low + high) / 2, (high - low) / 2
        said["action"] = layers.Rescaling(reach.tolist(), middle.tolist(), dtype="float32")(
            ops.clip(policy, -1, 1)
        )
        # A weight for each number, whatever is observed.
        said["log_scale"] = layers.Dense(
            num_actions, use_bias=False, kernel_initializer="zeros", dtype="float32", name="scale"
        )(ops.ones_like(value)[:, None])
    return keras.Model(observation, said, name="a2c")


class ActorCritic(Player):
    """Learns to do more often what went better than the critic expected.

    Args:
        model: See `build_model`.
        config: The recipe.
    """

    def __init__(self, model: keras.Model, config: Config) -> None:
        super().__init__(
            model,
            functools.partial(Environments, config.environment, vectorization=config.vectorization),
            num_envs=config.num_envs,
            rollout_length=config.rollout_length,
        )
        self.config = config

    def examples(self, rollout: Rollout) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        """Every step, its action, its advantage and the return to expect of it."""
        config = self.config
        seen = rollout.observations
        values = self(tf.reshape(seen, [-1, seen.shape[-1]]))["value"]
        values = tf.reshape(values, seen.shape[:2])
        rollout = rollout._replace(rewards=config.reward_scale * rollout.rewards)
        gained = advantages(rollout, values, config.discount, config.gae_lambda)
        weights = tf.cast(rollout.valid, tf.float32)
        returns = gained + values[:-1]
        if config.normalize_advantages:
            mean, variance = tf.nn.weighted_moments(gained, [0, 1], weights)
            gained = (gained - mean) / (tf.sqrt(variance) + 1e-8)
        steps = {"action": rollout.actions, "advantage": gained, "return": returns}
        flat = {name: _flat(each) for name, each in steps.items()}
        return _flat(seen[:-1]), flat, _flat(weights)

    def compute_loss(
        self,
        x: tf.Tensor = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: tf.Tensor = None,
        training: bool = True,
    ) -> tf.Tensor:
        policy = distribution(y_pred)
        actor = -policy.log_prob(y["action"]) * y["advantage"]
        critic = (y["return"] - y_pred["value"]) ** 2 / 2
        each = (
            actor
            + self.config.value_weight * critic
            - self.config.entropy_weight * policy.entropy()
        )
        return self.mean(each, each, sample_weight)


def _flat(steps: tf.Tensor) -> tf.Tensor:
    """Times and environments in one axis."""
    return tf.reshape(steps, [-1, *steps.shape[2:]])


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """The model as it plays and learns, under Adam."""
    trained = ActorCritic(model, config)
    schedule = keras.optimizers.schedules.PolynomialDecay(config.learning_rate, steps, 0.0)
    trained.compile(keras.optimizers.Adam(schedule, global_clipnorm=config.clip_norm))
    return trained


def callbacks(
    model: keras.Model, config: Config, data: Data, folder: Path
) -> list[keras.callbacks.Callback]:
    """Tries the policy after every epoch."""
    environments = Environments(config.environment, EPISODES)
    return [GreedyReturns(environments, environments.solved_at, WATCHING_SEED)]


def endpoints(model: keras.Model) -> dict[str, keras.Model]:
    """`observation` to `action`, `value`, and `probabilities` where there is a choice."""
    said = {name: model.output[name] for name in ("action", "value")}
    if "log_scale" not in model.output:
        said["probabilities"] = ops.softmax(model.output["policy"])
    return {"serve": keras.Model(model.input, said, name=model.name)}


def evaluate(model: keras.Model, data: Data, config: Config) -> Metrics:
    """Returns of 100 episodes without exploring, and what it took to learn."""
    returns = returns_of(greedy(model), Environments(config.environment, EPISODES), TEST_SEED)
    learnt = model.account() if hasattr(model, "account") else {}
    return {
        "eval_return_mean": float(returns.mean()),
        "eval_return_std": float(returns.std()),
        **learnt,
    }


def draw(model: keras.Model, data: Data, config: Config) -> dict[str, Figure]:
    """What actor and critic say along an episode."""
    environments = Environments(config.environment, 1)
    act, seen = greedy(model), []

    def noting(observations: np.ndarray) -> np.ndarray:
        seen.append(observations)
        return act(observations)

    returns_of(noting, environments, TEST_SEED)
    said = model.predict(np.concatenate(seen), verbose=0)
    policy = said["policy"] if "log_scale" in said else ops.softmax(said["policy"])
    lines = {"value": said["value"][:, None], "policy": ops.convert_to_numpy(policy)}
    return {"episode": figures.lines(lines, "step of an episode")}


app = App(
    name="a2c",
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    example=lambda model, data: np.eye(64, model.input_shape[-1], dtype="float32"),
    evaluate=evaluate,
    figures=draw,
    commands=commands("a2c"),
    recipes={
        "efficient": FEW_COPIES | {"steps_per_epoch": 20, "learning_rate": 2e-3},
        "acrobot": FEW_COPIES
        | {"environment": "Acrobot-v1", "epochs": 10, "scale_observations": False},
        "pendulum": FEW_COPIES
        | {"environment": "Pendulum-v1", "discount": 0.9, "gae_lambda": 0.9, "reward_scale": 0.01},
    },
    monitor="val_return",
    monitor_mode="max",
)

if __name__ == "__main__":
    main(app)
