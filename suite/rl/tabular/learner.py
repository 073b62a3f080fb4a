"""Learns a table of values from the steps of thousands of agents that share the table."""

import dataclasses
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from suite.app import Objective
from suite.rl.environments import Environments
from suite.rl.players import Player
from suite.rl.tabular.dynamics import Task
from suite.rl.tabular.updates import (
    Exploration,
    Exploring,
    Rate,
    move_towards,
    of_chosen,
    one_step_earlier,
    returns,
)
from suite.rl.tabular.worlds import Draws, Gameplay, Place, Simulation, draw

Method = Literal["sarsa", "expected_sarsa", "q_learning", "double_q_learning", "monte_carlo"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning:
    """The settings by which a table is learnt.

    Args:
        method: Decides the target that a value moves towards.
        timed: Whether values depend on the steps that are left.
        discount: Weight of the value of the next step.
        rate: How far a value moves towards a target.
        exploration: Decides when an action is not the best one.
        exploration_rates: Epsilon or temperature, in the first step of the training and in the
            last one.
    """

    method: Method
    timed: bool
    discount: float
    rate: Rate
    exploration: Exploration
    exploration_rates: tuple[float, float]


class Statistics(NamedTuple):
    """What a rollout accumulates beside the tables.

    Args:
        visits: Number of targets of each row of each table, as in `TabularLearner.visits`.
        distance: Mean distance of values from their targets; while playing, the sum over the steps.
        running: The returns so far of the episodes that go on, `(agents,)`.
        lasted: Their steps so far, `(agents,)`.
        returns: The sum of the returns of the episodes that are over.
        lengths: The sum of their steps.
        episodes: The number of episodes that are over.
    """

    visits: tuple[tf.Tensor, ...]
    distance: tf.Tensor
    running: tf.Tensor
    lasted: tf.Tensor
    returns: tf.Tensor
    lengths: tf.Tensor
    episodes: tf.Tensor


class TabularLearner(Player):
    """Plays and learns in each step of `fit`, as many steps as an episode may have.

    All agents begin new episodes at the beginning of a step of `fit`, so that no episode is part
    of the state that a training saves. In a step of an episode all agents move, and then the table
    learns from all moves at once. Where values depend on the steps left, one move updates the
    values for every number of steps left, since only the end of the episode differs; but Monte
    Carlo updates only the value for the number that was left.

    The optimizer is given the change by a rollout as if it were a gradient, and applies it as it
    is, by gradient descent with a learning rate of 1. With several replicas it applies the mean.

    Args:
        model: A model from `state`, and `steps_left` if values depend on it, to `value`, whose
            weights are one table, or two that are averaged, `(states * horizons, actions)`.
        task: The environment.
        learning: How the table is learnt.
        num_agents: Number of agents, over all replicas.
        steps: Number of steps of the whole training.

    Reference:
        Watkins and Dayan, 1992, Q-learning, https://doi.org/10.1007/BF00992698
        Rummery and Niranjan, 1994, On-Line Q-Learning Using Connectionist Systems
        van Seijen et al., 2009, A Theoretical and Empirical Analysis of Expected Sarsa,
        https://doi.org/10.1109/ADPRL.2009.4927542
        van Hasselt, 2010, Double Q-learning,
        https://papers.nips.cc/paper/3964-double-q-learning
        De Asis et al., 2020, Fixed-Horizon Temporal Difference Methods for Stable Reinforcement
        Learning, https://arxiv.org/abs/1909.03906
        Differs from the papers: many agents share the table, which learns from all their moves at
        once.
    """

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        learning: Learning,
        *,
        num_agents: int,
        steps: int,
    ) -> None:
        def make(number: int) -> Environments:
            return Environments(task.name, number, max_episode_steps=task.limit)

        super().__init__(model, make, num_envs=num_agents, rollout_length=task.limit)
        self.task, self.learning, self.steps = task, learning, steps
        self.td_error = keras.metrics.Mean("td_error")
        self.horizons = task.limit if learning.timed else 1
        rows = task.num_states * task.num_actions
        self.visits = [
            self.add_weight(
                (rows * (self.horizons if learning.method == "monte_carlo" else 1),),
                initializer="zeros",
                dtype=keras.config.floatx(),
                trainable=False,
                aggregation="mean",
                name=f"visits_{number}",
            )
            for number, _ in enumerate(self.trainable_variables)
        ]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        (seeds,) = data
        seed = self._seed(seeds)
        tables = self._tables()
        world = self._world(seeds)
        rollout = self._whole_episodes if self._is_monte_carlo else self._step_by_step
        learnt, statistics = rollout(world, tables, seed)
        replicas = self.num_envs // world.num_agents
        changes = [
            (self._as_weights(before - after) / replicas, variable)
            for before, after, variable in zip(
                tables, learnt, self.trainable_variables, strict=True
            )
        ]
        self.optimizer.apply_gradients(changes)
        for visits, new in zip(self.visits, statistics.visits, strict=True):
            visits.assign(new)
        self.td_error.update_state(statistics.distance)
        for metric, total in (
            (self.episode_return, statistics.returns),
            (self.episode_length, statistics.lengths),
        ):
            metric.update_state(total / tf.maximum(statistics.episodes, 1.0), statistics.episodes)
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self.td_error, self.episode_return, self.episode_length]

    def objectives(self, batch: Any) -> dict[str, Objective]:
        """The squared distance of values from their targets, in one move of every agent.

        The targets are constant: an update of Q-learning is a step against the gradient.
        """
        (seeds,) = batch
        world = self._world(seeds)
        draws = draw(world.num_agents, self.task.num_actions, self._seed(seeds))
        place = world.begin(draws)
        actions = tf.argmax(draws.actions, axis=1, output_type=tf.int32)
        move, states = world.move(place, actions, draws), world.observe(place)
        [targets, *_] = self._targets(self._tables(), self._policy(), move.observed, draws)
        targets = self._bootstrapped(targets, move.rewards, move.terminated)[:, -1]
        inputs = {"state": states}
        if self.learning.timed:
            inputs["steps_left"] = place.steps_left

        def loss() -> tf.Tensor:
            values = self(inputs, training=True)["value"]
            return tf.reduce_mean((of_chosen(values, actions) - targets) ** 2) / 2

        return {"loss": Objective(loss, self.trainable_variables)}

    @property
    def _is_monte_carlo(self) -> bool:
        return self.learning.method == "monte_carlo"

    def _seed(self, seeds: tf.Tensor) -> tf.Tensor:
        return tf.stack([seeds[0], seeds[-1]])

    def _world(self, seeds: tf.Tensor) -> Simulation | Gameplay:
        dtype = keras.config.floatx()
        if self.task.dynamics is not None:
            count = seeds.shape[0] or self.num_envs // _replicas()
            return Simulation(self.task.dynamics, self.task.limit, count, dtype)
        return Gameplay(self.environments(seeds), self.task, dtype)

    def _tables(self) -> tuple[tf.Tensor, ...]:
        """The tables `(states * actions, horizons)`."""
        shape = (self.task.num_states, self.horizons, self.task.num_actions)
        return tuple(
            tf.reshape(
                tf.transpose(tf.reshape(variable.value, shape), [0, 2, 1]), [-1, self.horizons]
            )
            for variable in self.trainable_variables
        )

    def _as_weights(self, table: tf.Tensor) -> tf.Tensor:
        """A table as the weights of the model have it, `(states * horizons, actions)`."""
        by_action = tf.transpose(self._by_action(table), [0, 2, 1])
        return tf.reshape(by_action, [-1, self.task.num_actions])

    def _by_action(self, table: tf.Tensor) -> tf.Tensor:
        return tf.reshape(table, [self.task.num_states, self.task.num_actions, self.horizons])

    def _policy(self) -> Exploring:
        """The policy with the present rate of exploration."""
        first, last = self.learning.exploration_rates
        done = tf.cast(self.optimizer.iterations.value, keras.config.floatx())
        share = done / max(self.steps - 1, 1)
        return Exploring(self.learning.exploration, first + (last - first) * tf.minimum(share, 1.0))

    def _act(
        self,
        tables: tuple[tf.Tensor, ...],
        policy: Exploring,
        states: tf.Tensor,
        steps_left: tf.Tensor,
        draws: Draws,
    ) -> tf.Tensor:
        """The actions `(agents,)` in states, with so many steps left."""
        horizon = steps_left - 1 if self.learning.timed else tf.zeros_like(steps_left)
        rows = states[:, None] * self.task.num_actions + tf.range(self.task.num_actions)
        places = rows * self.horizons + horizon[:, None]
        values = sum(tf.gather(tf.reshape(table, [-1]), places) for table in tables)
        return policy.choose(values / len(tables), draws.explores, draws.actions)

    def _targets(
        self, tables: tuple[tf.Tensor, ...], policy: Exploring, states: tf.Tensor, draws: Draws
    ) -> list[tf.Tensor]:
        """The return that each table expects from `states` on, `(agents, horizons)` each."""
        by_action = [self._by_action(table) for table in tables]
        match self.learning.method:
            case "double_q_learning":
                first, second = by_action
                values = [
                    of_chosen(second, tf.argmax(first, axis=1, output_type=tf.int32)),
                    of_chosen(first, tf.argmax(second, axis=1, output_type=tf.int32)),
                ]
            case "q_learning" | "monte_carlo":
                values = [tf.reduce_max(by_action[0], axis=1)]
            case "expected_sarsa":
                values = [policy.mean(by_action[0])]
            case "sarsa":
                value = policy.value_of_choice(by_action[0], states, draws.explores, draws.actions)
                return [one_step_earlier(value) if self.learning.timed else value]
        if self.learning.timed:
            values = [one_step_earlier(value) for value in values]
        return [tf.gather(value, states) for value in values]

    def _bootstrapped(
        self, expected: tf.Tensor, rewards: tf.Tensor, terminated: tf.Tensor
    ) -> tf.Tensor:
        """The targets `(agents, horizons)`: rewards, and the expected return unless they ended."""
        goes_on = tf.where(terminated, 0.0, self.learning.discount)
        return rewards[:, None] + tf.cast(goes_on, rewards.dtype)[:, None] * expected

    def _step_by_step(
        self, world: Simulation | Gameplay, tables: tuple[tf.Tensor, ...], seed: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Statistics]:
        """Learns after every step, and returns the tables."""
        policy, num_actions = self._policy(), self.task.num_actions

        def draws_of(number: tf.Tensor) -> Draws:
            folded = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
            return draw(world.num_agents, num_actions, folded)

        def step(
            number: tf.Tensor,
            place: Place,
            actions: tf.Tensor,
            tables: tuple[tf.Tensor, ...],
            statistics: Statistics,
        ) -> tuple[Any, ...]:
            draws = draws_of(number)
            move = world.move(place, actions, draws)
            # The next actions are chosen before the update, since Sarsa's target is about them.
            following = self._act(
                tables, policy, world.observe(move.place), move.place.steps_left, draws
            )
            rows = world.observe(place) * num_actions + actions
            learnt, visits, distance = [], [], statistics.distance
            expected = self._targets(tables, policy, move.observed, draws)
            for number_of_table, (table, visited) in enumerate(
                zip(tables, statistics.visits, strict=True)
            ):
                learns = move.valid
                if len(tables) == 2:
                    learns &= (draws.table < 0.5) == (number_of_table == 0)
                new, visited, distance_of_table = move_towards(
                    table,
                    visited,
                    rows,
                    self._bootstrapped(expected[number_of_table], move.rewards, move.terminated),
                    learns,
                    self.learning.rate,
                )
                learnt.append(new)
                visits.append(visited)
                distance += distance_of_table / len(tables)
            running = statistics.running + tf.where(move.valid, move.rewards, 0.0)
            ended = tf.cast(move.over, running.dtype)
            lasted = statistics.lasted + tf.cast(move.valid, running.dtype)
            statistics = Statistics(
                visits=tuple(visits),
                distance=distance,
                running=running * (1 - ended),
                lasted=lasted * (1 - ended),
                returns=statistics.returns + tf.reduce_sum(running * ended),
                lengths=statistics.lengths + tf.reduce_sum(lasted * ended),
                episodes=statistics.episodes + tf.reduce_sum(ended),
            )
            return number + 1, move.place, following, tuple(learnt), statistics

        dtype = tables[0].dtype
        draws = draws_of(tf.constant(self.rollout_length))
        place = world.begin(draws)
        actions = self._act(tables, policy, world.observe(place), place.steps_left, draws)
        statistics = Statistics(
            visits=tuple(visits.value + 0 for visits in self.visits),
            distance=tf.zeros((), dtype),
            running=tf.zeros([world.num_agents], dtype),
            lasted=tf.zeros([world.num_agents], dtype),
            returns=tf.zeros((), dtype),
            lengths=tf.zeros((), dtype),
            episodes=tf.zeros((), dtype),
        )
        *_, tables, statistics = tf.while_loop(
            lambda number, *_: number < self.rollout_length,
            step,
            (tf.constant(0), place, actions, tables, statistics),
            parallel_iterations=1,
        )
        return tables, statistics._replace(distance=statistics.distance / self.rollout_length)

    def _whole_episodes(
        self, world: Simulation | Gameplay, tables: tuple[tf.Tensor, ...], seed: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Statistics]:
        """Plays without learning, then learns from the returns of every agent's first episode."""
        policy, num_actions = self._policy(), self.task.num_actions

        def step(before: tuple[Any, ...], number: tf.Tensor) -> tuple[Any, ...]:
            place = before[0]
            folded = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
            draws = draw(world.num_agents, num_actions, folded)
            states = world.observe(place)
            actions = self._act(tables, policy, states, place.steps_left, draws)
            move = world.move(place, actions, draws)
            rows = states * num_actions + actions
            if self.learning.timed:
                rows = rows * self.horizons + place.steps_left - 1
            return move.place, rows, move.rewards, move.over, move.valid

        [table] = tables
        folded = tf.random.experimental.stateless_fold_in(
            seed, tf.constant(self.rollout_length, tf.int64)
        )
        place = world.begin(draw(world.num_agents, num_actions, folded))
        false = tf.zeros([world.num_agents], tf.bool)
        zeros = tf.zeros([world.num_agents], table.dtype)
        _, rows, rewards, over, valid = tf.scan(
            step,
            tf.range(self.rollout_length),
            (place, place.state, zeros, false, false),
            parallel_iterations=1,
        )
        totals, known = returns(rewards, over, valid, self.learning.discount)
        # An agent's first episode alone counts: of later ones only the short ones end within the
        # rollout, which would bias the values.
        is_first = tf.cumsum(tf.cast(over, tf.int32), exclusive=True) == 0
        learnt, visits, distance = move_towards(
            tf.reshape(table, [-1, 1]),
            self.visits[0].value,
            tf.reshape(rows, [-1]),
            tf.reshape(totals, [-1, 1]),
            tf.reshape(known & is_first, [-1]),
            self.learning.rate,
        )
        statistics = Statistics(
            visits=(visits,),
            distance=distance,
            running=zeros,
            lasted=zeros,
            returns=tf.reduce_sum(tf.where(known, rewards, 0.0)),
            lengths=tf.reduce_sum(tf.cast(known & valid, table.dtype)),
            episodes=tf.reduce_sum(tf.cast(over, table.dtype)),
        )
        return (tf.reshape(learnt, table.shape),), statistics


def _replicas() -> int:
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def values_of(model: keras.Model, task: Task, horizons: int) -> np.ndarray:
    """The table of a model, `(horizons, states, actions)`: the mean of its tables.

    Args:
        model: As of `TabularLearner`.
        task: The environment.
        horizons: Numbers of steps left that the values depend on; 1 if they do not.
    """
    tables = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    shape = (task.num_states, horizons, task.num_actions)
    return np.mean(tables, axis=0, dtype=tables[0].dtype).reshape(shape).transpose(1, 0, 2)


def set_values(model: keras.Model, values: np.ndarray) -> None:
    """Sets the one table of a model.

    Args:
        model: As of `TabularLearner`.
        values: `(states, actions, horizons)`.
    """
    [variable] = model.trainable_variables
    variable.assign(values.transpose(0, 2, 1).reshape(variable.shape))
