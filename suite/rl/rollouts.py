"""Reinforcement learning inside `fit`: rollouts, and what is learnt from them.

A step of the training is one call into the graph: it plays a rollout, the environments being asked
through `tf.numpy_function`, and learns from it. What an algorithm makes of a rollout is its own.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from suite.data.pictures import writable_picture, write_picture
from suite.errors import InputError
from suite.export.saved_model import Export, call
from suite.knobs import Seed
from suite.placement.strategy import gathered, seed_of_replica, worker_number
from suite.rl.environments import Environments, film, returns_of
from suite.rl.snapshot import Opaque

log = logging.getLogger(__name__)


Outputs = Mapping[str, tf.Tensor]
MILLISECONDS_PER_FRAME = 40


class Rollout(NamedTuple):
    """What was seen in some steps of some environments.

    Args:
        observations: `(time + 1, envs, observation_dim)`: the last one is where it ends.
        actions: `(time, envs)`, or `(time, envs, num_actions)` where they are continuous.
        rewards: `(time, envs)`.
        terminated: Whether the step ended the episode, `(time, envs)`.
        truncated: Whether the episode was cut off after it, `(time, envs)`.
        valid: Whether it was a step at all: the one after an end only resets, `(time, envs)`.
        returns: Undiscounted sum of the rewards of an episode, where it ends, `(time, envs)`.
        lengths: Its steps, likewise.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    rewards: tf.Tensor
    terminated: tf.Tensor
    truncated: tf.Tensor
    valid: tf.Tensor
    returns: tf.Tensor
    lengths: tf.Tensor


def distribution(outputs: Outputs) -> tfd.Distribution:
    """The policy, as what a model says of it.

    Args:
        outputs: `policy`, logits `(batch, num_actions)`; or, beside a `log_scale`, the means of
            normal distributions.
    """
    if "log_scale" in outputs:
        return tfd.MultivariateNormalDiag(outputs["policy"], tf.exp(outputs["log_scale"]))
    return tfd.Categorical(logits=outputs["policy"])


def play(
    policy: Callable[[tf.Tensor], Outputs],
    environments: Environments,
    length: int,
    seed: tf.Tensor,
) -> Rollout:
    """Plays on, in the graph, from where the environments are.

    Args:
        policy: Of observations `(envs, observation_dim)`.
        environments: Are asked at each step.
        length: Steps of each.
        seed: A pair of integers.
    """
    num_envs, spaces_ = environments.num_envs, environments.spaces
    shapes = [(num_envs, spaces_.observation_dim)] + 6 * [(num_envs,)]
    types = [tf.float32, tf.float32, tf.bool, tf.bool, tf.bool, tf.float32, tf.float32]

    def step(before: tuple[Any, ...], number: tf.Tensor) -> tuple[Any, ...]:
        observations = before[0]
        own = tf.random.experimental.stateless_fold_in(seed, number)
        actions = distribution(policy(observations)).sample(seed=own)
        after = tf.numpy_function(environments.step, [actions], types)
        for tensor, shape in zip(after, shapes, strict=True):
            tensor.set_shape(shape)
        return (after[0], actions, *after[1:])

    start = tf.numpy_function(lambda: environments.observations, [], tf.float32)
    start.set_shape(shapes[0])
    none = tf.zeros((num_envs,))
    discrete = spaces_.action_bounds is None
    action = (
        tf.zeros((num_envs,), tf.int32) if discrete else tf.zeros((num_envs, spaces_.num_actions))
    )
    no = tf.zeros((num_envs,), tf.bool)
    seen, *rest = tf.scan(
        step, tf.range(length), (start, action, none, no, no, no, none, none), parallel_iterations=1
    )
    return Rollout(tf.concat([start[None], seen], axis=0), *rest)


