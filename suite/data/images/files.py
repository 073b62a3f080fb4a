"""Reads and writes picture files, and arranges pictures side by side."""

import functools
import io
import itertools
import logging
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.features
import PIL.Image
import tensorflow as tf

from suite.data.images.decoding import (
    ORIENTATION,
    apply_orientation,
    decode_picture,
    detect_white_and_scale,
)
from suite.data.images.preparation import Preparation
from suite.errors import InputError
from suite.files import write_whole

log = logging.getLogger(__name__)

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# The formats that Pillow may open; it has more, whose decoders are rarely used and tested.
FORMATS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]
if PIL.features.check("avif"):
    FORMATS.append("AVIF")
# Formats whose bytes are kept, if TensorFlow can decode them; pictures in other formats become PNG.
# Pillow calls a JPEG of several pictures MPO.
KEPT_FORMATS = ("PNG", "JPEG", "MPO")
# Filters of warnings belong to the process: one thread at a time may change them.
_filters = threading.RLock()


class Picture(NamedTuple):
    """A picture that was read from a file.

    Args:
        encoded: Bytes that TensorFlow decodes.
        pixels: `(height, width, channels)`, uint8: grey, grey and alpha, RGB, or RGBA.
        re_encoded: Whether the picture was encoded anew, so that the bytes differ from the file's.
    """

    encoded: bytes
    pixels: np.ndarray
    re_encoded: bool


def read(path: Path) -> Picture:
    """Reads a picture file of any format and depth, and turns the picture upright.

    Raises:
        InputError: The file is missing, is no image, or has too many pixels.
    """
    path = Path(path)
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names too long
        raise InputError("an image file is needed", f"{path}, which is not there")
    with opened(path) as image:
        usable = image.format in KEPT_FORMATS and not (
            image.format == "PNG" and "exif" in image.info and _orientation(image, path) != 1
        )
        encoded = path.read_bytes() if usable else _as_png(image, path)
    try:
        return Picture(encoded, _decode()(encoded).numpy(), not usable)
    except tf.errors.InvalidArgumentError:  # Pillow may decode it; otherwise it raises InputError
        with opened(path) as image:
            encoded = _as_png(image, path)
        return Picture(encoded, _decode()(encoded).numpy(), True)


def read_opaque(path: Path) -> np.ndarray:
    """Reads a picture, `(height, width, channels)`, uint8: grey, or red, green and blue.

    Raises:
        InputError: The file is missing, is no image, or has transparent parts.
    """
    pixels = read(path).pixels
    if pixels.shape[-1] in (1, 3):
        return pixels
    if pixels[..., -1].min() < 255:
        raise InputError("a picture must be opaque", f"{path}, with transparent parts")
    return pixels[..., :-1]


def read_encoded(path: Path) -> bytes:
    """Reads the bytes of a picture file, in a format that a `Preparation` decodes.

    Pictures in other formats than `KEPT_FORMATS`, or that TensorFlow cannot decode, are encoded
    anew, as PNG.

    Raises:
        InputError: The file is missing, is no image, or has too many pixels.
    """
    return read(path).encoded


def read_picture(path: Path, preparation: Preparation) -> np.ndarray:
    """Reads a picture file, and prepares it as a model's input.

    Returns:
        `(height, width, channels)` of the preparation, uint8.

    Raises:
        InputError: The file is missing or is no image; or the preparation expects a drawing, and
            nothing is drawn.
    """
    with tf.device("CPU"):
        prepared = prepare_in_graph(preparation)(read(path).pixels).numpy()
    refuse_blank(prepared, path, preparation)
    return prepared


def refuse_blank(prepared: np.ndarray, path: Path, preparation: Preparation) -> None:
    """Refuses an empty drawing.

    Args:
        prepared: The result of the preparation.
        path: The file of the picture, for the error.
        preparation: The preparation; photos are never refused.

    Raises:
        InputError: The drawing is 0 everywhere.
    """
    if preparation.layout == "drawing" and not prepared.any():
        raise InputError(f"{path} must show something drawn", "an even surface")


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture file, turned upright, in pixels; of most it reads the head.

    Raises:
        InputError: The file is missing, is no image, or has too many pixels.
    """
    with opened(path) as image:
        if image.format == "TIFF":
            image.load()  # which turns it upright
        width, height = image.size
        return (width, height) if _orientation(image, path) >= 5 else (height, width)


def is_picture(path: Path) -> bool:
    """Whether a file has the ending, or else the beginning, of an image file that can be read."""
    if path.suffix.lower() in ENDINGS:
        return True
    try:
        with opened(path):
            return True
    except InputError:
        return False


def writable_picture(path: Path) -> None:
    """Refuses a path to which `write_picture` could not write.

    Raises:
        InputError: The ending is of no image format, or the file cannot be written.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"an image file must end in one of: {', '.join(sorted(ENDINGS))}", path)
    try:
        usable = not path.is_dir() and os.access(path.parent, os.W_OK)
    except OSError:  # a name that is too long
        usable = False
    if not usable:
        raise InputError("an image file must be writable, in a folder that exists", path)


