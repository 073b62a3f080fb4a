"""Pairs of pictures: a picture as input, and another of the same place as target."""

from pathlib import Path
from typing import TYPE_CHECKING

from suite.data.examples import Source

if TYPE_CHECKING:
    from suite.run import Run


def load_picture_pairs(
    run: "Run",
    targets: Path | None = None,
    *,
    swap: bool = False,
    train_list: Path | None = None,
    test_list: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> Source:
    """Loads pairs of pictures; by default drawn labels of shapes, and pictures of these shapes.

    Args:
        run: The run, for its `data`, `seed`, `arrays` and `preparation`. `data` is a folder of
            pictures whose `targets` have the same names in another; a folder of two such folders;
            or a folder of double pictures, the input in their left half. Any of them may have
            `train`, `validation` and `test` inside.
        targets: Folder of the pictures that are the targets of those of `data`.
        swap: Whether the second of a pair is the input, and the first the target.
        train_list: File with the names of the pictures to train on, one a line.
        test_list: File with the names of the pictures to test on.
        image_size: Height and width in pixels; by default those of the pictures, if all have one
            size, else at most 64. Other pictures are cropped about their centre and resized.
        channels: 1 or 3 for inputs and targets alike; by default 3 if the pictures are in colour.

    Returns:
        A source with inputs and targets `(n, height, width, channels)`, uint8, and a
        `suite.data.images.preparation.Preparation` of inputs.

    Raises:
        InputError: A file is missing, is no picture, has no partner or one of another size, is
            transparent, or is no double picture.
    """
    raise NotImplementedError
