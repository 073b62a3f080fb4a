"""Off-policy learning: from a replay of transitions that earlier policies have played.

`apps/dqn.py` is such an application, and `tests/strangers/replay.py` a minimal example.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from suite.app import Objective
from suite.errors import InputError
from suite.placement.replicas import seed_of_replica
from suite.rl.environments import Environments
from suite.rl.players import Player, log
from suite.rl.replay import UNIFORM, Replay, Sampling
from suite.rl.rollouts import collect, in_floatx, transitions

Batches = Mapping[str, tf.Tensor]  # fields `(batch, updates, ...)` by name


class Target:
    """A target network: a copy that changes more slowly than the network, for stable targets.

    Its weights are not among the variables of the model that plays.

    Args:
        model: The network.
        rate: Weight of the network in each update of the copy: 1 copies it, as in DQN; a small rate
            gives an exponential moving average, as in DDPG.
        period: Number of updates of the network between two of the copy.

    Reference:
        Mnih et al., 2015, Human-level control through deep reinforcement learning,
        https://doi.org/10.1038/nature14236
        Lillicrap et al., 2015, Continuous control with deep reinforcement learning,
        https://arxiv.org/abs/1509.02971
    """

    def __init__(self, model: keras.Model, rate: float = 1.0, period: int = 1) -> None:
        self.model, self.rate, self.period = model, rate, period
        self.network = keras.models.clone_model(model)
        self.network.set_weights(model.get_weights())

    def follow(self, updates: tf.Tensor) -> None:
        """Updates the copy if `updates` is a multiple of `period`, in the graph of a replica.

        Args:
            updates: Number of updates of the network so far.
        """
        due = updates % self.period == 0
        pairs = [
            (copy.value, variable.value)
            for copy, variable in zip(self.network.variables, self.model.variables, strict=True)
        ]
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:

            def follow() -> tf.Operation:
                for copy, variable in pairs:
                    _interpolate(copy, variable, self.rate)
                return tf.no_op()

            tf.cond(due, follow, tf.no_op)
            return
        rate = tf.where(due, self.rate, 0.0)  # replicas cannot communicate inside a condition

        def update(strategy: tf.distribute.Strategy, rate: tf.Tensor) -> None:
            for copy, variable in pairs:
                strategy.extended.update(copy, _interpolate, args=(variable, rate), group=False)

        context.merge_call(update, args=(rate,))


class OffPolicyPlayer(Player):
    """Plays in each step of `fit`, stores the transitions, and learns from stored transitions.

    A subclass defines the policy in `act`, the inputs and targets of transitions in `examples`, and
    the loss in `compute_loss`; or `learn`, if an update is not one step of the optimizer. Every
    replica has its own replay.

    Args:
        model: A functional model from `observation` `(batch, *observation_shape)` to a dict.
        make: `make(num_envs)` creates that number of environments.
        num_envs: Number of environments, over all replicas.
        rollout_length: Steps of each environment in a step of `fit`.
        capacity: Steps that the replay stores, over all replicas.
        batch_size: Transitions of an update, over all replicas.
        warm_up: Steps that are played before the first update, over all replicas.
        updates: Updates in each step of `fit`, which sample the replay together.
        target_rate: Weight of the network in each update of the target network; 1 copies it.
        target_period: Number of updates of the network between two of the target network.
        sampling: Which transitions are sampled, and how many rewards each of them adds up.
        xla: Whether XLA compiles the updates of a step. It takes seconds at first, and pays for
            small networks without convolutions, most of whose time is spent between operations.
            Ignored with several replicas.
        seed: Decides the actions, and the samples of the replay.

    Raises:
        InputError: `warm_up` is less than 1 or more than `capacity`, or the capacity is less than
            the steps of a rollout.
    """

    def __init__(
        self,
        model: keras.Model,
        make: Callable[[int], Environments],
        *,
        num_envs: int,
        rollout_length: int,
        capacity: int,
        batch_size: int,
        warm_up: int = 1,
        updates: int = 1,
        target_rate: float = 1.0,
        target_period: int = 1,
        sampling: Sampling = UNIFORM,
        xla: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(model, make, num_envs=num_envs, rollout_length=rollout_length, seed=seed)
        if capacity < num_envs * rollout_length:
            raise InputError(
                f"`replay_size` must be at least {num_envs * rollout_length:,}, a rollout of all "
                "environments",
                capacity,
            )
        if not 0 < warm_up <= capacity:
            raise InputError(
                f"`warm_up` must be at least 1 and at most `replay_size`, {capacity}", warm_up
            )
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if batch_size % replicas:
            raise InputError(
                f"`batch_size` must be a multiple of the number of replicas, {replicas}", batch_size
            )
        self.capacity, self.batch_size = capacity, batch_size
        self.warm_up, self.updates, self.sampling = warm_up, updates, sampling
        self.xla = xla
        self.target = Target(model, target_rate, target_period)
        self.replays: dict[int, Replay] = {}  # of this process, by the number of the replica

    def examples(self, batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, Any, tf.Tensor | None]:
        """Converts transitions into inputs, targets and sample weights, or None, of the loss.

        Args:
            batch: Fields by name, as `suite.rl.replay.Replay.sample` returns them. If the sampling
                is prioritised, its `weights` must be returned as sample weights.
        """
        raise NotImplementedError

    def priorities(self, targets: Any, outputs: Any) -> tf.Tensor:
        """The priorities of transitions, `(batch,)`: absolute errors, or losses.

        Called only if the sampling is prioritised, in the same graph as `compute_loss`, with
        values from before the update.

        Args:
            targets: The targets from `examples`.
            outputs: The outputs of the network.
        """
        raise NotImplementedError

    def learn(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Learns from transitions, and returns the metrics.

        If the sampling is prioritised, `priorities` are among them, `(batch,)`.

        Args:
            batch: Fields by name, as `suite.rl.replay.Replay.sample` returns them.
        """
        return self.update(self.examples(batch))

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The loss of the transitions of one rollout, without a replay; the target stays."""
        (seeds,) = batch
        rollout = in_floatx(self.collect(self.environments(seeds)))
        examples = self.examples(transitions(rollout, self.sampling.discount))
        return {"loss": Objective.of(self, examples)}

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        (seeds,) = data
        environments = self.environments(seeds)
        replay = self._replay_of(environments)
        # TensorFlow does not know that these operations depend on each other through Python.
        with tf.control_dependencies([self._warm_up(environments, replay)]):
            rollout = self.collect(environments)
        with tf.control_dependencies([replay.add(rollout)]):
            return self._learn_from(replay, self.batch_size // self._replicas(environments))

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "target": self.target.network.get_weights(),
            "replays": [self.replays[number].state() for number in sorted(self.replays)],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.target.network.set_weights([np.asarray(weights) for weights in state["target"]])
        try:
            for environments, replay_state in zip(self.played, state["replays"], strict=True):
                self._replay_of(environments).restore(replay_state)
        except (ValueError, KeyError) as error:
            self.replays.clear()
            log.warning("The replay begins empty: its saved state cannot be used (%s).", error)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        if self.sampling.prioritized:
            logs = logs | {"priorities": self.priorities(y, y_pred)}
        return logs

    def _replay_of(self, environments: Environments) -> Replay:
        number = self.played.index(environments)
        replay = self.replays.get(number)
        if replay is None or replay.num_envs != environments.num_envs:
            if replay is not None:  # of fewer or more replicas, before a resume
                log.warning("The replay begins empty: the number of replicas has changed.")
                self.replays = {n: kept for n, kept in self.replays.items() if n < number}
            capacity = self.capacity // self._replicas(environments)
            replay = self.replays[number] = Replay(
                capacity, environments.num_envs, environments.spaces, self.sampling
            )
        return replay

    def _replicas(self, environments: Environments) -> int:
        return self.num_envs // environments.num_envs

    def _learn_from(self, replay: Replay, batch_size: int) -> dict[str, tf.Tensor]:
        """Makes the updates of a step of `fit`, and returns the metrics of the last one.

        All transitions of a step are sampled at once, before its first update, as a call from the
        graph into Python takes longer than a small update. So priorities change once in a step.
        """
        exponent = self.sampling.importance_exponent
        beta = exponent(self.optimizer.iterations) if callable(exponent) else exponent
        seed = seed_of_replica(self.seed_generator)
        sample = replay.sample(self.updates * batch_size, seed, beta)
        rows = sample.pop("rows")
        # A prioritised sample is in the order of the replay: every batch takes rows of all parts.
        batches = {
            name: tf.reshape(field, [batch_size, self.updates, *field.shape[1:]])
            for name, field in sample.items()
        }

        def learn(number: tf.Tensor | int, batches: Batches) -> dict[str, tf.Tensor]:
            logs = self.learn({name: field[:, number] for name, field in batches.items()})
            self.target.follow(self.optimizer.iterations)
            return logs

        def learn_in_turn(batches: Batches) -> dict[str, tf.Tensor]:
            first = learn(0, batches)
            if self.updates == 1:  # XLA refuses an empty loop
                return {name: value[None] for name, value in first.items()}
            others = tf.map_fn(
                lambda number: learn(number, batches),
                tf.range(1, self.updates),
                parallel_iterations=1,
                fn_output_signature=tf.nest.map_structure(tf.TensorSpec.from_tensor, first),
            )
            return {
                name: tf.concat([value[None], others[name]], axis=0)
                for name, value in first.items()
            }

        if tf.distribute.get_replica_context().num_replicas_in_sync > 1:
            # Replicas cannot communicate inside a loop of the graph.
            logs = [learn(number, batches) for number in range(self.updates)]
            stacked = tf.nest.map_structure(lambda *values: tf.stack(values), *logs)
        elif self.xla:
            stacked = tf.function(learn_in_turn, jit_compile=True, autograph=False)(batches)
        else:
            stacked = learn_in_turn(batches)
        if self.sampling.prioritized:
            priorities = tf.transpose(stacked.pop("priorities"))  # (batch, updates), as the rows
            replay.prioritize(rows, tf.reshape(priorities, [-1]))
        return {name: values[-1] for name, values in stacked.items()}

    def _warm_up(self, environments: Environments, replay: Replay) -> tf.Tensor:
        """Plays until the replay has `warm_up` steps to sample from, and returns their number.

        This takes time in the first step of a training only.
        """
        enough = min(max(self.warm_up // self._replicas(environments), 1), replay.capacity)
        act = functools.partial(self.act, explore=True)
        seed = seed_of_replica(self.seed_generator)

        def play(number: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            seed_of_rollout = tf.random.experimental.stateless_fold_in(seed, number)
            rollout = collect(act, environments, self.rollout_length, seed_of_rollout)
            return number + 1, replay.add(rollout)

        _, size = tf.while_loop(
            lambda number, size: size < enough, play, (0, replay.size()), parallel_iterations=1
        )
        return size


def _interpolate(copy: tf.Variable, variable: tf.Tensor, rate: tf.Tensor | float) -> None:
    if copy.dtype.is_floating:
        rate = tf.cast(rate, copy.dtype)
        copy.assign(rate * variable + (1 - rate) * copy)