def write_picture(pixels: np.ndarray, path: Path, **options: Any) -> None:
    """Writes pixels to an image file, whole or not at all.

    Args:
        pixels: `(height, width, 1)`, grey, or `(height, width, 3)`, red, green and blue, in 0..255.
        path: The file; its ending decides the format.
        options: Pillow's options for the format.

    Raises:
        InputError: The format cannot hold the image.
        Unwritable: The file cannot be written.
    """
    _save(_as_image(pixels), path, **options)


def write_animation(frames: Iterable[np.ndarray], path: Path, **options: Any) -> None:
    """Writes frames to an image file that moves, whole or not at all, one after the other.

    Args:
        frames: One or more, all of one size, as in `write_picture`.
        path: The file; its ending decides the format.
        options: Pillow's options for the format.

    Raises:
        InputError: The format cannot hold the frames.
        Unwritable: The file cannot be written.
    """
    images: Iterator[PIL.Image.Image] = map(_as_image, frames)
    first, *others = itertools.islice(images, 2)
    rest: Iterable[PIL.Image.Image] = itertools.chain(others, images)
    if path.suffix.lower() != ".gif":  # of other formats Pillow goes through them twice
        rest = list(rest)
    several = {"save_all": True, "append_images": rest} if others else {}
    _save(first, path, **several, **options)


def _as_image(pixels: np.ndarray) -> PIL.Image.Image:
    if pixels.dtype != np.uint8:  # which a large picture needs no copies of
        pixels = np.rint(pixels).astype(np.uint8)
    return PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _save(image: PIL.Image.Image, path: Path, **options: Any) -> None:
    """Writes an image, whole or not at all; errors as in `write_picture`."""
    content = io.BytesIO()
    try:
        image.save(content, PIL.Image.registered_extensions()[path.suffix.lower()], **options)
    except InputError:  # of a frame
        raise
    except (OSError, ValueError, OverflowError, KeyError) as error:  # KeyError: no animations
        raise InputError("an image file must hold the image", f"{path}: {error}") from None
    write_whole(path, content.getvalue())


def write_png(content: bytes, path: Path) -> None:
    """Writes a PNG file as an image file of any format, whole or not at all.

    Args:
        content: The bytes of the PNG file.
        path: The file; its ending decides the format.

    Raises:
        InputError: The format cannot hold the image.
        Unwritable: The file cannot be written.
    """
    if path.suffix.lower() == ".png":
        write_whole(path, content)
    else:
        write_picture(tf.io.decode_png(content).numpy(), path)


def tiled(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Arranges images side by side in one image, row by row.

    Args:
        images: `(n, height, width, channels)`.
        columns: Images in a row; by default as many as there are rows, or one more.

    Returns:
        `(rows * height, columns * width, channels)`; the rest of the last row is 0.
    """
    count, height, width, channels = images.shape
    columns = columns or math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, channels), images.dtype)
    cells[:count] = images
    grid = cells.reshape(rows, columns, height, width, channels)
    return grid.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


@contextmanager
def opened(path: Path) -> Iterator[PIL.Image.Image]:
    """An image file opened by Pillow; whatever fails while it is open becomes an `InputError`."""
    try:
        with _filters, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            # Given a path, Pillow would leave a file open that it fails to read.
            with path.open("rb") as file, PIL.Image.open(file, formats=FORMATS) as image:
                yield image
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Warning, PIL.Image.DecompressionBombError) as error:
        reason = "too many pixels" if "bomb" in str(error) else "not a readable image"
        raise InputError("an image file is needed", f"{path}, {reason}") from None


def _as_png(image: PIL.Image.Image, path: Path) -> bytes:
    """Encodes the first frame of an image as a PNG of 8 bits, upright."""
    if image.mode.startswith(("I", "F")):  # grey values of 16 bits, or floats
        values = np.nan_to_num(np.asarray(image, np.float32))[..., None]
        pixels = detect_white_and_scale(values).numpy()
    elif image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
    elif image.mode in ("1", "L"):
        pixels = np.asarray(image.convert("L"))[..., None]
    else:
        pixels = np.asarray(image.convert("RGB"))
    pixels = apply_orientation(tf.constant(pixels), tf.constant(_orientation(image, path))).numpy()
    return tf.io.encode_png(pixels).numpy()


def _orientation(image: PIL.Image.Image, path: Path) -> int:
    """The orientation, 1..8, in the EXIF of an image; 1, upright, if it has none."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF may fail anywhere
        log.warning("%s: its EXIF is broken, and is ignored.", path)
        return 1
    return value if value in range(1, 9) else 1


@functools.cache
def _decode() -> Callable[[bytes], tf.Tensor]:
    signature = [tf.TensorSpec((), tf.string)]
    return tf.function(decode_picture, input_signature=signature, autograph=False)


@functools.cache
def prepare_in_graph(preparation: Preparation) -> Callable[[np.ndarray], tf.Tensor]:
    """The preparation of decoded pictures, compiled; run it on the CPU."""
    signature = [tf.TensorSpec((None, None, None), tf.uint8)]
    return tf.function(preparation.prepare, input_signature=signature, autograph=False)
