"""What a network answers when it sees only a part of an input: a coalition of its players.

The players are the features of a row, the columns of a table, or the cells of a picture. Shapley
values and surrogates ask only for the value of coalitions, whatever the players are.
"""

from collections.abc import Callable

import numpy as np

# Maps coalitions `(n, players)`, bool, to the answers `(n,)`, float64.
Value = Callable[[np.ndarray], np.ndarray]

VALUES_AT_ONCE = 2**20  # numbers in the inputs that a network gets in one batch, about
CELLS_PER_SIDE = 7


def coalition_value(
    score: Callable[[np.ndarray], np.ndarray],
    example: np.ndarray,
    background: np.ndarray,
    players: np.ndarray,
) -> Value:
    """The value of coalitions: the mean answer over backgrounds that replace what is missing.

    Args:
        score: Maps inputs `(n, ...)` to answers `(n,)`.
        example: The input to explain: a row `(features,)` or a picture
            `(height, width, channels)`.
        background: Inputs to take the missing parts from, `(samples, ...)`.
        players: The player that each feature, or each pixel `(height, width)`, belongs to.

    Returns:
        A function that maps coalitions `(n, players)`, bool, to answers `(n,)`, float64.
    """
    example, background = example.astype(np.float32), background.astype(np.float32)
    at_once = max(1, VALUES_AT_ONCE // (example.size * len(background)))

    def value(coalitions: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(coalitions), at_once):
            present = coalitions[start : start + at_once][:, players]
            present = present.reshape(present.shape + (1,) * (example.ndim - players.ndim))
            inputs = np.where(present[:, None], example, background)
            answers = score(inputs.reshape(-1, *example.shape)).astype(np.float64)
            parts.append(answers.reshape(len(present), len(background)).mean(axis=1))
        return np.concatenate(parts)

    return value


def grid(height: int, width: int, cells: int = CELLS_PER_SIDE) -> np.ndarray:
    """Divides a picture into rectangular cells of nearly equal size.

    Cells do not follow the outlines of what is shown, as superpixels of a segmentation do.

    Args:
        height: Height of the picture.
        width: Width of the picture.
        cells: Cells along each side; fewer if there are fewer pixels.

    Returns:
        The number of the cell of each pixel, `(height, width)`, from 0.
    """
    rows, columns = (np.arange(side) * min(cells, side) // side for side in (height, width))
    return rows[:, None] * (columns[-1] + 1) + columns
