"""REINFORCE: a policy learns from whole episodes, by the gradient of their return.

An update plays one episode in each of many copies of an environment. Every action becomes more
likely by the rewards that followed it, less a baseline. Baselines do not change what is learnt on
average, only how much it varies by chance; after every epoch the variance of the gradient is
measured with each of them, on the same episodes.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pydantic import Field

from suite import App, InputError, Run, settings
from suite.app import Fitted
from suite.cli import main
from suite.data import Data
from suite.knobs import Epochs, LearningRate, Steps
from suite.rl.checks import LONGEST_EPISODE
from suite.rl.environments import Environments, naming_errors
from suite.rl.episodes import DATA_LAYOUTS
from suite.rl.evaluation import COMMANDS, state_restorer, unit_observations
from suite.rl.on_policy import flat
from suite.rl.policies import distribution
from suite.rl.rollouts import Rollout
from suite.tasks import control

Baseline = Literal["none", "average", "value"]

BASELINES: tuple[Baseline, ...] = ("none", "average", "value")
STEPS_BETWEEN_CHECKS = 25  # steps between two checks whether all episodes are over
VARIANCE_SEED = 3_000_003


@settings
class Config(control.Config):
    """The settings of the training.

    Args:
        num_envs: Number of copies of the environment, over all replicas; each plays one episode for
            an update.
        discount: Weight of the next step's return; at 1 the gradient is that of the whole return.
        entropy_weight: Weight of the policy's entropy in the loss, which keeps it exploring.
        value_weight: Weight of the loss of the network `value`, which learns with every baseline.
        baseline: What is subtracted from the return after an action: nothing (`none`), the average
            of the other episodes at the same step (`average`), or what the network `value` expects
            (`value`).
        variance_batches: Number of updates whose gradients are compared after every epoch, to
            measure their variance with each baseline; 0 measures nothing.
    """

    epochs: Epochs = 15
    num_envs: Annotated[int, Field(ge=1, le=65_536)] = 16
    steps_per_epoch: Steps = 10
    learning_rate: LearningRate = 1e-2
    entropy_weight: control.Weight = 0.0
    baseline: Baseline = "value"
    variance_batches: Annotated[int, Field(ge=0, le=10_000)] = 8


def load_data(config: Config, run: Run) -> Data:
    """The seeds of the episodes; an episode counts as one example.

    Raises:
        InputError: The variance is that of a single update.
    """
    if config.variance_batches == 1:
        raise InputError("`variance_batches` must be 0, or at least 2", config.variance_batches)
    return control.load_data(config, run, rollout_length=1)


def returns_to_go(rewards: tf.Tensor, discount: float) -> tf.Tensor:
    """The discounted sum of the rewards from each step to the end, `(time, episodes)`.

    Args:
        rewards: `(time, episodes)`, 0 after the end of an episode.
        discount: Weight of the next step's return.
    """
    return tf.scan(
        lambda following, reward: reward + discount * following,
        rewards,
        tf.zeros_like(rewards[0]),
        reverse=True,
    )


def average_of_others(returns: tf.Tensor, taken: tf.Tensor) -> tf.Tensor:
    """The mean return to go of the other episodes that last as long, `(time, episodes)`.

    It does not depend on the episode's actions, and so leaves the mean of the gradient as it is.
    Where no other episode lasts as long it is 0.

    Args:
        returns: Returns to go, `(time, episodes)`, 0 after the end of an episode.
        taken: 1 for the steps of an episode, 0 after its end, `(time, episodes)`.

    Reference:
        Kool, van Hoof and Welling, 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free!,
        https://openreview.net/forum?id=r1lgTGL5DE
        Differs from the paper: the average is of the returns from the same step on.
    """
    others = tf.reduce_sum(returns, axis=1, keepdims=True) - returns
    number = tf.reduce_sum(taken, axis=1, keepdims=True) - taken
    return tf.math.divide_no_nan(others, number)


class Reinforce(control.PolicyGradient):
    """Trains a policy on whole episodes, one in each copy of the environment for every update.

    All copies are reset before an update, and play until the last of them has ended its episode.
    Steps after the end of the first episode of a copy are not learnt from. Episodes that happen to
    end within a fixed number of steps would be the short ones, and the gradient would be biased. An
    episode that is cut off by the environment's limit of steps counts as whole, since its return
    is the one that is reported.

    Args:
        model: A model from `suite.tasks.control.build_actor_critic`.
        config: The settings of the training.

    Reference:
        Williams, 1992, Simple Statistical Gradient-Following Algorithms for Connectionist
        Reinforcement Learning, https://doi.org/10.1007/BF00992696
        Differs from the paper: an action is credited only with the rewards that follow it, and
        Adam takes the step.
    """

    def __init__(self, model: keras.Model, config: Config) -> None:
        super().__init__(model, config, STEPS_BETWEEN_CHECKS)

    def environments(self, seeds: tf.Tensor) -> Environments:
        environments = super().environments(seeds)
        tf.numpy_function(environments.reset, [seeds[0]], environments.spaces.observation_dtype)
        return environments

    def play(self, environments: Environments, seed: tf.Tensor) -> Rollout:
        """Plays an episode in each environment, to the end of the longest one, in the graph.

        Args:
            environments: The environments, which have just been reset.
            seed: A pair of integers.

        Returns:
            The steps of all environments. `valid` is True for those of the first episode of each,
            and all other rewards, returns and lengths are 0.
        """
        play_steps = super().play
        longest = environments.max_episode_steps or LONGEST_EPISODE

        def play_on(number: tf.Tensor, over: tf.Tensor, last: tf.Tensor, *parts: Any) -> Any:
            seed_of_part = tf.random.experimental.stateless_fold_in(seed, number)
            # TensorFlow cannot know that a part depends, through Python, on the part before and on
            # the reset.
            with tf.control_dependencies([last]):
                part = play_steps(environments, seed_of_part)
            fields = part._replace(observations=part.observations[:-1])
            written = [
                array.write(number, field) for array, field in zip(parts, fields, strict=True)
            ]
            over |= tf.reduce_any(part.terminated | part.truncated, axis=0)
            return (number + 1, over, part.observations[-1], *written)

        spaces, num_envs = environments.spaces, environments.num_envs
        observation = (spaces.observation_shape, spaces.observation_dtype)
        action = (spaces.action_shape, spaces.action_dtype)
        number, flag = ((), "float32"), ((), "bool")
        parts = [
            tf.TensorArray(
                dtype, 0, dynamic_size=True, element_shape=(self.rollout_length, num_envs, *shape)
            )
            for shape, dtype in (observation, action, number, flag, flag, flag, number, number)
        ]
        start = tf.numpy_function(lambda: environments.observations, [], spaces.observation_dtype)
        start.set_shape((num_envs, *spaces.observation_shape))
        _, _, last, *parts = tf.while_loop(
            lambda number, over, *_: (
                ~tf.reduce_all(over) & (number * self.rollout_length < longest)
            ),
            play_on,
            (0, tf.zeros((num_envs,), tf.bool), start, *parts),
            parallel_iterations=1,
        )
        observations, *others = (part.concat() for part in parts)
        rollout = Rollout(tf.concat([observations, last[None]], axis=0), *others)
        ends = tf.cast(rollout.terminated | rollout.truncated, tf.int32)
        first = tf.cumsum(ends, axis=0, exclusive=True) == 0
        numbers = {
            name: tf.where(first, getattr(rollout, name), 0.0)
            for name in ("rewards", "returns", "lengths")
        }
        return rollout._replace(valid=first, **numbers)

    def advantages(
        self, rollout: Rollout, baseline: Baseline
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Advantages of actions over the baseline, the returns to go, and a mask of the steps.

        Args:
            rollout: Whole episodes, from `play`.
            baseline: What is subtracted from the returns.

        Returns:
            Three tensors `(time, envs)`, all 0 after the end of an episode; until then the mask is
            1.
        """
        rewards = self.config.reward_scale * rollout.rewards
        returns = returns_to_go(rewards, self.config.discount)
        taken = tf.cast(rollout.valid, returns.dtype)
        if baseline == "none":
            return returns, returns, taken
        if baseline == "average":
            expected = average_of_others(returns, taken)
        else:
            observations = rollout.observations[:-1]
            values = self(flat(observations))["value"]
            expected = tf.reshape(values, tf.shape(observations)[:2])
        return taken * (returns - expected), returns, taken

    def examples(self, rollout: Rollout) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
        """Converts whole episodes, so that the loss is a sum over steps, averaged over episodes.

        Returns:
            See `examples_of`.
        """
        advantage, returns, taken = self.advantages(rollout, self.config.baseline)
        # The loss is averaged over `time * envs` steps, and `time` is that of the longest episode.
        time = tf.cast(tf.shape(taken)[0], taken.dtype)
        return self.examples_of(rollout, advantage, returns, time * taken)

    def gradient(self, rollout: Rollout, baseline: Baseline) -> tf.Tensor:
        """The gradient of an update with a baseline, without critic and entropy, `(weights,)`.

        Args:
            rollout: Whole episodes, from `play`.
            baseline: What is subtracted from the returns.
        """
        advantage, _, taken = self.advantages(rollout, baseline)
        with tf.GradientTape() as tape:
            policy = distribution(self(flat(rollout.observations[:-1]), training=True))
            log_probabilities = policy.log_prob(flat(rollout.actions))
            loss = -tf.reduce_sum(log_probabilities * flat(taken * advantage)) / advantage.shape[1]
        weights = [variable.value for variable in self.trainable_variables]
        gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)


