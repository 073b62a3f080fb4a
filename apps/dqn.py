"""Deep Q-learning: the value of every action, learnt from a replay of earlier steps.

A network predicts the return of every action; the policy takes the best one, and sometimes another
one to explore. It learns from rewards, and from its own prediction of the return that follows them,
as in Bellman's equation. The environment can be any Gymnasium environment with one choice of
action: of vectors, pictures or states, MinAtar, Atari. Later improvements of the first such network
are knobs, which together are Rainbow.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from keras.optimizers.schedules import PolynomialDecay
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics
from suite.cli import main
from suite.data import Data
from suite.export.endpoints import most_likely
from suite.figures import curves
from suite.knobs import Activation, BatchSize, Epochs, Fraction, LearningRate, Steps, Units
from suite.layers.categorical import CategoricalMean, project
from suite.layers.noisy import NoisyDense
from suite.rl.environments import Environments, Vectorization
from suite.rl.episodes import (
    DATA_LAYOUTS,
    EPISODES,
    TEST_SEED,
    VALIDATION_SEED,
    load_episodes,
)
from suite.rl.evaluation import (
    COMMANDS,
    GreedyReturns,
    Policy,
    metrics_of,
    observations_of,
    unit_observations,
)
from suite.rl.off_policy import OffPolicyPlayer
from suite.rl.policies import epsilon_greedy, on_arrays
from suite.rl.replay import Sampling, check_replay_size
from suite.trainers.optimizers import Adam

# Filters, kernel size and stride of the convolutions, by the pictures that they are meant for.
CONVOLUTIONS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "none": (),
    "minatar": ((16, 3, 1),),
    "atari": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
    "efficient": ((32, 5, 5), (64, 5, 5)),
}
MEAN = "mean_return"  # the layer that takes the mean of a distribution

Convolutions = Literal["auto", "none", "minatar", "atari", "efficient"]
Return = Annotated[float, Field(ge=-1e9, le=1e9)]  # which 32 bits can tell from others


@settings
class Config:
    """The settings of the training.

    Args:
        epochs: Number of epochs; after every epoch the greedy policy is evaluated.
        environment: Name of a Gymnasium environment, or `module:Class` of your own.
        num_envs: Number of copies of the environment, over all replicas.
        rollout_length: Steps of every copy in a step of `fit`.
        updates: Updates of the network in a step of `fit`.
        xla: Whether XLA compiles the updates, which takes seconds at first and saves time in
            trainings of minutes without pictures.
        steps_per_epoch: Steps of `fit` in an epoch.
        batch_size: Transitions of an update, over all replicas.
        replay_size: Steps that the replay holds, over all replicas; new ones replace the oldest.
        warm_up: Steps that are played before the first update, over all replicas.
        learning_rate: Initial learning rate; it falls linearly to zero.
        discount: Weight of the next step's return.
        n_step: Number of rewards that a target adds up before the predicted return.
        double: Whether the network chooses the next action, and the target network only predicts
            its return.
        prioritized: Whether transitions with a larger error are replayed more often.
        priority_exponent: 0 replays all transitions alike, 1 in proportion to their errors.
        importance_exponent: Initial correction of the loss for the priorities, from 0, none, to 1,
            complete; it rises to 1 by the end.
        target_rate: Share of the way that an update moves the target network towards the network;
            1 copies it.
        target_period: Updates of the network between two of the target network.
        initial_epsilon: Probability of a random action at first.
        epsilon: Probability of a random action in the end.
        exploration: Part of the training in which the probability falls, linearly.
        clip_norm: Largest global norm of the gradients.
        reward_scale: Factor of the rewards in training; reported returns are not scaled.
        scale_observations: Whether to scale observations so that their bounds are -1 and 1; not
            useful if most observations are far inside their bounds.
        validation_episodes: Episodes of the evaluation after every epoch, enough to see what fails
            once in a hundred; fewer where they take long.
        vectorization: `auto` uses the environment's vectorised version if there is one, else
            `sync`, which plays one copy after the other; `async` gives every copy a process.
        frame_stack: Number of newest observations that are stacked to one.
        clip_rewards: Whether rewards are replaced by their signs in training.
        end_with_life: Whether a lost life ends an episode of the training, in games that have
            several.
        max_episode_steps: Largest number of steps in an episode; by default the environment's.
    """

    epochs: Epochs = 30
    environment: str = "CartPole-v1"
    num_envs: Annotated[int, Field(ge=1, le=65_536)] = 16
    rollout_length: Annotated[int, Field(ge=1, le=65_536)] = 4
    updates: Annotated[int, Field(ge=1, le=65_536)] = 32
    xla: bool = False
    steps_per_epoch: Steps = 40
    batch_size: BatchSize = 128
    replay_size: Annotated[int, Field(ge=1, le=1_000_000_000)] = 50_000
    warm_up: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000
    learning_rate: LearningRate = 1e-3
    discount: Fraction = 0.99
    n_step: Annotated[int, Field(ge=1, le=1_000)] = 3
    double: bool = True
    prioritized: bool = False
    priority_exponent: Fraction = 0.5
    importance_exponent: Fraction = 0.4
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    target_period: Steps = 1
    initial_epsilon: Fraction = 1.0
    epsilon: Fraction = 0.02
    exploration: Annotated[float, Field(gt=0, le=1)] = 0.15
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] = 10.0
    reward_scale: Annotated[float, Field(gt=0, le=1e6)] = 0.1
    scale_observations: bool = True
    validation_episodes: Annotated[int, Field(ge=1, le=10_000)] = 400
    vectorization: Vectorization = "auto"
    frame_stack: Annotated[int, Field(ge=1, le=64)] = 1
    clip_rewards: bool = False
    end_with_life: bool = False
    max_episode_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None


def load_data(config: Config, run: Run) -> Data:
    """The seeds of the episodes; the experience itself is collected during the training.

    Raises:
        InputError: The environment cannot be played, or not by choices of one action; or
            `replay_size` is less than a batch or more than memory holds.
    """
    environments = make_environments(config, 1)
    environments.close()
    if environments.spaces.action_shape:
        raise InputError(
            "`environment` must have one choice of action (apps.a2c learns numbers and several "
            "choices)",
            config.environment,
        )
    if run.preparation is None:  # an export is evaluated without a replay
        check_replay_size(
            config.replay_size,
            config.batch_size,
            config.num_envs,
            environments.spaces,
            sampling(config, 1),
        )
    data = load_episodes(
        run,
        config.environment,
        config.num_envs,
        rollout_length=config.rollout_length,
        steps_per_epoch=config.steps_per_epoch,
        max_episode_steps=config.max_episode_steps,
        flatten=False,
        frame_stack=config.frame_stack,
        scale_observations=config.scale_observations,
        validation_episodes=config.validation_episodes,
    )
    arguments = {
        name: value for name, value in data.model_arguments.items() if "action_" not in name
    }
    if len(set(arguments.get("observation_scale", ()))) == 1:  # equal for all values of a picture
        arguments["observation_scale"] = arguments["observation_scale"][:1]
    return dataclasses.replace(data, model_arguments=arguments)


def make_environments(
    config: Config, number: int, vectorization: Vectorization = "auto", *, training: bool = False
) -> Environments:
    """Makes copies of the environment, whose pictures keep their shape.

    Args:
        config: The settings.
        number: Number of copies.
        vectorization: As in `Config`.
        training: Whether rewards are clipped and lost lives end an episode, if the settings say so.
            Evaluations are always of whole games.
    """
    return Environments(
        config.environment,
        number,
        vectorization,
        max_episode_steps=config.max_episode_steps,
        flatten=False,
        frame_stack=config.frame_stack,
        clip_rewards=training and config.clip_rewards,
        end_with_life=training and config.end_with_life,
    )


def sampling(config: Config, updates: int) -> Sampling:
    """The sampling of the replay in a training of this number of updates."""
    return Sampling(
        n_step=config.n_step,
        discount=config.discount,
        priority_exponent=config.priority_exponent if config.prioritized else 0.0,
        importance_exponent=PolynomialDecay(config.importance_exponent, updates, 1.0),
    )


@checked
def build_model(
    observation_shape: tuple[PositiveInt, ...] = (4,),
    observation_scale: tuple[float, ...] = (1.0,),
    num_actions: PositiveInt = 2,
    *,
    units: tuple[Units, ...] = (128, 128),
    activation: Activation = "relu",
    convolutions: Convolutions = "auto",
    dueling: bool = False,
    noisy: bool = False,
    distributional: bool = False,
    atoms: Annotated[int, Field(ge=2, le=1024)] = 51,
    value_range: tuple[Return, Return] = (-10.0, 10.0),
) -> keras.Model:
    """Builds the network: from an observation to the expected return of every action.

    Args:
        observation_shape: Shape of an observation; `(height, width, channels)` of a picture.
        observation_scale: A factor for all values of an observation, or one for each.
        num_actions: Number of actions to choose from.
        units: Units of the dense hidden layers.
        activation: Keras's name of the activation of the hidden layers.
        convolutions: Convolutional layers for pictures: `atari` as in Mnih's network, for 84 x 84
            pixels; `efficient` as in van Hasselt's smaller one for the same; `minatar` for about
            10 x 10; `none`; `auto` takes `atari` or `minatar` by the shape.
        dueling: Whether the value of a state and the advantages of its actions are learnt
            separately, each with its own last hidden layer.
        noisy: Whether dense layers have noise on their weights, which explores.
        distributional: Whether the distribution of returns is learnt rather than the mean.
        atoms: Number of returns in the distribution.
        value_range: The smallest and the largest return in the distribution.

    Returns:
        A functional model, `observation` `(batch, *observation_shape)` to a dict: `value`
        `(batch, num_actions)`, float32, the expected returns; `action` `(batch,)`, int64, the best
        one, counted from 0; and of distributions the `logits` `(batch, num_actions, atoms)`.

    Raises:
        InputError: An argument is out of range, or does not fit the others.

    Reference:
        Mnih et al., 2015, Human-level control through deep reinforcement learning,
        https://doi.org/10.1038/nature14236
        Wang et al., 2015, Dueling Network Architectures for Deep Reinforcement Learning,
        https://arxiv.org/abs/1511.06581
        Fortunato et al., 2017, Noisy Networks for Exploration, https://arxiv.org/abs/1706.10295
        Bellemare et al., 2017, A Distributional Perspective on Reinforcement Learning,
        https://arxiv.org/abs/1707.06887
        Van Hasselt, Hessel and Aslanides, 2019, When to use parametric models in reinforcement
        learning? (`efficient`), https://arxiv.org/abs/1906.05243
    """
    is_picture = len(observation_shape) == 3
    if convolutions == "auto" and is_picture:
        is_large = min(observation_shape[:2]) >= smallest_side("atari")
        convolutions = "atari" if is_large else "minatar"
    stages = CONVOLUTIONS.get(convolutions, ())
    smallest = smallest_side(convolutions)
    if stages and not (is_picture and min(observation_shape[:2]) >= smallest):
        raise InputError(
            f"`convolutions` must be none, or observations pictures of at least {smallest} x "
            f"{smallest} pixels",
            f"{convolutions}, with observations of {observation_shape}",
        )
    if len(observation_scale) not in (1, np.prod(observation_shape)):
        raise InputError(
            f"`observation_scale` must be 1 or {np.prod(observation_shape)} values",
            observation_scale,
        )
    if not value_range[0] < value_range[1]:
        raise InputError("`value_range` must be a smaller and a larger number", value_range)

    def dense(x: keras.KerasTensor, width: int, **options: Any) -> keras.KerasTensor:
        return (NoisyDense if noisy else layers.Dense)(width, **options)(x)

    observation = keras.Input(observation_shape, name="observation")
    scale = np.asarray(observation_scale)
    if scale.size > 1:
        scale = scale.reshape(observation_shape)
    x = layers.Rescaling(scale.tolist() if scale.size > 1 else float(scale[0]))(observation)
    for filters, size, stride in stages:
        x = layers.Conv2D(filters, size, stride, activation=activation)(x)
    if len(observation_shape) != 1:
        x = layers.Flatten()(x)
    shared = units[:-1] if dueling else units
    for width in shared:
        x = dense(x, width, activation=activation)
    size = atoms if distributional else 1

    def scores(number: int, name: str) -> keras.KerasTensor:
        """The outputs `(batch, number, size)` of hidden layers that are not shared."""
        y = x
        for width in units[len(shared) :]:
            y = dense(y, width, activation=activation)
        y = dense(y, number * size, dtype=keras.config.floatx(), name=name)
        return layers.Reshape((number, size), dtype=keras.config.floatx())(y)

    if dueling:
        advantages = scores(num_actions, "advantages")
        logits = scores(1, "state") + advantages - ops.mean(advantages, axis=1, keepdims=True)
    else:
        logits = scores(num_actions, "actions")
    if distributional:
        mean = CategoricalMean(*value_range, atoms, dtype=keras.config.floatx(), name=MEAN)
        value = mean(logits)
        outputs = {"value": value, "action": most_likely(value), "logits": logits}
    else:
        value = ops.squeeze(logits, axis=-1)
        outputs = {"value": value, "action": most_likely(value)}
    return keras.Model(observation, outputs, name="dqn")


def smallest_side(convolutions: str) -> int:
    """The smallest height and width of pictures of which convolutions leave a pixel."""
    side = 1
    for _, size, stride in reversed(CONVOLUTIONS.get(convolutions, ())):
        side = (side - 1) * stride + size
    return side


class DeepQ(OffPolicyPlayer):
    """Learns the values of actions from a replay, and plays the best action or a random one.

    Args:
        model: A model from `build_model`.
        config: The settings of the training.
        steps: Steps of `fit` in the training, over which the schedules stretch.

    Reference:
        Van Hasselt, Guez and Silver, 2015, Deep Reinforcement Learning with Double Q-learning,
        https://arxiv.org/abs/1509.06461
        Hessel et al., 2017, Rainbow: Combining Improvements in Deep Reinforcement Learning,
        https://arxiv.org/abs/1710.02298
        Differs from the papers: targets are computed without the noise of noisy layers.
    """

    def __init__(self, model: keras.Model, config: Config, steps: int) -> None:
        updates = steps * config.updates
        super().__init__(
            model,
            functools.partial(
                make_environments, config, vectorization=config.vectorization, training=True
            ),
            num_envs=config.num_envs,
            rollout_length=config.rollout_length,
            capacity=config.replay_size,
            batch_size=config.batch_size,
            warm_up=config.warm_up,
            updates=config.updates,
            target_rate=config.target_rate,
            target_period=config.target_period,
            sampling=sampling(config, updates),
            xla=config.xla,
        )
        self.config = config
        self.epsilon = PolynomialDecay(
            config.initial_epsilon, max(1, round(config.exploration * updates)), config.epsilon
        )

    def act(
        self, observations: tf.Tensor, seed: tf.Tensor | None, explore: bool = True
    ) -> tf.Tensor:
        outputs = self(observations, training=explore)  # in training noisy layers have noise
        if not explore:
            return outputs["action"]
        epsilon = self.epsilon(self.optimizer.iterations)
        return epsilon_greedy(outputs["action"], outputs["value"].shape[-1], epsilon, seed)

    def examples(
        self, batch: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor | None]:
        """Converts transitions into observations, targets and sample weights.

        Returns:
            Observations `(batch, *observation_shape)`; a dict of the `action` that was taken,
            `(batch,)`, and of its `return` `(batch,)`, or of distributions the `probabilities`
            `(batch, atoms)`; and weights `(batch,)`, or None if the replay is uniform.
        """
        following = self.target.network(batch["next_observations"], training=False)
        chosen = (
            self(batch["next_observations"], training=False) if self.config.double else following
        )
        dtype = following["value"].dtype
        rewards = self.config.reward_scale * tf.cast(batch["rewards"], dtype)
        discount = tf.cast(batch["discount"], dtype)
        targets = {"action": batch["actions"]}
        if "logits" in following:
            support = self.get_layer(MEAN).support
            probabilities = tf.nn.softmax(of_action(following["logits"], chosen["action"]))
            values = rewards[:, None] + discount[:, None] * tf.constant(support, dtype)
            targets["probabilities"] = project(probabilities, values, support)
        else:
            targets["return"] = rewards + discount * of_action(following["value"], chosen["action"])
        weights = tf.cast(batch["weights"], dtype) if self.config.prioritized else None
        return batch["observations"], targets, weights

    def compute_loss(
        self,
        x: tf.Tensor = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: tf.Tensor = None,
        training: bool = True,
    ) -> tf.Tensor:
        losses = self.priorities(y, y_pred)
        if "return" in y:  # Huber loss: quadratic up to an error of 1, linear beyond
            clipped = tf.minimum(losses, 1)
            losses = clipped * (losses - clipped / 2)
        return self.mean(losses, losses, sample_weight)

    def priorities(self, targets: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """The errors of transitions, `(batch,)`: absolute differences, or KL divergences."""
        if "return" in targets:
            return tf.abs(targets["return"] - of_action(outputs["value"], targets["action"]))
        expected = targets["probabilities"]
        predicted = tf.nn.log_softmax(of_action(outputs["logits"], targets["action"]))
        return tf.reduce_sum(tf.math.xlogy(expected, expected) - expected * predicted, axis=-1)


def of_action(values: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """Selects `(batch, ...)` by actions `(batch,)` from `values` `(batch, num_actions, ...)`."""
    return tf.gather(values, actions, batch_dims=1)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Wraps the model as a `DeepQ` that Adam trains."""
    trained = DeepQ(model, config, steps)
    schedule = PolynomialDecay(config.learning_rate, steps * config.updates, 0.0)
    trained.compile(Adam(schedule, global_clipnorm=config.clip_norm))
    return trained


