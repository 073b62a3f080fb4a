"""Masks: pictures whose pixels are classes, as targets of the pictures that they belong to."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from suite.data.examples import Source
from suite.data.images.preparation import Preparation

if TYPE_CHECKING:
    from suite.run import Run

VOID = 255  # the class of pixels that count for nothing, neither in a loss nor in a metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskPreparation(Preparation):
    """Converts a picture's bytes to a model's input, and its mask to the classes of its pixels.

    Args:
        values: The value of every class in a mask, in the order of the classes: a grey value or an
            index 0..255, or a colour, `65536 * red + 256 * green + blue`.
    """

    values: Sequence[int] = ()

    def prepare_mask(self, classes: tf.Tensor) -> tf.Tensor:
        """Crops and resizes a mask as `prepare` crops and resizes its picture, without mixing.

        Args:
            classes: Classes, or `VOID`, `(any height, any width)`, uint8.

        Returns:
            `(height, width)`, uint8.
        """
        raise NotImplementedError


def load_masks(
    run: "Run",
    masks: Path | None = None,
    classes: Sequence[str] = (),
    *,
    train_list: Path | None = None,
    test_list: Path | None = None,
    image_size: int | None = None,
    channels: int | None = None,
) -> Source:
    """Loads pictures and their masks; by default made shapes, `suite.data.images.shapes`.

    Args:
        run: The run, for its `data`, `seed`, `arrays` and `preparation`. `data` is a folder of
            pictures whose `masks` have the same names in another; a folder of two such folders, of
            which one is called images, pictures or photos; or a folder of pictures beside LabelMe's
            `.json` files or one `.json` file of COCO. Any of them may have `train`, `validation`
            and `test` inside, or lists of names beside the folders, such as `trainval.txt` and
            `test.txt`.
        masks: Folder of the masks, or COCO's file.
        classes: Names of the classes in the order of the values in the masks, or `value:name`, as
            in `255:cell` or `#ff0000:road`; or the path of a file with one such line for each. By
            default the `classes.txt` in `data`, or else all values of the training masks; 255 is
            `VOID` then, if the others are no more than 0, 1, 2 and so on.
        train_list: File with the names of the pictures to train on, one a line.
        test_list: File with the names of the pictures to test on.
        image_size: Height and width in pixels; by default those of the pictures, if all have one
            size, else at most 64. Other pictures are cropped about their centre and resized.
        channels: 1 or 3; by default 3 if the pictures are in colour.

    Returns:
        A source with inputs `(n, height, width, channels)`, uint8, targets `(n, height, width)`,
        uint8: classes or `VOID`, the names of the classes, and a `MaskPreparation`.

    Raises:
        InputError: A file is missing, is no picture, has no partner or one of another size, is
            transparent, or has values of no class; or there is one class only.
    """
    raise NotImplementedError
