"""Policies and updates of tables of values, as functions of tensors.

A table is `(states * actions, horizons)`: the expected return of every action in every state, for
every number of steps left, from 1 on; or with a single horizon, if values do not depend on it.
"""

from typing import Literal, NamedTuple

import tensorflow as tf

Exploration = Literal["epsilon_greedy", "softmax"]
TINY = 1e-6


class Exploring(NamedTuple):
    """A policy that mostly takes the best action by a table, and sometimes explores.

    Args:
        exploration: `epsilon_greedy` takes a random action with probability `rate`; `softmax`
            takes better actions more often, by their values divided by `rate`, the temperature.
        rate: Epsilon or the temperature, a scalar.
    """

    exploration: Exploration
    rate: tf.Tensor

    def choose(self, values: tf.Tensor, explores: tf.Tensor, preferences: tf.Tensor) -> tf.Tensor:
        """Actions `(agents, ...)`, int32, by values `(agents, actions, ...)`.

        An agent has the same random numbers in all further axes.

        Args:
            values: Values of actions.
            explores: Random numbers `(agents,)`.
            preferences: Random numbers `(agents, actions)`.
        """
        further = [1] * (values.shape.rank - 2)
        numbers = tf.reshape(preferences, [*preferences.shape, *further])
        if self.exploration == "softmax":
            gumbel = -tf.math.log(-tf.math.log(tf.clip_by_value(numbers, TINY, 1 - TINY)))
            scaled = values / tf.maximum(self.rate, TINY)
            return tf.argmax(scaled + tf.cast(gumbel, values.dtype), axis=1, output_type=tf.int32)
        best = tf.argmax(values, axis=1, output_type=tf.int32)
        random = tf.argmax(numbers, axis=1, output_type=tf.int32)
        explores = tf.reshape(explores, [-1, *further]) < tf.cast(self.rate, explores.dtype)
        return tf.where(explores, random, best)

    def value_of_choice(
        self, values: tf.Tensor, states: tf.Tensor, explores: tf.Tensor, preferences: tf.Tensor
    ) -> tf.Tensor:
        """The values `(agents, ...)` of the actions that `choose` takes.

        The best value of a state is computed once for all agents that are in it.

        Args:
            values: Values of actions in all states, `(states, actions, ...)`.
            states: The state of every agent, `(agents,)`.
            explores: As in `choose`.
            preferences: As in `choose`.
        """
        if self.exploration == "softmax":
            values = tf.gather(values, states)
            return of_chosen(values, self.choose(values, explores, preferences))
        best = tf.gather(tf.reduce_max(values, axis=1), states)
        random = tf.argmax(preferences, axis=1, output_type=states.dtype)
        others = tf.gather_nd(values, tf.stack([states, random], axis=1))
        is_random = explores < tf.cast(self.rate, explores.dtype)
        return tf.where(tf.reshape(is_random, [-1] + [1] * (best.shape.rank - 1)), others, best)

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """The expected value `(states, ...)` of the policy's actions.

        Args:
            values: Values of actions `(states, actions, ...)`.
        """
        if self.exploration == "softmax":
            chances = tf.nn.softmax(values / tf.maximum(self.rate, TINY), axis=1)
            return tf.reduce_sum(chances * values, axis=1)
        best, mean = tf.reduce_max(values, axis=1), tf.reduce_mean(values, axis=1)
        return best + self.rate * (mean - best)


def of_chosen(values: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """Selects the values `(n, ...)` of actions `(n, ...)` from values `(n, actions, ...)`."""
    chosen = tf.one_hot(actions, values.shape[1], axis=1, dtype=values.dtype)
    return tf.reduce_sum(values * chosen, axis=1)


def one_step_earlier(values: tf.Tensor) -> tf.Tensor:
    """Shifts values `(n, horizons)` to one step less left: 0 at the first horizon."""
    return tf.pad(values[:, :-1], [[0, 0], [1, 0]])


class Rate(NamedTuple):
    """The learning rate of a value: `initial / visits ** decay`.

    Args:
        initial: The rate of the first visit.
        decay: 0 keeps the rate; 1 takes the mean of all targets, if they come one by one.
    """

    initial: float
    decay: float

    def of(self, visits: tf.Tensor) -> tf.Tensor:
        """The rates of values by their numbers of visits, this one included."""
        return self.initial * tf.maximum(visits, 1.0) ** -self.decay


def move_towards(
    table: tf.Tensor,
    visits: tf.Tensor,
    rows: tf.Tensor,
    targets: tf.Tensor,
    valid: tf.Tensor,
    rate: Rate,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Moves the rows of a table towards targets, of which a row may have several.

    `n` targets of a row move it as far as `n` moves towards their mean, at the rate of the last.

    Args:
        table: `(rows, columns)`.
        visits: Number of targets of each row so far, `(rows,)`.
        rows: The row of each target, `(targets,)`, int32.
        targets: `(targets, columns)`.
        valid: False for targets that are left out, `(targets,)`, bool.
        rate: How far a row moves.

    Returns:
        The new table, the new visits, and the mean distance of a row from the mean of its targets,
        a scalar.
    """
    size = table.shape[0]
    weights = tf.cast(valid, table.dtype)
    count = tf.math.unsorted_segment_sum(weights, rows, size)
    sums = tf.math.unsorted_segment_sum(targets * weights[:, None], rows, size)
    visits = visits + count
    differences = (sums - count[:, None] * table) / tf.maximum(count, 1.0)[:, None]
    distance = tf.reduce_sum(count * tf.reduce_mean(tf.abs(differences), axis=1))
    shares = 1 - (1 - rate.of(visits)) ** count
    table = table + shares[:, None] * differences
    return table, visits, distance / tf.maximum(tf.reduce_sum(count), 1.0)


def returns(
    rewards: tf.Tensor, over: tf.Tensor, valid: tf.Tensor, discount: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The return from every step of some episodes on, and whether it is known, `(time, agents)`.

    It is unknown if the episode is not over by the last step.

    Args:
        rewards: `(time, agents)`.
        over: Whether an episode is over after the step, `(time, agents)`, bool.
        valid: False for steps of no episode, `(time, agents)`, bool.
        discount: Weight of what follows.
    """

    def add(later: tuple[tf.Tensor, ...], step: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        total, known = later
        reward, last = step
        return tf.where(last, reward, reward + discount * total), last | known

    initial = (tf.zeros_like(rewards[0]), tf.zeros_like(over[0]))
    totals, known = tf.scan(add, (rewards, over), initial, reverse=True)
    return totals, known & valid