def best_action(model: keras.Model) -> Policy:
    """The policy that takes the action of the largest value, as a function of arrays."""
    return on_arrays(lambda observations: model(observations, training=False)["action"])


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Evaluates the greedy policy after every epoch."""
    validation = make_environments(fitted.config, fitted.config.validation_episodes)
    return [GreedyReturns(validation, validation.solved_at, VALIDATION_SEED)]


def endpoints(fitted: Fitted) -> dict[str, keras.Model]:
    """`observation` to `action`, `value`, and the `probabilities` of learnt distributions."""
    [model] = fitted.networks.values()
    outputs = {name: model.output[name] for name in ("action", "value")}
    if "logits" in model.output:
        outputs["probabilities"] = ops.softmax(model.output["logits"])
    return {"serve": keras.Model(model.input, outputs, name=model.name)}


def evaluate(fitted: Fitted) -> Metrics:
    """Evaluates the greedy policy in `EPISODES` episodes, and reports the cost of the training."""
    environments = make_environments(fitted.config, EPISODES)
    return metrics_of(best_action(fitted.model), environments, fitted.model)


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Plots the values in an episode, and the distribution of the return of the best action."""
    environments = make_environments(fitted.config, 1)
    observations = observations_of(best_action(fitted.model), environments, TEST_SEED)
    outputs = fitted.model.predict(observations, verbose=0)
    figures = {"episode": curves.lines({"value": outputs["value"]}, "step of an episode")}
    if "logits" in outputs:
        logits = outputs["logits"][np.arange(len(observations)), outputs["action"]]
        support = fitted.model.get_layer(MEAN).support
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        steps = np.arange(len(observations))
        axes.pcolormesh(steps, support, ops.convert_to_numpy(ops.softmax(logits)).T)
        axes.set(xlabel="step of an episode", ylabel="return of the best action")
        figures["returns"] = figure
    return figures


