"""The task of control: settings, environments, networks, losses, endpoints, metrics and figures.

An application of a policy that learns by its gradient passes the functions of this module to its
`App`, and is left with how it learns.
"""

import functools
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite.app import Fitted, Metrics
from suite.data import Data
from suite.errors import InputError
from suite.export.endpoints import most_likely
from suite.figures import curves
from suite.knobs import Activation, Epochs, Fraction, LearningRate, Steps, Units, checked, settings
from suite.rl.environments import Environments, Vectorization
from suite.rl.episodes import EPISODES, TEST_SEED, VALIDATION_SEED, load_episodes
from suite.rl.evaluation import GreedyReturns, metrics_of, observations_of
from suite.rl.on_policy import OnPolicyPlayer, advantages, flat
from suite.rl.policies import distribution, greedy
from suite.rl.rollouts import Rollout
from suite.rl.spaces import Bounds, within_bounds
from suite.run import Run
from suite.trainers.optimizers import Adam

IMPOSSIBLE = -1e9  # the logit of an action that does not exist
Weight = Annotated[float, Field(ge=0, le=1000)]


@settings
class Config:
    """The settings of the training of a policy by its gradient.

    Args:
        epochs: Number of epochs; after every epoch the greedy policy is evaluated.
        environment: Name of a Gymnasium environment, or `module:Class` of your own.
        num_envs: Number of copies of the environment, over all replicas.
        steps_per_epoch: Updates in an epoch.
        learning_rate: Initial learning rate; it falls linearly to zero.
        discount: Discount of the next step's return.
        entropy_weight: Weight of the policy's entropy, which keeps it exploring.
        value_weight: Weight of the critic's loss.
        reward_scale: Factor of the rewards in training; reported returns are not scaled.
        scale_observations: Whether to scale observations so that their bounds are -1 and 1; not
            useful if most observations are far inside their bounds.
        normalize_advantages: Whether to scale the advantages of an update to mean 0 and standard
            deviation 1.
        vectorization: `auto` uses the environment's vectorised version if there is one, else
            `sync`, which plays one copy after the other; `async` gives every copy a process.
        max_episode_steps: Largest number of steps in an episode; by default the environment's.
    """

    epochs: Epochs = 30
    environment: str = "CartPole-v1"
    num_envs: Annotated[int, Field(ge=1, le=65_536)] = 128
    steps_per_epoch: Steps = 25
    learning_rate: LearningRate = 2e-3
    discount: Fraction = 0.99
    entropy_weight: Weight = 0.01
    value_weight: Weight = 0.5
    reward_scale: Annotated[float, Field(gt=0, le=1e6)] = 0.1
    scale_observations: bool = True
    normalize_advantages: bool = False
    vectorization: Vectorization = "auto"
    max_episode_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


@settings
class ActorCriticConfig(Config):
    """The settings of the training of an actor and a critic on rollouts.

    Args:
        rollout_length: Steps of every copy between two updates.
        gae_lambda: Lambda of generalised advantage estimation. 1 uses the rewards of the whole
            rollout; smaller values rely more on the critic.
        clip_norm: Largest global norm of the gradients.
    """

    rollout_length: Annotated[int, Field(ge=1, le=65_536)] = 8
    gae_lambda: Fraction = 0.95
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] = 0.5


def load_data(config: Config, run: Run, rollout_length: int) -> Data:
    """The seeds of the episodes; the experience itself is collected during the training.

    Args:
        config: The settings of the training.
        run: Its `data` is checked, and its `seed` decides the seeds of the episodes.
        rollout_length: Environment steps, or episodes where these are counted, that each copy plays
            in a step of `fit`.
    """
    return load_episodes(
        run,
        config.environment,
        config.num_envs,
        rollout_length=rollout_length,
        steps_per_epoch=config.steps_per_epoch,
        max_episode_steps=config.max_episode_steps,
        scale_observations=config.scale_observations,
    )


def make_environments(
    config: Config, number: int, vectorization: Vectorization = "auto"
) -> Environments:
    """Makes copies of the environment."""
    limit = config.max_episode_steps
    return Environments(config.environment, number, vectorization, max_episode_steps=limit)


