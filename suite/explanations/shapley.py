"""Shapley values: the answer of a network, shared fairly among the parts of its input.

The share of a player is what it adds to the value of a coalition, averaged over all orders in which
the players may come. All shares add up to the value of all players minus the value of none.
"""

import itertools
import math

import numpy as np

from suite.explanations.coalitions import Value

MOST_EXACT = 12  # players, with 4,096 coalitions
SAMPLES = 2048  # coalitions of Kernel SHAP


def shapley_values(value: Value, num_players: int) -> np.ndarray:
    """Shapley values `(num_players,)`: exact for up to 12 players, estimated for more.

    Args:
        value: Maps coalitions `(n, num_players)`, bool, to answers `(n,)`.
        num_players: Number of players.
    """
    if num_players <= MOST_EXACT:
        return exact(value, num_players)
    return kernel_shap(value, num_players)


def exact(value: Value, num_players: int) -> np.ndarray:
    """Shapley values `(num_players,)` from the values of all coalitions, asked for at once.

    Args:
        value: Maps coalitions `(n, num_players)`, bool, to answers `(n,)`.
        num_players: Number of players; there are `2 ** num_players` coalitions.

    Reference:
        Shapley, 1953, A Value for n-Person Games, https://doi.org/10.1515/9781400881970-018
    """
    numbers = np.arange(2**num_players)
    coalitions = (numbers[:, None] >> np.arange(num_players) & 1).astype(bool)
    values, sizes = value(coalitions), coalitions.sum(axis=1)
    shares = np.zeros(num_players)
    for player in range(num_players):
        without = ~coalitions[:, player]
        others = sizes[without]
        weights = np.array([1 / math.comb(num_players - 1, size) for size in others]) / num_players
        added = values[numbers[without] | 1 << player] - values[without]
        shares[player] = weights @ added
    return shares


def kernel_shap(value: Value, num_players: int) -> np.ndarray:
    """Shapley values `(num_players,)` by a weighted linear regression on coalitions.

    Where there are no more than `SAMPLES` coalitions the values are exact. Otherwise so many are
    drawn, in pairs of a coalition and its complement. The sum is exact in any case.

    Args:
        value: Maps coalitions `(n, num_players)`, bool, to answers `(n,)`.
        num_players: Number of players.

    Reference:
        Lundberg and Lee, 2017, A Unified Approach to Interpreting Model Predictions,
        https://arxiv.org/abs/1705.07874
        Covert and Lee, 2020, Improving KernelSHAP: Practical Shapley Value Estimation via Linear
        Regression, https://arxiv.org/abs/2012.01536, for the pairs.
    """
    none, everyone = value(np.array([[False], [True]]).repeat(num_players, axis=1))
    total = everyone - none
    if num_players == 1:
        return np.array([total])
    if 2**num_players - 2 <= SAMPLES:
        coalitions, weights = _all_between(num_players)
    else:
        coalitions, weights = _drawn(num_players)
    # The share of the last player is the total minus the others.
    present = coalitions.astype(np.float64)
    differences = present[:, :-1] - present[:, -1:]
    targets = value(coalitions) - none - present[:, -1] * total
    roots = np.sqrt(weights)
    shares = np.linalg.lstsq(roots[:, None] * differences, roots * targets, rcond=None)[0]
    return np.append(shares, total - shares.sum())


def _all_between(num_players: int) -> tuple[np.ndarray, np.ndarray]:
    """All coalitions but none and everyone, and the weights of the Shapley kernel."""
    coalitions = np.array(list(itertools.product((False, True), repeat=num_players))[1:-1])
    weights = [
        (num_players - 1) / (math.comb(num_players, size) * size * (num_players - size))
        for size in coalitions.sum(axis=1).tolist()
    ]
    return coalitions, np.array(weights)


def _drawn(num_players: int) -> tuple[np.ndarray, np.ndarray]:
    """Coalitions that are drawn in proportion to the Shapley kernel, and equal weights.

    They are the same in every call.
    """
    random = np.random.default_rng(0)
    sizes = np.arange(1, num_players)
    weights = 1 / (sizes * (num_players - sizes))
    drawn = random.choice(sizes, SAMPLES // 2, p=weights / weights.sum())
    ranks = random.random((len(drawn), num_players)).argsort(axis=1).argsort(axis=1)
    half = ranks < drawn[:, None]
    coalitions = np.concatenate([half, ~half])
    return coalitions, np.ones(len(coalitions))
