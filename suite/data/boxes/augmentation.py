"""Random distortions of pictures together with their boxes.

Each function returns an `Augmentation` of batches `(pictures, targets)`: pictures
`(batch, height, width, channels)` in 0..255, and targets `(batch, most, 6)` as in
`suite.data.boxes.annotations.as_targets`. Distorted pictures are float32. A box that is cut is kept
if enough of it is left; others become padding, which may then stand between boxes.
"""

from suite.data.pipelines import Augmentation


def box_flip(*, horizontal: bool = True, vertical: bool = False) -> Augmentation | None:
    """Mirrors along each chosen axis with a probability of one half.

    Returns:
        The augmentation, or None if no axis is chosen.
    """
    raise NotImplementedError


def box_crop(smallest: float) -> Augmentation | None:
    """Crops a random part that has one of the boxes whole, and enlarges it to the picture's size.

    Args:
        smallest: Smallest width and height of the part, as a share of the picture's, in (0, 1].

    Returns:
        The augmentation, or None for 1.

    Reference:
        Liu et al., 2015, SSD: Single Shot MultiBox Detector, https://arxiv.org/abs/1512.02325
        Differs from the paper: keeps the proportion, and one box whole instead of an overlap.
    """
    raise NotImplementedError


def mosaic(rate: float) -> Augmentation | None:
    """Joins a picture with the next three of the batch, four reduced ones around a random point.

    The targets have four times as many rows, `(batch, 4 * most, 6)`, also where nothing is joined.
    The next pictures are those of the same replica's part of the batch.

    Args:
        rate: Probability, in 0..1.

    Returns:
        The augmentation, or None for a rate of 0.

    Reference:
        Bochkovskiy, Wang and Liao, 2020, YOLOv4, https://arxiv.org/abs/2004.10934
    """
    raise NotImplementedError


def colour(strength: float) -> Augmentation | None:
    """Changes brightness, contrast and saturation.

    Args:
        strength: Largest change of any of the three, as a share in [0, 1).

    Returns:
        The augmentation, or None for 0.
    """
    raise NotImplementedError