EXTENSIONS = {
    "double": True,
    "dueling": True,
    "n_step": 3,
    "prioritized": True,
    "noisy": True,
    "distributional": True,
}
WITHOUT_EPSILON = {"initial_epsilon": 0.0, "epsilon": 0.0}  # since noisy layers explore
MINATAR = {
    "num_envs": 32,
    "rollout_length": 2,
    "updates": 16,
    "batch_size": 64,
    "epochs": 40,
    "steps_per_epoch": 1_000,
    "replay_size": 200_000,
    "warm_up": 5_000,
    "learning_rate": 3e-4,
    "target_rate": 1.0,
    "target_period": 250,
    "epsilon": 0.01,
    "exploration": 0.1,
    "reward_scale": 0.1,
    "validation_episodes": 50,
    "max_episode_steps": 2_500,
    "units": (128,),
}
ATARI = {
    "frame_stack": 4,
    "clip_rewards": True,
    "end_with_life": True,
    "num_envs": 16,
    "rollout_length": 2,
    "updates": 8,
    "batch_size": 32,
    "epochs": 50,
    "steps_per_epoch": 1_250,
    "replay_size": 1_000_000,
    "warm_up": 20_000,
    "learning_rate": 2.5e-4,
    "target_rate": 1.0,
    "target_period": 2_000,
    "epsilon": 0.01,
    "exploration": 0.1,
    "reward_scale": 1.0,
    "validation_episodes": 10,
    "units": (512,),
}

