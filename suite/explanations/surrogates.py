"""Surrogates: a simple model that answers as a network does, near one input."""

import numpy as np

from suite.explanations.coalitions import Value

KERNEL_WIDTH = 0.25  # of the distance at which a coalition still counts
SAMPLES = 1000


def lime(value: Value, num_players: int, num_samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """The weights of a linear model of the answers to parts of an input.

    Coalitions in which each player is present with probability 1/2, and that of all players, are
    asked for. A ridge regression weights them by their nearness to the whole input.

    Args:
        value: Maps coalitions `(n, num_players)`, bool, to answers `(n,)`.
        num_players: Number of players.
        num_samples: Number of coalitions.
        seed: Decides which coalitions are drawn.

    Returns:
        `(num_players,)`, float64: what the presence of each player adds to the answer.

    Reference:
        Ribeiro, Singh and Guestrin, 2016, "Why Should I Trust You?": Explaining the Predictions of
        Any Classifier, https://arxiv.org/abs/1602.04938
        Differs from the paper: all players are kept instead of a few that are selected.
    """
    from sklearn.linear_model import Ridge

    coalitions = np.random.default_rng(seed).random((num_samples, num_players)) < 0.5
    coalitions[0] = True
    # The cosine of the angle to the vector of ones, which stands for the whole input.
    distances = 1 - np.sqrt(coalitions.mean(axis=1))
    nearness = np.exp(-0.5 * (distances / KERNEL_WIDTH) ** 2)
    surrogate = Ridge(alpha=1.0)
    surrogate.fit(coalitions.astype(np.float64), value(coalitions), sample_weight=nearness)
    return surrogate.coef_
