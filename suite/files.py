"""Files that are written whole or not at all, locks on folders, and checks of paths and sums."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from suite.errors import InputError, Unwritable

# Errors of a disk that is full or cannot be written to.
DISK_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.EIO,
}
# Errors of file systems that cannot lock folders.
CANNOT_LOCK = {errno.EBADF, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}
# Errors of file systems that cannot sync a folder.
CANNOT_SYNC = {errno.EBADF, errno.ENOTSUP, errno.EINVAL}


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes another file and renames it, so that a reader never sees half of the content.

    Text is written as UTF-8. When this returns, the file is on the disk and survives a power cut.

    Raises:
        Unwritable: The file cannot be written. An earlier file of that name is still there.
    """
    content = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, len(content), error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _sync_folder(folder: Path) -> None:
    """Writes the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def unwritable(path: Path, size: int, error: Exception) -> Unwritable:
    """The error to raise where a file or folder cannot be written.

    Args:
        path: The file or folder.
        size: The approximate number of bytes to write.
        error: The error of the system, of TensorFlow or of HDF5.
    """
    number = getattr(error, "errno", None)
    # TensorFlow's message begins with the name of a temporary file.
    reason = os.strerror(number) if number else str(error).rpartition("; ")[2].partition(" [Op")[0]
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(existing).free
    return Unwritable(
        f"{path} cannot be written: {reason}; it needs about {size:,} bytes, and {free:,} are free"
    )


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Locks a folder inside a `with` block; yields False if another process holds the lock.

    The lock ends with the process at the latest, even if it is killed. On file systems that cannot
    lock folders, every process gets the lock.
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


def refuse_path_for_tensorflow(path: Path, knob: str) -> None:
    """Refuses a folder that TensorFlow could not read again, before anything is written to it.

    TensorFlow treats the path of a checkpoint as a pattern: it writes to `ex[1]` and reads from
    `ex1`. Only the path as the caller spells it counts: a relative path works in a current folder
    `proj [old]`.

    Args:
        path: The folder, as the caller spells it.
        knob: The knob that names it, for the message.

    Raises:
        InputError: The path is a URL, has characters of a pattern, or cannot be encoded as UTF-8.
    """
    if re.match("[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise InputError(f"`{knob}` must be a folder of this machine", f"{path}, a URL")
    if characters := sorted(set(str(path)) & set("[]*?\\")):
        raise InputError(
            f"`{knob}` must do without [, ], *, ? and \\, which TensorFlow takes for a pattern",
            f"{path}, with {' '.join(characters)}",
        )
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"`{knob}` must be UTF-8, as TensorFlow writes paths; in this locale it is not", path
        ) from None


@contextmanager
def folder_aside(folder: Path, prefix: str) -> Iterator[Path]:
    """A new folder inside another one, removed at the end of the `with` block.

    If the path of the other folder is relative, so is the new one, unlike a path of `tempfile`: an
    absolute path may have characters of a pattern for TensorFlow.
    """
    aside = folder / Path(tempfile.mkdtemp(prefix=prefix, dir=folder)).name
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_checksums(path: Path, folder: Path) -> None:
    """Writes the SHA-256 of every file of a folder, as `sha256sum --check` reads it.

    Args:
        path: The file to write to.
        folder: The folder that the names in it are relative to.
    """
    files = sorted(file for file in _visible(folder) if file != path)
    # Names are bytes to the system; the locale may not be able to decode them.
    lines = (b"%s  %s\n" % (_sha256(file), os.fsencode(file.relative_to(folder))) for file in files)
    write_whole(path, b"".join(lines))


def refuse_damage(path: Path, folder: Path) -> None:
    """Compares the files of a folder with the checksums of `write_checksums`, if there are any.

    Hidden files and folders are ignored: editors, notebooks and operating systems create them.

    Args:
        path: The file of checksums; if it does not exist, nothing is compared.
        folder: The folder that the names in it are relative to.

    Raises:
        InputError: A file is missing, has changed, or is not among the checksums.
    """
    if not path.exists():
        return
    checked = path.name  # what the error names: the file that was being read
    try:
        lines = [line.split(b"  ", 1) for line in path.read_bytes().splitlines()]
        checksums = {os.fsdecode(name): checksum for checksum, name in lines}
        for checked, checksum in checksums.items():
            if checksum != _sha256(folder / checked):
                raise ValueError(checked)
    except (OSError, ValueError):
        raise InputError(f"{folder} must be whole", f"{checked}, damaged or missing") from None
    for file in _visible(folder):
        if file != path and str(file.relative_to(folder)) not in checksums:
            raise InputError(
                f"{folder} must hold no file that {path.name} does not name",
                file.relative_to(folder),
            )


def _visible(folder: Path) -> Iterator[Path]:
    """The files in a folder that are not hidden, nor in a hidden folder."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in files if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode()