app = App(
    name="dqn",
    topic="control",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=endpoints,
    example=unit_observations,
    evaluate=evaluate,
    figures=draw,
    commands=COMMANDS,
    recipes={
        "rainbow": EXTENSIONS | WITHOUT_EPSILON,
        "first": {"double": False, "n_step": 1, "target_rate": 1.0, "target_period": 100},
        "mountain_car": {
            "validation_episodes": EPISODES,
            "environment": "MountainCar-v0",
            "epochs": 40,
            "steps_per_epoch": 200,
            "n_step": 5,
            "initial_epsilon": 0.1,
            "exploration": 0.3,
            "reward_scale": 0.3,
            "xla": True,
        },
        "lunar_lander": {
            "environment": "LunarLander-v3",
            "epochs": 25,
            "steps_per_epoch": 400,
            "updates": 16,
            "replay_size": 200_000,
            "learning_rate": 6e-4,
            "reward_scale": 0.05,
            "scale_observations": False,
            "validation_episodes": 50,
            "units": (256, 128),
            "xla": True,
        },
        "minatar_breakout": MINATAR | {"environment": "MinAtar/Breakout-v1"},
        "minatar_space_invaders": MINATAR | {"environment": "MinAtar/SpaceInvaders-v1"},
        "atari": ATARI | {"environment": "ALE/Breakout-v5", "double": False, "n_step": 1},
        # For an hour on two cores.
        "pong": ATARI
        | {
            "environment": "ALE/Pong-v5",
            "epochs": 16,
            "steps_per_epoch": 500,
            "replay_size": 100_000,
            "warm_up": 10_000,
            "convolutions": "efficient",
            "units": (256,),
            "updates": 16,
            "learning_rate": 2e-4,
            "target_period": 500,
            "exploration": 0.4,
            "validation_episodes": 5,
        },
    },
    objective="val_return",
    objective_mode="max",
    keep_best=True,
    data_layouts=DATA_LAYOUTS,
    tiny={
        "epochs": 1,
        "num_envs": 4,
        "steps_per_epoch": 10,
        "updates": 2,
        "batch_size": 16,
        "replay_size": 160,
        "warm_up": 40,
        "prioritized": True,
        "units": (8,),
    },
)

if __name__ == "__main__":
    main(app)
