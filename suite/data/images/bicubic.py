"""Bicubic interpolation as MATLAB's `imresize` does it, by which super-resolution is measured.

What other libraries call bicubic differs: in the kernel, at the edges, or without a wider kernel
where a picture is made smaller. Figures of super-resolution depend on all three.
"""

import math

import numpy as np


def resize(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes pictures: every column and every row is multiplied by a constant matrix.

    Args:
        pictures: `(..., height, width, channels)`, of any numeric type.
        height: The new height.
        width: The new width.

    Returns:
        `(..., height, width, channels)`, float64, not rounded, and beyond the range of the pictures
        next to sharp edges.

    Reference:
        Keys, 1981, Cubic Convolution Interpolation for Digital Image Processing,
        https://doi.org/10.1109/TASSP.1981.1163711
        MathWorks, imresize, https://www.mathworks.com/help/images/ref/imresize.html
        Differs from `imresize` of whole numbers, which also rounds between columns and rows; it is
        what `imresize` does to a picture of type double.
    """
    pictures = np.asarray(pictures, np.float64)
    down = resize_matrix(pictures.shape[-3], height)
    across = resize_matrix(pictures.shape[-2], width)
    columns = np.einsum("oh,...hwc->...owc", down, pictures, optimize=True)
    return np.einsum("ow,...hwc->...hoc", across, columns, optimize=True)


def to_bytes(pictures: np.ndarray) -> np.ndarray:
    """Rounds values and clips them to 0..255, uint8."""
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def shrink(picture: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes a picture `scale` times smaller, and crops the original to the part that it shows.

    Args:
        picture: `(height, width, channels)`, uint8.
        scale: What height and width are divided by.

    Returns:
        The smaller picture; and the original without the last rows and columns, up to `scale - 1`
        of each, so that `scale` divides its sides. Both are uint8.
    """
    height, width = (side // scale for side in picture.shape[:2])
    original = picture[: scale * height, : scale * width]
    return to_bytes(resize(original, height, width)), original


def resize_matrix(length: int, new_length: int) -> np.ndarray:
    """The matrix `(new_length, length)`, float64, that resizes a row of pixels.

    Where the row becomes shorter the kernel is wider by the same factor, so that nothing is skipped
    (antialiasing). Beyond its ends the row is mirrored, the last pixel included.
    """
    scale = new_length / length
    shrinkage = min(scale, 1.0)
    reach = 2 / shrinkage
    centres = (np.arange(new_length) + 0.5) / scale - 0.5
    first = np.floor(centres - reach).astype(int)
    places = first[:, None] + np.arange(math.ceil(2 * reach) + 2)
    weights = cubic(shrinkage * (centres[:, None] - places))
    weights /= weights.sum(axis=1, keepdims=True)
    wrapped = np.mod(places, 2 * length)
    mirrored = np.minimum(wrapped, 2 * length - 1 - wrapped)
    matrix = np.zeros((new_length, length))
    np.add.at(matrix, (np.arange(new_length)[:, None], mirrored), weights)
    return matrix


def phase_weights(scale: int) -> np.ndarray:
    """The weights of the pixels around one, for the `scale` pixels that it becomes.

    Args:
        scale: How many times longer a row becomes.

    Returns:
        `(scale, 5)`, float64: for each new pixel the weights of the five old ones, from two before
        the pixel to two after it. They are the same for all pixels of a row.
    """
    return resize_matrix(5, 5 * scale)[2 * scale : 3 * scale]


def cubic(distances: np.ndarray) -> np.ndarray:
    """Keys's kernel with a slope of -1/2 at a distance of 1; it is 0 from a distance of 2 on."""
    x = np.abs(distances)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
