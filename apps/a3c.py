"""Asynchronous advantage actor-critic: workers learn side by side, without waiting.

Every worker is a thread with its own copies of the environment and of the network. It fetches the
shared weights, plays a rollout, and pushes the gradient into the shared network; meanwhile others
do the same. So a gradient may be of weights that others have since changed. The number of their
updates is its staleness, which is recorded.
"""

import dataclasses
import functools
import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from pydantic import Field

from suite import App, InputError, Run, settings
from suite.app import Fitted, Metrics
from suite.cli import main
from suite.data import Data
from suite.knobs import Fraction, LearningRate, Steps
from suite.rl.environments import Environments
from suite.rl.episodes import DATA_LAYOUTS
from suite.rl.evaluation import COMMANDS, unit_observations
from suite.tasks import control


@settings
class Config(control.ActorCriticConfig):
    """The settings of the training.

    Args:
        num_envs: Number of copies of the environment, over all workers.
        num_workers: Number of workers, which share the copies equally.
        rollout_length: Steps that a worker plays in each of its copies for an update.
        steps_per_epoch: Rounds in an epoch. Within a round no worker waits for another; between two
            rounds they stand still, so that the state can be saved.
        round_length: Updates by each worker in a round, on average.
        in_turn: Whether workers play one after the other in a fixed order, rather than as soon as
            they are ready. That is reproducible, with the staleness of this order, but no faster
            than one worker.
    """

    num_envs: Annotated[int, Field(ge=1, le=65_536)] = 64
    num_workers: Annotated[int, Field(ge=1, le=256)] = 4
    steps_per_epoch: Steps = 1
    round_length: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    learning_rate: LearningRate = 1e-3
    rollout_length: Annotated[int, Field(ge=1, le=65_536)] = 32
    gae_lambda: Fraction = 0.99
    in_turn: bool = False


def load_data(config: Config, run: Run) -> Data:
    """The seeds of a round, for the first states of its episodes and the actions of each worker.

    Raises:
        InputError: The copies of the environment cannot be shared equally by the workers; or the
            training is to be deterministic, and its workers free.
    """
    if config.num_envs % config.num_workers:
        raise InputError(
            f"`num_envs` must be a multiple of `num_workers`, {config.num_workers}", config.num_envs
        )
    if run.deterministic and config.num_workers > 1 and not config.in_turn:
        raise InputError(
            "`in_turn` must be set for `deterministic`, or `num_workers` be 1: threads that do not "
            "wait for each other end differently in every run",
            config.in_turn,
        )
    return control.load_data(config, run, config.rollout_length * config.round_length)


@dataclasses.dataclass
class SharedCounts:
    """What workers share beside the weights; read and changed only while the lock is held.

    Args:
        left: Number of updates of the round that no worker has started yet.
        updates: Number of updates so far, in this process.
        staleness: Number of updates by their staleness: the updates that others made since the
            weights were fetched.
        lock: Also held while weights are fetched or updated.
    """

    left: int = 0
    updates: int = 0
    staleness: Counter[int] = dataclasses.field(default_factory=Counter)
    lock: Any = dataclasses.field(default_factory=threading.Lock)


class Worker:
    """Plays with its own copy of the network, and computes the gradients of its rollouts.

    All its operations are graphs, which are traced here, so that threads only have to run them.

    Args:
        shared: The player whose network all workers learn for.
        copy: A player with the worker's copy of it.
        environments: The worker's copies of the environment.
    """

    def __init__(
        self, shared: control.ActorCritic, copy: control.ActorCritic, environments: Environments
    ) -> None:
        self.copy, self.environments = copy, environments
        self.version = 0  # number of updates before the weights were fetched

        def fetch() -> None:
            for local, fetched in zip(
                copy.trainable_variables, shared.trainable_variables, strict=True
            ):
                local.assign(fetched.value)

        def play(seed: tf.Tensor) -> tuple[Any, ...]:
            rollout = copy.play(environments, seed)
            observations, targets, weights = copy.examples(rollout)
            with tf.GradientTape() as tape:
                outputs = copy(observations, training=True)
                loss = copy.compute_loss(observations, targets, outputs, weights)
            gradients = tape.gradient(loss, copy.trainable_variables)
            return gradients, loss, rollout.returns, rollout.lengths

        # Fetches the shared weights.
        self.fetch = tf.function(fetch, autograph=False).get_concrete_function()
        # Plays a rollout: gradients, loss, and the returns and lengths of episodes that ended.
        self.play = tf.function(play, autograph=False).get_concrete_function(
            tf.TensorSpec((2,), tf.int32)
        )


