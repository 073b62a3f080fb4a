"""What a network answers when it sees only a part of an input: a coalition of its players.

The players are the features of a row, the columns of a table, or the superpixels of a picture.
Shapley values and surrogates ask only for the value of coalitions, whatever the players are.
"""

from collections.abc import Callable

import numpy as np
import threadpoolctl

# Maps coalitions `(n, players)`, bool, to the answers `(n,)`, float64.
Value = Callable[[np.ndarray], np.ndarray]

VALUES_AT_ONCE = 2**20  # numbers in the inputs that a network gets in one batch, about
SUPERPIXELS_PER_SIDE = 7
# How far a colour may be from that of its superpixel to outweigh a distance of one cell.
GREY_VALUES_PER_CELL = 25.0
ITERATIONS = 10


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


def superpixels(picture: np.ndarray, per_side: int = SUPERPIXELS_PER_SIDE) -> np.ndarray:
    """Divides a picture into parts of one colour, which follow the outlines of what it shows.

    The pixels are clustered by colour and place, beginning with a grid. Where the colour is the
    same, the parts are about as large as the cells of that grid.

    Args:
        picture: `(height, width, channels)`, values in 0..255.
        per_side: Cells of the grid along each side; fewer if there are fewer pixels.

    Returns:
        The number of the part that each pixel belongs to, `(height, width)`, from 0.

    Reference:
        Achanta et al., 2012, SLIC Superpixels Compared to State-of-the-Art Superpixel Methods,
        https://doi.org/10.1109/TPAMI.2012.120
        Differs from the paper: colours are not those of CIELAB, every pixel is compared with all
        centres, and a part may be in several pieces.
    """
    from sklearn.cluster import KMeans

    height, width, _ = picture.shape
    cells = [min(per_side, side) for side in (height, width)]
    side_of_cell = np.sqrt(height * width / np.prod(cells))
    places = np.moveaxis(np.mgrid[:height, :width], 0, -1) * GREY_VALUES_PER_CELL / side_of_cell
    points = np.concatenate([picture.astype(np.float64), places], axis=-1)
    middles = (
        ((np.arange(count) + 0.5) * side / count).astype(int)
        for side, count in zip((height, width), cells, strict=True)
    )
    start = points[np.ix_(*middles)].reshape(-1, points.shape[-1])
    clusters = KMeans(len(start), init=start, n_init=1, max_iter=ITERATIONS)
    # Several threads would add up in varying order.
    with threadpoolctl.threadpool_limits(1):
        numbers = clusters.fit_predict(points.reshape(-1, points.shape[-1]))
    return np.unique(numbers, return_inverse=True)[1].reshape(height, width)