@checked
def build_actor_critic(
    observation_dim: PositiveInt = 4,
    observation_scale: tuple[float, ...] | None = None,
    num_actions: PositiveInt = 2,
    action_bounds: Bounds | None = None,
    action_choices: tuple[PositiveInt, ...] | None = None,
    *,
    units: tuple[Units, ...] = (64, 64),
    activation: Activation = "relu",
    shared_torso: bool = False,
) -> keras.Model:
    """Builds actor and critic: from an observation to the policy and the expected return.

    Args:
        observation_dim: Number of values in an observation.
        observation_scale: Factors of these values, applied before the first layer; by default 1.
        num_actions: Number of discrete actions, or of components of an action.
        action_bounds: Lowest and highest values of the components of a continuous action, with None
            for a missing bound; None for discrete actions.
        action_choices: Number of values of every component of a multi-discrete action; else None.
        units: Units of the hidden layers.
        activation: Keras's name of the activation of the hidden layers.
        shared_torso: Whether actor and critic share the hidden layers.

    Returns:
        A functional model, `observation` `(batch, observation_dim)` to a dict, float32. `policy`
        depends on the actions: logits `(batch, num_actions)` of discrete actions; logits
        `(batch, num_actions, values)` of multi-discrete actions; or means `(batch, num_actions)` of
        normal distributions, whose logarithmic scales are `log_scale` `(batch, num_actions)`.
        `value` `(batch,)` is the discounted return to expect, of rewards as they are learnt from:
        multiplied by the training's `reward_scale`. `action` is the likeliest action: int64,
        counted from 0, `(batch,)` of discrete and `(batch, num_actions)` of multi-discrete actions;
        or float32 `(batch, num_actions)`, within the bounds of continuous ones.

    Raises:
        InputError: An argument is out of range, or does not fit the others.

    Reference:
        Mnih et al., 2016, Asynchronous Methods for Deep Reinforcement Learning,
        https://arxiv.org/abs/1602.01783
        Differs from the paper: actor and critic share no layers, unless `shared_torso`.
    """
    scale = observation_scale or (1.0,) * observation_dim
    if len(scale) != observation_dim:
        raise InputError(f"`observation_scale` must be {observation_dim} values", scale)
    if action_choices is not None and len(action_choices) != num_actions:
        raise InputError(f"`action_choices` must be {num_actions} values", action_choices)
    observation = keras.Input((observation_dim,), name="observation")
    scaled = layers.Rescaling(list(scale))(observation)

    def torso() -> keras.KerasTensor:
        x = scaled
        for width in units:
            x = layers.Dense(width, activation=activation, kernel_initializer="orthogonal")(x)
        return x

    actor_features = torso()
    critic_features = actor_features if shared_torso else torso()
    # Small weights, so that at first all actions are nearly equally likely.
    small_weights = keras.initializers.Orthogonal(0.01)
    num_values = max(action_choices or (1,))
    policy = layers.Dense(
        num_actions * num_values,
        kernel_initializer=small_weights,
        dtype=keras.config.floatx(),
        name="policy",
    )(actor_features)
    value = ops.squeeze(
        layers.Dense(1, dtype=keras.config.floatx(), name="value")(critic_features), axis=-1
    )
    outputs = {"policy": policy, "value": value}
    if action_bounds is not None:
        outputs["action"] = within_bounds(policy, action_bounds, ops)
        # One weight for each component of an action, independent of the observation.
        outputs["log_scale"] = layers.Dense(
            num_actions,
            use_bias=False,
            kernel_initializer="zeros",
            dtype=keras.config.floatx(),
            name="scale",
        )(ops.ones_like(value)[:, None])
    else:
        if action_choices is not None:
            excess = np.arange(num_values) >= np.array(action_choices)[:, None]
            logits = layers.Reshape((num_actions, num_values), dtype=keras.config.floatx())(policy)
            outputs["policy"] = logits + np.where(excess, IMPOSSIBLE, 0).astype(
                keras.config.floatx()
            )
        outputs["action"] = most_likely(outputs["policy"])
    return keras.Model(observation, outputs, name="actor_critic")