def advantages(
    rollout: Rollout, values: tf.Tensor, discount: float, gae_lambda: float
) -> tf.Tensor:
    """How much better each step went than was expected, `(time, envs)`.

    What follows the last step of a rollout, or one after which an episode was cut off, is worth
    what the critic says; after an end nothing follows.

    Args:
        rollout: What happened.
        values: What the critic says of its observations, `(time + 1, envs)`.
        discount: Weight of the next step's return.
        gae_lambda: 1 sums the rewards up to the end of the rollout, 0 looks one step ahead.

    Reference:
        Schulman et al., 2015, High-Dimensional Continuous Control Using Generalized Advantage
        Estimation, https://arxiv.org/abs/1506.02438
    """
    goes_on = tf.cast(~rollout.terminated, tf.float32)
    same_episode = tf.cast(~(rollout.terminated | rollout.truncated), tf.float32)
    surprises = rollout.rewards + discount * goes_on * values[1:] - values[:-1]

    def earlier(later: tf.Tensor, step: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        surprise, same = step
        return surprise + discount * gae_lambda * same * later

    return tf.scan(earlier, (surprises, same_episode), tf.zeros_like(values[0]), reverse=True)


class Player(keras.Model):
    """Plays environments and learns from it: a rollout in each step of `fit`.

    A subclass says in `examples` what there is to learn from a rollout, and in `compute_loss` how.
    Batches come from `suite.rl.environments.load_episodes`; the first one decides how the episodes
    begin. The environments are part of the saved state of a training, where that can be seen;
    else episodes begin anew after a resume. `episode_return` and `episode_length` are means over
    the episodes that ended in an epoch, and 0 where none did.

    Args:
        model: `observation` `(batch, observation_dim)` to a dict with `policy`.
        make: Makes a number of environments.
        num_envs: How many, over all replicas.
        rollout_length: Steps in each between two updates.
        seed: Of the actions.
    """

    train_function: Any

    def __init__(
        self,
        model: keras.Model,
        make: Callable[[int], Environments],
        *,
        num_envs: int,
        rollout_length: int,
        seed: int | None = None,
    ) -> None:
        super().__init__(model.input, model.output, name=model.name)
        self.make, self.num_envs = make, num_envs
        self.rollout_length = rollout_length
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.played: list[Environments] = []
        self.python_state = _SavedEnvironments(self.played, make, num_envs)
        self.episode_return = keras.metrics.Mean("episode_return")
        self.episode_length = keras.metrics.Mean("episode_length")
        # Averages, and scales across replicas, as Keras does with a compiled loss.
        self.mean = _Mean(name="mean")
        self.supports_jit = False  # environments cannot be compiled

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        (seeds,) = data
        environments = self._own_environments()

        def begin(seed: int) -> None:
            if environments.observations is None:
                environments.reset(seed)

        tf.numpy_function(begin, [seeds[0]], [])
        rollout = play(
            self, environments, self.rollout_length, seed_of_replica(self.seed_generator)
        )
        ended = tf.cast(rollout.lengths > 0, tf.float32)
        self.episode_return.update_state(rollout.returns, ended)
        self.episode_length.update_state(rollout.lengths, ended)
        return super().train_step(self.examples(rollout))

    def examples(self, rollout: Rollout) -> tuple[tf.Tensor, Any, tf.Tensor]:
        """Observations `(n, observation_dim)`, what the loss needs of each, and their weights."""
        raise NotImplementedError

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        run = self.train_function

        def guarded(iterator: Any) -> Any:
            try:
                return run(iterator)
            except tf.errors.OpError:
                for environments in self.played:
                    if environments.error:
                        raise InputError(
                            f"the environment must not fail. Received from {environments.name}: "
                            f"{environments.error}"
                        ) from None
                raise

        self.train_function = guarded

    def _own_environments(self) -> Environments:
        """Those of this replica, which are made when its step is first traced."""
        context = tf.distribute.get_replica_context()
        number = 0
        if context.num_replicas_in_sync > 1:
            number = int(tf.get_static_value(context.replica_id_in_sync_group))
            number %= len(context.strategy.extended.worker_devices)  # of those in this process
        wanted = self.num_envs // context.num_replicas_in_sync
        while len(self.played) <= number:
            self.played.append(self.make(wanted))
        if self.played[number].num_envs != wanted:  # was played by more replicas, or fewer
            self.played[number] = self.make(wanted)
        return self.played[number]


class _SavedEnvironments(tf.train.experimental.PythonState):
    """Lets the environments of all workers travel in a checkpoint."""

    def __init__(
        self, played: list[Environments], make: Callable[[int], Environments], most: int
    ) -> None:
        self.played, self.make, self.most = played, make, most
        self.placement = tf.distribute.get_strategy()

    def serialize(self) -> str:
        try:
            own = json.dumps([[each.num_envs, each.state()] for each in self.played])
        except Opaque:
            own = ""
        return json.dumps(gathered(self.placement, own))

    def deserialize(self, string: str) -> None:
        of_workers = dict(enumerate(json.loads(string)))
        own = of_workers.get(worker_number(self.placement))
        if not own:
            return
        try:
            for number, (num_envs, state) in enumerate(json.loads(own)):
                if len(self.played) <= number or self.played[number].num_envs != num_envs:
                    self.played[number:] = [self.make(min(num_envs, self.most))]
                self.played[number].restore(state)
        except Exception as error:  # whatever an environment makes of it
            self.played.clear()
            log.warning("The environments begin anew: their state is of no use (%s).", error)


class _Mean(keras.losses.Loss):
    """The mean of losses that are known already."""

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return y_pred


class GreedyReturns(keras.callbacks.Callback):
    """Logs after every epoch what the policy gets without exploring, and how long that took.

    `val_return` is the mean over episodes of their own, `val_return_std` their deviation. The
    model's `account` says how many steps the training alone took, how fast they were, counted
    from the first step of an environment, and when `val_return` first reached `solved_at`.

    Args:
        environments: One for each episode.
        solved_at: The mean return at which the task counts as solved; None where none does.
        seed: Of the episodes.
    """

    def __init__(self, environments: Environments, solved_at: float | None, seed: int) -> None:
        super().__init__()
        self.environments, self.solved_at, self.seed = environments, solved_at, seed
        self.env_steps = self.env_steps_to_solve = 0
        self.seconds = self.seconds_to_solve = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._since = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.perf_counter()
        self.seconds += now - max([self._since, *(each.begun for each in self.model.played)])
        updates = batch + 1 - self._first
        self.env_steps += updates * self.model.num_envs * self.model.rollout_length
        self._since = now

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        returns = returns_of(greedy(self.model), self.environments, self.seed)
        logs["val_return"] = float(returns.mean())
        logs["val_return_std"] = float(returns.std())
        solved = self.solved_at is not None and logs["val_return"] >= self.solved_at
        if solved and not self.env_steps_to_solve:
            self.seconds_to_solve, self.env_steps_to_solve = self.seconds, self.env_steps

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        model.account = self.account

    def account(self) -> dict[str, float]:
        """What the training took."""
        found = {
            "env_steps": self.env_steps,
            "env_steps_per_second": self.env_steps / self.seconds,
        }
        if self.env_steps_to_solve:
            found["seconds_to_solve"] = self.seconds_to_solve
            found["env_steps_to_solve"] = self.env_steps_to_solve
        return found


def greedy(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The likeliest action of each observation, as a function of arrays."""

    @tf.function(reduce_retracing=True)
    def act(observations: tf.Tensor) -> tf.Tensor:
        return distribution(model(observations, training=False)).mode()

    return lambda observations: act(observations).numpy()


def commands(app_name: str) -> dict[str, Callable[..., None]]:
    """The command `play`.

    Args:
        app_name: Whose exports play.
    """

    def play(
        *,
        output: Path = Path("episode.gif"),
        seed: Seed = 0,
        export: Export = Export(),
    ) -> None:
        """Show an episode of the exported policy; needs `pip install '.[render]'`.

        Args:
            output: Image file that gets the animation.
            seed: Decides how the episode begins.
        """
        writable_picture(output)
        name = export.metadata(app_name)["config"]["environment"]
        serve = export.signature(app_name)
        frames, total = film(name, lambda observation: call(serve, observation)["action"], seed)
        write_picture(frames, output, duration=MILLISECONDS_PER_FRAME, loop=0)
        print(f"{output}: {len(frames) - 1} steps of {name}, return {total:g}")

    return {"play": play}