class AsynchronousActorCritic(control.ActorCritic):
    """Trains actor and critic by workers, which update the shared weights as they are ready.

    A step of `fit` is a round of `num_workers * round_length` updates, which workers make as they
    become free. Every worker is a thread; TensorFlow's operations run at the same time, and
    Python's, such as most environments, in turns. Fetching and pushing weights is locked, so that
    no worker sees half an update.

    Args:
        model: A model from `suite.tasks.control.build_actor_critic`.
        config: The settings of the training.

    Attributes:
        counts: What the workers share beside the weights.

    Reference:
        Mnih et al., 2016, Asynchronous Methods for Deep Reinforcement Learning,
        https://arxiv.org/abs/1602.01783
        Differs from the paper: a worker plays several copies of the environment; updates are
        locked, and by Adam rather than RMSProp; advantages are generalised estimates.
    """

    def __init__(self, model: keras.Model, config: Config) -> None:
        super().__init__(model, config)
        self.counts = SharedCounts()
        self.mean_loss = keras.metrics.Mean("loss")
        self.staleness = keras.metrics.Mean("staleness")
        self._clone = functools.partial(keras.models.clone_model, model)
        self._workers: tuple[Worker, ...] = ()

    def make_train_function(self, force: bool = False) -> None:
        self.train_function = self.naming_environments(self._play_rounds)

    def state(self) -> dict[str, Any]:
        return super().state() | {"staleness": sorted(self.counts.staleness.items())}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.counts.staleness = Counter(dict(state["staleness"]))

    def remember(self, trained: Any) -> None:
        super().remember(trained)
        self.counts.staleness = trained.counts.staleness

    def _play_rounds(self, iterator: Any) -> dict[str, Any]:
        for _ in range(self.steps_per_execution):
            (seeds,) = next(iterator)
            parts = self.distribute_strategy.experimental_local_results(seeds)
            self._play_round(np.concatenate([part.numpy() for part in parts]))
        return self.get_metrics_result()

    def _play_round(self, seeds: np.ndarray) -> None:
        """One round of all workers.

        Args:
            seeds: `(num_envs,)`; a worker takes the seed of the first of its copies.
        """
        if not self._workers:
            self._create_workers()
        seeds = seeds.reshape(len(self._workers), -1)[:, 0]
        for worker, seed in zip(self._workers, seeds, strict=True):
            worker.environments.begin(seed)
        self.counts.left = len(self._workers) * self.config.round_length
        turns = [self._turns(*pair) for pair in zip(self._workers, seeds, strict=True)]
        if self.config.in_turn:
            for _ in zip(*turns, strict=True):
                pass
            return
        with ThreadPoolExecutor(len(turns)) as threads:
            for _ in threads.map(list, turns):
                pass

    def _turns(self, worker: Worker, seed: int) -> Iterator[None]:
        """Makes a worker's updates of a round; yields between fetching weights and updating them.

        Ends when no updates of the round are left.
        """
        counts = self.counts
        for turn in itertools.count():
            with counts.lock:
                worker.fetch()
                worker.version = counts.updates
            yield
            with counts.lock:
                if not counts.left:
                    return
                counts.left -= 1
            results = worker.play(tf.constant([int(seed), turn], tf.int32))
            with counts.lock:
                staleness = counts.updates - worker.version
                self._push(*results, tf.constant(staleness, tf.float32))
                counts.updates += 1
                counts.staleness[staleness] += 1

    def _create_workers(self) -> None:
        """Creates the workers, and traces their graphs."""
        number = self.config.num_workers
        while len(self.played) < number:
            self.played.append(self.make(self.num_envs // number))
        self._workers = tuple(
            Worker(self, control.ActorCritic(self._clone(), self.config), environments)
            for environments in self.played
        )

        def push(*results: Any) -> None:
            self.distribute_strategy.run(self._update, args=results)

        specs = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype),
            self._workers[0].play.structured_outputs,
        )
        push_function = tf.function(push, autograph=False)
        self._push = push_function.get_concrete_function(*specs, tf.TensorSpec((), tf.float32))

    def _update(
        self,
        gradients: Sequence[tf.Tensor],
        loss: tf.Tensor,
        returns: tf.Tensor,
        lengths: tf.Tensor,
        staleness: tf.Tensor,
    ) -> None:
        """Applies a worker's gradients, and updates the metrics, on each replica."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        # The optimizer sums the gradients of the replicas, which are the same.
        shares = [gradient / replicas for gradient in gradients]
        self.optimizer.apply(shares, self.trainable_variables)
        ended = tf.cast(lengths > 0, tf.float32)
        self.episode_return.update_state(returns, ended)
        self.episode_length.update_state(lengths, ended)
        self.mean_loss.update_state(loss)
        self.staleness.update_state(staleness)


def compile_model(model: keras.Model, config: Config, steps: int) -> keras.Model:
    """Wraps the model as an `AsynchronousActorCritic` that Adam trains.

    Raises:
        InputError: Workers would be on several hosts, or gradients have to be scaled.
    """
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise InputError(
            "`strategy` must be one_device or mirrored: the workers are threads of one process",
            "multi_worker",
        )
    if keras.config.dtype_policy().name == "mixed_float16":
        raise InputError("`precision` must be float32 or mixed_bfloat16", "mixed_float16")
    trained = AsynchronousActorCritic(model, config)
    updates = steps * config.num_workers * config.round_length
    trained.compile(control.decaying_adam(config, updates, config.clip_norm))
    return trained


def staleness_counts(fitted: Fitted) -> Counter[int]:
    """The number of updates by their staleness; empty for a model that workers did not train."""
    model = fitted.model
    return model.counts.staleness if isinstance(model, AsynchronousActorCritic) else Counter()


def evaluate(fitted: Fitted) -> Metrics:
    """Evaluates the greedy policy, and reports the cost of the training and its staleness."""
    counts = staleness_counts(fitted)
    if not counts:
        return control.evaluate(fitted)
    total = sum(staleness * number for staleness, number in counts.items())
    return {
        **control.evaluate(fitted),
        "staleness_mean": total / counts.total(),
        "staleness_max": max(counts),
    }


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Plots an episode, and the number of updates by their staleness."""
    figures = control.draw(fitted)
    if counts := staleness_counts(fitted):
        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.bar(list(counts), list(counts.values()))
        axes.set(xlabel="updates by others since the weights were fetched", ylabel="updates")
        figures["staleness"] = figure
    return figures


app = App(
    name="a3c",
    topic="control",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=control.build_actor_critic,
    compile=compile_model,
    callbacks=control.callbacks,
    endpoints=control.endpoints,
    example=unit_observations,
    evaluate=evaluate,
    figures=draw,
    commands=COMMANDS,
    objective="val_return",
    objective_mode="max",
    keep_best=True,
    data_layouts=DATA_LAYOUTS,
    tiny={
        "epochs": 1,
        "num_envs": 4,
        "num_workers": 2,
        "round_length": 5,
        "units": (8,),
        "in_turn": True,
    },
)

if __name__ == "__main__":
    main(app)