class GradientVariance(keras.callbacks.Callback):
    """Measures after every epoch how much the gradient of an update varies, with each baseline.

    Some batches of episodes are played with the present policy, and the gradient of each batch is
    computed with every baseline. `gradient_variance_<baseline>` is the variance of these gradients
    across the batches, summed over all weights.

    Args:
        network: The network that learns.
        config: The settings of the training; a batch has as many episodes as an update.
    """

    def __init__(self, network: keras.Model, config: Config) -> None:
        super().__init__()
        self.network, self.batches = network, config.variance_batches
        # A copy on one device, so that on several replicas the measurement is made only once.
        self.player = Reinforce(keras.models.clone_model(network), config)
        self.environments = control.make_environments(config, self.batches * config.num_envs)
        self._begin_anew = state_restorer(self.environments)
        self._measure = tf.function(self._variances, autograph=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        self.player.set_weights(self.network.get_weights())
        with naming_errors([self.environments]):
            self._begin_anew()
            self.environments.reset(VARIANCE_SEED)
            variances = self._measure(tf.constant([VARIANCE_SEED, epoch], tf.int32))
        for baseline, variance in zip(BASELINES, variances.numpy(), strict=True):
            logs[f"gradient_variance_{baseline}"] = float(variance)

    def _variances(self, seed: tf.Tensor) -> tf.Tensor:
        """The variance with each baseline, `(baselines,)`, in the graph."""
        rollout = self.player.play(self.environments, seed)
        batches = Rollout(*(tf.stack(tf.split(field, self.batches, axis=1)) for field in rollout))

        def gradients(batch: Rollout) -> tf.Tensor:
            return tf.stack([self.player.gradient(batch, baseline) for baseline in BASELINES])

        by_batch = tf.map_fn(gradients, batches, fn_output_signature=keras.config.floatx())
        biased = tf.reduce_sum(tf.math.reduce_variance(by_batch, axis=0), axis=-1)
        return biased * self.batches / (self.batches - 1)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Wraps the model as a `Reinforce` that Adam trains.

    Raises:
        InputError: The baseline is the average of other episodes of a replica, and there are none.
    """
    least = 2 * tf.distribute.get_strategy().num_replicas_in_sync
    if config.baseline == "average" and config.num_envs < least:
        raise InputError(
            f"`num_envs` must be at least {least} for an average baseline", config.num_envs
        )
    trained = Reinforce(model, config)
    trained.compile(control.decaying_adam(config, steps))
    return trained


def callbacks(fitted: Fitted) -> list[keras.callbacks.Callback]:
    """Evaluates the greedy policy after every epoch, and measures the variance of the gradient."""
    config = fitted.config
    [network] = fitted.networks.values()
    variance = [GradientVariance(network, config)] if config.variance_batches else []
    return [*control.callbacks(fitted), *variance]


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Plots an episode, and the variance of the gradient by epoch, as the log of the run has it."""
    figures = control.draw(fitted)
    log = fitted.folder / "log.csv"
    if fitted.config.variance_batches and log.exists():
        rows = np.atleast_1d(np.genfromtxt(log, delimiter=",", names=True))
        figures["gradient_variance"] = variance_figure(
            {name: rows[f"gradient_variance_{name}"] for name in BASELINES}
        )
    return figures


def variance_figure(variances: Mapping[str, np.ndarray]) -> Figure:
    """Plots the variance of the gradient by epoch, a line for each baseline."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, values in variances.items():
        axes.plot(np.arange(1, len(values) + 1), values, marker="o", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel="variance of the gradient", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, title="baseline")
    return figure


app = App(
    name="reinforce",
    topic="control",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=control.build_actor_critic,
    compile=compile_model,
    callbacks=callbacks,
    endpoints=control.endpoints,
    example=unit_observations,
    evaluate=control.evaluate,
    figures=draw,
    commands=COMMANDS,
    recipes={
        "no_baseline": {"baseline": "none"},
        "average": {"baseline": "average"},
        "acrobot": {
            "environment": "Acrobot-v1",
            "scale_observations": False,
            "reward_scale": 0.03,
        },
    },
    objective="val_return",
    objective_mode="max",
    keep_best=True,
    data_layouts=DATA_LAYOUTS,
    tiny={
        "epochs": 1,
        "num_envs": 4,
        "steps_per_epoch": 4,
        "units": (8,),
        "max_episode_steps": 30,
        "variance_batches": 2,
    },
)

if __name__ == "__main__":
    main(app)
