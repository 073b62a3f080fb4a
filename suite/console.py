"""What a program prints: streams that take every text, and errors in the words of its flags."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from suite.errors import InputError, printable

if TYPE_CHECKING:
    import cyclopts


def prepare_output() -> None:
    """Makes standard output and error accept every text; a program calls it at its start.

    Characters that the encoding lacks are escaped and raise no error. A stream that the shell
    closed (`2>&-`) discards its text, because otherwise the next file that the program opens would
    get the stream's number, and the text. Text that nobody reads any more (`| head -1`) is
    discarded, too.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    sys.stdout, sys.stderr = map(_patient, (sys.stdout, sys.stderr))


def error_line(error: BaseException, command_line: "cyclopts.App") -> str:
    """The message of an error in one line, with knobs spelled as the flags of a command line.

    A knob that is not a flag of the command line or of one of its commands stays in backticks.
    """
    if not isinstance(error, InputError):
        return printable(str(error))
    flags = _flags(command_line)

    def spelled(knob: str) -> str:
        flag = f"--{knob.removeprefix('--').replace('_', '-')}"
        return flag if flag in flags else f"`{knob}`"

    return printable(error.worded(spelled))


def _flags(command_line: "cyclopts.App") -> set[str]:
    commands = (command_line[name] for name in command_line if not name.startswith("-"))
    return {
        flag
        for command in (command_line, *commands)
        for argument in command.assemble_argument_collection()
        for flag in argument.names
    }


class _Patient(io.TextIOWrapper):
    """A stream of text that is discarded once its reader is gone."""

    def write(self, text: str, /) -> int:
        with self._discarding():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._discarding():
            super().flush()

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def _patient(stream: TextIO) -> TextIO:
    is_the_process_s = stream in (sys.__stdout__, sys.__stderr__)
    if not (is_the_process_s and isinstance(stream, io.TextIOWrapper)):
        return stream
    stream.flush()  # the old one stays usable for those who have it
    return _Patient(
        stream.buffer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _nowhere() -> io.TextIOWrapper:
    # Kept open for as long as the program runs.
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
