"""Small grey images: reading them from anywhere, and distorting them in the graph.

Everywhere in the suite an image is `(height, width, 1)` with grey values from 0 to 255, the ink
bright on a dark ground, as in MNIST.
"""

import functools
import io
import math
import os
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import tensorflow as tf
from keras import ops

from suite.data import sources
from suite.data.examples import Augmentation, Examples, Split
from suite.errors import InputError
from suite.files import write_whole

if TYPE_CHECKING:
    from suite.run import Run

SIZE = 28
# What NumPy and zipfile raise on a file that is no archive of arrays, or one cut off or changed.
UNREADABLE = (
    OSError, EOFError, ValueError, AttributeError, TypeError, KeyError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
INK_SIZE = 20  # MNIST fits the ink into 20 x 20 and centres it by its mass
DIGITS = tuple("0123456789")
FAINTEST = 32  # grey values by which ink differs from its ground
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")  # Pillow reads many more, seldom tried ones


def load_digits(run: "Run") -> Examples:
    """MNIST, or what `--data` names instead: `(28, 28, 1)` images, labels `0..classes-1`."""
    return sources.load(
        run, tfds_name="mnist", from_tfds=_from_tfds, embedded=_embedded, from_path=_from_path
    )


def augmenter(rotation: float, shift: float, zoom: float) -> Augmentation | None:
    """A random affine distortion.

    Args:
        rotation: Largest rotation, in degrees.
        shift: Largest shift along each axis, in pixels.
        zoom: Largest relative change of width and of height.

    Returns:
        None where there is nothing to distort.
    """
    if not (rotation or shift or zoom):
        return None
    distort = functools.partial(_distort, rotation=rotation, shift=shift, zoom=zoom)
    return Augmentation(distort, num_draws=5)


def _distort(
    images: tf.Tensor, draws: tf.Tensor, *, rotation: float, shift: float, zoom: float
) -> tf.Tensor:
    height, width = images.shape[1:3]
    angle = draws[0] * math.radians(rotation)
    wide, high = 1 + draws[1] * zoom, 1 + draws[2] * zoom
    # Rows of the map from output to input pixels, about the centre of the image.
    a, b = wide * tf.cos(angle), -high * tf.sin(angle)
    c, d = wide * tf.sin(angle), high * tf.cos(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    across = x - (a * x + b * y) + draws[3] * shift
    down = y - (c * x + d * y) + draws[4] * shift
    zero = tf.zeros_like(a)
    transform = tf.stack([a, b, across, c, d, down, zero, zero], axis=1)
    return ops.image.affine_transform(
        tf.cast(images, tf.float32), transform, data_format="channels_last"
    )


def read_picture(path: Path) -> np.ndarray:
    """One picture, of any size and polarity, as MNIST would have drawn it.

    The ground is taken to be the colour of the border. The ink is cut out, fitted into 20 x 20
    and centred by its mass. A picture that is MNIST's own format already is left alone.

    Returns:
        Grey values, `(28, 28, 1)`, uint8.

    Raises:
        InputError: The file is missing, is no image, or shows nothing.
    """
    grey = _read_grey(path)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(border) > 127:
        grey = 255 - grey
        border = 255 - border
    ground = np.median(border)
    if grey.shape == (SIZE, SIZE) and not ground and grey.max() >= FAINTEST:
        return grey[..., None]
    ink = np.clip((grey - ground) * (255 / max(255 - ground, 1)), 0, 255)
    if ink.max() < FAINTEST:
        raise InputError(f"{path} must show something drawn. Received: an even surface")
    ink *= 255 / ink.max()
    rows, columns = (np.flatnonzero((ink > 48).any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = INK_SIZE / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    shrunk = PIL.Image.fromarray(ink.astype(np.uint8)).resize(
        (width, height), PIL.Image.Resampling.LANCZOS
    )
    small = np.asarray(shrunk)
    if not small.any():
        raise InputError(f"{path} must show something drawn. Received: nothing but specks")
    return _centred(small)[..., None]


def writable_picture(path: Path) -> None:
    """Refuses a path to which `write_picture` could not write.

    Raises:
        InputError: Its ending is of no image format, or it cannot be written.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            f"an image file must end in one of: {', '.join(sorted(ENDINGS))}. Received: {path}"
        )
    try:
        usable = not path.is_dir() and os.access(path.parent, os.W_OK)
    except OSError:  # a name that is too long
        usable = False
    if not usable:
        raise InputError(f"an image file must be writable. Received: {path}")


def write_picture(pixels: np.ndarray, path: Path, **options: Any) -> None:
    """Writes pixels to an image file, whole or not at all.

    Args:
        pixels: `(height, width, 1)`, grey values in 0..255, or `(height, width, 3)`, red, green and
            blue; or several of them, for an animation.
        path: Its ending says the format.
        options: Of the format, as Pillow has them.

    Raises:
        InputError: The format cannot hold the image.
        Unwritable: It cannot be written.
    """
    pixels = np.rint(pixels).astype(np.uint8).reshape(-1, *pixels.shape[-3:])
    frames = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    first, *others = map(PIL.Image.fromarray, frames)
    several = {"save_all": True, "append_images": others} if others else {}
    content = io.BytesIO()
    try:
        first.save(
            content, PIL.Image.registered_extensions()[path.suffix.lower()], **several, **options
        )
    except (OSError, ValueError, OverflowError, KeyError) as error:  # KeyError: no animations
        raise InputError(f"an image file must hold the image. Received: {path}: {error}") from None
    write_whole(path, content.getvalue())


def tiled(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Images side by side in one, row by row.

    Args:
        images: `(n, height, width, channels)`.
        columns: Images in a row; by default as many as there are rows, or one more.

    Returns:
        `(rows * height, columns * width, channels)`; places left over are 0.
    """
    count, height, width, channels = images.shape
    columns = columns or math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    places = np.zeros((rows * columns, height, width, channels), images.dtype)
    places[:count] = images
    grid = places.reshape(rows, columns, height, width, channels)
    return grid.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def _centred(ink: np.ndarray) -> np.ndarray:
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    total = ink.sum()
    middle = [(ink.sum(1 - axis) * np.arange(ink.shape[axis])).sum() / total for axis in (0, 1)]
    top, left = (
        int(np.clip(round((SIZE - 1) / 2 - m), 0, SIZE - side))
        for m, side in zip(middle, ink.shape, strict=True)
    )
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return canvas


def _read_grey(path: Path) -> np.ndarray:
    """Any image file as `(height, width)` grey values, transparent parts as paper."""
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names too long
        raise InputError(f"an image file is needed. Received: {path}, which is not there")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            # Pillow would leave a file open that it fails to read from.
            with Path(path).open("rb") as file, PIL.Image.open(file, formats=FORMATS) as image:
                rgba = _of_bytes(PIL.ImageOps.exif_transpose(image)).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Warning, PIL.Image.DecompressionBombError) as error:
        reason = "too many pixels" if "bomb" in str(error) else "not a readable image"
        raise InputError(f"an image file is needed. Received: {path}, {reason}") from None
    for ground in ("white", "black"):  # light ink on a transparent ground shows on black alone
        paper = PIL.Image.new("RGBA", rgba.size, ground)
        grey = np.asarray(PIL.Image.alpha_composite(paper, rgba).convert("L"))
        if np.ptp(grey) >= FAINTEST:
            break
    return grey


def _of_bytes(image: PIL.Image.Image) -> PIL.Image.Image:
    """Grey values of 16 bits, or of floats in 0..1, in 0..255: Pillow would cut them off there."""
    if not image.mode.startswith(("I", "F")):
        return image
    white = 1.0 if image.mode == "F" else 65535.0
    grey = np.nan_to_num(np.asarray(image, np.float64)) / white
    return PIL.Image.fromarray(np.rint(255 * grey.clip(0, 1)).astype(np.uint8))


def _from_tfds(builder: Any, source: str) -> Examples:
    splits = {}
    for name in ("train", "test"):
        everything = builder.as_dataset(split=name, batch_size=-1)
        labels = everything["label"].numpy().astype(np.int32)
        splits[name] = Split(everything["image"].numpy(), labels)
    return Examples(splits["train"], splits["test"], DIGITS, source)


def _embedded() -> Examples:
    """Scikit-learn's 1,797 handwritten digits, enlarged from 8 x 8 to MNIST's layout."""
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    small = (digits.images * (255 / 16)).astype(np.float32)[..., None]
    large = tf.image.resize(small, (INK_SIZE, INK_SIZE), method="bicubic")
    margin = (SIZE - INK_SIZE) // 2
    large = tf.image.pad_to_bounding_box(large, margin, margin, SIZE, SIZE)
    images = np.clip(np.rint(large.numpy()), 0, 255).astype(np.uint8)
    whole = Split(images, digits.target.astype(np.int32))
    return Examples(whole, None, DIGITS, "embedded:digits", comparable=False)


def _from_path(path: Path) -> Examples:
    return _from_folder(path) if path.is_dir() else _from_npz(path)


def _from_npz(path: Path) -> Examples:
    """A file in the layout of Keras's `mnist.npz`."""
    keys = ("x_train", "y_train", "x_test", "y_test")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not set(keys) <= set(archive.files):
                raise InputError(
                    f"{path} must hold {', '.join(keys)}. "
                    f"Received: {', '.join(archive.files[:10]) or 'nothing'}"
                )
            arrays = [archive[key] for key in keys]
            if not all(isinstance(array, np.ndarray) for array in arrays):
                raise ValueError("no array")
            x_train, y_train, x_test, y_test = arrays
    except InputError:
        raise
    except UNREADABLE:
        raise InputError(
            f"--data must be an .npz in the layout of Keras's mnist.npz, or a folder. "
            f"Received: {path}, which cannot be read as one"
        ) from None
    train, test = _checked(x_train, y_train, path), _checked(x_test, y_test, path)
    return Examples(train, test, DIGITS, str(path))


def _checked(images: np.ndarray, labels: np.ndarray, path: Path) -> Split:
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[1:] != (SIZE, SIZE, 1) or not len(images):
        raise InputError(
            f"images in {path} must have the shape (n, {SIZE}, {SIZE}) or (n, {SIZE}, {SIZE}, 1), "
            f"n at least 1. Received: {images.shape}"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels in {path} must be {len(images)} integers, one for each image. "
            f"Received: shape {labels.shape} of {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= len(DIGITS):
        raise InputError(
            f"labels in {path} must be in 0..{len(DIGITS) - 1}. "
            f"Received: {labels.min()}..{labels.max()}"
        )
    numeric = images.dtype.kind in "iuf"
    if not numeric or not (images.min() >= 0 and 1 < images.max() <= 255):
        extent = f"{images.min()}..{images.max()}" if numeric else str(images.dtype)
        raise InputError(f"pixels in {path} must be grey values in 0..255. Received: {extent}")
    return Split(images.astype(np.uint8), labels.astype(np.int32))


def _from_folder(path: Path) -> Examples:
    """Class folders of image files; or `train/` and `test/`, each with class folders.

    Every file is read as `predict` will read one.
    """
    if (path / "train").is_dir() and (path / "test").is_dir():
        names = _class_names(path / "train")
        if _class_names(path / "test") != names:
            raise InputError(f"{path}/train and {path}/test must have the same class folders")
        train, test = _read_classes(path / "train", names), _read_classes(path / "test", names)
        return Examples(train, test, names, str(path))
    names = _class_names(path)
    return Examples(_read_classes(path, names), None, names, str(path))


def _class_names(folder: Path) -> tuple[str, ...]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise InputError(
            f"{folder} must hold two class folders or more. Received: {', '.join(names) or 'none'}"
        )
    for name in names:
        if not name.isprintable():
            raise InputError(f"class folders must have printable names. Received: {name!r}")
    return tuple(names)


def _read_classes(folder: Path, names: tuple[str, ...]) -> Split:
    images, labels = [], []
    for label, name in enumerate(names):
        files = sorted(
            path
            for path in (folder / name).iterdir()
            if path.suffix.lower() in ENDINGS and path.is_file() and path.name[0] != "."
        )
        if not files:
            raise InputError(f"{folder / name} must hold image files. Received: none")
        for file in files:
            images.append(read_picture(file))
            labels.append(label)
    return Split(np.stack(images), np.asarray(labels, np.int32))
