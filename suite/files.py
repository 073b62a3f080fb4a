"""Files that are whole or not there, and folders that one process has to itself."""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from suite.errors import InputError, Unwritable

# What file systems say that cannot lock folders.
CANNOT_LOCK = {errno.EBADF, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file aside and renames it, so that a reader never sees half of it.

    Raises:
        Unwritable: It cannot be written. What was there before is still there.
    """
    content = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, len(content), error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def unwritable(path: Path, size: int, error: Exception) -> Unwritable:
    """What to raise where something cannot be written.

    Args:
        path: What.
        size: About how many bytes it has.
        error: What the system, TensorFlow or HDF5 says.
    """
    number = getattr(error, "errno", None)
    # TensorFlow's begins with the name of a file of its own.
    reason = os.strerror(number) if number else str(error).rpartition("; ")[2].partition(" [Op")[0]
    free = shutil.disk_usage(path.parent).free
    return Unwritable(
        f"{path} cannot be written: {reason}; it needs about {size:,} bytes, and {free:,} are free"
    )


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Whether a folder is this process's alone; then until the end.

    The claim goes with the process, however it ends. On file systems that cannot lock folders
    everyone gets it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError as error:
            alone = error.errno in CANNOT_LOCK
        yield alone
    finally:
        os.close(descriptor)


def write_checksums(path: Path, folder: Path) -> None:
    """Writes down the SHA-256 of every file of a folder, as `sha256sum --check` reads it.

    Args:
        path: The file to write to.
        folder: What its names are relative to.
    """
    files = sorted(each for each in _visible(folder) if each != path)
    lines = (f"{_sha256(each)}  {each.relative_to(folder)}\n" for each in files)
    write_whole(path, "".join(lines))


def refuse_damage(path: Path, folder: Path) -> None:
    """Compares the files of a folder with what was written down; without that they pass.

    Raises:
        InputError: One is missing, has changed, or has come in since.
    """
    if not path.exists():
        return
    name = path.name
    try:
        lines = [line.split("  ", 1) for line in path.read_text().splitlines()]
        for checksum, name in lines:
            if checksum != _sha256(folder / name):
                raise ValueError(name)
    except (OSError, ValueError):
        raise InputError(f"{folder} must be whole. Received: {name}, damaged or missing") from None
    known = {folder / name for _, name in lines}
    for each in _visible(folder):
        if each not in known and each != path:
            raise InputError(
                f"{folder} must hold what {path.name} names. Received: {each.relative_to(folder)}, "
                "which it does not"
            )


def _visible(folder: Path) -> Iterator[Path]:
    """The files in it, but for those that editors and systems hide there."""
    return (each for each in folder.rglob("[!.]*") if each.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
