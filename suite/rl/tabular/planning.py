"""Dynamic programming, where the dynamics are known, in double precision.

Values are those of the states of `Dynamics`; `of_observations` turns them into values of
observations. Returns are exact: computed from the probabilities, not from episodes.

Reference:
    Bellman, 1957, Dynamic Programming
    Howard, 1960, Dynamic Programming and Markov Processes
    Sutton and Barto, 2018, Reinforcement Learning: An Introduction, chapter 4,
    http://incompleteideas.net/book/the-book-2nd.html
"""

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from suite.rl.tabular.dynamics import Dynamics

TOLERANCE = 1e-13  # relative change of a sweep at which values have converged
MOST_SWEEPS = 100_000


class Backup:
    """Bellman's equation: the values of actions from the values of the states that follow.

    Args:
        dynamics: What actions lead to.
        discount: Weight of what follows.
    """

    def __init__(self, dynamics: Dynamics, discount: float = 1.0) -> None:
        self.discount = discount
        self.shape = dynamics.probability.shape[:2]
        self.rewards = (dynamics.probability * dynamics.reward).sum(axis=-1)
        chances = np.where(dynamics.terminated, 0.0, dynamics.probability)
        outcomes = chances.shape[-1]
        size = self.shape[0] * self.shape[1]
        rows = np.repeat(np.arange(size), outcomes)
        entries = (chances.ravel(), (rows, dynamics.following.ravel()))
        self.transitions = sparse.csr_array(entries, shape=(size, self.shape[0]))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The values of actions `(states, actions)`.

        Args:
            values: Of the states that follow, `(states,)`.
        """
        following = (self.transitions @ values).reshape(self.shape)
        return self.rewards + self.discount * following

    def evaluated(self, actions: np.ndarray) -> np.ndarray:
        """The values `(states,)` of a policy with one action for every state, without a limit.

        They are unique if `discount` is below 1.

        Args:
            actions: The actions of the policy, `(states,)`.
        """
        states = np.arange(self.shape[0])
        chosen = self.transitions[states * self.shape[1] + actions]
        equations = sparse.eye_array(self.shape[0], format="csr") - self.discount * chosen
        return linalg.spsolve(equations.tocsc(), self.rewards[states, actions])


def policy_return(dynamics: Dynamics, actions: np.ndarray, steps: int) -> float:
    """The expected sum of rewards of a policy in an episode of at most `steps` steps, exactly.

    Args:
        dynamics: What actions lead to.
        actions: For every number of steps left, from 1 on, and every observation:
            `(horizons, observations)`. The last row holds for all numbers above it as well.
        steps: Steps after which an episode is cut off.
    """
    backup = Backup(dynamics)
    chosen = actions[:, dynamics.observed]
    states, values = np.arange(backup.shape[0]), np.zeros(backup.shape[0])
    for left in range(steps):
        values = backup(values)[states, chosen[min(left, len(chosen) - 1)]]
    return float(dynamics.start @ values)


def best_within(dynamics: Dynamics, steps: int, discount: float = 1.0) -> np.ndarray:
    """Value iteration over the steps left: the best values of actions until a limit, exactly.

    Returns:
        Values `(states, actions, steps)`; the last axis counts the steps left, from 1 on.
    """
    backup = Backup(dynamics, discount)
    values, best = np.empty((*backup.shape, steps)), np.zeros(backup.shape[0])
    for left in range(steps):
        values[..., left] = backup(best)
        best = values[..., left].max(axis=1)
    return values


def best_at_limit(dynamics: Dynamics, steps: int) -> np.ndarray:
    """The best sum of rewards from every state in at most so many steps, exactly: `(states,)`."""
    backup = Backup(dynamics)
    best = np.zeros(backup.shape[0])
    for _ in range(steps):
        best = backup(best).max(axis=1)
    return best


def best_without_limit(dynamics: Dynamics, discount: float = 1.0) -> np.ndarray | None:
    """Value iteration without a limit of steps, until the values of states do not change.

    Returns:
        Values of actions `(states, actions)`; None if they do not converge.
    """
    backup = Backup(dynamics, discount)
    best = np.zeros(backup.shape[0])
    for _ in range(MOST_SWEEPS):
        values = backup(best)
        change = np.abs(values.max(axis=1) - best).max()
        best = values.max(axis=1)
        if change <= TOLERANCE * max(1.0, np.abs(best).max()):
            return values
    return None


def policy_iteration(dynamics: Dynamics, discount: float) -> tuple[np.ndarray, int]:
    """Policy iteration without a limit of steps: evaluates a policy exactly, and improves it.

    Args:
        dynamics: What actions lead to.
        discount: Weight of what follows, below 1.

    Returns:
        The best values of actions `(states, actions)`, and the number of policies evaluated.
    """
    backup = Backup(dynamics, discount)
    states, actions, count = np.arange(backup.shape[0]), np.zeros(backup.shape[0], int), 0
    while True:
        values, count = backup(backup.evaluated(actions)), count + 1
        better = _improved(values, actions, states)
        if (better == actions).all():
            return values, count
        actions = better


def policy_iteration_within(
    dynamics: Dynamics, steps: int, discount: float = 1.0
) -> tuple[np.ndarray, int]:
    """Policy iteration with a limit of steps: a policy has an action for every number of them left.

    Returns:
        The best values of actions `(states, actions, steps)`, as of `best_within`, and the number
        of policies evaluated.
    """
    backup = Backup(dynamics, discount)
    states, count = np.arange(backup.shape[0]), 0
    actions = np.zeros((steps, backup.shape[0]), int)
    values = np.empty((*backup.shape, steps))
    while True:
        following, count = np.zeros(backup.shape[0]), count + 1
        better = np.empty_like(actions)
        for left in range(steps):
            values[..., left] = backup(following)
            following = values[states, actions[left], left]
            better[left] = _improved(values[..., left], actions[left], states)
        if (better == actions).all():
            return values, count
        actions = better


def of_observations(dynamics: Dynamics, values: np.ndarray, num_states: int) -> np.ndarray:
    """Values `(num_states, ...)` of observations from those of states `(states, ...)`.

    Where several states have the same observation, it has the mean of their values.
    """
    sums = np.zeros((num_states, *values.shape[1:]))
    np.add.at(sums, dynamics.observed, values)
    counts = np.bincount(dynamics.observed, minlength=num_states)
    return sums / np.maximum(counts, 1).reshape(-1, *[1] * (values.ndim - 1))


def _improved(values: np.ndarray, actions: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The best actions `(states,)`; an action stays unless another is better than rounding."""
    margin = 1e-12 * max(1.0, np.abs(values).max())
    gain = values.max(axis=1) - values[states, actions]
    return np.where(gain > margin, values.argmax(axis=1), actions)