class PolicyGradient(OnPolicyPlayer):
    """Makes actions more likely by as much as they were better than expected.

    A subclass defines in `examples` what a rollout says of its actions.

    Args:
        model: A model from `build_actor_critic`.
        config: The settings of the training.
        rollout_length: Steps of every copy of the environment in a step of `fit`.
    """

    def __init__(self, model: keras.Model, config: Config, rollout_length: int) -> None:
        super().__init__(
            model,
            functools.partial(make_environments, config, vectorization=config.vectorization),
            num_envs=config.num_envs,
            rollout_length=rollout_length,
        )
        self.config: Any = config

    def examples_of(
        self, rollout: Rollout, advantage: tf.Tensor, returns: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        """The observations, targets and weights of the steps of a rollout, `time * envs` of them.

        Args:
            rollout: The steps.
            advantage: How much better than expected each action was, `(time, envs)`.
            returns: What the critic learns, `(time, envs)`.
            weights: Weights of the steps in the loss, `(time, envs)`, 0 for steps to leave out.

        Returns:
            Observations `(time * envs, observation_dim)`; a dict of `action`
            `(time * envs, *action_shape)`, and of `advantage` and `return`, both `(time * envs,)`;
            and weights `(time * envs,)`.
        """
        if self.config.normalize_advantages:
            mean, variance = tf.nn.weighted_moments(advantage, [0, 1], weights)
            advantage = (advantage - mean) / (tf.sqrt(variance) + 1e-8)
        steps = {"action": rollout.actions, "advantage": advantage, "return": returns}
        targets = {name: flat(values) for name, values in steps.items()}
        return flat(rollout.observations[:-1]), targets, flat(weights)

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
        losses = (
            actor
            + self.config.value_weight * critic
            - self.config.entropy_weight * policy.entropy()
        )
        return self.mean(losses, losses, sample_weight)


class ActorCritic(PolicyGradient):
    """Trains actor and critic on rollouts of the current policy.

    Args:
        model: A model from `build_actor_critic`.
        config: The settings of the training.
    """

    def __init__(self, model: keras.Model, config: ActorCriticConfig) -> None:
        super().__init__(model, config, config.rollout_length)

    def examples(self, rollout: Rollout) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        """Converts a rollout by generalised advantage estimates; steps that only reset have none.

        Returns:
            See `examples_of`.
        """
        config = self.config
        observations = rollout.observations
        values = self(flat(observations))["value"]
        values = tf.reshape(values, observations.shape[:2])
        rollout = rollout._replace(rewards=config.reward_scale * rollout.rewards)
        advantage = advantages(rollout, values, config.discount, config.gae_lambda)
        weights = tf.cast(rollout.valid, advantage.dtype)
        return self.examples_of(rollout, advantage, advantage + values[:-1], weights)


def decaying_adam(config: Config, steps: int, clip_norm: float | None = None) -> keras.Optimizer:
    """Adam, whose learning rate falls linearly to zero in so many steps.

    Args:
        config: The settings of the training.
        steps: Number of updates of the training.
        clip_norm: Largest global norm of the gradients; None does not clip.
    """
    schedule = keras.optimizers.schedules.PolynomialDecay(config.learning_rate, steps, 0.0)
    return Adam(schedule, global_clipnorm=clip_norm)


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Evaluates the greedy policy after every epoch."""
    validation = make_environments(fitted.config, EPISODES)
    return [GreedyReturns(validation, validation.solved_at, VALIDATION_SEED)]


def endpoints(fitted: Fitted) -> dict[str, keras.Model]:
    """`observation` to `action`, `value`, and the `probabilities` of discrete actions.

    `value` is in the unit of the training, where rewards are multiplied by `reward_scale`.
    """
    [model] = fitted.networks.values()
    outputs = {name: model.output[name] for name in ("action", "value")}
    if "log_scale" not in model.output:
        outputs["probabilities"] = ops.softmax(model.output["policy"])
    return {"serve": keras.Model(model.input, outputs, name=model.name)}


def evaluate(fitted: Fitted) -> Metrics:
    """Evaluates the greedy policy in `EPISODES` episodes, and reports the cost of the training."""
    environments = make_environments(fitted.config, EPISODES)
    return metrics_of(greedy(fitted.model), environments, fitted.model)


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Plots value and policy during an episode."""
    environments = make_environments(fitted.config, 1)
    observations = observations_of(greedy(fitted.model), environments, TEST_SEED)
    outputs = fitted.model.predict(observations, verbose=0)
    policy = outputs["policy"]
    if "log_scale" not in outputs:
        policy = ops.convert_to_numpy(ops.softmax(policy))
    lines = {"value": outputs["value"][:, None], "policy": policy.reshape(len(policy), -1)}
    return {"episode": curves.lines(lines, "step of an episode")}
