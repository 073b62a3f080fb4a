"""Random distortions of a picture and of the picture that is its target alike.

Each function returns an `Augmentation` of batches whose inputs and targets are arrays, or nested
structures of arrays. Pictures `(batch, height, width, channels)` are interpolated linearly. Masks
`(batch, height, width)` take the nearest pixel, so that no new value arises. All arrays of an
example are distorted in the same way; arrays of fewer axes are not changed.
"""

from suite.data.pipelines import Augmentation


def joint_flip(*, horizontal: bool = True, vertical: bool = False) -> Augmentation | None:
    """Mirrors along each chosen axis with a probability of one half.

    Returns:
        The augmentation, or None if no axis is chosen.
    """
    raise NotImplementedError


def joint_crop(height: int, width: int) -> Augmentation:
    """Crops to this size at a random place.

    A batch whose pictures are smaller raises a `ValueError` when it is traced.
    """
    raise NotImplementedError


def joint_affine(
    *, rotation: float = 0.0, scale: float = 0.0, shift: float = 0.0
) -> Augmentation | None:
    """Rotates, scales and shifts about the centre; what lies outside is mirrored at the edge.

    Distorted pictures are float32, masks keep their type.

    Args:
        rotation: Largest rotation to either side, in degrees.
        scale: Largest change of the size, of both sides alike, as a share in [0, 1).
        shift: Largest shift along each axis, in pixels.

    Returns:
        The augmentation, or None if all three are 0.
    """
    raise NotImplementedError


def joint_elastic(deviation: float, points: int = 3) -> Augmentation | None:
    """Bends smoothly, as tissue under a microscope is bent; the edges are mirrored.

    Displacements are drawn from a normal distribution at the points of a coarse grid, and
    interpolated between them by cubic splines. Distorted pictures are float32, masks keep their
    type.

    Args:
        deviation: Standard deviation of a displacement along each axis, in pixels.
        points: Points along each side of the grid, at least 2.

    Returns:
        The augmentation, or None for a deviation of 0.

    Reference:
        Ronneberger, Fischer and Brox, 2015, U-Net: Convolutional Networks for Biomedical Image
        Segmentation (there a grid of 3 x 3 and 10 pixels), https://arxiv.org/abs/1505.04597
    """
    raise NotImplementedError
