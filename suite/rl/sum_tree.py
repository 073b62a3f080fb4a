"""A sum tree, which finds leaves with probabilities in proportion to their priorities."""

import numpy as np


class SumTree:
    """Priorities in the leaves of a binary tree, whose other nodes are the sums of their children.

    Setting a priority and finding a leaf take one step for each level of the tree.

    Args:
        size: Number of leaves.

    Reference:
        Schaul et al., 2015, Prioritized Experience Replay, https://arxiv.org/abs/1511.05952
    """

    def __init__(self, size: int) -> None:
        self._depth = (size - 1).bit_length()
        self._first = 2**self._depth  # the node of the first leaf; the root is node 1
        self._sums = np.zeros(2 * self._first)
        self.leaves = self._sums[self._first : self._first + size]  # a view
        self.nbytes = self._sums.nbytes

    @property
    def total(self) -> float:
        """The sum of all priorities."""
        return float(self._sums[1])

    def set(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        """Sets priorities.

        Args:
            leaves: Numbers of leaves; of equal ones, the last decides.
            priorities: At least 0, one for each leaf.
        """
        nodes = leaves + self._first
        self._sums[nodes] = priorities
        for _ in range(self._depth):
            nodes = nodes // 2
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def find(self, sums: np.ndarray) -> np.ndarray:
        """The leaves at which the running sum of the priorities exceeds some sums.

        A leaf with a priority of 0 is never found.

        Args:
            sums: In [0, `total`).
        """
        rest = np.array(sums, np.float64)
        nodes = np.ones(len(rest), np.int64)
        for _ in range(self._depth):
            nodes *= 2
            left = self._sums[nodes]
            # Rounding may leave a rest beside a right child that is empty.
            right = (rest >= left) & (self._sums[nodes + 1] > 0)
            rest -= left * right
            nodes += right
        return nodes - self._first

    def restore(self, leaves: np.ndarray) -> None:
        """Sets the first leaves to these priorities, and all others to 0."""
        self._sums[:] = 0
        self.set(np.arange(len(leaves)), leaves)
