"""Loads pictures with boxes: made scenes, or files in one of four formats."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from suite.data.boxes.annotations import Unannotated
from suite.data.examples import Source

if TYPE_CHECKING:
    from suite.run import Run

Format = Literal["auto", "coco", "voc", "yolo", "csv"]
SCENES = 4000


def load_boxes(
    run: "Run",
    annotations: Path | None = None,
    classes: Sequence[str] = (),
    *,
    format: Format = "auto",  # noqa: A002 - a knob
    unannotated: Unannotated = "refuse",
    image_size: int | None = None,
    channels: int | None = None,
    scenes: int = SCENES,
    most: int = 8,
    overlap: float = 0.4,
) -> Source:
    """Loads pictures and their boxes; by default made scenes of digits, `suite.data.boxes.scenes`.

    Args:
        run: The run, for its `data`, `data_dir`, `in_memory`, `skip_broken`, `arrays` and
            `preparation`. `data` is `auto`, for scenes of MNIST's digits if they are there and else
            of scikit-learn's; `tfds` or `embedded` for one of these; or a folder of pictures with
            their annotations. Splits are those of VOC's `ImageSets/Main/*.txt`, of folders or files
            named train, val and test; others are held out.
        annotations: The file or folder of the annotations, if they are not in `data`.
        classes: Names of the classes, in order; or the file that has one in each line. By default
            those that the annotations name.
        format: COCO's JSON, Pascal VOC's XML, YOLO's text files, or a CSV of a box in each line;
            `auto` looks which is there.
        unannotated: Whether a picture that no file says anything of has nothing in it (`empty`), or
            is an error (`refuse`).
        image_size: The longer side of the model's inputs, in pixels; by default that of the
            pictures, at most 320. Both sides become multiples of 32, in about the pictures'
            proportion.
        channels: 1 or 3; by default 3 if the pictures are in colour.
        scenes: Made scenes to train on; a quarter as many are for validation, and for the test.
        most: Largest number of digits in a made scene.
        overlap: Largest share of a digit's box that another one's may cover.

    Returns:
        A source with inputs `(n, height, width, channels)`, uint8; targets `(n, most, 6)`, float32,
        as in `suite.data.boxes.annotations.as_targets`, in the inputs' pixels; the names of the
        classes; and a `BoxPreparation`. The number of rows of targets is the same in all splits.

    Raises:
        InputError: The pictures or boxes cannot be found or read, or do not belong together.
    """
    raise NotImplementedError
